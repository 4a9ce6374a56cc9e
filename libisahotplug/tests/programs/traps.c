/*
 * What a program sees of an emulated instruction that faults, and of a SIGILL
 * that is not ours. Each case prints "ok", or what was wrong.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fenv.h>
#include <immintrin.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <isahotplug.h>

static sigjmp_buf back;
static volatile sig_atomic_t signal_seen, code_seen;
static void *volatile address_seen;
static volatile uintptr_t rip_seen;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    signal_seen = signal;
    code_seen = info->si_code;
    address_seen = info->si_addr;
    rip_seen = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    siglongjmp(back, 1);
}

static void catch(int signal)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO;
    sigaction(signal, &action, NULL);
}

static void start(void)
{
    isahp_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = ISAHP_POLL;
    if (isahp_init(&options) != ISAHP_OK)
        abort();
}

static uint64_t emulated(void)
{
    isahp_counters counters;
    memset(&counters, 0, sizeof counters);
    counters.size = sizeof counters;
    isahp_count(&counters);
    return counters.emulated;
}

static int fail(const char *what)
{
    printf("%s: signal %d code %d address %p rip %#lx\n", what, (int)signal_seen, (int)code_seen,
           address_seen, (unsigned long)rip_seen);
    return 1;
}

extern char load_here[], store_here[], divide_here[];

__attribute__((noinline, noclone)) static void load(const void *from)
{
    __asm__ volatile("load_here: vpaddd (%0), %%ymm1, %%ymm0" : : "r"(from) : "xmm0", "memory");
}

__attribute__((noinline, noclone)) static void store(void *to)
{
    __asm__ volatile("vpcmpeqd %%ymm0, %%ymm0, %%ymm0\n\t"
                     "store_here: vextracti128 $1, %%ymm0, (%0)"
                     : : "r"(to) : "xmm0", "memory");
}

static char *guarded(int protection)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 1, 8192);
    mprotect(pages + 4096, 4096, protection);
    return pages;
}

/* A load that runs into a page that is not there. */
static int load_fault(int in_order)
{
    char *pages = guarded(PROT_NONE);
    if (in_order)
        catch(SIGSEGV);
    start();
    munmap(pages + 4096, 4096);
    if (sigsetjmp(back, 1) == 0) {
        load(pages + 4096 - 8);
        return fail("no signal");
    }
    if (signal_seen != SIGSEGV || code_seen != SEGV_MAPERR || address_seen != pages + 4096
        || rip_seen != (uintptr_t)load_here)
        return fail("wrong signal");
    puts("ok");
    return 0;
}

/* A store that runs into a read-only page: nothing before it is written. */
static int store_fault(void)
{
    char *pages = guarded(PROT_READ);
    catch(SIGSEGV);
    start();
    if (sigsetjmp(back, 1) == 0) {
        store(pages + 4096 - 8);
        return fail("no signal");
    }
    if (signal_seen != SIGSEGV || code_seen != SEGV_ACCERR || address_seen != pages + 4096
        || rip_seen != (uintptr_t)store_here)
        return fail("wrong signal");
    if (pages[4096 - 8] != 1)
        return fail("half of it was written");
    puts("ok");
    return 0;
}

/* A page of a mapped file beyond its end. */
static int bus_fault(void)
{
    char name[] = "/tmp/isahotplug-test-XXXXXX";
    int file = mkstemp(name);
    unlink(name);
    if (ftruncate(file, 4096) != 0)
        abort();
    char *pages = mmap(NULL, 8192, PROT_READ, MAP_SHARED, file, 0);
    catch(SIGBUS);
    start();
    if (sigsetjmp(back, 1) == 0) {
        load(pages + 4096);
        return fail("no signal");
    }
    if (signal_seen != SIGBUS || code_seen != BUS_ADRERR || address_seen != pages + 4096)
        return fail("wrong signal");
    puts("ok");
    return 0;
}

