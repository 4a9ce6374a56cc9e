/* What is counted, and how a program ends. */
#include "case.h"

#include <sys/wait.h>
#include <unistd.h>

/* Traps so often at one address. */
static __attribute__((noinline)) void trap(int times)
{
    while (times-- > 0)
        __asm__ volatile("vprotd $1, %%xmm0, %%xmm0" : : : "xmm0");
}

static void three(void)
{
    trap(3);
}

static void by_exit(void)
{
    trap(3);
    puts("ok");
    exit(0);
}

static void by_exit_at_once(void)
{
    trap(3);
    _exit(0);
}

/* The child ends first, with two of its own. */
static void forked(void)
{
    trap(5);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        trap(2);
        exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    trap(1);
}

static void executed(void)
{
    trap(3);
    char *const arguments[] = { "/proc/self/exe", "none", NULL };
    execv("/proc/self/exe", arguments);
}

static void nothing(void)
{
}

const struct test_case cases[] = {
    { "three", three },       { "exit", by_exit },   { "exit-at-once", by_exit_at_once },
    { "forked", forked },     { "none", nothing },   { "executed", executed },
    { NULL, NULL },
};
