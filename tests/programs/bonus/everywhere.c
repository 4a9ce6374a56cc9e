/*
 * Executes CPUID wherever a program can, and prints for each place whether it
 * saw AVX2: `PLACE avx2=0|1`. Further lines tell whether the program is
 * disturbed: `PLACE ok`.
 *
 *     everywhere [OBJECT]    OBJECT is this file compiled with -DOBJECT -shared;
 *                            without one if compiled with -static -DSTATIC
 *     everywhere run-time    in code that it makes itself, and nowhere else
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

extern char **environ;

/* Bit 5 of EBX of leaf 7; the upper halves must come back as zero. */
int object_avx2(void)
{
    unsigned long a = ~0ul << 32 | 7, b = ~0ul, c = ~0ul << 32, d = ~0ul;
    __asm__ volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    if ((a | b | c | d) >> 32)
        return -1;
    return b >> 5 & 1;
}

#ifndef OBJECT

/* Data among the code, as cryptographic libraries have it: no function. */
__asm__(".text\n"
        ".p2align 4\n"
        "table: .byte 0x0f, 0xa2, 0x0f, 0xa2, 0x07, 0x90, 0x0f, 0xa2\n");
extern const unsigned char table[8];

static void say(const char *place)
{
    printf("%s avx2=%d\n", place, object_avx2());
    fflush(stdout);
}

static void *in_thread(void *unused)
{
    (void)unused;
    say("thread");
    return NULL;
}

static void check(const char *what, int is_ok)
{
    printf("%s %s\n", what, is_ok ? "ok" : "WRONG");
    fflush(stdout);
}

static volatile sig_atomic_t caught[65];

static void on_signal(int signal)
{
    caught[signal]++;
}

/* Steps over an instruction of one byte. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    caught[signal] += info->si_code == SI_KERNEL;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP]++;
}

static void *exec_in_thread(void *unused)
{
    (void)unused;
    execle("/proc/self/exe", "everywhere", "exec", NULL, environ);
    return NULL;
}

static int end_of(pid_t child)
{
    int status;
    return waitpid(child, &status, 0) == child ? status : -1;
}

/* The tracer must keep its hands off everything else. */
static void undisturbed(void)
{
    signal(SIGTRAP, on_signal);
    signal(SIGSEGV, on_signal);
    signal(SIGRTMIN + 1, on_signal);
    __asm__ volatile("int3");
    raise(SIGTRAP);
    raise(SIGSEGV);
    raise(SIGRTMIN + 1);
    check("signals", caught[SIGTRAP] == 2 && caught[SIGSEGV] == 1 && caught[SIGRTMIN + 1] == 1);
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
    sigaction(SIGSEGV, &action, NULL);
    __asm__ volatile("hlt");
    check("fault", caught[SIGSEGV] == 2);
    say("after the faults");
    /* A child that is stopped must not get to its write. */
    int ends[2], status;
    check("pipe", pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        _exit(write(ends[1], "", 1) == 1 ? 7 : 1);
    }
    int stopped = waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status);
    struct pollfd written = { .fd = ends[0], .events = POLLIN };
    stopped = stopped && poll(&written, 1, 200) == 0;
    kill(child, SIGCONT);
    check("job control", stopped && WEXITSTATUS(end_of(child)) == 7);
    /* The bytes of CPUID inside another instruction. */
    unsigned constant;
    volatile unsigned upper = 0xa2, lower = 0x0f;
    __asm__ volatile("movl $0x00a20f00, %0" : "=r"(constant));
    check("constant", constant == (upper << 16 | lower << 8));
    const unsigned char *at = table;
    __asm__("" : "+r"(at));
    check("table", at[0] == lower && at[1] == upper && at[2] == lower && at[6] == lower);
}

/* In anonymous memory, and in a file that others may map. */
static void in_code_made_at_run_time(void)
{
    static const unsigned char code[] = {
        0x53,                           /* push rbx */
        0xb8, 7, 0, 0, 0, 0x31, 0xc9,   /* mov eax, 7; xor ecx, ecx */
        0x0f, 0xa2,                     /* cpuid */
        0x89, 0xd8, 0x5b, 0xc3,         /* mov eax, ebx; pop rbx; ret */
    };
    int file = memfd_create("code", 0);
    int flags[] = { MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED };
    if (ftruncate(file, 4096))
        exit(1);
    for (int i = 0; i < 2; i++) {
        unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags[i], i ? file : -1, 0);
        memcpy(page, code, sizeof code);
        mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
        printf("run-time avx2=%d\n", (int)(((unsigned (*)(void))(void *)page)() >> 5 & 1));
        if (memcmp(page, code, sizeof code))
            exit(1);
        munmap(page, 4096);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "exec")) {
        say("exec");
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "run-time")) {
        in_code_made_at_run_time();
        return 0;
    }
    say("main");
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0) {
        say("fork");
        child = fork();
        if (child == 0) {
            say("grandchild");
            _exit(0);
        }
        _exit(end_of(child));
    }
    end_of(child);
    child = vfork();
    if (child == 0) {
        execle("/proc/self/exe", "everywhere", "exec", NULL, environ);
        _exit(1);
    }
    check("exec", end_of(child) == 0);
    child = fork();
    if (child == 0) {
        pthread_create(&thread, NULL, exec_in_thread, NULL);
        pthread_join(thread, NULL);
        _exit(1);
    }
    check("exec in a thread", end_of(child) == 0);
#ifndef STATIC
    if (argc > 1) {
        void *object = dlopen(argv[1], RTLD_NOW);
        int (*avx2)(void) = object ? (int (*)(void))dlsym(object, "object_avx2") : NULL;
        printf("dlopen avx2=%d\n", avx2 ? avx2() : -2);
    }
#endif
    undisturbed();
    return 0;
}

#endif