/* An unmasked floating-point exception. */
__attribute__((noinline, noclone)) static int float_fault(void)
{
    catch(SIGFPE);
    start();
    if (sigsetjmp(back, 1) == 0) {
        unsigned mxcsr = 0x1f80 & ~0x80u; /* invalid unmasked */
        static const float signalling[8] __attribute__((aligned(32))) = { 0 };
        uint32_t snan = 0x7f800001;
        float values[8];
        memcpy(values, signalling, sizeof values);
        memcpy(values, &snan, sizeof snan);
        __asm__ volatile("ldmxcsr %1\n\t"
                         "divide_here: vfmadd231ps %0, %%ymm1, %%ymm2"
                         : : "m"(values), "m"(mxcsr) : "xmm2");
        return fail("no signal");
    }
    if (signal_seen != SIGFPE || code_seen != FPE_FLTINV || rip_seen != (uintptr_t)divide_here)
        return fail("wrong signal");
    puts("ok");
    return 0;
}

/* ud2 goes to the handler that was there before. */
static int chain(void)
{
    catch(SIGILL);
    start();
    if (sigsetjmp(back, 1) == 0) {
        __asm__ volatile("ud2");
        return fail("no signal");
    }
    if (signal_seen != SIGILL || emulated() != 0)
        return fail("wrong signal");
    if (sigsetjmp(back, 1) == 0) {
        int32_t zeros[8] = { 0 };
        load(zeros);
    } else {
        return fail("ours was passed on");
    }
    if (emulated() != 1)
        return fail("not emulated");
    puts("ok");
    return 0;
}

/* Without a handler before, ud2 kills as ever; so does a null pointer. */
static int die(int how)
{
    int *volatile null = NULL;
    start();
    fflush(stdout);
    if (how == 0)
        __asm__ volatile("ud2");
    if (how == 1)
        *(volatile int *)null = 1;
    if (how == 2)
        load(null);
    if (how == 3)
        raise(SIGSEGV);
    return fail("alive");
}

/* A nested handler on an alternate stack, and signals that come meanwhile. */
static volatile sig_atomic_t ticks;

static void on_tick(int signal)
{
    (void)signal;
    int32_t lanes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    load(lanes);
    ticks++;
}

static int alternate_stack(void)
{
    static char stack[64 * 1024];
    stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
    sigaltstack(&alternate, NULL);
    signal(SIGALRM, on_tick);
    start();
    ualarm(1000, 1000);
    uint64_t before = 0;
    while (ticks < 20) {
        int32_t lanes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, out[8];
        __asm__ volatile("vmovdqu %1, %%ymm1\n\t"
                         "vpaddd %%ymm1, %%ymm1, %%ymm2\n\t"
                         "vmovdqu %%ymm2, %0"
                         : "=m"(out) : "m"(lanes) : "xmm1", "xmm2");
        for (int i = 0; i < 8; i++)
            if (out[i] != 2 * lanes[i])
                return fail("wrong sum");
        before++;
    }
    ualarm(0, 0);
    if (before == 0 || emulated() < before)
        return fail("not emulated");
    puts("ok");
    return 0;
}

/* An alternate stack as small as Rust's threads have, and a guard below it. */
static int small_stack(int fault)
{
    char *pages = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages, 4096, PROT_NONE);
    stack_t alternate = { .ss_sp = pages + 4096, .ss_size = 8192 };
    sigaltstack(&alternate, NULL);
    start();
    static int32_t table[8] = { 10, 11, 12, 13, 14, 15, 16, 17 };
    int32_t indexes[8] = { 7, 6, 5, 4, 3, 2, 1, 0 }, out[8];
    for (int round = 0; round < 1000; round++) {
        __asm__ volatile("vmovdqu %1, %%ymm1\n\t"
                         "vpcmpeqd %%ymm2, %%ymm2, %%ymm2\n\t"
                         "vpgatherdd %%ymm2, (%2, %%ymm1, 4), %%ymm0\n\t"
                         "vmovdqu %%ymm0, %0"
                         : "=m"(out) : "m"(indexes), "r"(table) : "xmm0", "xmm1", "xmm2");
        for (int i = 0; i < 8; i++)
            if (out[i] != 17 - i)
                return fail("wrong element");
    }
    if (emulated() < 2000)
        return fail("not emulated");
    if (fault) {
        /* The access that faults lays a second frame onto the small stack. */
        char *guard = guarded(PROT_NONE);
        if (sigsetjmp(back, 1) == 0) {
            load(guard + 4096);
            return fail("no signal");
        }
    }
    puts("ok");
    return 0;
}

