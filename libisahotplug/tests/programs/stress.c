/*
 * Threads that call slots, plain, checked and in sections, while the instruction set changes, and
 * while registrations, slots and child processes come and go. The test publishes.
 *
 *     stress THREADS FINAL xop|no-xop
 *
 * Every variant computes the same, so that a wrong result shows whichever ran. Variants that need
 * XOP trap on a CPU without it. `quiet`, beside the page, is a number that the test writes: the
 * generation about which the library has told its agent that nobody is on a lost path. Odd
 * generations have SSE3, even ones do not; so a sectioned variant that needs SSE3 must not run
 * while an even generation is both published and quiet.
 *
 * The threads end at the generation before FINAL; it ends when everybody has seen FINAL.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <isahotplug.h>

#define GET(what) __atomic_load_n(&(what), __ATOMIC_ACQUIRE)
#define SET(what, value) __atomic_store_n(&(what), (value), __ATOMIC_RELEASE)
#define ADD(what, value) __atomic_add_fetch(&(what), (value), __ATOMIC_ACQ_REL)

/*
 * ThreadSanitizer does not see what the library, which is not instrumented, does between threads.
 * These two say what its documentation promises: a callback sees what was written before
 * isahp_register(), and what it wrote is seen after isahp_unregister().
 */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *);
void __tsan_release(void *);
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#endif

/*
 * The thread sanitizer does not let the child of a program with threads start any, and the allocator
 * of the address sanitizer (gcc 12) does not unlock in it what another thread had locked.
 */
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
#define CHILD_MAY_ALLOCATE 0
#else
#define CHILD_MAY_ALLOCATE 1
#endif

static int failures;

static void fail(const char *what, uint64_t found, uint64_t expected)
{
    printf("%s: %llu, not %llu\n", what, (unsigned long long)found, (unsigned long long)expected);
    fflush(stdout);
    ADD(failures, 1);
}

#define EXPECT(what, expected)                                                                     \
    do {                                                                                           \
        uint64_t found_ = (uint64_t)(what), expected_ = (uint64_t)(expected);                      \
        if (found_ != expected_)                                                                   \
            fail(#what, found_, expected_);                                                        \
    } while (0)

static uint64_t final_generation;
static const uint64_t *quiet;
static const uint64_t never;
static int is_over;

/* rotl(x, 3), in three ways. */
typedef uint32_t (*rotate)(uint32_t);

static uint32_t rotate_xop(uint32_t x)
{
    __asm__ volatile("movd %0, %%xmm0\n\t"
                     ".byte 0x8f, 0xe8, 0x78, 0xc2, 0xc0, 0x03\n\t" /* vprotd xmm0, xmm0, 3 */
                     "movd %%xmm0, %0"
                     : "+r"(x)
                     :
                     : "xmm0");
    return x;
}

static uint32_t rotate_sse3(uint32_t x)
{
    /* Now and then it takes its time, for the section to be met. */
    if (x % 64 == 0)
        sched_yield();
    uint64_t acknowledged = GET(*quiet);
    if (acknowledged % 2 == 0 && acknowledged != 0 && isahp_generation() == acknowledged)
        fail("a variant of a section runs though it was left at", acknowledged, 0);
    return (x << 3) + (x >> 29);
}

static uint32_t rotate_plain(uint32_t x)
{
    return x << 3 | x >> 29;
}

static uint32_t rotate_wide(uint32_t x)
{
    return (x >> 29) ^ (x << 3);
}

enum { SLOTS = 12 };
static isahp_slot slots[SLOTS], section_slot;
static const isahp_variant with_xop[] = {
    { (isahp_function)rotate_xop, "xop", "xop" },
    { (isahp_function)rotate_wide, "ssse3", "wide" },
    { (isahp_function)rotate_plain, NULL, "plain" },
};
static const isahp_variant with_sse3[] = {
    { (isahp_function)rotate_sse3, "pni", "sse3" },
    { (isahp_function)rotate_plain, NULL, "plain" },
};

static uint64_t calls, registrations, releases, own_slots, forks, changes;

static void check(uint32_t x, uint32_t found)
{
    if (found != (x << 3 | x >> 29))
        fail("rotate", found, x << 3 | x >> 29);
}

/* A registration that comes and goes. */
struct visitor {
    int is_over;
    uint64_t last;
};

static int32_t on_visit(void *userdata, const isahp_event *event)
{
    struct visitor *visitor = userdata;
    __tsan_acquire(visitor);
    if (visitor->is_over)
        fail("a callback after isahp_unregister()", 1, 0);
    if (event->generation < visitor->last)
        fail("the generation went back to", event->generation, visitor->last);
    visitor->last = event->generation;
    __tsan_release(visitor);
    return ISAHP_OK;
}

static void on_visit_over(void *userdata)
{
    (void)userdata;
    ADD(releases, 1);
}

static void visit(uint32_t x)
{
    struct visitor *visitor = calloc(1, sizeof *visitor);
    uint64_t handle;
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_INITIAL | (x & 1 ? ISAHP_EAGER : 0) | (x & 2 ? ISAHP_BY_POLL : 0),
        .priority = (int32_t)(x % 5),
        .features = x & 4 ? "pni" : NULL,
        .callback = on_visit,
        .userdata = visitor,
        .release = on_visit_over,
    };
    if (visitor == NULL)
        abort();
    __tsan_release(visitor);
    EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
    if (x & 8)
        sched_yield();
    if (x & 2)
        EXPECT(isahp_poll(NULL), ISAHP_OK);
    EXPECT(isahp_unregister(handle), ISAHP_OK);
    __tsan_acquire(visitor);
    visitor->is_over = 1;
    free(visitor);
    ADD(registrations, 1);
}

