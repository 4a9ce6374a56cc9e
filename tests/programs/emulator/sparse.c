/* Gathers and masked loads and stores: sparse matrices, tables, ragged ends at
 * a page that cannot be touched. */
#include "program.h"

#include "lanes.h"

#if defined __AVX2__
/* The first `count` of eight lanes. */
static __m256i first_lanes(size_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/* y[i] += a x[i] with no scalar remainder: the last lanes are masked. */
static void saxpy_masked(size_t n, float a, const float *x, float *y)
{
#if defined __AVX2__
    for (size_t i = 0; i < n; i += 8) {
        __m256i mask = first_lanes(n - i);
        __m256 sum = f8_fma(_mm256_set1_ps(a), _mm256_maskload_ps(x + i, mask),
                            _mm256_maskload_ps(y + i, mask));
        _mm256_maskstore_ps(y + i, mask, sum);
    }
#else
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]);
#endif
}

/* A row of a sparse matrix with a dense vector: the entries' columns say what
 * of the vector is gathered. */
static float sparse_row(size_t entries, const int *column, const float *value, const float *x)
{
    f8 sums = f8_set(0);
    for (size_t i = 0; i < entries; i += 8) {
#if defined __AVX2__
        __m256i mask = first_lanes(entries - i);
        __m256i columns = _mm256_maskload_epi32(column + i, mask);
        /* Those beside the row point to where there is nothing. */
        columns = _mm256_blendv_epi8(_mm256_set1_epi32(0x70000000), columns, mask);
        __m256 zero = _mm256_setzero_ps();
        __m256 from_x =
            _mm256_mask_i32gather_ps(zero, x, columns, _mm256_castsi256_ps(mask), 4);
        sums = f8_fma(_mm256_maskload_ps(value + i, mask), from_x, sums);
#else
        for (size_t k = 0; k < 8 && i + k < entries; k++)
            sums.lane[k] = fmaf(value[i + k], x[column[i + k]], sums.lane[k]);
#endif
    }
    return f8_sum(sums);
}

/* Sums of table entries through every form of gather. */
static void tables(FILE *out, struct random *random)
{
    uint32_t table[64];
    uint64_t wide[64];
    double real[64];
    int32_t index[8];
    int64_t far[4];
    random_bytes(random, table, sizeof table);
    random_bytes(random, wide, sizeof wide);
    random_doubles(random, real, 64);
    for (int i = 0; i < 8; i++)
        index[i] = (int32_t)(random_u64(random) % 64) - 32;
    for (int i = 0; i < 4; i++)
        far[i] = (int64_t)(random_u64(random) % 64) - 32;
    uint32_t narrow_sums[8], narrow_far[4];
    uint64_t wide_sums[4], wide_far[4];
    double real_sums[4], real_far[4];
#if defined __AVX2__
    __m256i i8 = _mm256_loadu_si256((const __m256i *)index);
    __m128i i4 = _mm256_castsi256_si128(i8);
    __m256i l4 = _mm256_loadu_si256((const __m256i *)far);
    _mm256_storeu_si256((__m256i *)narrow_sums,
                        _mm256_i32gather_epi32((const int *)(table + 32), i8, 4));
    _mm_storeu_si128((__m128i *)narrow_far,
                     _mm256_i64gather_epi32((const int *)(table + 32), l4, 4));
    _mm256_storeu_si256((__m256i *)wide_sums,
                        _mm256_i32gather_epi64((const long long *)(wide + 32), i4, 8));
    _mm256_storeu_si256((__m256i *)wide_far,
                        _mm256_i64gather_epi64((const long long *)(wide + 32), l4, 8));
    _mm256_storeu_pd(real_sums, _mm256_i32gather_pd(real + 32, i4, 8));
    _mm256_storeu_pd(real_far, _mm256_i64gather_pd(real + 32, l4, 8));
#else
    for (int i = 0; i < 8; i++)
        narrow_sums[i] = table[32 + index[i]];
    for (int i = 0; i < 4; i++) {
        narrow_far[i] = table[32 + far[i]];
        wide_sums[i] = wide[32 + index[i]];
        wide_far[i] = wide[32 + far[i]];
        real_sums[i] = real[32 + index[i]];
        real_far[i] = real[32 + far[i]];
    }
#endif
    report(out, narrow_sums, sizeof narrow_sums, "gather dd");
    report(out, narrow_far, sizeof narrow_far, "gather qd");
    report(out, wide_sums, sizeof wide_sums, "gather dq");
    report(out, wide_far, sizeof wide_far, "gather qq");
    report(out, real_sums, sizeof real_sums, "gather dpd");
    report(out, real_far, sizeof real_far, "gather qpd");
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {42};
    for (size_t n = 0; n < 35; n++) {
        struct fenced memory[2] = {fenced_end(n * 4, 1), fenced_end(n * 4, 1)};
        float *x = (float *)memory[0].bytes, *y = (float *)memory[1].bytes;
        random_floats(&random, x, n);
        random_floats(&random, y, n);
        saxpy_masked(n, 0.75f, x, y);
        report(out, y, n * 4, "saxpy-masked n=%zu", n);
        release(memory[0]);
        release(memory[1]);
    }
    enum { COLUMNS = 301 };
    float x[COLUMNS];
    random_floats(&random, x, COLUMNS);
    for (unsigned row = 0; row < 40 * scale; row++) {
        size_t entries = random_u64(&random) % 30;
        struct fenced memory[2] = {fenced_end(entries * 4, 1), fenced_end(entries * 4, 1)};
        int *column = (int *)memory[0].bytes;
        float *value = (float *)memory[1].bytes;
        for (size_t i = 0; i < entries; i++)
            column[i] = (int)(random_u64(&random) % COLUMNS);
        random_floats(&random, value, entries);
        float sum = sparse_row(entries, column, value, x);
        report(out, &sum, sizeof sum, "sparse-row entries=%zu", entries);
        release(memory[0]);
        release(memory[1]);
    }
    for (unsigned i = 0; i < 4 * scale; i++)
        tables(out, &random);
}
