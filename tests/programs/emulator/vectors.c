/* The vector kernels of BLAS level 1, at all small sizes, unaligned, and up to
 * a page's edge. */
#include "program.h"

#include "lanes.h"

static void saxpy(size_t n, float a, const float *x, float *y)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        f8_store(y + i, f8_fma(f8_set(a), f8_load(x + i), f8_load(y + i)));
    for (; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]);
}

static void daxpy(size_t n, double a, const double *x, double *y)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        d4_store(y + i, d4_fma(d4_set(a), d4_load(x + i), d4_load(y + i)));
    for (; i < n; i++)
        y[i] = fma(a, x[i], y[i]);
}

static void sscal(size_t n, float a, float *x)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        f8_store(x + i, f8_mul(f8_set(a), f8_load(x + i)));
    for (; i < n; i++)
        x[i] *= a;
}

static float sdot(size_t n, const float *x, const float *y)
{
    f8 sums[2] = {f8_set(0), f8_set(0)};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 2; k++)
            sums[k] = f8_fma(f8_load(x + i + 8 * k), f8_load(y + i + 8 * k), sums[k]);
    float sum = f8_sum(f8_add(sums[0], sums[1]));
    for (; i < n; i++)
        sum = fmaf(x[i], y[i], sum);
    return sum;
}

static double ddot(size_t n, const double *x, const double *y)
{
    d4 sums[2] = {d4_set(0), d4_set(0)};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 2; k++)
            sums[k] = d4_fma(d4_load(x + i + 4 * k), d4_load(y + i + 4 * k), sums[k]);
    double sum = d4_sum(d4_add(sums[0], sums[1]));
    for (; i < n; i++)
        sum = fma(x[i], y[i], sum);
    return sum;
}

static float snrm2(size_t n, const float *x)
{
    return sqrtf(sdot(n, x, x));
}

static float sasum(size_t n, const float *x)
{
    float sum = 0;
    size_t i = 0;
#if defined __AVX2__
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 sums = _mm256_setzero_ps();
    for (; i + 8 <= n; i += 8)
        sums = _mm256_add_ps(sums, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)));
    sum = f8_sum(sums);
#else
    f8 sums = f8_set(0);
    for (; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums.lane[k] += fabsf(x[i + k]);
    sum = f8_sum(sums);
#endif
    for (; i < n; i++)
        sum += fabsf(x[i]);
    return sum;
}

/* The first index of the largest absolute value. */
static int isamax(size_t n, const float *x)
{
    int best = 0;
    size_t i = 0;
    float most = -1;
#if defined __AVX2__
    if (n >= 8) {
        const __m256 sign = _mm256_set1_ps(-0.0f);
        __m256 values = _mm256_set1_ps(-1);
        __m256i places = _mm256_setzero_si256();
        __m256i here = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for (; i + 8 <= n; i += 8) {
            __m256 next = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i));
            __m256 greater = _mm256_cmp_ps(next, values, _CMP_GT_OQ);
            values = _mm256_blendv_ps(values, next, greater);
            places = _mm256_blendv_epi8(places, here, _mm256_castps_si256(greater));
            here = _mm256_add_epi32(here, _mm256_set1_epi32(8));
        }
        float value[8];
        int place[8];
        _mm256_storeu_ps(value, values);
        _mm256_storeu_si256((__m256i *)place, places);
        for (int k = 0; k < 8; k++)
            if (value[k] > most || (value[k] == most && place[k] < best)) {
                most = value[k];
                best = place[k];
            }
    }
#endif
    for (; i < n; i++)
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            best = (int)i;
        }
    return best;
}

static void srot(size_t n, float *x, float *y, float c, float s)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        f8 a = f8_load(x + i), b = f8_load(y + i);
        f8_store(x + i, f8_fma(f8_set(s), b, f8_mul(f8_set(c), a)));
        f8_store(y + i, f8_fnma(f8_set(s), a, f8_mul(f8_set(c), b)));
    }
    for (; i < n; i++) {
        float a = x[i], b = y[i];
        x[i] = fmaf(s, b, c * a);
        y[i] = fmaf(-s, a, c * b);
    }
}

static void level1(FILE *out, size_t n, size_t offset)
{
    struct random random = {n * 131 + offset};
    /* Each ends at the page's edge but for the offset. */
    struct fenced memory[4];
    float *x, *y;
    double *u, *v;
    for (int i = 0; i < 4; i++)
        memory[i] = fenced_end((n + offset) * (i < 2 ? sizeof *x : sizeof *u) + offset % 3, 1);
    x = (float *)memory[0].bytes;
    y = (float *)memory[1].bytes;
    u = (double *)memory[2].bytes;
    v = (double *)memory[3].bytes;
    random_floats(&random, x, n);
    random_floats(&random, y, n);
    random_doubles(&random, u, n);
    random_doubles(&random, v, n);
    float a = random_float(&random);

    saxpy(n, a, x, y);
    report(out, y, n * sizeof *y, "saxpy n=%zu offset=%zu", n, offset);
    daxpy(n, a, u, v);
    report(out, v, n * sizeof *v, "daxpy n=%zu offset=%zu", n, offset);
    sscal(n, a, x);
    report(out, x, n * sizeof *x, "sscal n=%zu offset=%zu", n, offset);
    srot(n, x, y, 0.8f, 0.6f);
    report(out, x, n * sizeof *x, "srot-x n=%zu offset=%zu", n, offset);
    report(out, y, n * sizeof *y, "srot-y n=%zu offset=%zu", n, offset);
    fprintf(out, "sums n=%zu offset=%zu sdot=%a ddot=%a snrm2=%a sasum=%a isamax=%d\n", n, offset,
            (double)sdot(n, x, y), ddot(n, u, v), (double)snrm2(n, x), (double)sasum(n, y),
            isamax(n, x));
    for (int i = 0; i < 4; i++)
        release(memory[i]);
}

static void run(FILE *out, unsigned scale)
{
    for (size_t n = 0; n < 40; n++)
        level1(out, n, n % 4);
    for (unsigned i = 0; i < scale; i++)
        for (size_t offset = 0; offset < 4; offset++)
            level1(out, 211 + 97 * i, offset);
}
