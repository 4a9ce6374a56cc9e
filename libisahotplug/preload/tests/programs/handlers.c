/* What a program sees of its own handlers and masks. */
#include "case.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t seen;

/* An instruction that traps: where XOP is not, or where AVX2 is not. */
static uint32_t trap(uint32_t value)
{
    uint32_t lanes[8] = { value, value, value, value, value, value, value, value };
#ifdef WITH_XOP
    __asm__ volatile("vmovdqu %0, %%xmm1\n\t"
                     "vprotd $4, %%xmm1, %%xmm0\n\t"
                     "vmovdqu %%xmm0, %0" : "+m"(lanes) : : "xmm0", "xmm1");
#else
    __asm__ volatile("vmovdqu %0, %%ymm1\n\t"
                     "vpslld $4, %%ymm1, %%ymm0\n\t"
                     "vpsrld $28, %%ymm1, %%ymm1\n\t"
                     "vpor %%ymm1, %%ymm0, %%ymm0\n\t"
                     "vmovdqu %%ymm0, %0" : "+m"(lanes) : : "xmm0", "xmm1");
#endif
    return lanes[0];
}

static void check_trap(void)
{
    CHECK(trap(0x12345678) == 0x23456781);
}

static void count(int signal)
{
    (void)signal;
    check_trap();
    seen++;
}

static void skip_two(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
    check_trap();
    seen++;
}

static bool is_same(const struct sigaction *a, const struct sigaction *b)
{
    return a->sa_sigaction == b->sa_sigaction
           && (a->sa_flags & ~0x04000000) == (b->sa_flags & ~0x04000000);
}

/* sigaction() and signal() report what the program asked for. */
static void reported(void)
{
    const int signals[] = { SIGILL, SIGSEGV, SIGBUS, SIGUSR1, SIGFPE };
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction now, first, second;
        CHECK(sigaction(signals[i], NULL, &now) == 0);
        CHECK(now.sa_handler == SIG_DFL);
        memset(&first, 0, sizeof first);
        first.sa_handler = count;
        first.sa_flags = SA_RESTART | SA_NODEFER;
        sigaddset(&first.sa_mask, SIGTERM);
        memset(&second, 0, sizeof second);
        second.sa_sigaction = skip_two;
        second.sa_flags = SA_SIGINFO | SA_ONSTACK;
        CHECK(sigaction(signals[i], &first, &now) == 0 && now.sa_handler == SIG_DFL);
        CHECK(sigaction(signals[i], &second, &now) == 0 && is_same(&now, &first));
        CHECK(sigismember(&now.sa_mask, SIGTERM) == 1 && sigismember(&now.sa_mask, SIGINT) == 0);
        CHECK(sigaction(signals[i], NULL, &now) == 0 && is_same(&now, &second));
        /* In and out by the same pointer. */
        now = first;
        struct sigaction *volatile both = &now;
        CHECK(sigaction(signals[i], both, both) == 0 && is_same(&now, &second));
        CHECK(signal(signals[i], SIG_IGN) == count);
        CHECK(sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == SIG_IGN);
        CHECK(signal(signals[i], SIG_DFL) == SIG_IGN);
        check_trap();
    }
    CHECK(sigaction(SIGKILL, &(struct sigaction){ .sa_handler = count }, NULL) == -1);
    CHECK(sigaction(65, NULL, &(struct sigaction){ 0 }) == -1);
    CHECK(signal(-1, count) == SIG_ERR);
}

/* A handler of SIGILL gets what is not an instruction, and nothing else. */
static void chained(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = skip_two;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGILL, &action, NULL) == 0);
    for (int round = 1; round <= 3; round++) {
        check_trap();
        __asm__ volatile("ud2");
        CHECK(seen == round);
    }
}

static sigjmp_buf back;

