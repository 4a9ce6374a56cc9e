/* Vectors of eight floats and four doubles: by the instructions that the
 * program is compiled for, or lane by lane in plain C, with the same results
 * to the last bit. Every multiplication with addition is rounded once.
 */
#ifndef LANES_H
#define LANES_H

#include <math.h>

#if defined __AVX2__

typedef __m256 f8;
typedef __m256d d4;

#define f8_load(p) _mm256_loadu_ps(p)
#define f8_store(p, a) _mm256_storeu_ps(p, a)
#define f8_set(x) _mm256_set1_ps(x)
#define f8_add(a, b) _mm256_add_ps(a, b)
#define f8_sub(a, b) _mm256_sub_ps(a, b)
#define f8_mul(a, b) _mm256_mul_ps(a, b)
/* Lanes 1 0 3 2 5 4 7 6; the even lanes twice; the odd lanes twice. */
#define f8_swap(a) _mm256_permute_ps(a, 0xb1)
#define f8_even(a) _mm256_moveldup_ps(a)
#define f8_odd(a) _mm256_movehdup_ps(a)
#define d4_load(p) _mm256_loadu_pd(p)
#define d4_store(p, a) _mm256_storeu_pd(p, a)
#define d4_set(x) _mm256_set1_pd(x)
#define d4_add(a, b) _mm256_add_pd(a, b)
#define d4_sub(a, b) _mm256_sub_pd(a, b)
#define d4_mul(a, b) _mm256_mul_pd(a, b)
#define d4_swap(a) _mm256_permute_pd(a, 5)
#define d4_even(a) _mm256_movedup_pd(a)
#define d4_odd(a) _mm256_permute_pd(a, 15)

#if defined __FMA4__
#define f8_fma(a, b, c) _mm256_macc_ps(a, b, c)
#define f8_fnma(a, b, c) _mm256_nmacc_ps(a, b, c)
#define f8_fmaddsub(a, b, c) _mm256_maddsub_ps(a, b, c)
#define d4_fma(a, b, c) _mm256_macc_pd(a, b, c)
#define d4_fnma(a, b, c) _mm256_nmacc_pd(a, b, c)
#define d4_fmaddsub(a, b, c) _mm256_maddsub_pd(a, b, c)
#else
#define f8_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define f8_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define f8_fmaddsub(a, b, c) _mm256_fmaddsub_ps(a, b, c)
#define d4_fma(a, b, c) _mm256_fmadd_pd(a, b, c)
#define d4_fnma(a, b, c) _mm256_fnmadd_pd(a, b, c)
#define d4_fmaddsub(a, b, c) _mm256_fmaddsub_pd(a, b, c)
#endif

#else

typedef struct {
    float lane[8];
} f8;
typedef struct {
    double lane[4];
} d4;

#define LANES(type, count, name, parameters, expression)                                         \
    __attribute__((unused)) static inline type name parameters                                   \
    {                                                                                             \
        type r;                                                                                   \
        for (int i = 0; i < count; i++)                                                           \
            r.lane[i] = expression;                                                               \
        return r;                                                                                 \
    }
LANES(f8, 8, f8_load, (const float *p), p[i])
LANES(f8, 8, f8_set, (float x), x)
LANES(f8, 8, f8_add, (f8 a, f8 b), a.lane[i] + b.lane[i])
LANES(f8, 8, f8_sub, (f8 a, f8 b), a.lane[i] - b.lane[i])
LANES(f8, 8, f8_mul, (f8 a, f8 b), a.lane[i] * b.lane[i])
LANES(f8, 8, f8_fma, (f8 a, f8 b, f8 c), fmaf(a.lane[i], b.lane[i], c.lane[i]))
LANES(f8, 8, f8_fnma, (f8 a, f8 b, f8 c), fmaf(-a.lane[i], b.lane[i], c.lane[i]))
LANES(f8, 8, f8_fmaddsub, (f8 a, f8 b, f8 c),
      fmaf(a.lane[i], b.lane[i], i % 2 ? c.lane[i] : -c.lane[i]))
LANES(f8, 8, f8_swap, (f8 a), a.lane[i ^ 1])
LANES(f8, 8, f8_even, (f8 a), a.lane[i & ~1])
LANES(f8, 8, f8_odd, (f8 a), a.lane[i | 1])
LANES(d4, 4, d4_load, (const double *p), p[i])
LANES(d4, 4, d4_set, (double x), x)
LANES(d4, 4, d4_add, (d4 a, d4 b), a.lane[i] + b.lane[i])
LANES(d4, 4, d4_sub, (d4 a, d4 b), a.lane[i] - b.lane[i])
LANES(d4, 4, d4_mul, (d4 a, d4 b), a.lane[i] * b.lane[i])
LANES(d4, 4, d4_fma, (d4 a, d4 b, d4 c), fma(a.lane[i], b.lane[i], c.lane[i]))
LANES(d4, 4, d4_fnma, (d4 a, d4 b, d4 c), fma(-a.lane[i], b.lane[i], c.lane[i]))
LANES(d4, 4, d4_fmaddsub, (d4 a, d4 b, d4 c),
      fma(a.lane[i], b.lane[i], i % 2 ? c.lane[i] : -c.lane[i]))
LANES(d4, 4, d4_swap, (d4 a), a.lane[i ^ 1])
LANES(d4, 4, d4_even, (d4 a), a.lane[i & ~1])
LANES(d4, 4, d4_odd, (d4 a), a.lane[i | 1])
#undef LANES

__attribute__((unused)) static inline void f8_store(float *p, f8 a)
{
    memcpy(p, a.lane, sizeof a.lane);
}

__attribute__((unused)) static inline void d4_store(double *p, d4 a)
{
    memcpy(p, a.lane, sizeof a.lane);
}

#endif

/* The lanes' sum, in one order. */
__attribute__((unused)) static inline float f8_sum(f8 a)
{
#if defined __AVX2__
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_hadd_ps(sum, sum);
    sum = _mm_hadd_ps(sum, sum);
    return _mm_cvtss_f32(sum);
#else
    float four[4];
    for (int i = 0; i < 4; i++)
        four[i] = a.lane[i] + a.lane[i + 4];
    return (four[0] + four[1]) + (four[2] + four[3]);
#endif
}

__attribute__((unused)) static inline double d4_sum(d4 a)
{
#if defined __AVX2__
    __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_hadd_pd(sum, sum));
#else
    return (a.lane[0] + a.lane[2]) + (a.lane[1] + a.lane[3]);
#endif
}

#endif