static void on_change(void *userdata, isahp_slot *slot, size_t from, size_t to)
{
    (void)userdata;
    (void)slot;
    (void)from;
    (void)to;
    ADD(changes, 1);
}

static void own_slot(uint32_t x)
{
    isahp_slot *slot = calloc(1, sizeof *slot);
    isahp_slot_options options = { .size = sizeof options, .observer = x & 16 ? on_change : NULL };
    if (slot == NULL)
        abort();
    EXPECT(isahp_slot_init(slot, &options, with_xop, 3), ISAHP_OK);
    for (int i = 0; i < 10; i++)
        check(x + i, ISAHP_SLOT_CALL(slot, rotate)(x + i));
    EXPECT(isahp_slot_release(slot), ISAHP_OK);
    check(x, ISAHP_SLOT_CALL(slot, rotate)(x));
    free(slot);
    ADD(own_slots, 1);
}

/* The child calls slots, follows, and leaves. */
static void forked(uint32_t x)
{
    pid_t child = fork();
    if (child == 0) {
        failures = 0;
        /* Nobody waits for this process: what its parent has left says nothing of it. */
        quiet = &never;
        for (int i = 0; i < SLOTS; i++) {
            check(x, ISAHP_SLOT_CALL(&slots[i], rotate)(x));
            check(x, ((rotate)isahp_slot_checked(&slots[i]))(x));
        }
        isahp_enter();
        check(x, ((rotate)isahp_slot_checked(&section_slot))(x));
        isahp_exit();
        if ((x & 1) && CHILD_MAY_ALLOCATE) {
            EXPECT(isahp_poll(NULL), ISAHP_OK);
            visit(x);
        }
        if ((x & 2) && CHILD_MAY_ALLOCATE) {
            /* Every isahp_init() that there is. */
            EXPECT(isahp_unload(), ISAHP_OK);
            EXPECT(isahp_generation(), 0);
        }
        /* An end by exec, for a leak check at exit would find what the parent's threads hold. */
        if (failures == 0)
            execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("fork or waitpid", 0, 1);
    EXPECT(status, 0);
    ADD(forks, 1);
}

static void *work(void *number)
{
    uint32_t x = (uint32_t)(uintptr_t)number * 2654435761u;
    uint64_t done = 0;
    for (; !GET(is_over); done++) {
        x = x * 1664525u + 1013904223u;
        isahp_slot *slot = &slots[(x >> 20) % SLOTS];
        check(x, ISAHP_SLOT_CALL(slot, rotate)(x));
        check(x, ((rotate)isahp_slot_checked(slot))(x));
        isahp_enter();
        check(x, ISAHP_SLOT_CALL(&section_slot, rotate)(x));
        isahp_exit();
        if (done % 64 == 63)
            visit(x >> 16);
        if (done % 64 == 31)
            own_slot(x >> 16);
        if (done % 256 == 128 && done / 256 < 4)
            forked(x >> 16);
        sched_yield();
    }
    ADD(calls, 3 * done);
    return NULL;
}

/* Those who stay, and must hold the final state. */
struct follower {
    isahp_set available;
    uint64_t generation;
};

enum { FOLLOWERS = 8 };
static struct follower followers[FOLLOWERS];

static int32_t on_event(void *userdata, const isahp_event *event)
{
    struct follower *follower = userdata;
    for (int i = 0; i < 8; i++)
        SET(follower->available.words[i], event->available.words[i]);
    SET(follower->generation, event->generation);
    /* Some ask for time now and then. */
    return (userdata == &followers[3] && event->attempt == 0 && event->generation % 16 == 0) ? 1 : ISAHP_OK;
}

static int in_trap_calls;
static int32_t in_trap(void *userdata, const isahp_event *event)
{
    (void)userdata;
    /* Ordinary events come to it, too. */
    if (event->address != 0)
        ADD(in_trap_calls, 1);
    return ISAHP_OK;
}

/* Files and threads of this process. */
static int count_of(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;
    if (folder == NULL)
        return -1;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static int all_hold(const isahp_set *available)
{
    for (int i = 0; i < FOLLOWERS; i++)
        for (int word = 0; word < 8; word++)
            if (GET(followers[i].available.words[word]) != available->words[word])
                return 0;
    for (int i = 0; i < SLOTS; i++)
        if (ISAHP_SLOT_CALL(&slots[i], rotate) != rotate_wide)
            return 0;
    return ISAHP_SLOT_CALL(&section_slot, rotate) == rotate_sse3;
}

int main(int argc, char **argv)
{
    char path[4096];
    if (argc != 4 || getenv("ISAHOTPLUG_RUN_DIR") == NULL)
        return 2;
    int threads = atoi(argv[1]);
    final_generation = strtoull(argv[2], NULL, 10);
    int xop = strcmp(argv[3], "xop") == 0;
    snprintf(path, sizeof path, "%s/quiet", getenv("ISAHOTPLUG_RUN_DIR"));
    int file = open(path, O_RDONLY);
    quiet = mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    pthread_t *workers = calloc(threads, sizeof *workers);
    if (quiet == MAP_FAILED || workers == NULL)
        return 2;
    int descriptors = count_of("/proc/self/fd"), tasks = count_of("/proc/self/task");
    (void)tasks;

    isahp_options options = { .size = sizeof options, .name = "stress" };
    EXPECT(isahp_init(&options), ISAHP_OK);
    isahp_slot_options sectioned = { .size = sizeof sectioned, .flags = ISAHP_SLOT_SECTIONED };
    EXPECT(isahp_slot_init(&section_slot, &sectioned, with_sse3, 2), ISAHP_OK);
    for (int i = 0; i < SLOTS; i++)
        EXPECT(isahp_slot_init(&slots[i], NULL, with_xop, 3), ISAHP_OK);
    uint64_t handles[FOLLOWERS], before = 0;
    for (int i = 0; i < FOLLOWERS; i++) {
        isahp_registration registration = {
            .size = sizeof registration,
            .flags = ISAHP_INITIAL | (i % 2 ? ISAHP_EAGER : 0) | (i % 4 == 2 ? ISAHP_BY_POLL : 0),
            .priority = i % 3,
            .callback = on_event,
            .userdata = &followers[i],
            .after = &before,
            .after_count = i > 4,
        };
        EXPECT(isahp_register(&registration, &handles[i]), ISAHP_OK);
        before = handles[i];
    }
    isahp_registration trap = { .size = sizeof trap, .flags = ISAHP_IN_TRAP, .callback = in_trap };
    EXPECT(isahp_register(&trap, NULL), ISAHP_OK);

    for (int i = 0; i < threads; i++)
        if (pthread_create(&workers[i], NULL, work, (void *)(uintptr_t)(i + 1)) != 0)
            abort();
    puts("ready");
    fflush(stdout);
    while (isahp_generation() + 1 < final_generation) {
        EXPECT(isahp_poll(NULL), ISAHP_OK);
        usleep(500);
    }
    SET(is_over, 1);
    for (int i = 0; i < threads; i++)
        pthread_join(workers[i], NULL);
    free(workers);
    /* Everybody must come to hold the final state, without anybody's help. */
    puts("still");
    fflush(stdout);
    isahp_set available;
    int held = 0;
    for (double end = seconds() + 20; !held && seconds() < end;) {
        EXPECT(isahp_poll(NULL), ISAHP_OK);
        EXPECT(isahp_available(&available), ISAHP_OK);
        held = isahp_generation() == final_generation && all_hold(&available);
        sched_yield();
    }
    EXPECT(held, 1);
    EXPECT(isahp_generation(), final_generation);
    EXPECT(releases >= registrations, 1);

    isahp_counters counters = { .size = sizeof counters };
    EXPECT(isahp_count(&counters), ISAHP_OK);
    EXPECT(counters.passed_on, 0);
    EXPECT(counters.emulated != 0, xop);
    if (xop)
        EXPECT(in_trap_calls != 0, 1);
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(releases, registrations);
    EXPECT(count_of("/proc/self/fd"), descriptors);
#ifndef __SANITIZE_THREAD__
    /* (The sanitizer starts one of its own, and reports those that nobody waited for.) */
    EXPECT(count_of("/proc/self/task"), tasks);
#endif
    printf("calls=%llu traps=%llu registrations=%llu slots=%llu forks=%llu changes=%llu\n",
           (unsigned long long)calls, (unsigned long long)counters.emulated,
           (unsigned long long)registrations, (unsigned long long)own_slots, (unsigned long long)forks,
           (unsigned long long)changes);
    puts(failures ? "failed" : "ok");
    return failures != 0;
}