static void jump_back(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

/* The same for memory faults, which come again and again. */
static void faults(void)
{
    signal(SIGSEGV, jump_back);
    for (volatile int round = 0; round < 10; round++) {
        check_trap();
        if (sigsetjmp(back, 1) == 0) {
            *(volatile int *)(uintptr_t)(round + 1) = 1;
            CHECK(!"no signal");
        }
    }
}

/* The mask of another handler, and of threads, does not block SIGILL. */
static void blocked(void)
{
    sigset_t all, old;
    sigfillset(&all);
    CHECK(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
    check_trap();
    CHECK(sigprocmask(SIG_SETMASK, &all, &old) == 0);
    check_trap();
    CHECK(sigismember(&old, SIGTERM) == 1 && sigismember(&old, SIGILL) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
    check_trap();
    CHECK(sighold(SIGILL) == 0);
    check_trap();
    CHECK(sigset(SIGILL, SIG_HOLD) != SIG_ERR);
    check_trap();
    sigemptyset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    CHECK(sigsetmask(-1) == 0);
    check_trap();
    CHECK(sigblock(0) & 1 << (SIGTERM - 1));
}

/* Nor does the mask with which a handler runs. */
static void masked(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = count;
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    raise(SIGALRM);
    CHECK(seen == 1);

    sigset_t one, others;
    sigemptyset(&one);
    sigaddset(&one, SIGALRM);
    sigfillset(&others);
    sigdelset(&others, SIGALRM);
    struct timespec long_time = { .tv_sec = 20 };
    int epoll = epoll_create1(0);
    CHECK(sigprocmask(SIG_BLOCK, &one, NULL) == 0);
    for (int way = 0; way < 4; way++) {
        raise(SIGALRM);
        CHECK(seen == way + 1);
        struct epoll_event event;
        switch (way) {
        case 0:
            sigsuspend(&others);
            break;
        case 1:
            ppoll(NULL, 0, &long_time, &others);
            break;
        case 2:
            pselect(0, NULL, NULL, NULL, &long_time, &others);
            break;
        case 3:
            epoll_pwait(epoll, &event, 1, 20000, &others);
            break;
        }
        CHECK(seen == way + 2);
    }
}

/* A thread that waits in one of these can be cancelled. */
static sigset_t nothing;

static void *wait_for_ever(void *way)
{
    struct epoll_event event;
    switch ((intptr_t)way) {
    case 0:
        sigsuspend(&nothing);
        break;
    case 1:
        ppoll(NULL, 0, NULL, &nothing);
        break;
    case 2:
        pselect(0, NULL, NULL, NULL, NULL, &nothing);
        break;
    case 3:
        epoll_pwait(epoll_create1(0), &event, 1, -1, &nothing);
        break;
    }
    return NULL;
}

static void cancelled(void)
{
    for (intptr_t way = 0; way < 4; way++) {
        pthread_t waiter;
        void *result;
        CHECK(pthread_create(&waiter, NULL, wait_for_ever, (void *)way) == 0);
        CHECK(pthread_cancel(waiter) == 0);
        CHECK(pthread_join(waiter, &result) == 0 && result == PTHREAD_CANCELED);
    }
}

/* A child of vfork has handlers of its own and shares this memory. */
static void vforked(void)
{
    struct sigaction action, now;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = skip_two;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGILL, &action, NULL) == 0);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pid_t child = vfork();
    if (child == 0) {
        struct sigaction mine;
        if (sigaction(SIGILL, NULL, &mine) != 0 || mine.sa_sigaction != skip_two)
            _exit(1);
        signal(SIGILL, SIG_DFL);
        signal(SIGSEGV, SIG_IGN);
        signal(SIGUSR1, SIG_DFL);
        if (sigaction(SIGUSR1, NULL, &mine) != 0 || mine.sa_handler != SIG_DFL)
            _exit(2);
        if (sigaction(SIGILL, NULL, &mine) != 0 || mine.sa_handler != SIG_DFL)
            _exit(3);
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(sigaction(SIGILL, NULL, &now) == 0 && now.sa_sigaction == skip_two);
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_sigaction == skip_two);
    CHECK(sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    check_trap();
    __asm__ volatile("ud2");
    CHECK(seen == 1);
    /* A real fork has memory of its own. */
    child = fork();
    if (child == 0) {
        signal(SIGSEGV, jump_back);
        check_trap();
        if (sigsetjmp(back, 1) == 0)
            *(volatile int *)1 = 1;
        check_trap();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* SA_RESETHAND: the second one kills. */
static void once(void)
{
    struct sigaction action, now;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = skip_two;
    action.sa_flags = SA_SIGINFO | SA_RESETHAND;
    CHECK(sigaction(SIGILL, &action, NULL) == 0);
    __asm__ volatile("ud2");
    CHECK(seen == 1);
    CHECK(sigaction(SIGILL, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    check_trap();
    __asm__ volatile("ud2");
}

/* What nobody handles kills, as ever. */
static void dies(void)
{
    check_trap();
    __asm__ volatile("ud2");
}

/* In the handler of its own signal a fault kills. */
static void fault_again(int signal)
{
    (void)signal;
    seen++;
    *(volatile int *)2 = 1;
}

static void dies_within(void)
{
    signal(SIGSEGV, fault_again);
    *(volatile int *)1 = 1;
}

static volatile sig_atomic_t done;

static void *many(void *unused)
{
    (void)unused;
    while (!done)
        check_trap();
    return NULL;
}

/* Handlers that change while others trap. */
static void changes(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, many, NULL) == 0);
    struct sigaction action;
    for (int round = 0; round < 2000; round++) {
        memset(&action, 0, sizeof action);
        if (round % 2) {
            action.sa_sigaction = skip_two;
            action.sa_flags = SA_SIGINFO;
        } else {
            action.sa_handler = jump_back;
        }
        CHECK(sigaction(SIGILL, &action, NULL) == 0);
        if (round % 2) {
            __asm__ volatile("ud2");
        } else if (sigsetjmp(back, 1) == 0) {
            __asm__ volatile("ud2");
            CHECK(!"no signal");
        }
    }
    done = 1;
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(seen == 1000);
}

const struct test_case cases[] = {
    { "reported", reported }, { "chained", chained }, { "faults", faults },
    { "blocked", blocked },   { "masked", masked },   { "vforked", vforked },
    { "cancelled", cancelled },
    { "once", once },         { "dies", dies },       { "dies-within", dies_within },
    { "changes", changes },   { NULL, NULL },
};
