/* What a JPEG coder does with a picture: colours to brightness and two
 * differences, halving, an 8 × 8 cosine transform in integers and in floats,
 * quantisation, the order of the coefficients, and back. */
#include "program.h"

#include "lanes.h"

/* --- The integer transform: products of 16-bit pairs ---------------------- */

/* cos((2 k + 1) u pi / 16), halved, and once more by sqrt(2) for u = 0; times
 * 2^13. */
static const int16_t COSINES[8][8] __attribute__((aligned(16))) = {
    {2896, 2896, 2896, 2896, 2896, 2896, 2896, 2896},
    {4017, 3406, 2276, 799, -799, -2276, -3406, -4017},
    {3784, 1567, -1567, -3784, -3784, -1567, 1567, 3784},
    {3406, -799, -4017, -2276, 2276, 4017, 799, -3406},
    {2896, -2896, -2896, 2896, 2896, -2896, -2896, 2896},
    {2276, -4017, 799, 3406, -3406, -799, 4017, -2276},
    {1567, -3784, 3784, -1567, -1567, 3784, -3784, 1567},
    {799, -2276, 3406, -4017, 4017, -3406, 2276, -799},
};

/* to[v][u] = the row v of `from` with COSINES[u], rounded to 16 bits; then
 * transposed, so that the second call does the columns. */
static void rows(const int16_t *from, int16_t *to, int shift)
{
    for (int v = 0; v < 8; v++) {
#if defined __AVX2__
        __m256i row = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(from + 8 * v)));
        __m256i part[4];
        for (int u = 0; u < 4; u++)
            part[u] = _mm256_madd_epi16(row, _mm256_loadu_si256((const __m256i *)COSINES[2 * u]));
        /* Each half has sums of 4 pairs of a coefficient; two rounds of
         * horizontal additions make them one. */
        __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(part[0], part[1]),
                                         _mm256_hadd_epi32(part[2], part[3]));
        sums = _mm256_add_epi32(sums, _mm256_set1_epi32(1 << (shift - 1)));
        sums = _mm256_sra_epi32(sums, _mm_cvtsi32_si128(shift));
        /* Even coefficients are in the lower half, odd in the upper. */
        __m128i even = _mm256_castsi256_si128(sums), odd = _mm256_extracti128_si256(sums, 1);
        __m128i all = _mm_packs_epi32(_mm_unpacklo_epi32(even, odd), _mm_unpackhi_epi32(even, odd));
        int16_t coefficient[8];
        _mm_storeu_si128((__m128i *)coefficient, all);
        for (int u = 0; u < 8; u++)
            to[8 * u + v] = coefficient[u];
#else
        for (int u = 0; u < 8; u++) {
            int32_t sum = 1 << (shift - 1);
            for (int k = 0; k < 8; k++)
                sum += from[8 * v + k] * COSINES[u][k];
            sum >>= shift;
            to[8 * u + v] = (int16_t)(sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum);
        }
#endif
    }
}

static const uint8_t ZIGZAG[64] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

/* Quotients by multiplication with 65536 / divisor, sign and size apart. */
static void quantise(int16_t *block, int quality)
{
    for (int i = 0; i < 64; i += 16) {
#if defined __AVX2__
        __m256i x = _mm256_loadu_si256((__m256i *)(block + i));
        int16_t factor[16];
        for (int k = 0; k < 16; k++)
            factor[k] = (int16_t)(65536 / (quality + (i + k) / 4 + 2));
        __m256i size = _mm256_add_epi16(_mm256_abs_epi16(x), _mm256_set1_epi16(3));
        size = _mm256_mulhi_epu16(size, _mm256_loadu_si256((__m256i *)factor));
        _mm256_storeu_si256((__m256i *)(block + i), _mm256_sign_epi16(size, x));
#else
        for (int k = i; k < i + 16; k++) {
            int factor = 65536 / (quality + k / 4 + 2);
            uint16_t size = (uint16_t)((block[k] < 0 ? -block[k] : block[k]) + 3);
            int16_t quotient = (int16_t)((uint32_t)size * (uint16_t)factor >> 16);
            block[k] = block[k] < 0 ? (int16_t)-quotient : block[k] ? quotient : 0;
        }
#endif
    }
}

/* --- The transform in floats ---------------------------------------------- */

/* Both directions: to = M from Mᵀ with M or its transposed. */
static void transform(const float *from, float *to, int back)
{
    float half[64];
    const float *in = from;
    float *result = half;
    for (int pass = 0; pass < 2; pass++) {
        float turned[64];
        for (int u = 0; u < 8; u++) {
            f8 sum = f8_set(0);
            for (int k = 0; k < 8; k++) {
                float factor = (float)(back ? COSINES[k][u] : COSINES[u][k]) * 0x1p-13f;
                sum = f8_fma(f8_set(factor), f8_load(in + 8 * k), sum);
            }
            f8_store(turned + 8 * u, sum);
        }
        for (int i = 0; i < 64; i++)
            result[i] = turned[i % 8 * 8 + i / 8];
        in = half;
        result = to;
    }
}

/* To integers, by rounding to nearest even, and to bytes with saturation. */
static void to_bytes(const float *from, uint8_t *to, size_t count)
{
    for (size_t i = 0; i < count; i += 16) {
#if defined __AVX2__
        __m256i a = _mm256_cvtps_epi32(_mm256_loadu_ps(from + i));
        __m256i b = _mm256_cvtps_epi32(_mm256_loadu_ps(from + i + 8));
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words),
                                         _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(to + i), bytes);
