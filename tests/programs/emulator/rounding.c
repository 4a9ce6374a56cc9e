/* What hangs on MXCSR: rounding modes, sticky exceptions, denormals as zero
 * and flushed to zero, half precision, conversions at their limits. */
#include "program.h"

#include <fenv.h>

#include "lanes.h"

enum { MASKED = 0x1f80, FLAGS = 0x3f, DAZ = 0x40, FTZ = 0x8000 };

/* The compiler must not move arithmetic over a change of MXCSR. */
#define HIDE(x) __asm__ volatile("" : "+m"(x))

struct result {
    float product[8], quotient[8], root[8];
    double sum[4], narrowed[4];
    int32_t whole[8], cut[8];
    uint32_t flags;
};

static const float EDGES[] = {
    0x1p-149f, 0x1p-126f, 0x1.fffffep-127f, 0x1.fffffep127f, 1.0f, 0x1.000002p0f, 0.1f, 0x1p-140f,
    1.5f,      2.5f,      -0.5f,            2147483520.0f,   3e9f, -3e9f,         0.0f, -0.0f,
};

static float pick(struct random *random)
{
    uint64_t which = random_u64(random) % 32;
    if (which < 16)
        return EDGES[which];
    return random_float(random) * (which < 24 ? 0x1p-120f : 0x1p10f);
}

static void compute(const float a[8], const float b[8], const double c[4], struct result *to)
{
    unsigned before = _mm_getcsr();
#if defined __AVX2__
    __m256 x = _mm256_loadu_ps(a), y = _mm256_loadu_ps(b);
    __m256d z = _mm256_loadu_pd(c);
    _mm256_storeu_ps(to->product, _mm256_mul_ps(x, y));
    _mm256_storeu_ps(to->quotient, _mm256_div_ps(x, y));
    _mm256_storeu_ps(to->root, _mm256_sqrt_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x)));
    _mm256_storeu_pd(to->sum, _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(x)), z));
    __m128 narrow = _mm256_cvtpd_ps(z);
    _mm256_storeu_pd(to->narrowed, _mm256_cvtps_pd(narrow));
    _mm256_storeu_si256((__m256i *)to->whole, _mm256_cvtps_epi32(x));
    _mm256_storeu_si256((__m256i *)to->cut, _mm256_cvttps_epi32(y));
#else
    /* The same by SSE2, which every CPU has. */
    for (int i = 0; i < 8; i += 4) {
        __m128 x = _mm_loadu_ps(a + i), y = _mm_loadu_ps(b + i);
        _mm_storeu_ps(to->product + i, _mm_mul_ps(x, y));
        _mm_storeu_ps(to->quotient + i, _mm_div_ps(x, y));
        _mm_storeu_ps(to->root + i, _mm_sqrt_ps(_mm_andnot_ps(_mm_set1_ps(-0.0f), x)));
        _mm_storeu_si128((__m128i *)(to->whole + i), _mm_cvtps_epi32(x));
        _mm_storeu_si128((__m128i *)(to->cut + i), _mm_cvttps_epi32(y));
    }
    for (int i = 0; i < 4; i += 2) {
        __m128 x = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(a + i)));
        __m128d z = _mm_loadu_pd(c + i);
        _mm_storeu_pd(to->sum + i, _mm_add_pd(_mm_cvtps_pd(x), z));
        _mm_storeu_pd(to->narrowed + i, _mm_cvtps_pd(_mm_cvtpd_ps(z)));
    }
#endif
    to->flags = _mm_getcsr() & FLAGS;
    _mm_setcsr(before);
}

/* Not a number's sign and payload depend on the operands' order, which is the
 * compiler's choice: only that it is one counts. */
static void settle(struct result *result)
{
    for (int i = 0; i < 8; i++) {
        float *at[] = {result->product + i, result->quotient + i, result->root + i};
        for (int k = 0; k < 3; k++)
            if (*at[k] != *at[k])
                *at[k] = 77.0f;
    }
}

