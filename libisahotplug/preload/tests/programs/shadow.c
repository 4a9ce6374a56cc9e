/* What becomes of the upper halves of YMM registers on a CPU that has none. */
#include "case.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void survive(void)
{
    registers in, out;
    for (uint32_t round = 0; round < 200; round++) {
        fill(&in, round);
        memset(&out, 0, sizeof out);
        call_between(&out, &in, SYS_sched_yield, 0, 0);
        CHECK(memcmp(&in, &out, sizeof in) == 0);
    }
}

/* Legacy instructions leave the upper half alone, VEX ones clear it. */
static void mixed(void)
{
    registers in, out;
    fill(&in, 7);
    __asm__ volatile(LOAD_ALL("%[in]")
                     "paddd %%xmm1, %%xmm0\n\t"
                     "vpaddd %%xmm2, %%xmm3, %%xmm1\n\t"
                     "pxor %%xmm2, %%xmm2\n\t" STORE_ALL("%[out]")
                     : : [in] "r"(&in), [out] "r"(&out) : "memory", ALL_XMM);
    for (int i = 0; i < 4; i++) {
        CHECK(out.lane[0][i] == in.lane[0][i] + in.lane[1][i]);
        CHECK(out.lane[0][i + 4] == in.lane[0][i + 4]);
        CHECK(out.lane[1][i] == in.lane[2][i] + in.lane[3][i]);
        CHECK(out.lane[1][i + 4] == 0);
        CHECK(out.lane[2][i] == 0);
        CHECK(out.lane[2][i + 4] == in.lane[2][i + 4]);
    }
    CHECK(memcmp(&in.lane[3], &out.lane[3], 13 * 32) == 0);
}

static void *thread(void *seed)
{
    registers in, out;
    /* A new thread has fresh registers. */
    __asm__ volatile(STORE_ALL("%0") : : "r"(&out) : "memory");
    for (int i = 0; i < 16; i++)
        for (int j = 4; j < 8; j++)
            CHECK(out.lane[i][j] == 0);
    for (uint32_t round = 0; round < 200; round++) {
        fill(&in, (uint32_t)(uintptr_t)seed * 1000 + round);
        call_between(&out, &in, SYS_sched_yield, 0, 0);
        CHECK(memcmp(&in, &out, sizeof in) == 0);
    }
    return NULL;
}

static void threads(void)
{
    /* Twice, so that the second threads get the first ones' memory. */
    for (int round = 0; round < 2; round++) {
        pthread_t ids[4];
        for (uintptr_t i = 0; i < 4; i++)
            CHECK(pthread_create(&ids[i], NULL, thread, (void *)(i + 1)) == 0);
        for (int i = 0; i < 4; i++)
            CHECK(pthread_join(ids[i], NULL) == 0);
    }
}

static void forks(void)
{
    registers in, out;
    fill(&in, 3);
    long child = call_between(&out, &in, SYS_fork, 0, 0);
    CHECK(memcmp(&in, &out, sizeof in) == 0);
    if (child == 0)
        _exit(0);
    int status = -1;
    CHECK(waitpid((pid_t)child, &status, 0) == child && status == 0);
}

/* Handlers begin with zero, and what they leave is nobody's. */
static volatile sig_atomic_t handled, nested;

static void spoil(uint32_t seed)
{
    registers mine;
    __asm__ volatile(STORE_ALL("%0") : : "r"(&mine) : "memory");
    for (int i = 0; i < 16; i++)
        for (int j = 4; j < 8; j++)
            CHECK(mine.lane[i][j] == 0);
    fill(&mine, seed);
    __asm__ volatile(LOAD_ALL("%0") : : "r"(&mine) : ALL_XMM);
}

static void inner(int signal)
{
    (void)signal;
    spoil(99);
    nested++;
}

static void outer(int signal, siginfo_t *info, void *context)
{
    CHECK(signal == SIGUSR1 && info->si_signo == SIGUSR1 && context != NULL);
    spoil(98);
    registers in, out;
    fill(&in, 97);
    call_between(&out, &in, SYS_kill, getpid(), SIGUSR2);
    CHECK(memcmp(&in, &out, sizeof in) == 0);
    handled++;
}

static void handlers(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = outer;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    signal(SIGUSR2, inner);
    registers in, out;
    for (uint32_t round = 0; round < 50; round++) {
        fill(&in, round);
        memset(&out, 0, sizeof out);
        call_between(&out, &in, SYS_kill, getpid(), SIGUSR1);
        CHECK(memcmp(&in, &out, sizeof in) == 0);
    }
    CHECK(handled == 50 && nested == 50);
}

/* Every function that installs a handler installs one that begins with zero. */
static void ways(void)
{
    sighandler_t (*const install[])(int, sighandler_t) = { signal, sysv_signal, ssignal, sigset };
    registers in, out;
    for (unsigned i = 0; i < sizeof install / sizeof *install; i++) {
        nested = 0;
        CHECK(install[i](SIGUSR2, inner) != SIG_ERR);
        fill(&in, i);
        call_between(&out, &in, SYS_kill, getpid(), SIGUSR2);
        CHECK(memcmp(&in, &out, sizeof in) == 0);
        CHECK(nested == 1);
    }
    CHECK(siginterrupt(SIGUSR2, 1) == 0);
    nested = 0;
    call_between(&out, &in, SYS_kill, getpid(), SIGUSR2);
    CHECK(memcmp(&in, &out, sizeof in) == 0 && nested == 1);
}

static sigjmp_buf back;

static void leave(int signal)
{
    (void)signal;
    spoil(5);
    siglongjmp(back, 1);
}

static void jumps(void)
{
    signal(SIGUSR1, leave);
    for (volatile int round = 0; round < 20; round++) {
        if (sigsetjmp(back, 1) == 0) {
            registers in, out;
            fill(&in, (uint32_t)round);
            call_between(&out, &in, SYS_kill, getpid(), SIGUSR1);
            CHECK(!"the handler returned");
        }
        survive();
    }
}

/* A handler of a signal that the library takes itself, too. */
static void on_ud2(int signal, siginfo_t *info, void *context)
{
    (void)info;
    CHECK(signal == SIGILL);
    spoil(6);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
    handled++;
}

static void illegal(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_ud2;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGILL, &action, NULL) == 0);
    registers in, out;
    fill(&in, 1);
    __asm__ volatile(LOAD_ALL("%[in]") "ud2\n\t" STORE_ALL("%[out]")
                     : : [in] "r"(&in), [out] "r"(&out) : "memory", ALL_XMM);
    CHECK(handled == 1);
    CHECK(memcmp(&in, &out, sizeof in) == 0);
}

const struct test_case cases[] = {
    { "survive", survive },   { "mixed", mixed },       { "threads", threads },
    { "fork", forks },        { "handlers", handlers }, { "ways", ways },
    { "jumps", jumps },       { "illegal", illegal },   { NULL, NULL },
};
