/*
 * A program of cases: `program CASE` runs one, prints "ok" and ends with 0, or says what was wrong.
 */
#ifndef CASE_H
#define CASE_H

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program: what was expected did not happen. */
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            fflush(stdout); \
            _Exit(1); \
        } \
    } while (0)

/* Without the alternate signal stack that the object gives the thread, frames lie on its own. */
static inline void give_up_alternate_stack(void)
{
    CHECK(sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL) == 0);
}

struct test_case {
    const char *name;
    void (*run)(void);
};

extern const struct test_case cases[];

int main(int argc, char **argv)
{
    for (const struct test_case *one = cases; one->name != NULL; one++) {
        if (argc > 1 && strcmp(argv[1], one->name) == 0) {
            one->run();
            puts("ok");
            return 0;
        }
    }
    puts("there is no such case");
    return 2;
}

/* All sixteen YMM registers. */
typedef struct {
    uint32_t lane[16][8];
} __attribute__((aligned(32))) registers;

#define ALL_YMM \
    "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", \
        "ymm11", "ymm12", "ymm13", "ymm14", "ymm15"
#define ALL_XMM \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

#define LOAD_ALL(at) \
    "vmovdqu 0x000(" at "), %%ymm0\n\tvmovdqu 0x020(" at "), %%ymm1\n\t" \
    "vmovdqu 0x040(" at "), %%ymm2\n\tvmovdqu 0x060(" at "), %%ymm3\n\t" \
    "vmovdqu 0x080(" at "), %%ymm4\n\tvmovdqu 0x0a0(" at "), %%ymm5\n\t" \
    "vmovdqu 0x0c0(" at "), %%ymm6\n\tvmovdqu 0x0e0(" at "), %%ymm7\n\t" \
    "vmovdqu 0x100(" at "), %%ymm8\n\tvmovdqu 0x120(" at "), %%ymm9\n\t" \
    "vmovdqu 0x140(" at "), %%ymm10\n\tvmovdqu 0x160(" at "), %%ymm11\n\t" \
    "vmovdqu 0x180(" at "), %%ymm12\n\tvmovdqu 0x1a0(" at "), %%ymm13\n\t" \
    "vmovdqu 0x1c0(" at "), %%ymm14\n\tvmovdqu 0x1e0(" at "), %%ymm15\n\t"

#define STORE_ALL(at) \
    "vmovdqu %%ymm0, 0x000(" at ")\n\tvmovdqu %%ymm1, 0x020(" at ")\n\t" \
    "vmovdqu %%ymm2, 0x040(" at ")\n\tvmovdqu %%ymm3, 0x060(" at ")\n\t" \
    "vmovdqu %%ymm4, 0x080(" at ")\n\tvmovdqu %%ymm5, 0x0a0(" at ")\n\t" \
    "vmovdqu %%ymm6, 0x0c0(" at ")\n\tvmovdqu %%ymm7, 0x0e0(" at ")\n\t" \
    "vmovdqu %%ymm8, 0x100(" at ")\n\tvmovdqu %%ymm9, 0x120(" at ")\n\t" \
    "vmovdqu %%ymm10, 0x140(" at ")\n\tvmovdqu %%ymm11, 0x160(" at ")\n\t" \
    "vmovdqu %%ymm12, 0x180(" at ")\n\tvmovdqu %%ymm13, 0x1a0(" at ")\n\t" \
    "vmovdqu %%ymm14, 0x1c0(" at ")\n\tvmovdqu %%ymm15, 0x1e0(" at ")\n\t"

/* Loads all registers from `in`, makes the system call, stores them all to `out`. */
static inline long call_between(registers *out, const registers *in, long number, long a, long b)
{
    register long second __asm__("rsi") = b;
    __asm__ volatile(LOAD_ALL("%[in]") "syscall\n\t" STORE_ALL("%[out]")
                     : "+a"(number)
                     : "D"(a), "r"(second), [in] "r"(in), [out] "r"(out)
                     : "rcx", "r11", "memory", ALL_XMM);
    return number;
}

/* Registers full of what belongs to `seed` alone. */
static inline void fill(registers *r, uint32_t seed)
{
    for (uint32_t i = 0; i < 128; i++)
        (&r->lane[0][0])[i] = (seed * 2654435761u) ^ (i * 40503u + 1);
}

#endif
