/*
 * What a child has of the library. The test plays the agent where a case needs one.
 *
 *     forks CASE thread|poll
 */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <isahotplug.h>

extern char **environ;
static int failures, polls;
static const char *who = "parent";

/* One write, so that the lines of two processes stay whole. */
static void say(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = snprintf(line, sizeof line, "%s ", who);
    length += vsnprintf(line + length, sizeof line - length, format, arguments);
    va_end(arguments);
    line[length++] = '\n';
    if (write(1, line, length) != length)
        abort();
}

static void expect_at(int line, const char *what, long found, long expected)
{
    if (found != expected) {
        say("%d: %s is %ld, not %ld", line, what, found, expected);
        failures++;
    }
}

#define EXPECT(what, expected) expect_at(__LINE__, #what, (long)(what), (long)(expected))
#define GET(what) __atomic_load_n(&(what), __ATOMIC_SEQ_CST)
#define SET(what, value) __atomic_store_n(&(what), (value), __ATOMIC_SEQ_CST)

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static int best(void) { return 1; }
static int plain(void) { return 2; }
static isahp_slot slot = ISAHP_SLOT_INITIALIZER, silent_slot = ISAHP_SLOT_INITIALIZER;
static const isahp_variant variants[] = {
    { (isahp_function)best, "pni", NULL },
    { (isahp_function)plain, NULL, NULL },
};
static const isahp_variant silent[] = {
    { (isahp_function)best, "abm", NULL },
    { (isahp_function)plain, NULL, NULL },
};

static int call(isahp_slot *which) { return ISAHP_SLOT_CALL(which, int (*)(void))(); }

static uint64_t told, handle;

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    SET(told, event->generation);
    say("%llu", (unsigned long long)event->generation);
    return ISAHP_OK;
}

static void start(isahp_callback callback, uint32_t flags)
{
    isahp_options options = { .size = sizeof options, .flags = polls ? ISAHP_POLL : 0 };
    isahp_registration registration = {
        .size = sizeof registration, .flags = flags, .features = "pni", .callback = callback,
    };
    EXPECT(isahp_init(&options), ISAHP_OK);
    EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
    EXPECT(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_OK);
}

/* Lets events come, for as long as `generation` has not. */
static void follow(uint64_t generation)
{
    struct pollfd wait = { .events = POLLIN };
    EXPECT(isahp_fd(&wait.fd), ISAHP_OK);
    for (double end = seconds() + 20; GET(told) < generation && seconds() < end;) {
        if (polls) {
            poll(&wait, 1, 20000);
            EXPECT(isahp_poll(NULL), ISAHP_OK);
        } else {
            sched_yield();
        }
    }
    EXPECT(GET(told) >= generation, 1);
}

static void wait_for_child(pid_t child)
{
    int status = -1;
    EXPECT(waitpid(child, &status, 0), child);
    EXPECT(status, 0);
}

static pid_t start_child(void)
{
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        who = "child";
        failures = 0;
        alarm(40);
    }
    return child;
}

/* Both go on, each with its own descriptors and its own connection. */
static void both_follow(void)
{
    int32_t before, after;
    start(on_event, ISAHP_EAGER);
    follow(6);
    EXPECT(isahp_fd(&before), ISAHP_OK);
    pid_t child = start_child();
    EXPECT(call(&slot), 2);
    if (child == 0) {
        /* From here on it gets events. */
        EXPECT(isahp_poll(NULL), ISAHP_OK);
        EXPECT(isahp_fd(&after), ISAHP_OK);
        EXPECT(after, before);
        say("forked");
    }
    follow(7);
    follow(8);
    if (child == 0) {
        EXPECT(isahp_unload(), ISAHP_OK);
        say(failures ? "failed" : "done");
        _exit(failures != 0);
    }
    wait_for_child(child);
    follow(9);
    EXPECT(isahp_unload(), ISAHP_OK);
}

/* A variant that uses a silent feature is in force only where somebody waits for the process. */
static void silent_features(void)
{
    isahp_slot_options options = { .size = sizeof options, .flags = ISAHP_SLOT_SECTIONED };
    start(on_event, ISAHP_EAGER);
    EXPECT(isahp_slot_init(&silent_slot, &options, silent, 2), ISAHP_OK);
    for (double end = seconds() + 20; call(&silent_slot) != 1 && seconds() < end; sched_yield())
        EXPECT(isahp_poll(NULL), ISAHP_OK);
    EXPECT(call(&silent_slot), 1);
    pid_t child = start_child();
    if (child == 0) {
        EXPECT(call(&silent_slot), 2);
        EXPECT(isahp_poll(NULL), ISAHP_OK);
        say("forked");
        /* Until the agent knows it. */
        for (double end = seconds() + 20; call(&silent_slot) != 1 && seconds() < end; sched_yield())
            EXPECT(isahp_poll(NULL), ISAHP_OK);
        EXPECT(call(&silent_slot), 1);
        _exit(failures != 0);
    }
    wait_for_child(child);
    EXPECT(call(&silent_slot), 1);
    EXPECT(isahp_unload(), ISAHP_OK);
}

static pid_t forked;

static int32_t fork_inside(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    pid_t child = start_child();
    if (child == 0) {
        uint64_t other;
        isahp_registration registration = { .size = sizeof registration, .callback = on_event };
        EXPECT(call(&slot) != 0, 1);
        EXPECT(isahp_register(&registration, &other), ISAHP_OK);
        EXPECT(isahp_poll(NULL), ISAHP_OK);
        EXPECT(isahp_unregister(other), ISAHP_OK);
        EXPECT(isahp_unload(), ISAHP_ERROR_BUSY);
        if (!polls)
            _exit(failures != 0);
        /* Where it is called by the program itself it may return. */
        SET(forked, -1);
        return ISAHP_OK;
    }
    SET(forked, child);
    return ISAHP_OK;
}

