/* SSSE3 and SSE4A: the forms of SSSE3 on MMX registers, which share the x87's,
 * and AMD's insertion and extraction of bit fields. */
#include "program.h"

#if defined __SSSE3__
/* By hand: the compiler would take XMM registers. */
#define ON_MMX(instruction, x, y, to)                                                              \
    __asm__ volatile("movq %1, %%mm3\n\tmovq %2, %%mm6\n\t" instruction "\n\tmovq %%mm3, %0\n\temms" \
                     : "=m"(to)                                                                    \
                     : "m"(*(const char(*)[8])(x)), "m"(*(const char(*)[8])(y))                    \
                     : "mm3", "mm6")
#endif

__attribute__((unused)) static int16_t clip(int32_t value)
{
    return (int16_t)(value > 32767 ? 32767 : value < -32768 ? -32768 : value);
}

static void small(FILE *out, const void *x, const void *y)
{
    const uint8_t *a = x, *b = y;
    int16_t u[4], v[4], words[4];
    uint8_t bytes[8];
    memcpy(u, x, 8);
    memcpy(v, y, 8);
#if defined __SSSE3__
    ON_MMX("pshufb %%mm6, %%mm3", x, y, bytes);
    report(out, bytes, 8, "shuffle");
    ON_MMX("palignr $5, %%mm6, %%mm3", x, y, bytes);
    report(out, bytes, 8, "align");
    ON_MMX("psignb %%mm6, %%mm3", x, y, bytes);
    report(out, bytes, 8, "sign");
    ON_MMX("pabsb %%mm3, %%mm3", x, y, bytes);
    report(out, bytes, 8, "absolute");
    ON_MMX("phaddw %%mm6, %%mm3", x, y, words);
    report(out, words, 8, "add neighbours");
    ON_MMX("phsubsw %%mm6, %%mm3", x, y, words);
    report(out, words, 8, "subtract neighbours");
    ON_MMX("pmaddubsw %2, %%mm3", x, y, words);
    report(out, words, 8, "multiply bytes");
    ON_MMX("pmulhrsw %%mm6, %%mm3", x, y, words);
    report(out, words, 8, "multiply rounded");
#else
    for (int i = 0; i < 8; i++)
        bytes[i] = b[i] & 0x80 ? 0 : a[b[i] & 7];
    report(out, bytes, 8, "shuffle");
    for (int i = 0; i < 8; i++)
        bytes[i] = i + 5 < 8 ? b[i + 5] : a[i - 3];
    report(out, bytes, 8, "align");
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(b[i] & 0x80 ? -a[i] : b[i] ? a[i] : 0);
    report(out, bytes, 8, "sign");
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(a[i] & 0x80 ? -a[i] : a[i]);
    report(out, bytes, 8, "absolute");
    for (int i = 0; i < 2; i++) {
        words[i] = (int16_t)(u[2 * i] + u[2 * i + 1]);
        words[2 + i] = (int16_t)(v[2 * i] + v[2 * i + 1]);
    }
    report(out, words, 8, "add neighbours");
    for (int i = 0; i < 2; i++) {
        words[i] = clip(u[2 * i] - u[2 * i + 1]);
        words[2 + i] = clip(v[2 * i] - v[2 * i + 1]);
    }
    report(out, words, 8, "subtract neighbours");
    for (int i = 0; i < 4; i++)
        words[i] = clip(a[2 * i] * (int8_t)b[2 * i] + a[2 * i + 1] * (int8_t)b[2 * i + 1]);
    report(out, words, 8, "multiply bytes");
    for (int i = 0; i < 4; i++)
        words[i] = (int16_t)((u[i] * v[i] + 0x4000) >> 15);
    report(out, words, 8, "multiply rounded");
#endif
    (void)a, (void)b;
}

/* The lower 64 bits only: the upper are undefined. */
static void fields(FILE *out, uint64_t x, uint64_t y)
{
    uint64_t results[4];
#if defined __SSE4A__
    __m128i a = _mm_cvtsi64_si128((long long)x), b = _mm_cvtsi64_si128((long long)y);
    __m128i where = _mm_cvtsi64_si128(20 << 8 | 30);
    __m128i with = _mm_set_epi64x(33 << 8 | 17, (long long)y);
    results[0] = (uint64_t)_mm_cvtsi128_si64(_mm_extracti_si64(a, 13, 7));
    results[1] = (uint64_t)_mm_cvtsi128_si64(_mm_extract_si64(a, where));
    results[2] = (uint64_t)_mm_cvtsi128_si64(_mm_inserti_si64(a, b, 24, 40));
    results[3] = (uint64_t)_mm_cvtsi128_si64(_mm_insert_si64(a, with));
    double there[2];
    _mm_stream_sd(there, _mm_castsi128_pd(a));
    memcpy(&x, there, 8);
#else
#define MASK(length) ((1ull << (length)) - 1)
    results[0] = x >> 7 & MASK(13);
    results[1] = x >> 20 & MASK(30);
    results[2] = (x & ~(MASK(24) << 40)) | (y & MASK(24)) << 40;
    results[3] = (x & ~(MASK(17) << 33)) | (y & MASK(17)) << 33;
#endif
    report(out, results, sizeof results, "fields %016llx", (unsigned long long)x);
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {0x64};
    for (unsigned i = 0; i < 60 * scale; i++) {
        unsigned char x[8], y[8];
        random_bytes(&random, x, 8);
        random_bytes(&random, y, 8);
        if (i % 5 == 0)
            memset(x, 0x80, 4);
        small(out, x, y);
        fields(out, random_u64(&random), random_u64(&random));
        long double product = 1;
        for (unsigned k = 1; k < 12; k++)
            product *= (k + i) / 7.0L;
        fprintf(out, "x87 %La\n", product);
    }
}
