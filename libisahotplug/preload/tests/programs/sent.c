/*
 * Another thread sends signals of the kind that the CPU raises, and they come while instructions are
 * finished: each arrives once, and what is computed is right.
 */
#include "case.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { KINDS = 4, VALUES = 8, REPEATS = 50 };
static const int kinds[KINDS] = { SIGSEGV, SIGBUS, SIGFPE, SIGTRAP };

/* Turns each value left by one bit, REPEATS times, in memory, by instructions that trap. */
static void turn(uint32_t values[VALUES])
{
    uint32_t count = REPEATS;
#ifdef WITH_XOP
    __asm__ volatile("1:\n\t"
                     "vprotd $1, (%1), %%xmm0\n\tmovdqu %%xmm0, (%1)\n\t"
                     "vprotd $1, 16(%1), %%xmm1\n\tmovdqu %%xmm1, 16(%1)\n\t"
                     "decl %0\n\tjnz 1b"
                     : "+r"(count) : "r"(values) : "xmm0", "xmm1", "cc", "memory");
#else
    __asm__ volatile("vpcmpeqd %%ymm2, %%ymm2, %%ymm2\n\tvpsrld $31, %%ymm2, %%ymm2\n\t"
                     "1:\n\t"
                     "vmovdqu (%1), %%ymm0\n\tvpsrld $31, %%ymm0, %%ymm1\n\t"
                     "vpaddd (%1), %%ymm0, %%ymm0\n\tvpor %%ymm1, %%ymm0, %%ymm0\n\t"
                     "vmovdqu %%ymm0, (%1)\n\t"
                     "decl %0\n\tjnz 1b"
                     : "+r"(count) : "r"(values) : "xmm0", "xmm1", "xmm2", "cc", "memory");
#endif
}

/* Memory that is not there yet: the kernel works, and signals come right at an access. */
enum { PAGES = 64, PAGE = 4096 };
static char *fresh;

static void touch(void)
{
    static const uint32_t ones[VALUES] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    CHECK(madvise(fresh, PAGES * PAGE, MADV_DONTNEED) == 0);
    uint32_t count = PAGES;
    char *at = fresh;
#ifdef WITH_XOP
    __asm__ volatile("movdqu (%2), %%xmm1\n\t"
                     "1:\n\t"
                     "vprotd $1, (%1), %%xmm0\n\tpaddd %%xmm1, %%xmm0\n\t"
                     "movdqu %%xmm0, (%1)\n\taddq $4096, %1\n\t"
                     "decl %0\n\tjnz 1b"
                     : "+r"(count), "+r"(at) : "r"(ones) : "xmm0", "xmm1", "cc", "memory");
#else
    __asm__ volatile("vmovdqu (%2), %%ymm1\n\t"
                     "1:\n\t"
                     "vpaddd (%1), %%ymm1, %%ymm0\n\t"
                     "vmovdqu %%ymm0, (%1)\n\taddq $4096, %1\n\t"
                     "decl %0\n\tjnz 1b"
                     : "+r"(count), "+r"(at) : "r"(ones) : "xmm0", "xmm1", "cc", "memory");
#endif
    for (int page = 0; page < PAGES; page++)
        CHECK(memcmp(fresh + page * PAGE, ones, 16) == 0);
}

static uint32_t random_state = 1;

static uint32_t next(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return random_state >> 8;
}

static void check_turn(void)
{
    uint32_t values[VALUES], first = next();
    for (uint32_t i = 0; i < VALUES; i++)
        values[i] = first + i;
    turn(values);
    for (uint32_t i = 0; i < VALUES; i++)
        CHECK(values[i] == ((first + i) << REPEATS % 32 | (first + i) >> (32 - REPEATS % 32)));
}

/* What one of these takes, in nanoseconds of this thread, at best. */
static int64_t cost(void)
{
    int64_t least = INT64_MAX;
    for (int round = 0; round < 10; round++) {
        struct timespec before, after;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
        check_turn();
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
        int64_t ns = (after.tv_sec - before.tv_sec) * 1000000000ll + after.tv_nsec - before.tv_nsec;
        least = ns < least ? ns : least;
    }
    return least;
}