static void in_a_callback(void)
{
    start(fork_inside, ISAHP_INITIAL);
    for (double end = seconds() + 20; GET(forked) == 0 && seconds() < end; sched_yield())
        EXPECT(isahp_poll(NULL), ISAHP_OK);
    if (GET(forked) == -1) {
        EXPECT(isahp_poll(NULL), ISAHP_OK);
        EXPECT(isahp_unload(), ISAHP_OK);
        EXPECT(isahp_generation(), 0);
        _exit(failures != 0);
    }
    wait_for_child(forked);
    EXPECT(isahp_unload(), ISAHP_OK);
}

static int inside, go_on;

static int32_t stay_inside(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    SET(inside, 1);
    while (!GET(go_on))
        sched_yield();
    return ISAHP_OK;
}

static void *poll_once(void *nothing)
{
    EXPECT(isahp_poll(NULL), ISAHP_OK);
    return nothing;
}

/* In the child that thread is not there, and nobody waits for its callback. */
static void while_a_callback_runs(void)
{
    pthread_t other;
    start(stay_inside, ISAHP_INITIAL);
    if (polls && pthread_create(&other, NULL, poll_once, NULL) != 0)
        abort();
    while (!GET(inside))
        sched_yield();
    for (int round = 0; round < 2; round++) {
        pid_t child = start_child();
        if (child == 0) {
            if (round == 0)
                EXPECT(isahp_unregister(handle), ISAHP_OK);
            EXPECT(isahp_unload(), ISAHP_OK);
            EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
            _exit(failures != 0);
        }
        wait_for_child(child);
    }
    SET(go_on, 1);
    if (polls)
        pthread_join(other, NULL);
    EXPECT(isahp_unload(), ISAHP_OK);
}

/* It ends, and begins anew, with a connection of its own. */
static void anew_in_the_child(void)
{
    start(on_event, ISAHP_EAGER);
    follow(6);
    pid_t child = start_child();
    if (child == 0) {
        EXPECT(isahp_unload(), ISAHP_OK);
        EXPECT(isahp_generation(), 0);
        EXPECT(call(&slot), 2);
        memset(&slot, 0, sizeof slot);
        start(on_event, ISAHP_EAGER);
        EXPECT(call(&slot), 2);
        EXPECT(isahp_poll(NULL), ISAHP_OK);
        say("forked");
        follow(7);
        EXPECT(call(&slot), 1);
        EXPECT(isahp_unload(), ISAHP_OK);
        _exit(failures != 0);
    }
    wait_for_child(child);
    follow(7);
    EXPECT(isahp_unload(), ISAHP_OK);
}

/* Nothing of the library is open in a program that is executed, by vfork or by fork. */
static void executed(void)
{
    char *arguments[] = { "sh", "-c", "! ls -l /proc/self/fd | grep -E 'anon_inode|socket'", NULL };
    start(on_event, ISAHP_EAGER);
    EXPECT(isahp_poll(NULL), ISAHP_OK);
    for (int round = 0; round < 3; round++) {
        pid_t child = -1;
        if (round == 0)
            child = vfork();
        else if (round == 1)
            child = fork();
        else
            EXPECT(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ), 0);
        if (child == 0) {
            execv("/bin/sh", arguments);
            _exit(99);
        }
        wait_for_child(child);
        EXPECT(isahp_poll(NULL), ISAHP_OK);
    }
    EXPECT(isahp_unload(), ISAHP_OK);
}

static void *hammer(void *nothing)
{
    isahp_registration registration = { .size = sizeof registration, .callback = on_event };
    while (!GET(go_on)) {
        uint64_t mine;
        isahp_slot own = ISAHP_SLOT_INITIALIZER;
        EXPECT(isahp_init(NULL), ISAHP_OK);
        EXPECT(isahp_register(&registration, &mine), ISAHP_OK);
        EXPECT(isahp_slot_init(&own, NULL, variants, 2), ISAHP_OK);
        EXPECT(isahp_slot_release(&own), ISAHP_OK);
        EXPECT(isahp_unregister(mine), ISAHP_OK);
        EXPECT(isahp_unload(), ISAHP_OK);
    }
    return nothing;
}

/* Whatever other threads are doing, the child finds every lock free. */
static void while_others_are_inside(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, hammer, NULL) != 0)
            abort();
    for (int round = 0; round < 200; round++) {
        pid_t child = start_child();
        if (child == 0) {
            SET(go_on, 0);
            isahp_registration registration = { .size = sizeof registration, .callback = on_event };
            EXPECT(isahp_init(NULL), ISAHP_OK);
            EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
            EXPECT(isahp_poll(NULL), ISAHP_OK);
            EXPECT(isahp_unregister(handle), ISAHP_OK);
            EXPECT(isahp_unload(), ISAHP_OK);
            _exit(failures != 0);
        }
        wait_for_child(child);
    }
    SET(go_on, 1);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
}

int main(int argc, char **argv)
{
    const struct { const char *name; void (*run)(void); } cases[] = {
        { "both", both_follow }, { "silent", silent_features }, { "in-callback", in_a_callback },
        { "running", while_a_callback_runs }, { "anew", anew_in_the_child }, { "executed", executed },
        { "hammer", while_others_are_inside },
    };
    if (argc != 3)
        return 2;
    polls = strcmp(argv[2], "poll") == 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(argv[1], cases[i].name) == 0)
            cases[i].run();
    say(failures ? "failed" : "ok");
    return failures != 0;
}
