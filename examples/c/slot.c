/*
 * Leading zeros of a number, by an instruction whose loss does not fault: on a
 * CPU without LZCNT its encoding is that of BSR, which gives another number.
 * No handler can help there. So the slot is one for sections: a planned removal
 * waits until no thread is inside one, and an instruction that may go is used
 * only where the agent waits for this process.
 *
 *     cc -O2 slot.c -lisahotplug -o slot && ./slot
 *     qemu-x86_64 -cpu max,-abm,-bmi1,-bmi2 ./slot    (another host)
 *
 * For each line of its input, and once at the start, prints what three callers
 * find for the number 0x400, which has 21 leading zeros: one who decided once
 * for LZCNT, on a host that had it; one who calls the slot in a section; and
 * one who calls another slot, of a feature whose loss faults.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>

#include <isahotplug.h>

static int zeros_plain(uint32_t value)
{
    int zeros = 32;
    for (; value; value >>= 1)
        zeros--;
    return zeros;
}

static int zeros_lzcnt(uint32_t value)
{
    uint32_t zeros;
    /* What a compiler makes of __builtin_clz() with -mlzcnt, or -march=haswell. */
    __asm__("lzcnt %1, %0" : "=r"(zeros) : "r"(value) : "cc");
    return (int)zeros;
}

static ISAHP_SLOT_WITH(zeros, ISAHP_SLOT_SECTIONED, NULL, NULL, zeros_plain, (zeros_lzcnt, "abm"));

/* AVX2 faults where it is missing: no section, and one call after the loss is emulated. */

static int sum_plain(const int32_t *eight)
{
    int sum = 0;
    for (int i = 0; i < 8; i++)
        sum += eight[i];
    return sum;
}

__attribute__((target("avx2")))
static int sum_avx2(const int32_t *eight)
{
    __m256i all = _mm256_loadu_si256((const __m256i *)eight);
    all = _mm256_hadd_epi32(all, all);
    all = _mm256_hadd_epi32(all, all);
    return _mm256_extract_epi32(all, 0) + _mm256_extract_epi32(all, 4);
}

static ISAHP_SLOT(sum, sum_plain, (sum_avx2, "avx2"));

int main(void)
{
    /* Decided once, as a CPUID check at start or an IFUNC does. Wrong from the next move on. */
    int (*const careless)(uint32_t) = zeros_lzcnt;
    static const int32_t eight[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

    setvbuf(stdout, NULL, _IOLBF, 0);
    int32_t result = isahp_init(NULL);
    if (result != ISAHP_OK) {
        fprintf(stderr, "isahotplug: %s\n", isahp_error_text(result));
        return 2;
    }
    do {
        isahp_enter();
        /* Read the slot inside, each time; a section is not the place for long work. */
        int (*careful)(uint32_t) = ISAHP_CALL(zeros);
        int found = careful(0x400);
        isahp_exit();
        int total = ISAHP_CALL(sum)(eight);
        printf("careless=%d slot=%d by=%s sum=%d by=%s\n", careless(0x400), found,
               careful == zeros_lzcnt ? "lzcnt" : "plain", total,
               ISAHP_CALL(sum) == sum_avx2 ? "avx2" : "plain");
    } while (getchar() != EOF);
    isahp_unload();
    return 0;
}
