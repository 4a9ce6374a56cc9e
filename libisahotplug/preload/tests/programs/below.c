/*
 * A lost instruction stores far below the stack pointer, where nothing is safe from signals and the
 * library's own frame lies: it is right or kills, and changes nothing else.
 */
#include "case.h"

#include <sys/wait.h>
#include <unistd.h>

/* Stores YMM0 `distance` bytes below RSP; not 0 if that or a register is not as it should be. */
__attribute__((noinline, noclone)) static uint64_t store_below(uint64_t distance)
{
    static const uint64_t in[4] = { 0x1111111111111111, 0x2222222222222222, 0x3333333333333333,
                                    0x4444444444444444 };
    uint64_t wrong = 0;
    __asm__ volatile("movq %%rsp, %%rdx\n\tsubq %[distance], %%rdx\n\t"
                     "movups (%[in]), %%xmm3\n\tmovups (%[in]), %%xmm15\n\t"
                     "movq $0x5555, %%rbx\n\tmovq $0x6666, %%r12\n\tmovq $0x7777, %%r13\n\t"
                     "movq $0x8888, %%r14\n\tmovq $0x9999, %%r15\n\tmovq %%rsp, %%r8\n\t"
                     "vmovdqu (%[in]), %%ymm0\n\t"
                     "vmovdqu %%ymm0, (%%rdx)\n\t"
                     /* At once: the next signal may lie there. */
                     "movq (%%rdx), %%rax\n\tmovq 8(%%rdx), %%rcx\n\t"
                     "movq 16(%%rdx), %%r9\n\tmovq 24(%%rdx), %%r10\n\t"
                     "subq (%[in]), %%rax\n\torq %%rax, %[wrong]\n\t"
                     "subq 8(%[in]), %%rcx\n\torq %%rcx, %[wrong]\n\t"
                     "subq 16(%[in]), %%r9\n\torq %%r9, %[wrong]\n\t"
                     "subq 24(%[in]), %%r10\n\torq %%r10, %[wrong]\n\t"
                     "subq $0x5555, %%rbx\n\torq %%rbx, %[wrong]\n\t"
                     "subq $0x6666, %%r12\n\torq %%r12, %[wrong]\n\t"
                     "subq $0x7777, %%r13\n\torq %%r13, %[wrong]\n\t"
                     "subq $0x8888, %%r14\n\torq %%r14, %[wrong]\n\t"
                     "subq $0x9999, %%r15\n\torq %%r15, %[wrong]\n\t"
                     "subq %%rsp, %%r8\n\torq %%r8, %[wrong]\n\t"
                     "movups (%[in]), %%xmm1\n\tpcmpeqd %%xmm1, %%xmm3\n\t"
                     "pcmpeqd %%xmm1, %%xmm15\n\tpand %%xmm3, %%xmm15\n\t"
                     "pmovmskb %%xmm15, %%eax\n\tsubl $0xffff, %%eax\n\torq %%rax, %[wrong]"
                     : [wrong] "+&r"(wrong) : [distance] "D"(distance), [in] "S"(in)
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r12", "r13", "r14", "r15",
                       "xmm0", "xmm1", "xmm3", "xmm15", "cc", "memory");
    return wrong;
}

static void stores(void)
{
    int right = 0;
    give_up_alternate_stack();
    for (uint64_t distance = 64; distance < 14000; distance += 104) {
        pid_t child = fork();
        if (child == 0) {
            /* What qemu-user says of a signal that kills. */
            close(STDERR_FILENO);
            _exit(store_below(distance) != 0);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        if (status == 0) {
            right++;
        } else if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGILL || distance <= 128) {
            printf("%d bytes below: status %#x\n", (int)distance, (unsigned)status);
            exit(1);
        }
    }
    CHECK(right > 0);
}

const struct test_case cases[] = { { "stores", stores }, { NULL, NULL } };
