/*
 * A signal of the kind that the CPU raises is sent at each of the handler's first and last
 * instructions, and at some between, by a parent that traces its child step by step: it comes once,
 * before anything else traps, and not in the midst of the handler.
 */
#include "case.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

/* What the child has seen in this round. */
struct report {
    volatile int sent, faults, within;
};
static struct report *report;

static uint32_t right[4] = { 0x80000001, 2, 3, 4 };

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    ucontext_t *interrupted = context;
    if (info->si_code > 0) {
        report->faults++;
        interrupted->uc_mcontext.gregs[REG_RCX] = (greg_t)(uintptr_t)right;
        return;
    }
    report->sent++;
    /* The library's handler blocks all but a few signals while it works; this program does not. */
    if (sigismember(&interrupted->uc_sigmask, SIGUSR1) == 1)
        report->within++;
}

/* For ever: a lost instruction, and a stop. */
static void be_traced(uint32_t *operand)
{
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
        _exit(77);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
    for (;;) {
        uint32_t out[4];
        uint32_t *at = operand;
        __asm__ volatile("int3\n\tvprotd $1, (%0), %%xmm0\n\tmovdqu %%xmm0, (%1)\n\t"
                         : "+c"(at) : "d"(out) : "xmm0", "memory");
        CHECK(out[0] == 3 && out[3] == 8);
    }
}

/* Waits for the next stop; returns its signal. */
static int stopped(pid_t child)
{
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        puts("skip: nothing may be traced here");
        exit(0);
    }
    if (!WIFSTOPPED(status))
        printf("the child: %#x\n", (unsigned)status);
    CHECK(WIFSTOPPED(status));
    return WSTOPSIG(status);
}

static int step(pid_t child, int signal)
{
    CHECK(ptrace(PTRACE_SINGLESTEP, child, 0, signal) == 0);
    return stopped(child);
}

/*
 * From one stop of the child's to the next; after `steps` steps of the handler the signal is sent.
 * Returns whether the handler had as many.
 */
static bool one_round(pid_t child, long steps, int signal)
{
    int seen = 0;
    while (seen != SIGILL)
        seen = step(child, 0);
    seen = step(child, SIGILL);
    bool inside = true;
    for (long i = 0; inside && i < steps; i++) {
        /* A signal is what an access of the handler's raises, or the instruction, at the end. */
        seen = step(child, seen == SIGTRAP ? 0 : seen);
        long rip = ptrace(PTRACE_PEEKUSER, child, offsetof(struct user_regs_struct, rip), 0);
        inside = (uintptr_t)rip - (uintptr_t)be_traced >= 1024;
    }
    CHECK(syscall(SYS_tgkill, child, child, signal) == 0);
    if (seen == SIGTRAP)
        seen = 0;
    /* To the child's own stop, past whatever comes. */
    for (;;) {
        CHECK(ptrace(PTRACE_CONT, child, 0, seen) == 0);
        seen = stopped(child);
        if (seen != SIGTRAP)
            continue;
        /* A step's may come late, with another signal. */
        siginfo_t info;
        CHECK(ptrace(PTRACE_GETSIGINFO, child, 0, &info) == 0);
        if (info.si_code == SI_KERNEL)
            break;
        seen = 0;
    }
    return inside;
}

static void check_steps(uint32_t *operand, int faults)
{
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(report != MAP_FAILED);
    pid_t child = fork();
    if (child == 0)
        be_traced(operand);
    CHECK(stopped(child) == SIGTRAP);
    /* The first trap of a thread does more than the later ones. */
    one_round(child, 0, SIGBUS);
    /* How many steps there are, to a hundred. */
    long all = 0;
    while (one_round(child, all + 100, SIGBUS))
        all += 100;
    CHECK(all >= 500);
    for (long at = 0; at < all + 150; at += at < 100 || at > all - 60 ? 1 : 397) {
        report->sent = report->faults = report->within = 0;
        int signal = at % 2 ? SIGSEGV : SIGBUS;
        bool inside = one_round(child, at, signal);
        /* Of two that are of the same kind at the same time one is lost, as ever. */
        bool may_be_lost = faults > 0 && signal == SIGSEGV && report->sent == 0;
        if ((report->sent != 1 && !may_be_lost) || report->faults != faults || report->within != 0) {
            printf("at step %ld: %d sent, %d faults, %d within\n", at, report->sent,
                   report->faults, report->within);
            exit(1);
        }
        if (!inside && at > all)
            break;
    }
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
}

static void succeeding(void)
{
    check_steps(right, 0);
}

/* The faults of the handler's own accesses must get through whatever else was sent. */
static void faulting(void)
{
    check_steps((uint32_t *)16, 1);
}

const struct test_case cases[] = {
    { "succeeding", succeeding }, { "faulting", faulting }, { NULL, NULL },
};
