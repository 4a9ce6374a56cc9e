/* What came after AVX2 on vectors of 256 bits: products of bytes for neural
 * networks (AVX-VNNI), arithmetic in a field of 256 elements (GFNI), wide
 * carry-less products. */
#include "program.h"

/* Dot products of bytes and of words, added to 32 bits, with saturation. */
static void neural(const uint8_t a[32], const int8_t b[32], int32_t plain[8], int32_t saturated[8],
                   int32_t words[8])
{
#if defined __AVXVNNI__
    __m256i x = _mm256_loadu_si256((const __m256i *)a);
    __m256i y = _mm256_loadu_si256((const __m256i *)b);
    __m256i start = _mm256_set1_epi32(0x7fffc000);
    _mm256_storeu_si256((__m256i *)plain, _mm256_dpbusd_avx_epi32(start, x, y));
    _mm256_storeu_si256((__m256i *)saturated, _mm256_dpbusds_avx_epi32(start, x, y));
    _mm256_storeu_si256((__m256i *)words, _mm256_dpwssds_avx_epi32(start, x, y));
#else
    for (int i = 0; i < 8; i++) {
        int64_t sum = 0x7fffc000, of_words = sum;
        for (int k = 0; k < 4; k++)
            sum += a[4 * i + k] * b[4 * i + k];
        for (int k = 0; k < 2; k++) {
            int16_t u, v;
            memcpy(&u, a + 4 * i + 2 * k, 2);
            memcpy(&v, b + 4 * i + 2 * k, 2);
            of_words += u * v;
        }
        plain[i] = (int32_t)(uint32_t)sum;
        saturated[i] = sum > INT32_MAX ? INT32_MAX : (int32_t)sum;
        words[i] = of_words > INT32_MAX ? INT32_MAX : (int32_t)of_words;
    }
#endif
}

__attribute__((unused)) static uint8_t field_times(uint8_t a, uint8_t b)
{
    unsigned product = 0;
    for (int i = 0; i < 8; i++) {
        product ^= b >> i & 1 ? a : 0;
        a = (uint8_t)(a << 1 ^ (a >> 7 ? 0x1b : 0));
    }
    return (uint8_t)product;
}

/* a b; and the substitution of AES as inverse and affine map. */
static void field(const uint8_t a[32], const uint8_t b[32], uint8_t product[32], uint8_t box[32])
{
#if defined __GFNI__
    __m256i x = _mm256_loadu_si256((const __m256i *)a);
    __m256i y = _mm256_loadu_si256((const __m256i *)b);
    __m256i matrix = _mm256_set1_epi64x((long long)0xf1e3c78f1f3e7cf8);
    _mm256_storeu_si256((__m256i *)product, _mm256_gf2p8mul_epi8(x, y));
    _mm256_storeu_si256((__m256i *)box, _mm256_gf2p8affineinv_epi64_epi8(x, matrix, 0x63));
#else
    for (int i = 0; i < 32; i++) {
        product[i] = field_times(a[i], b[i]);
        uint8_t inverse = 1;
        for (int k = 0; k < 254; k++)
            inverse = field_times(inverse, a[i]);
        box[i] = 0x63;
        for (int k = 0; k < 5; k++)
            box[i] ^= (uint8_t)(inverse << k | inverse >> (8 - k));
    }
#endif
}

/* Two carry-less products at once. */
static void carry_less(const uint64_t a[4], const uint64_t b[4], uint64_t to[4])
{
#if defined __VPCLMULQDQ__
    __m256i x = _mm256_loadu_si256((const __m256i *)a);
    __m256i y = _mm256_loadu_si256((const __m256i *)b);
    _mm256_storeu_si256((__m256i *)to, _mm256_clmulepi64_epi128(x, y, 0x10));
#else
    for (int i = 0; i < 4; i += 2) {
        unsigned __int128 product = 0;
        for (int k = 0; k < 64; k++)
            if (b[i + 1] >> k & 1)
                product ^= (unsigned __int128)a[i] << k;
        to[i] = (uint64_t)product;
        to[i + 1] = (uint64_t)(product >> 64);
    }
#endif
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {512};
    for (unsigned i = 0; i < 50 * scale; i++) {
        uint8_t a[32], b[32], product[32], box[32];
        int32_t plain[8], saturated[8], words[8];
        uint64_t wide[4];
        random_bytes(&random, a, 32);
        random_bytes(&random, b, 32);
        neural(a, (int8_t *)b, plain, saturated, words);
        field(a, b, product, box);
        carry_less((uint64_t *)a, (uint64_t *)b, wide);
        report(out, plain, 32, "dot");
        report(out, saturated, 32, "dot-saturated");
        report(out, words, 32, "dot-words");
        report(out, product, 32, "product");
        report(out, box, 32, "box");
        report(out, wide, 32, "carry-less");
    }
}
