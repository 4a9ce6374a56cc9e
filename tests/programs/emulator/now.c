/* AMD's 3DNow! and its second edition, on the registers that MMX shares with
 * the x87: two floats at a time. The inputs are chosen so that each result is
 * exact; of an approximation only its distance is looked at. */
#include "program.h"

#include <math.h>

#if defined __3dNOW_A__
/* By hand: the compiler would do much of it by SSE. */
#define ON_MMX(instruction, x, y, to)                                                              \
    __asm__ volatile("movq %1, %%mm2\n\tmovq %2, %%mm5\n\t" instruction "\n\tmovq %%mm2, %0"       \
                     : "=m"(to)                                                                    \
                     : "m"(*(const char(*)[8])(x)), "m"(*(const char(*)[8])(y))                    \
                     : "mm2", "mm5")
/* By an instruction, or by an expression for the lane i. */
#define BOTH(instruction, x, y, expression)                                                        \
    ON_MMX(instruction " %%mm5, %%mm2", x, y, result)
#else
#define BOTH(instruction, x, y, expression)                                                        \
    for (unsigned i = 0; i < sizeof result / sizeof *result; i++)                                  \
    result[i] = (__typeof__(*result))(expression)
#endif

/* Back to the x87, which the program uses in between. */
static void leave(void)
{
#if defined __3dNOW_A__
    __asm__ volatile("femms");
#endif
}

#define REPORTED(what)                                                                             \
    do {                                                                                           \
        leave();                                                                                   \
        report(out, result, sizeof result, what);                                                  \
    } while (0)

static void floats(FILE *out, const float a[2], const float b[2])
{
    float result[2];
    /* A zero's sign is another than IEEE 754 gives it. */
#define REPORTED_FLOATS(what)                                                                      \
    do {                                                                                           \
        leave();                                                                                   \
        for (int i = 0; i < 2; i++)                                                                \
            result[i] = result[i] == 0 ? 0 : result[i];                                            \
        REPORTED(what);                                                                            \
    } while (0)
    BOTH("pfadd", a, b, a[i] + b[i]);
    REPORTED_FLOATS("add");
    BOTH("pfsub", a, b, a[i] - b[i]);
    REPORTED_FLOATS("subtract");
    BOTH("pfsubr", a, b, b[i] - a[i]);
    REPORTED_FLOATS("subtract reversed");
    BOTH("pfmul", a, b, a[i] * b[i]);
    REPORTED_FLOATS("multiply");
    BOTH("pfacc", a, b, i ? b[0] + b[1] : a[0] + a[1]);
    REPORTED_FLOATS("accumulate");
    BOTH("pfnacc", a, b, i ? b[0] - b[1] : a[0] - a[1]);
    REPORTED_FLOATS("accumulate negatively");
    BOTH("pfpnacc", a, b, i ? b[0] + b[1] : a[0] - a[1]);
    REPORTED_FLOATS("accumulate both");
    BOTH("pfmax", a, b, a[i] > b[i] ? a[i] : b[i]);
    REPORTED_FLOATS("larger");
    BOTH("pfmin", a, b, a[i] < b[i] ? a[i] : b[i]);
    REPORTED_FLOATS("smaller");
}

static void comparisons(FILE *out, const float a[2], const float b[2])
{
    int32_t result[2];
    BOTH("pfcmpge", a, b, -(a[i] >= b[i]));
    REPORTED("greater or equal");
    BOTH("pfcmpgt", a, b, -(a[i] > b[i]));
    REPORTED("greater");
    BOTH("pfcmpeq", a, b, -(a[i] == b[i]));
    REPORTED("equal");
}

static void conversions(FILE *out, const float a[2], const int32_t x[2])
{
    {
        int32_t result[2];
        BOTH("pf2id", a, a, a[i]);
        REPORTED("to numbers");
        BOTH("pf2iw", a, a, a[i] > 32767 ? 32767 : a[i] < -32768 ? -32768 : (int32_t)a[i]);
        REPORTED("to words");
        BOTH("pswapd", x, x, x[1 - i]);
        REPORTED("swap");
    }
    float result[2];
    BOTH("pi2fd", x, x, x[i]);
    REPORTED("numbers to floats");
    BOTH("pi2fw", x, x, (int16_t)x[i]);
    REPORTED("words to floats");
}

static void integers(FILE *out, const void *x, const void *y)
{
    const uint8_t *a = x, *b = y;
    int16_t u[4], v[4];
    memcpy(u, x, 8);
    memcpy(v, y, 8);
    (void)a, (void)b;
    {
        uint8_t result[8];
        BOTH("pavgusb", x, y, (a[i] + b[i] + 1) / 2);
        REPORTED("average");
    }
    int16_t result[4];
    BOTH("pmulhrw", x, y, (u[i] * v[i] + 0x8000) >> 16);
    REPORTED("high products");
}

/* 1 / x and 1 / sqrt(x) by an approximation and the two steps of Newton and
 * Raphson that the manual gives: right to nearly all 24 bits. */
static void quotients(FILE *out, float x)
{
    float a[2] = {x, x}, reciprocal[2], root[2];
#if defined __3dNOW_A__
    float first[2], second[2];
    ON_MMX("pfrcp %%mm5, %%mm2", a, a, first);
    ON_MMX("pfrcpit1 %%mm5, %%mm2", a, first, second);
    ON_MMX("pfrcpit2 %%mm5, %%mm2", second, first, reciprocal);
    ON_MMX("pfrsqrt %%mm5, %%mm2", a, a, first);
    ON_MMX("pfmul %%mm5, %%mm2", first, first, second);
    ON_MMX("pfrsqit1 %%mm5, %%mm2", second, a, second);
    ON_MMX("pfrcpit2 %%mm5, %%mm2", second, first, root);
    leave();
#else
    for (int i = 0; i < 2; i++) {
        reciprocal[i] = 1 / a[i];
        root[i] = 1 / sqrtf(a[i]);
    }
#endif
    int close = 1;
    for (int i = 0; i < 2; i++) {
        close &= fabs(reciprocal[i] * (double)x - 1) < 0x1p-22;
        close &= fabs(root[i] * sqrt(x) - 1) < 0x1p-22;
    }
    fprintf(out, "quotients %a close=%d\n", (double)x, close);
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {0x3d};
    for (unsigned n = 0; n < 60 * scale; n++) {
        float a[2], b[2];
        int32_t x[2];
        uint8_t bytes[2][8];
        /* Few bits, so that sums and products are exact. */
        for (int i = 0; i < 2; i++) {
            a[i] = (float)((int32_t)(random_u64(&random) % 4001) - 2000) / 8;
            b[i] = n % 4 ? (float)((int32_t)(random_u64(&random) % 4001) - 2000) / 4 : a[i];
            x[i] = (int32_t)(random_u64(&random) % 0x2000000) - 0x1000000;
        }
        if (n % 7 == 0)
            a[0] *= 1024;
        random_bytes(&random, bytes, sizeof bytes);
        floats(out, a, b);
        comparisons(out, a, b);
        conversions(out, a, x);
        integers(out, bytes[0], bytes[1]);
        quotients(out, 0.001f + fabsf(a[1]) + (float)n);
        long double sum = 0;
        for (unsigned i = 1; i < 20; i++)
            sum += 1.0L / (i + n);
        fprintf(out, "x87 %La\n", sum);
    }
}
