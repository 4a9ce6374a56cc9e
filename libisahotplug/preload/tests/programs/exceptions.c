/* Exceptions at and around instructions that trap: XOP's, with what the CPU itself has to say. */
#include "case.h"

#include <asm/prctl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define LOST "vprotd $7, %%xmm0, %%xmm0\n\t"

static sigjmp_buf back;

struct exception {
    int signal, code;
    void *address;
    uintptr_t rip;
};

static struct exception seen;

static void note(int signal, siginfo_t *info, void *context)
{
    /* Where alignment is checked, it is no more: libc relies on that. */
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq\n\t"
                     "leaq 128(%%rsp), %%rsp" : : : "cc", "memory");
    seen = (struct exception){
        .signal = signal,
        .code = info->si_code,
        .address = info->si_addr,
        .rip = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP],
    };
    siglongjmp(back, 1);
}

static void catch(int signal)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = note;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(signal, &action, NULL) == 0);
}

/*
 * RFLAGS.AC, which glibc never sets: the CPU checks the alignment of what the program accesses. All
 * is aligned here, on the stack too.
 */
#define SET_AC "leaq -128(%%rsp), %%rsp\n\tpushfq\n\torl $0x40000, (%%rsp)\n\tpopfq\n\t"
#define CLEAR_AC "pushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq\n\tleaq 128(%%rsp), %%rsp\n\t"

static void alignment_checked(void)
{
    static uint32_t lanes[4] __attribute__((aligned(16)));
    for (uint32_t round = 0; round < 100; round++) {
        uint64_t first, last;
        for (uint32_t i = 0; i < 4; i++)
            lanes[i] = round * 2654435761u + i;
        __asm__ volatile("movaps (%[lanes]), %%xmm0\n\t"
                         SET_AC
                         LOST
                         "pushfq\n\tpopq %[first]\n\t"
                         "vprotd $7, (%[lanes]), %%xmm1\n\t"
                         "pxor %%xmm0, %%xmm1\n\t"
                         LOST
                         "movaps %%xmm0, (%[lanes])\n\t"
                         "pushfq\n\tpopq %[last]\n\t"
                         CLEAR_AC
                         : [first] "=&r"(first), [last] "=&r"(last) : [lanes] "r"(lanes)
                         : "xmm0", "xmm1", "memory", "cc");
        CHECK((first & 0x40000) != 0 && (last & 0x40000) != 0);
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t value = round * 2654435761u + i;
            CHECK(lanes[i] == (value << 14 | value >> 18));
        }
    }
}

/* What is not aligned raises #AC after an instruction that trapped as well as anywhere. */
static void not_aligned(void)
{
    static char bytes[32] __attribute__((aligned(16)));
    catch(SIGBUS);
    for (volatile int round = 0; round < 20; round++) {
        seen = (struct exception){ 0 };
        if (sigsetjmp(back, 1) == 0) {
            __asm__ volatile(SET_AC LOST "movl 1(%0), %%eax\n\t" CLEAR_AC
                             : : "r"(bytes) : "rax", "xmm0", "memory", "cc");
            CHECK(!"no signal");
        }
        CHECK(seen.signal == SIGBUS && seen.code == BUS_ADRALN);
    }
}

/*
 * An address that is not canonical, in `base`: what an instruction of XOP raises is what any other
 * raises there.
 */
