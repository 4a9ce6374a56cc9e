/* Threads and coroutines with small stacks, and what stacks signals come on. */
#include "case.h"

#include <alloca.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>
#include <ucontext.h>
#include <unistd.h>

static __attribute__((noinline)) void check_trap(void)
{
    uint32_t lanes[4] = { 0x80000001, 2, 3, 4 };
    __asm__ volatile("movdqu (%0), %%xmm0\n\tvprotd $4, %%xmm0, %%xmm0\n\tmovdqu %%xmm0, (%0)"
                     : : "r"(lanes) : "xmm0", "memory");
    CHECK(lanes[0] == 0x18 && lanes[3] == 0x40);
}

/* The lowest address of this thread's stack. */
static char *bottom(void)
{
    pthread_attr_t attributes;
    void *address;
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstack(&attributes, &address, &size) == 0);
    pthread_attr_destroy(&attributes);
    return address;
}

/* Traps where no more than a kilobyte of the stack is left. */
static void check_trap_above(char *lowest)
{
    char here;
    ptrdiff_t left = &here - lowest - 1024;
    CHECK(left > 0);
    volatile char *rest = alloca((size_t)left);
    rest[0] = 1;
    check_trap();
    CHECK(rest[0] == 1);
}

static pthread_key_t key;
static volatile int destroyed;

/* Runs when the thread is about to end. */
static void at_end(void *value)
{
    check_trap_above(value);
    destroyed++;
}

static void *deep(void *unused)
{
    char *lowest = bottom();
    check_trap_above(lowest);
    CHECK(pthread_setspecific(key, lowest) == 0);
    return unused;
}

static int deep_c(void *argument)
{
    CHECK(deep(argument) == argument);
    return 7;
}

static void threads(void)
{
    CHECK(pthread_key_create(&key, at_end) == 0);
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN) == 0);
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        void *result;
        CHECK(pthread_create(&thread, &attributes, deep, &key) == 0);
        CHECK(pthread_join(thread, &result) == 0 && result == &key);
    }
    CHECK(destroyed == 100);
    thrd_t thread;
    int result;
    CHECK(thrd_create(&thread, deep_c, NULL) == thrd_success);
    CHECK(thrd_join(thread, &result) == thrd_success && result == 7 && destroyed == 101);
}

static ucontext_t caller, coroutine;
static char *coroutine_stack;

static void in_coroutine(void)
{
    check_trap_above(coroutine_stack);
}

/* On the main thread, a coroutine with 8 KiB. */
static void coroutines(void)
{
    char *pages = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && mprotect(pages, 4096, PROT_NONE) == 0);
    coroutine_stack = pages + 4096;
    CHECK(getcontext(&coroutine) == 0);
    coroutine.uc_stack.ss_sp = coroutine_stack;
    coroutine.uc_stack.ss_size = 8192;
    coroutine.uc_link = &caller;
    makecontext(&coroutine, in_coroutine, 0);
    CHECK(swapcontext(&caller, &coroutine) == 0);
}

static stack_t own;

static void *with_own(void *unused)
{
    stack_t now;
    CHECK(sigaltstack(&own, NULL) == 0);
    check_trap();
    CHECK(sigaltstack(NULL, &now) == 0);
    CHECK(now.ss_sp == own.ss_sp && now.ss_size == own.ss_size && now.ss_flags == 0);
    return unused;
}

/* A stack that the program sets is the one in force. */
static void owned(void)
{
    own.ss_size = 65536;
    own.ss_sp = malloc(own.ss_size);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, with_own, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    /* It is still the program's. */
    memset(own.ss_sp, 1, own.ss_size);
    with_own(NULL);
}

static void *ends(void *way)
{
    check_trap();
    if (way == NULL)
        pthread_exit(&key);
    for (;;)
        pause();
}

/* Threads that end otherwise than by returning. */
static void ended(void)
{
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, ends, NULL) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == &key);
    CHECK(pthread_create(&thread, NULL, ends, &key) == 0);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
}

/*
 * A child of a fork has none of the other threads, which may all have been in the handler at that
 * moment, on stacks that the handler lends to threads whose own is small.
 */
enum { BUSY = 64 };
static volatile bool finished;
static atomic_int begun;

static void use_small_stack(void)
{
    stack_t small = { .ss_sp = malloc(8192), .ss_size = 8192 };
    CHECK(small.ss_sp != NULL && sigaltstack(&small, NULL) == 0);
}

static void *traps_on(void *unused)
{
    use_small_stack();
    check_trap();
    begun++;
    while (!finished)
        check_trap();
    return unused;
}

static void forked(void)
{
    pthread_t busy[BUSY];
    for (int i = 0; i < BUSY; i++)
        CHECK(pthread_create(&busy[i], NULL, traps_on, NULL) == 0);
    use_small_stack();
    /* This thread does not trap: the stack that it gave back would be free. */
    while (begun < BUSY)
        sched_yield();
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            check_trap();
            _exit(0);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    finished = true;
    for (int i = 0; i < BUSY; i++)
        CHECK(pthread_join(busy[i], NULL) == 0);
}

static long number_in(const char *file, const char *name)
{
    char line[256];
    long number = 0, lines = 0;
    FILE *text = fopen(file, "r");
    CHECK(text != NULL);
    while (fgets(line, sizeof line, text) != NULL) {
        lines++;
        if (name != NULL && strncmp(line, name, strlen(name)) == 0)
            number = atol(line + strlen(name));
    }
    fclose(text);
    return name != NULL ? number : lines;
}

static void *trap_once(void *unused)
{
    check_trap();
    return unused;
}

/* Many threads, one after the other, leave no mapping behind. */
static void given_back(void)
{
    long before = 0;
    for (int i = 0; i < 300; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, trap_once, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        if (i == 100)
            before = number_in("/proc/self/maps", NULL);
    }
    CHECK(number_in("/proc/self/maps", NULL) <= before + 4);
}

/* What threads that do nothing cost: of the two numbers one may be compared with those of a run
   without the object. */
enum { MANY = 500 };
static pthread_barrier_t barrier;
static bool traps;

static void *waits(void *unused)
{
    if (traps)
        check_trap();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return unused;
}

static void costs(void)
{
    CHECK(pthread_barrier_init(&barrier, NULL, MANY + 1) == 0);
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, 65536) == 0);
    long before = number_in("/proc/self/status", "VmRSS:");
    pthread_t all[MANY];
    for (int i = 0; i < MANY; i++)
        CHECK(pthread_create(&all[i], &attributes, waits, NULL) == 0);
    pthread_barrier_wait(&barrier);
    long after = number_in("/proc/self/status", "VmRSS:");
    fprintf(stderr, "%ld KiB for each thread, %ld KiB of addresses in all\n",
            (after - before) / MANY, number_in("/proc/self/status", "VmSize:"));
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < MANY; i++)
        CHECK(pthread_join(all[i], NULL) == 0);
}

static void costs_idle(void)
{
    costs();
}

static void costs_trapping(void)
{
    traps = true;
    costs();
}

const struct test_case cases[] = {
    { "threads", threads },         { "coroutines", coroutines }, { "owned", owned },
    { "ended", ended },             { "given-back", given_back }, { "costs-idle", costs_idle },
    { "costs-trapping", costs_trapping }, { "forked", forked }, { NULL, NULL },
};