/* How often each has come; how many have in all, and their handlers have ended. */
static volatile sig_atomic_t handled[KINDS];
static atomic_int complete;
static sigjmp_buf back;
static bool leaves, one_by_one;
static pid_t self;

static void fail(const char *what)
{
    _exit(write(STDOUT_FILENO, what, strlen(what)) < 0 ? 2 : 1);
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    if (info->si_code != SI_TKILL || info->si_pid != self)
        fail("a fault\n");
    /* The library's handler blocks all but a few signals while it works; this program does not. */
    if (sigismember(&((ucontext_t *)context)->uc_sigmask, SIGUSR1) == 1)
        fail("in the midst of the handler\n");
    for (int i = 0; i < KINDS; i++)
        if (kinds[i] == signal)
            handled[i]++;
    if (signal == SIGFPE && leaves)
        siglongjmp(back, 1);
}

/* Sends one of each, and the next ones some time after those have come. */
static int batches = 1500;
static pthread_t receiver;

static void wait_for(int signals)
{
    while (atomic_load(&complete) != signals)
        sched_yield();
}

static void *send_all(void *unused)
{
    (void)unused;
    for (int batch = 0; batch < batches; batch++) {
        for (int i = 0; i < KINDS; i++) {
            if (i == 0 || one_by_one) {
                wait_for(KINDS * batch + i);
                for (volatile uint32_t rest = (uint32_t)batch * 7919 % 20000; rest > 0;)
                    rest--;
            }
            CHECK(pthread_kill(receiver, kinds[(batch + i) % KINDS]) == 0);
        }
    }
    return NULL;
}

static void install(int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | flags;
    for (int i = 0; i < KINDS; i++)
        sigaddset(&action.sa_mask, kinds[i]);
    for (int i = 0; i < KINDS; i++)
        CHECK(sigaction(kinds[i], &action, NULL) == 0);
    receiver = pthread_self();
    self = getpid();
}

static void receive(int flags)
{
    install(flags);
    fresh = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(fresh != MAP_FAILED && madvise(fresh, PAGES * PAGE, MADV_NOHUGEPAGE) == 0);
    static pthread_t sender;
    static int64_t before;
    before = cost();
    if (sigsetjmp(back, 1) == 0)
        CHECK(pthread_create(&sender, NULL, send_all, NULL) == 0);
    while (atomic_load(&complete) != KINDS * batches) {
        check_turn();
        touch();
        int all = 0;
        for (int i = 0; i < KINDS; i++)
            all += handled[i];
        atomic_store(&complete, all);
    }
    CHECK(pthread_join(sender, NULL) == 0);
    for (int i = 0; i < KINDS; i++)
        CHECK(handled[i] == batches);
    /* As many traps as before: where each instruction traps, that takes many times as long. */
    CHECK(cost() < 10 * before);
}

static void returning(void)
{
    give_up_alternate_stack();
    receive(0);
}

static void leaving(void)
{
    give_up_alternate_stack();
    leaves = true;
    receive(0);
}

/* On the alternate stack that the object has given the thread. */
static void returning_there(void)
{
    batches = 200;
    receive(SA_ONSTACK);
}

static void leaving_there(void)
{
    batches = 200;
    leaves = true;
    receive(SA_ONSTACK);
}

/* As small as Rust's threads have, with a guard below: room for two signal frames. */
static void use_small_stack(void)
{
    one_by_one = true;
    batches = 200;
    char *pages = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && mprotect(pages, 4096, PROT_NONE) == 0);
    stack_t alternate = { .ss_sp = pages + 4096, .ss_size = 8192 };
    CHECK(sigaltstack(&alternate, NULL) == 0);
}

static void returning_small(void)
{
    use_small_stack();
    receive(SA_ONSTACK);
}

static void leaving_small(void)
{
    use_small_stack();
    leaves = true;
    receive(SA_ONSTACK);
}

const struct test_case cases[] = {
    { "returning", returning },
    { "leaving", leaving },
    { "returning-there", returning_there },
    { "leaving-there", leaving_there },
    { "returning-small", returning_small },
    { "leaving-small", leaving_small },
    { NULL, NULL },
};
