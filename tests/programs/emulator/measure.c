/* What the benchmark times: `measure WHAT ROUNDS` prints
 *
 *   ns=TIME instructions=COUNT before=RSS after=RSS
 *
 * the CPU time of ROUNDS rounds of WHAT, how many instructions those are, and the
 * resident memory in KiB around them.
 *
 *   bare    an XOP instruction, which an empty handler of SIGILL skips
 *   one     an XOP instruction
 *   fused   a fused multiplication of eight floats in FMA4's form
 *   saxpy, dot, gemm, memchr
 *           a loop in AVX2 and FMA of which each round begins with an XOP
 *           instruction, so that a CPU without XOP that has begun to emulate
 *           it goes on doing so
 *
 * The loops are in assembler, so that their instructions can be counted here.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

/* Rotates a register that nothing else uses. */
#define XOP "vprotd $7, %%xmm15, %%xmm15\n\t"
enum { XOP_LENGTH = 6 };

static void skip(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += XOP_LENGTH;
}

static void install_skip(void)
{
    struct sigaction action = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, NULL);
}

enum { FLOATS = 1024, BYTES = 4 * FLOATS, DEPTH = 128 };

static float x[8 * DEPTH] __attribute__((aligned(64))), y[8 * DEPTH] __attribute__((aligned(64)));

/* Each returns how many instructions the loop has carried out. */

static uint64_t one(uint64_t rounds)
{
    uint64_t count = rounds;
    __asm__ volatile("1:\n\t" XOP "decq %0\n\tjnz 1b" : "+r"(count) : : "xmm15", "cc");
    return rounds;
}

static uint64_t fused(uint64_t rounds)
{
    uint64_t count = rounds;
    __asm__ volatile("1:\n\tvfmaddps %%ymm14, %%ymm13, %%ymm12, %%ymm15\n\tdecq %0\n\tjnz 1b"
                     : "+r"(count)
                     :
                     : "xmm12", "xmm13", "xmm14", "xmm15", "cc");
    return rounds;
}

static uint64_t saxpy(uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t i = 0;
        __asm__ volatile("vbroadcastss %3, %%ymm0\n"
                         "1:\n\t" XOP "vmovups (%1,%0), %%ymm1\n\t"
                         "vfmadd213ps (%2,%0), %%ymm0, %%ymm1\n\t"
                         "vmovups %%ymm1, (%2,%0)\n\t"
                         "addq $32, %0\n\t"
                         "cmpq %4, %0\n\t"
                         "jb 1b\n\t"
                         : "+r"(i)
                         : "r"(x), "r"(y), "m"((float){0.5f}), "i"(BYTES)
                         : "xmm0", "xmm1", "xmm15", "cc", "memory");
    }
    return rounds * (FLOATS / 8 * 7);
}

static uint64_t dot(uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t i = 0;
        __asm__ volatile("vxorps %%xmm0, %%xmm0, %%xmm0\n"
                         "1:\n\t" XOP "vmovups (%1,%0), %%ymm1\n\t"
                         "vfmadd231ps (%2,%0), %%ymm1, %%ymm0\n\t"
                         "addq $32, %0\n\t"
                         "cmpq %3, %0\n\t"
                         "jb 1b\n\t"
                         : "+r"(i)
                         : "r"(x), "r"(y), "i"(BYTES)
                         : "xmm0", "xmm1", "xmm15", "cc", "memory");
    }
    return rounds * (FLOATS / 8 * 6);
}

#define COLUMN(offset, sum)                                                                        \
    "vbroadcastss " #offset "(%1), %%ymm1\n\tvfmadd231ps %%ymm1, %%ymm0, %%ymm" #sum "\n\t"

static uint64_t gemm(uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        const float *a = x, *b = y;
        uint64_t depth = DEPTH;
        __asm__ volatile("1:\n\t" XOP "vmovups (%0), %%ymm0\n\t" COLUMN(0, 2) COLUMN(4, 3)
                         COLUMN(8, 4) COLUMN(12, 5) COLUMN(16, 6) COLUMN(20, 7) COLUMN(24, 8)
                         COLUMN(28, 9)
                         "addq $32, %0\n\t"
                         "addq $32, %1\n\t"
                         "decq %2\n\t"
                         "jnz 1b\n\t"
                         : "+r"(a), "+r"(b), "+r"(depth)
                         :
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                           "xmm9", "xmm15", "cc", "memory");
    }
    return rounds * (DEPTH * 22);
}

static uint64_t find(uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        const char *p = (const char *)x;
        /* A letter that no byte of x has. */
        __asm__ volatile("vpcmpeqb %%ymm0, %%ymm0, %%ymm0\n"
                         "1:\n\t" XOP "vpcmpeqb (%0), %%ymm0, %%ymm1\n\t"
                         "vpmovmskb %%ymm1, %%eax\n\t"
                         "testl %%eax, %%eax\n\t"
                         "jne 2f\n\t"
                         "addq $32, %0\n\t"
                         "cmpq %1, %0\n\t"
                         "jb 1b\n"
                         "2:\n\t"
                         : "+r"(p)
                         : "r"((const char *)x + BYTES)
                         : "rax", "xmm0", "xmm1", "xmm15", "cc", "memory");
        if (p != (const char *)x + BYTES)
            exit(3);
    }
    return rounds * (BYTES / 32 * 8);
}

/* The CPU's time, in the kernel too: others that want the CPU do not count. */
static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* /proc/self/status would have the sums of counters that lag behind. */
static long resident(void)
{
    char line[256];
    long kib = -1;
    FILE *pages = fopen("/proc/self/smaps_rollup", "r");
    while (pages && fgets(line, sizeof line, pages))
        sscanf(line, "Rss: %ld", &kib);
    if (pages)
        fclose(pages);
    return kib;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint64_t (*loop)(uint64_t);
    } all[] = {
        {"bare", one}, {"one", one},   {"fused", fused}, {"saxpy", saxpy},
        {"dot", dot},  {"gemm", gemm}, {"memchr", find},
    };
    uint64_t rounds = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    for (size_t i = 0; i < sizeof all / sizeof *all && rounds; i++) {
        if (strcmp(all[i].name, argv[1]))
            continue;
        if (i == 0)
            install_skip();
        for (int k = 0; k < 8 * DEPTH; k++) {
            x[k] = (float)(k % 17) / 16;
            y[k] = (float)(k % 13) / 8;
        }
        /* Everything is touched once before: a page of a file that is touched
         * brings its neighbours. */
        all[i].loop(rounds / 20 + 1);
        now();
        resident();
        long before = resident();
        uint64_t start = now();
        uint64_t instructions = all[i].loop(rounds);
        uint64_t took = now() - start;
        printf("ns=%llu instructions=%llu before=%ld after=%ld\n", (unsigned long long)took,
               (unsigned long long)instructions, before, resident());
        return 0;
    }
    fprintf(stderr, "usage: measure WHAT ROUNDS\n");
    return 2;
}
