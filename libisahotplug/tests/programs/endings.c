/*
 * Registrations and the library end while a callback runs on the library's thread.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <isahotplug.h>

static int failures;

static void expect_at(int line, const char *what, long found, long expected)
{
    if (found != expected) {
        printf("%d: %s is %ld, not %ld\n", line, what, found, expected);
        __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
    }
}

#define EXPECT(what, expected) expect_at(__LINE__, #what, (long)(what), (long)(expected))
#define GET(what) __atomic_load_n(&(what), __ATOMIC_SEQ_CST)
#define SET(what, value) __atomic_store_n(&(what), (value), __ATOMIC_SEQ_CST)

static pid_t main_thread;

/* Whether the main thread waits for somebody, in futex(2). */
static int main_waits(void)
{
    char path[64], text[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)main_thread);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(text, sizeof text, file) == NULL)
        text[0] = 0;
    if (file != NULL)
        fclose(file);
    return strncmp(text, "202 ", 4) == 0;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static int inside, main_is_back, released, calls;

static void wait_until_main_waits(void)
{
    double end = seconds() + 20;
    while (!main_waits() && seconds() < end)
        sched_yield();
    EXPECT(main_waits(), 1);
}

static int32_t until_main_waits(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    SET(inside, 1);
    wait_until_main_waits();
    calls++;
    return ISAHP_OK;
}

/* On the library's thread. Takes its time, in which the main thread must not come back. */
static void slowly(void *userdata)
{
    (void)userdata;
    double end = seconds() + 0.2;
    while (!GET(main_is_back) && seconds() < end)
        sched_yield();
    EXPECT(GET(main_is_back), 0);
    EXPECT(isahp_unload(), ISAHP_ERROR_BUSY);
    SET(released, 1);
}

static uint64_t start(isahp_callback callback, isahp_release release)
{
    uint64_t handle = 0;
    isahp_registration registration = {
        .size = sizeof registration, .flags = ISAHP_INITIAL, .callback = callback, .release = release,
    };
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
    while (!GET(inside))
        sched_yield();
    return handle;
}

static void unregister_waits_for_release(void)
{
    uint64_t handle = start(until_main_waits, slowly);
    EXPECT(isahp_unregister(handle), ISAHP_OK);
    SET(main_is_back, 1);
    EXPECT(GET(released), 1);
    EXPECT(isahp_unload(), ISAHP_OK);
}

static void unload_waits_for_release(void)
{
    start(until_main_waits, slowly);
    EXPECT(isahp_unload(), ISAHP_OK);
    SET(main_is_back, 1);
    EXPECT(GET(released), 1);
}

static int32_t begin_anew(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    SET(inside, 1);
    wait_until_main_waits();
    EXPECT(isahp_unload(), ISAHP_ERROR_BUSY);
    EXPECT(isahp_init(NULL), ISAHP_OK);
    calls++;
    return ISAHP_OK;
}

/* The main thread waits for this callback in isahp_unload(). */
static void init_in_a_callback_that_unload_waits_for(void)
{
    uint64_t handle = start(begin_anew, NULL);
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(calls, 1);
    /* What the callback has begun is there; what was registered before is not. */
    EXPECT(isahp_generation() != 0, 1);
    EXPECT(isahp_unregister(handle), ISAHP_ERROR_NOT_FOUND);
    SET(inside, 0);
    isahp_registration registration = {
        .size = sizeof registration, .flags = ISAHP_INITIAL, .callback = until_main_waits,
    };
    EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
    while (!GET(inside))
        sched_yield();
    EXPECT(isahp_unregister(handle), ISAHP_OK);
    EXPECT(calls, 2);
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
}

static uint64_t first, second;
static pthread_barrier_t both;

static int32_t ends_the_other(void *userdata, const isahp_event *event)
{
    (void)event;
    uint64_t other = userdata == &first ? second : first;
    pthread_barrier_wait(&both);
    int32_t result = isahp_unregister(other);
    SET(*(userdata == &first ? &released : &main_is_back), result == ISAHP_ERROR_BUSY ? 2 : 1);
    EXPECT(result == ISAHP_OK || result == ISAHP_ERROR_BUSY, 1);
    return ISAHP_OK;
}

/* One runs on the library's thread, one in isahp_poll(), and each ends the other. */
static void callbacks_that_end_each_other(void)
{
    pthread_barrier_init(&both, NULL, 2);
    isahp_registration registration = { .size = sizeof registration, .callback = ends_the_other, .userdata = &first };
    EXPECT(isahp_init(NULL), ISAHP_OK);
    registration.flags = ISAHP_INITIAL;
    /* The second's number is known before the first is called. */
    isahp_registration by_poll = registration;
    by_poll.flags |= ISAHP_BY_POLL;
    by_poll.userdata = &second;
    EXPECT(isahp_register(&by_poll, &second), ISAHP_OK);
    first = second + 1;
    uint64_t handle;
    EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
    EXPECT(handle, first);
    uint32_t polled = 0;
    for (double end = seconds() + 20; polled == 0 && seconds() < end;)
        EXPECT(isahp_poll(&polled), ISAHP_OK);
    EXPECT(polled, 1);
    EXPECT(isahp_unload(), ISAHP_OK);
    /* At most one was in the way of the other. */
    EXPECT(released != 0 && main_is_back != 0 && released + main_is_back < 4, 1);
}

static void *ends(void *handle)
{
    int32_t result = isahp_unregister(*(uint64_t *)handle);
    return (void *)(intptr_t)result;
}

/* Several threads end one registration: one of them does, and nobody waits for ever. */
static void several_threads_end_one(void)
{
    uint64_t handle = start(until_main_waits, NULL);
    pthread_t threads[4];
    int ended = 0;
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, ends, &handle) != 0)
            abort();
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ended += (intptr_t)result == ISAHP_OK;
        EXPECT((intptr_t)result == ISAHP_OK || (intptr_t)result == ISAHP_ERROR_NOT_FOUND, 1);
    }
    EXPECT(ended, 1);
    EXPECT(isahp_unload(), ISAHP_OK);
}

int main(int argc, char **argv)
{
    const struct { const char *name; void (*run)(void); } cases[] = {
        { "unregister", unregister_waits_for_release }, { "unload", unload_waits_for_release },
        { "init", init_in_a_callback_that_unload_waits_for }, { "each-other", callbacks_that_end_each_other },
        { "several", several_threads_end_one },
    };
    if (argc != 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    main_thread = syscall(SYS_gettid);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(argv[1], cases[i].name) == 0)
            cases[i].run();
    puts(failures ? "failed" : "ok");
    return failures != 0;
}
