/*
 * A program that puts itself into a sandbox (seccomp) and goes on, with instructions that trap. What
 * the sandbox refuses is refused with an error, with a signal, or by killing.
 */
#include "case.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { REPEATS = 1000 };

/* Turns a value left by one bit and back again many times, by instructions that trap. */
static void check_traps(void)
{
    uint32_t lanes[4] = { 0x80000001, 2, 3, 4 }, count = REPEATS;
    __asm__ volatile("movdqu (%1), %%xmm0\n\t"
                     "1:\n\tvprotd $1, %%xmm0, %%xmm0\n\tvprotd $31, %%xmm0, %%xmm0\n\t"
                     "decl %0\n\tjnz 1b\n\t"
                     "vprotd $4, %%xmm0, %%xmm0\n\tmovdqu %%xmm0, (%1)"
                     : "+r"(count) : "r"(lanes) : "xmm0", "cc", "memory");
    CHECK(lanes[0] == 0x18 && lanes[3] == 0x40);
}

/* All that the handler could ever want to call but to return and to write. */
static const int wanted[] = {
    SYS_arch_prctl,   SYS_clock_gettime, SYS_getcpu,       SYS_sigaltstack,        SYS_getpid,
    SYS_gettid,       SYS_getrandom,     SYS_sched_yield,  SYS_rt_tgsigqueueinfo,  SYS_mmap,
    SYS_rt_sigaction, SYS_mprotect,      SYS_rt_sigprocmask,
};
enum { WANTED = sizeof wanted / sizeof *wanted };

static void install(struct sock_filter *filter, unsigned short length)
{
    struct sock_fprog program = { .len = length, .filter = filter };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* These are refused; `spared` is not, if it is not −1. */
static void refuse(uint32_t action, int spared)
{
    struct sock_filter filter[2 * WANTED + 2];
    unsigned short n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                               offsetof(struct seccomp_data, nr));
    for (int i = 0; i < WANTED; i++) {
        if (wanted[i] == spared)
            continue;
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                   (uint32_t)wanted[i], 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    install(filter, n);
}

/* As a handler that finds out what a program calls, which answers for the kernel. */
static volatile sig_atomic_t refused;

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    refused++;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = -EPERM;
}

static uint32_t with_error(void)
{
    return SECCOMP_RET_ERRNO | EPERM;
}

static uint32_t with_signal(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_sigsys;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    return SECCOMP_RET_TRAP;
}

/* Whatever is not needed to end kills: from the first trap on the handler calls nothing. */
static void strict(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    if (!(getauxval(AT_HWCAP2) & 2)) {
        /* The thread has to ask once for its FS base. */
        puts("skip: the kernel does not let programs read the FS base");
        exit(0);
    }
    install(filter, sizeof filter / sizeof *filter);
    check_traps();
    if (write(STDOUT_FILENO, "ok\n", 3) != 3)
        _exit(1);
    syscall(SYS_exit_group, 0);
}

static void ordinary_error(void)
{
    give_up_alternate_stack();
    refuse(with_error(), -1);
    check_traps();
}

static void ordinary_signal(void)
{
    refuse(with_signal(), -1);
    check_traps();
    CHECK(refused == 0);
}

/*
 * An emulated instruction that faults: the program's handler is told of it, puts it right, and
 * returns. (To leave by a jump would need a mask to be set, which is refused.)
 */
static volatile uintptr_t fault_address;
static uint32_t right[4] = { 0x40000001, 1, 1, 1 };

static void put_right(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    fault_address = (uintptr_t)info->si_addr;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RCX] = (greg_t)(uintptr_t)right;
}

static void check_faults(uint32_t how)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = put_right;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    refuse(how, -1);
    for (uintptr_t at = 8; at < 80; at += 8) {
        uint32_t turned[4];
        uintptr_t pointer = at;
        __asm__ volatile("vprotd $1, (%0), %%xmm0\n\tmovdqu %%xmm0, %1"
                         : "+c"(pointer), "=m"(turned) : : "xmm0");
        CHECK(fault_address == at && turned[0] == 0x80000002 && turned[3] == 2);
        check_traps();
    }
}

static void faults_error(void)
{
    check_faults(with_error());
}

static void faults_signal(void)
{
    check_faults(with_signal());
}

/* Without a handler the fault kills. */
static void dies(void)
{
    refuse(with_error(), -1);
    __asm__ volatile("vprotd $1, (%0), %%xmm0" : : "r"(8ul) : "xmm0");
}

/* And an undefined instruction, where the default action cannot even be installed. */
static void dies_undefined(void)
{
    refuse(with_error(), -1);
    __asm__ volatile("ud2");
}

/* An alternate stack as small as Rust's threads have, on which the program is told of signals. */
static void use_small_stack(void)
{
    char *pages = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && mprotect(pages, 4096, PROT_NONE) == 0);
    stack_t alternate = { .ss_sp = pages + 4096, .ss_size = 8192 };
    CHECK(sigaltstack(&alternate, NULL) == 0);
}

static void small_error(void)
{
    use_small_stack();
    refuse(with_error(), -1);
    check_traps();
}

static void small_signal(void)
{
    use_small_stack();
    refuse(with_signal(), -1);
    check_traps();
    CHECK(refused > 0);
}

/* The stack cannot be taken away: a fault must not lay its frame over ours. */
static void small_faults(void)
{
    use_small_stack();
    signal(SIGSEGV, SIG_DFL);
    refuse(with_error(), SYS_rt_sigprocmask);
    __asm__ volatile("vprotd $1, (%0), %%xmm0" : : "r"(8ul) : "xmm0");
}

const struct test_case cases[] = {
    { "strict", strict },
    { "ordinary-error", ordinary_error }, { "ordinary-signal", ordinary_signal },
    { "faults-error", faults_error },     { "faults-signal", faults_signal },
    { "dies", dies },                     { "dies-undefined", dies_undefined },
    { "small-error", small_error },       { "small-signal", small_signal },
    { "small-faults", small_faults },     { NULL, NULL },
};