#else
        for (size_t k = i; k < i + 16; k++) {
            float rounded = nearbyintf(from[k]);
            to[k] = (uint8_t)(rounded < 0 ? 0 : rounded > 255 ? 255 : rounded);
        }
#endif
    }
}

/* --- Colours --------------------------------------------------------------- */

/* Brightness of 32 pixels in three planes: (77 r + 150 g + 29 b + 128) / 256. */
static void brightness(const uint8_t *r, const uint8_t *g, const uint8_t *b, uint8_t *to,
                       size_t count)
{
    for (size_t i = 0; i < count; i += 32) {
#if defined __AVX2__
        __m256i sums[2];
        for (size_t k = 0; k < 2; k++) {
            __m256i red = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(r + i + 16 * k)));
            __m256i green = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(g + i + 16 * k)));
            __m256i blue = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(b + i + 16 * k)));
            __m256i sum = _mm256_mullo_epi16(red, _mm256_set1_epi16(77));
            sum = _mm256_add_epi16(sum, _mm256_mullo_epi16(green, _mm256_set1_epi16(150)));
            sum = _mm256_add_epi16(sum, _mm256_mullo_epi16(blue, _mm256_set1_epi16(29)));
            sums[k] = _mm256_srli_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(128)), 8);
        }
        __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(sums[0], sums[1]), 0xd8);
        _mm256_storeu_si256((__m256i *)(to + i), bytes);
#else
        for (size_t k = i; k < i + 32; k++)
            to[k] = (uint8_t)((77 * r[k] + 150 * g[k] + 29 * b[k] + 128) >> 8);
#endif
    }
}

/* Each byte the rounded average of four, from two rows of 64. */
static void halve(const uint8_t *above, const uint8_t *below, uint8_t *to)
{
#if defined __AVX2__
    __m256i sums[2];
    for (int k = 0; k < 2; k++) {
        __m256i one = _mm256_set1_epi8(1);
        __m256i a = _mm256_loadu_si256((const __m256i *)(above + 32 * k));
        __m256i b = _mm256_loadu_si256((const __m256i *)(below + 32 * k));
        sums[k] = _mm256_add_epi16(_mm256_maddubs_epi16(a, one), _mm256_maddubs_epi16(b, one));
        sums[k] = _mm256_mulhrs_epi16(sums[k], _mm256_set1_epi16(0x2000));
    }
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(sums[0], sums[1]), 0xd8);
    _mm256_storeu_si256((__m256i *)to, bytes);
#else
    for (int i = 0; i < 32; i++)
        to[i] = (uint8_t)((above[2 * i] + above[2 * i + 1] + below[2 * i] + below[2 * i + 1] + 2) /
                          4);
#endif
}

/* The place of the best match of 8 bytes among 8, by sums of differences. */
static unsigned best_match(const uint8_t *block, const uint8_t *among, unsigned *difference)
{
#if defined __SSE4_1__
    __m128i where = _mm_loadu_si128((const __m128i *)among);
    __m128i wanted = _mm_loadu_si128((const __m128i *)block);
    __m128i sums = _mm_add_epi16(_mm_mpsadbw_epu8(where, wanted, 0),
                                 _mm_mpsadbw_epu8(where, wanted, 5));
    __m128i least = _mm_minpos_epu16(sums);
    *difference = (unsigned)_mm_extract_epi16(least, 0);
    return (unsigned)_mm_extract_epi16(least, 1);
#else
    unsigned place = 0;
    *difference = ~0u;
    for (unsigned i = 0; i < 8; i++) {
        unsigned sum = 0;
        for (unsigned k = 0; k < 8; k++)
            sum += (unsigned)abs(among[i + k] - block[k]);
        if (sum < *difference)
            *difference = sum, place = i;
    }
    return place;
#endif
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {88};
    for (unsigned round = 0; round < 6 * scale; round++) {
        struct fenced planes[4];
        for (int i = 0; i < 4; i++) {
            planes[i] = fenced_end(128, 1);
            random_bytes(&random, planes[i].bytes, 128);
        }
        uint8_t *bright = planes[3].bytes, quarter[32];
        brightness(planes[0].bytes, planes[1].bytes, planes[2].bytes, bright, 128);
        report(out, bright, 128, "brightness");
        halve(bright, bright + 64, quarter);
        report(out, quarter, 32, "halve");
        unsigned difference, place = best_match(bright, bright + 61, &difference);
        fprintf(out, "best-match place=%u difference=%u\n", place, difference);

        int16_t block[64], half[64], whole[64];
        for (int i = 0; i < 64; i++)
            block[i] = (int16_t)((bright[i] - 128) * 8);
        rows(block, half, 13);
        rows(half, whole, 13);
        report(out, whole, sizeof whole, "cosine-integer");
        quantise(whole, 8 + (int)round);
        int16_t ordered[64];
        for (int i = 0; i < 64; i++)
            ordered[i] = whole[ZIGZAG[i]];
        report(out, ordered, sizeof ordered, "quantised");

        float pixels[64], coefficients[64], restored[64];
        for (int i = 0; i < 64; i++)
            pixels[i] = (float)bright[i];
        transform(pixels, coefficients, 0);
        report(out, coefficients, sizeof coefficients, "cosine-float");
        transform(coefficients, restored, 1);
        report(out, restored, sizeof restored, "cosine-float-back");
        uint8_t bytes[64];
        to_bytes(restored, bytes, 64);
        report(out, bytes, sizeof bytes, "bytes");
        for (int i = 0; i < 64; i++)
            if (abs(bytes[i] - bright[i]) > 1)
                die("pixel %d comes back as %d and was %d", i, bytes[i], bright[i]);
        for (int i = 0; i < 4; i++)
            release(planes[i]);
    }
}
