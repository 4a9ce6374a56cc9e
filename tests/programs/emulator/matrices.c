/* The matrix kernels of BLAS levels 2 and 3: products with a vector, and
 * products of packed matrices in blocks held in registers. */
#include "program.h"

#include "lanes.h"

/* y += A x, with A stored by columns. */
static void sgemv(size_t rows, size_t columns, const float *a, const float *x, float *y)
{
    for (size_t j = 0; j < columns; j++) {
        size_t i = 0;
        for (; i + 8 <= rows; i += 8)
            f8_store(y + i, f8_fma(f8_set(x[j]), f8_load(a + j * rows + i), f8_load(y + i)));
        for (; i < rows; i++)
            y[i] = fmaf(x[j], a[j * rows + i], y[i]);
    }
}

/* y = Aᵀ x, with A stored by columns. */
static void dgemv_transposed(size_t rows, size_t columns, const double *a, const double *x,
                             double *y)
{
    for (size_t j = 0; j < columns; j++) {
        d4 sums = d4_set(0);
        size_t i = 0;
        for (; i + 4 <= rows; i += 4)
            sums = d4_fma(d4_load(a + j * rows + i), d4_load(x + i), sums);
        y[j] = d4_sum(sums);
        for (; i < rows; i++)
            y[j] = fma(a[j * rows + i], x[i], y[j]);
    }
}

/* A block of 8 × 8: eight accumulators, a broadcast and a fused
 * multiplication for each element of b. */
static void sgemm_8x8(size_t depth, const float *a, const float *b, float *c, size_t stride)
{
    f8 sums[8];
    for (int j = 0; j < 8; j++)
        sums[j] = f8_load(c + j * stride);
    for (size_t k = 0; k < depth; k++) {
        f8 column = f8_load(a + 8 * k);
        for (int j = 0; j < 8; j++)
            sums[j] = f8_fma(column, f8_set(b[8 * k + j]), sums[j]);
    }
    for (int j = 0; j < 8; j++)
        f8_store(c + j * stride, sums[j]);
}

static void dgemm_4x8(size_t depth, const double *a, const double *b, double *c, size_t stride)
{
    d4 sums[8];
    for (int j = 0; j < 8; j++)
        sums[j] = d4_load(c + j * stride);
    for (size_t k = 0; k < depth; k++) {
        d4 column = d4_load(a + 4 * k);
        for (int j = 0; j < 8; j++)
            sums[j] = d4_fma(column, d4_set(b[8 * k + j]), sums[j]);
    }
    for (int j = 0; j < 8; j++)
        d4_store(c + j * stride, sums[j]);
}

/* C += A B, all stored by columns, of any size: both are packed into panels,
 * filled up with zeros. */
static void sgemm(size_t m, size_t n, size_t depth, const float *a, const float *b, float *c)
{
    float *left = malloc(8 * depth * sizeof *left);
    float *right = malloc(8 * depth * sizeof *right);
    for (size_t i = 0; i < m; i += 8)
        for (size_t j = 0; j < n; j += 8) {
            float block[64] = {0};
            for (size_t k = 0; k < depth; k++)
                for (size_t l = 0; l < 8; l++) {
                    left[8 * k + l] = i + l < m ? a[k * m + i + l] : 0;
                    right[8 * k + l] = j + l < n ? b[(j + l) * depth + k] : 0;
                }
            sgemm_8x8(depth, left, right, block, 8);
            for (size_t l = 0; l < 64; l++)
                if (i + l % 8 < m && j + l / 8 < n)
                    c[(j + l / 8) * m + i + l % 8] += block[l];
        }
    free(left);
    free(right);
}

/* Solves L x = b for a lower triangular L with rows stored one by one. */
static void dtrsv(size_t n, const double *l, double *x)
{
    for (size_t i = 0; i < n; i++) {
        d4 sums = d4_set(0);
        size_t j = 0;
        for (; j + 4 <= i; j += 4)
            sums = d4_fma(d4_load(l + i * n + j), d4_load(x + j), sums);
        double sum = d4_sum(sums);
        for (; j < i; j++)
            sum = fma(l[i * n + j], x[j], sum);
        x[i] = (x[i] - sum) / l[i * n + i];
    }
}

/* Transposes a block of 8 × 8. */
static void transpose_8x8(const float *from, float *to)
{
#if defined __AVX2__
    __m256 row[8], pair[8], four[8];
    for (int i = 0; i < 8; i++)
        row[i] = _mm256_loadu_ps(from + 8 * i);
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        four[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
        four[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
        four[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
        four[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + 8 * i, _mm256_permute2f128_ps(four[i], four[i + 4], 0x20));
        _mm256_storeu_ps(to + 8 * (i + 4), _mm256_permute2f128_ps(four[i], four[i + 4], 0x31));
    }
#else
    for (int i = 0; i < 64; i++)
        to[i] = from[i % 8 * 8 + i / 8];
#endif
}

static void products(FILE *out, size_t m, size_t n, size_t depth)
{
    struct random random = {m * 10000 + n * 100 + depth};
    struct fenced memory[3] = {
        fenced_end(m * depth * 8, 1),
        fenced_end(depth * n * 8, 1),
        fenced_end(m * n * 8, 1),
    };
    float *a = (float *)memory[0].bytes, *b = (float *)memory[1].bytes;
    float *c = (float *)memory[2].bytes;
    random_floats(&random, a, m * depth);
    random_floats(&random, b, depth * n);
    random_floats(&random, c, m * n);
    sgemm(m, n, depth, a, b, c);
    report(out, c, m * n * sizeof *c, "sgemm %zux%zux%zu", m, n, depth);
    sgemv(m, depth, a, b, c);
    report(out, c, m * sizeof *c, "sgemv %zux%zu", m, depth);
    double *u = (double *)memory[0].bytes, *x = (double *)memory[1].bytes;
    double y[depth];
    random_doubles(&random, u, m * depth);
    random_doubles(&random, x, depth * n);
    if (m <= depth * n) {
        dgemv_transposed(m, depth, u, x, y);
        report(out, y, sizeof y, "dgemv-transposed %zux%zu", m, depth);
    }
    for (int i = 0; i < 3; i++)
        release(memory[i]);
}

static void run(FILE *out, unsigned scale)
{
    products(out, 1, 1, 1);
    products(out, 3, 5, 7);
    products(out, 8, 8, 8);
    products(out, 13, 9, 31);
    products(out, 24, 16, 10);
    struct random random = {7};
    float from[64], to[64];
    random_floats(&random, from, 64);
    transpose_8x8(from, to);
    report(out, to, sizeof to, "transpose 8x8");
    for (unsigned i = 0; i < scale; i++) {
        enum { DEPTH = 40 };
        double a[4 * DEPTH], b[8 * DEPTH], c[32] = {0};
        random_doubles(&random, a, 4 * DEPTH);
        random_doubles(&random, b, 8 * DEPTH);
        dgemm_4x8(DEPTH, a, b, c, 4);
        report(out, c, sizeof c, "dgemm 4x8x%d round=%u", DEPTH, i);
        double lower[23 * 23], x[23];
        random_doubles(&random, lower, 23 * 23);
        random_doubles(&random, x, 23);
        for (int k = 0; k < 23; k++)
            lower[24 * k] += 3;
        dtrsv(23, lower, x);
        report(out, x, sizeof x, "dtrsv n=23 round=%u", i);
    }
}
