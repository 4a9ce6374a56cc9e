/* What the benchmark compares with a translator of whole programs: `kernels
 * ROUNDS plain WHAT` prints the CPU time of ROUNDS calls of a kernel and a
 * digest of what it computed. Built for FMA and AVX2, or for FMA4 and XOP. */
#include <time.h>

#include "program.h"

#include "lanes.h"

enum { COUNT = 1024 };

static float x[COUNT], y[COUNT], block[64];

__attribute__((noinline)) static float saxpy(void)
{
    for (size_t i = 0; i < COUNT; i += 8)
        f8_store(y + i, f8_fma(f8_set(0.5f), f8_load(x + i), f8_load(y + i)));
    return y[COUNT - 1];
}

__attribute__((noinline)) static float dot(void)
{
    f8 sum = f8_set(0);
    for (size_t i = 0; i < COUNT; i += 8)
        sum = f8_fma(f8_load(x + i), f8_load(y + i), sum);
    return f8_sum(sum);
}

__attribute__((noinline)) static float gemm(void)
{
    f8 sums[8];
    for (int j = 0; j < 8; j++)
        sums[j] = f8_load(block + 8 * j);
    for (size_t k = 0; k < COUNT; k += 8) {
        f8 column = f8_load(x + k);
        for (int j = 0; j < 8; j++)
            sums[j] = f8_fma(column, f8_set(y[k + j]), sums[j]);
    }
    for (int j = 0; j < 8; j++)
        f8_store(block + 8 * j, sums[j]);
    return block[63];
}

__attribute__((noinline)) static float find(void)
{
    const char *bytes = (const char *)x;
    size_t i = 0;
#if defined __XOP__
    for (; i < sizeof x; i += 16)
        if (_mm_movemask_epi8(_mm_comneq_epu8(_mm_loadu_si128((const __m128i *)(bytes + i)),
                                              _mm_set1_epi8(-1))) != 0xffff)
            break;
#elif defined __AVX2__
    for (; i < sizeof x; i += 32)
        if (_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(bytes + i)),
                                                   _mm256_set1_epi8(-1))))
            break;
#else
    while (i < sizeof x && bytes[i] != -1)
        i++;
#endif
    return (float)i;
}

static void run(FILE *out, unsigned scale)
{
    static const struct {
        const char *name;
        float (*kernel)(void);
    } all[] = {{"saxpy", saxpy}, {"dot", dot}, {"gemm", gemm}, {"memchr", find}};
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = (float)(i % 17) / 1024;
        y[i] = (float)(i % 13) / 8;
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!*further || strcmp(all[i].name, *further))
            continue;
        struct timespec start, end;
        float result = all[i].kernel();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
        for (unsigned round = 0; round < scale; round++)
            result += all[i].kernel();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        fprintf(out, "ns=%lld digest=%016llx\n",
                (end.tv_sec - start.tv_sec) * 1000000000ll + end.tv_nsec - start.tv_nsec,
                (unsigned long long)(digest(&result, 4) ^ digest(y, sizeof y) ^
                                     digest(block, sizeof block)));
    }
}