/* A SIGSEGV of the program's own reaches its handler as if we were not there. */
static int own_handler_mask(void)
{
    catch(SIGSEGV);
    start();
    for (int round = 0; round < 3; round++) {
        if (sigsetjmp(back, 0) == 0) {
            *(volatile int *)(uintptr_t)(round + 1) = 1;
            return fail("no signal");
        }
        sigset_t mask;
        sigprocmask(SIG_SETMASK, NULL, &mask);
        if (sigismember(&mask, SIGTERM) || sigismember(&mask, SIGUSR1) || !sigismember(&mask, SIGSEGV))
            return fail("wrong mask in the handler");
        sigdelset(&mask, SIGSEGV);
        sigprocmask(SIG_SETMASK, &mask, NULL);
    }
    puts("ok");
    return 0;
}

static int ignored(void)
{
    signal(SIGSEGV, SIG_IGN);
    signal(SIGILL, SIG_IGN);
    start();
    raise(SIGSEGV);
    raise(SIGILL);
    int32_t zeros[8] = { 0 };
    load(zeros);
    if (emulated() != 1)
        return fail("not emulated");
    puts("ok");
    return 0;
}

/* kill -ILL while the next instruction happens to be one of ours. */
static int sent(uint64_t traps)
{
    signal(SIGILL, SIG_IGN);
    start();
    __asm__ volatile("syscall\n\t"
                     "vpaddd %%ymm1, %%ymm1, %%ymm0"
                     : : "a"(62L), "D"((long)getpid()), "S"((long)SIGILL)
                     : "rcx", "r11", "memory", "xmm0");
    /* The signal comes at the vpaddd, and has nothing to do with it. */
    if (emulated() != traps)
        return fail("emulated for a signal that was sent");
    puts("ok");
    return 0;
}

static int forked(void)
{
    isahp_options options = { .size = sizeof options };
    if (isahp_init(&options) != ISAHP_OK)
        abort();
    int32_t lanes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        if (child == 0) {
            uint64_t before = emulated();
            load(lanes);
            isahp_poll(NULL);
            isahp_slot slot = ISAHP_SLOT_INITIALIZER;
            const isahp_variant variants[] = { { (isahp_function)start, NULL, NULL } };
            int bad = emulated() != before + 1 || isahp_slot_init(&slot, NULL, variants, 1) != ISAHP_OK
                      || isahp_slot_release(&slot) != ISAHP_OK;
            _exit(bad);
        }
        int status;
        load(lanes);
        if (waitpid(child, &status, 0) != child || status != 0)
            return fail("the child failed");
    }
    puts("ok");
    return 0;
}

/* A thread that blocks the signal of its own fault dies of it. */
static int blocked(void)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGFPE);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    alarm(20);
    return float_fault();
}

int main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "";
    if (!strcmp(which, "load"))
        return load_fault(1);
    if (!strcmp(which, "store"))
        return store_fault();
    if (!strcmp(which, "bus"))
        return bus_fault();
    if (!strcmp(which, "float"))
        return float_fault();
    if (!strcmp(which, "chain"))
        return chain();
    if (!strcmp(which, "stack"))
        return alternate_stack();
    if (!strcmp(which, "mask"))
        return own_handler_mask();
    if (!strcmp(which, "ignored"))
        return ignored();
    if (!strcmp(which, "sent"))
        return sent(1);
    if (!strcmp(which, "sent-here"))
        return sent(0);
    if (!strcmp(which, "fork"))
        return forked();
    if (!strcmp(which, "die-blocked"))
        return blocked();
    if (!strcmp(which, "small"))
        return small_stack(0);
    if (!strcmp(which, "die-small"))
        return small_stack(1);
    if (!strcmp(which, "die-ud2"))
        return die(0);
    if (!strcmp(which, "die-null"))
        return die(1);
    if (!strcmp(which, "die-emulated"))
        return die(2);
    if (!strcmp(which, "die-raise"))
        return die(3);
    return 2;
}