/* --- Rounding to a whole number in each of the instruction's own modes ----- */

static void whole_numbers(FILE *out, struct random *random)
{
    double from[4], to[4][4];
    for (int i = 0; i < 4; i++)
        from[i] = random_double(random) * 8;
    from[0] = 2.5;
#if defined __AVX2__
    __m256d x = _mm256_loadu_pd(from);
    _mm256_storeu_pd(to[0], _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm256_storeu_pd(to[1], _mm256_round_pd(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
    _mm256_storeu_pd(to[2], _mm256_round_pd(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC));
    _mm256_storeu_pd(to[3], _mm256_round_pd(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
#else
    for (int i = 0; i < 4; i++) {
        to[0][i] = rint(from[i]);
        to[1][i] = floor(from[i]);
        to[2][i] = ceil(from[i]);
        to[3][i] = trunc(from[i]);
    }
#endif
    report(out, to, sizeof to, "whole");
}

/* --- Half precision --------------------------------------------------------- */

static float half_to_float(uint16_t half)
{
#if defined __F16C__
    return _cvtsh_ss(half);
#else
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31;
    uint32_t fraction = half & 1023;
    float value;
    uint32_t bits;
    if (exponent == 31)
        bits = sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0);
    else if (exponent)
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    else {
        value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, 4);
        bits |= sign;
    }
    memcpy(&value, &bits, 4);
    return value;
#endif
}

/* Towards nearest, to even between two. */
static uint16_t float_to_half(float value)
{
#if defined __F16C__
    return (uint16_t)_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
#else
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    float size = fabsf(value);
    if (size >= 65520)
        return sign | 0x7c00;
    if (size < 0x1p-14f)
        return sign | (uint16_t)nearbyintf(size * 0x1p24f);
    memcpy(&bits, &size, 4);
    bits += 0xfff + (bits >> 13 & 1);
    return sign | (uint16_t)((bits - (112u << 23)) >> 13);
#endif
}

static void halves(FILE *out, struct random *random)
{
    uint16_t back[64];
    float values[64];
    for (int i = 0; i < 64; i++) {
        values[i] = half_to_float((uint16_t)random_u64(random));
        back[i] = float_to_half(pick(random));
    }
    report(out, values, sizeof values, "half to float");
    report(out, back, sizeof back, "float to half");
}

/* An enclosure of 1/1 + 1/2 + … by directed rounding. */
static void interval(FILE *out)
{
    double bounds[2];
    for (int up = 0; up < 2; up++) {
        fesetround(up ? FE_UPWARD : FE_DOWNWARD);
        double one = 1, sum = 0;
        for (int i = 1; i <= 100; i++) {
            HIDE(one);
            sum += one / i;
            HIDE(sum);
        }
        bounds[up] = sum;
    }
    fesetround(FE_TONEAREST);
    if (!(bounds[0] < bounds[1]))
        die("rounding down and up give %a and %a", bounds[0], bounds[1]);
    fprintf(out, "interval %a %a\n", bounds[0], bounds[1]);
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {754};
    static const unsigned extras[] = {0, DAZ, FTZ, DAZ | FTZ};
    for (unsigned round = 0; round < 32 * scale; round++) {
        float a[8], b[8];
        double c[4];
        for (int i = 0; i < 8; i++) {
            a[i] = pick(&random);
            b[i] = pick(&random);
        }
        for (int i = 0; i < 4; i++)
            c[i] = (double)pick(&random) * (1 + 0x1p-40);
        struct result result = {.flags = 0};
        unsigned mode = round % 4, extra = extras[round / 4 % 4];
        _mm_setcsr(MASKED | mode << 13 | extra);
        compute(a, b, c, &result);
        _mm_setcsr(MASKED);
        settle(&result);
        report(out, &result, sizeof result, "mode=%u extra=%04x flags=%02x", mode, extra,
               result.flags);
    }
    for (unsigned i = 0; i < 4 * scale; i++) {
        whole_numbers(out, &random);
        halves(out, &random);
    }
    interval(out);
}