#define RAISES(instruction, base) \
    do { \
        seen = (struct exception){ 0 }; \
        extern char at_##instruction##_##base[]; \
        if (sigsetjmp(back, 1) == 0) { \
            __asm__ volatile("movq %%" #base ", %%r8\n\tmovq %0, %%" #base "\n\t" \
                             ".globl at_" #instruction "_" #base "\n" \
                             "at_" #instruction "_" #base ": " \
                             instruction("(%%" #base ")") "\n\t" \
                             "movq %%r8, %%" #base \
                             : : "r"(1ull << 60) : "r8", "rax", "xmm0", "memory"); \
            CHECK(!"no signal"); \
        } \
        CHECK(seen.rip == (uintptr_t)at_##instruction##_##base); \
    } while (0)

#define plain(at) "movdqu " at ", %%xmm0"
#define lost(at) "vprotd $3, " at ", %%xmm0"
#define after_lost(at) LOST "movdqu " at ", %%xmm0"

__attribute__((noinline, noclone)) static void check_stack(void)
{
    RAISES(plain, rbp);
    CHECK(seen.signal == SIGBUS && seen.code == SI_KERNEL && seen.address == NULL);
    RAISES(lost, rbp);
    CHECK(seen.signal == SIGBUS && seen.code == SI_KERNEL && seen.address == NULL);
}

__attribute__((noinline, noclone)) static void check_data(void)
{
    RAISES(plain, rax);
    CHECK(seen.signal == SIGSEGV && seen.code == SI_KERNEL && seen.address == NULL);
    RAISES(lost, rax);
    CHECK(seen.signal == SIGSEGV && seen.code == SI_KERNEL && seen.address == NULL);
}

static void not_canonical(void)
{
    catch(SIGBUS);
    catch(SIGSEGV);
    for (volatile int round = 0; round < 20; round++) {
        check_stack();
        check_data();
    }
}

/* The CPU's own exceptions kill where the program ignores their signals: they would never end. */
static void ignored_simd(void)
{
    signal(SIGFPE, SIG_IGN);
    alarm(20);
    uint32_t mxcsr = 0x1f80 & ~0x80u; /* invalid unmasked */
    static uint32_t lanes[4] __attribute__((aligned(16))) = { 0x7f800001 };
    __asm__ volatile("ldmxcsr %0\n\tmovaps %1, %%xmm0\n\tvfmaddps %%xmm0, %%xmm0, %%xmm0, %%xmm1"
                     : : "m"(mxcsr), "m"(lanes) : "xmm0", "xmm1");
    CHECK(!"no signal");
}

static void ignored_x87(void)
{
    signal(SIGFPE, SIG_IGN);
    alarm(20);
    static const uint16_t unmask = 0x37f & ~4;
    __asm__ volatile("fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tpfadd %%mm1, %%mm0"
                     : : "m"(unmask) : "mm0");
    CHECK(!"no signal");
}

static void ignored_memory(void)
{
    signal(SIGSEGV, SIG_IGN);
    alarm(20);
    __asm__ volatile("vprotd $3, (%0), %%xmm0" : : "r"(8ull) : "xmm0");
    CHECK(!"no signal");
}

/* In the handler of SIGSEGV that signal is blocked: nothing may raise it that the CPU would not. */
static uint64_t based = 0x123456789abcdef0;
static volatile uint64_t loaded;

static void use_gs(int signal)
{
    (void)signal;
    uint64_t value = 0;
    for (int round = 0; round < 20; round++) {
        __asm__ volatile("xorl %%edi, %%edi\n\t" LOST "movq %%gs:(%%rdi), %0\n\t" LOST
                         : "=r"(value) : : "rdi", "xmm0", "memory");
        CHECK(value == 0x123456789abcdef0);
        __asm__ volatile("xorl %%edi, %%edi\n\t" LOST "movq %0, %%gs:(%%rdi)\n\t" LOST
                         : : "r"(value) : "rdi", "xmm0", "memory");
        __asm__ volatile("xorl %%edi, %%edi\n\tvprotd $0, %%gs:(%%rdi), %%xmm0\n\tmovq %%xmm0, %0"
                         : "=r"(value) : : "rdi", "xmm0", "memory");
        CHECK(value == 0x123456789abcdef0);
    }
    loaded = value;
    siglongjmp(back, 1);
}

static void gs_in_the_handler(void)
{
    static uint64_t area[2] __attribute__((aligned(16)));
    area[0] = based;
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, area) == 0);
    signal(SIGSEGV, use_gs);
    for (volatile int round = 0; round < 3; round++) {
        loaded = 0;
        if (sigsetjmp(back, 1) == 0) {
            *(volatile int *)1 = 1;
            CHECK(!"no signal");
        }
        CHECK(loaded == based);
    }
}

/* What the CPU would raise there kills, as ever. */
static void fault_within(int signal)
{
    (void)signal;
    __asm__ volatile(LOST "vprotd $3, (%0), %%xmm0" : : "r"(8ull) : "xmm0");
    CHECK(!"no signal");
}

static void lost_in_the_handler(void)
{
    signal(SIGSEGV, fault_within);
    *(volatile int *)1 = 1;
}

const struct test_case cases[] = {
    { "alignment-checked", alignment_checked },
    { "not-aligned", not_aligned },
    { "not-canonical", not_canonical },
    { "ignored-simd", ignored_simd },
    { "ignored-x87", ignored_x87 },
    { "ignored-memory", ignored_memory },
    { "gs-in-the-handler", gs_in_the_handler },
    { "lost-in-the-handler", lost_in_the_handler },
    { NULL, NULL },
};
