/* AMD's XOP: rotations and shifts by each lane's own count, selection of bits
 * and bytes, all comparisons, multiplication with addition, sums of
 * neighbours; ChaCha20 with a published vector. Beside each stands what it
 * means in plain C. */
#include "program.h"

#include <math.h>

#if defined __XOP__
#define LOAD(p) _mm_loadu_si128((const __m128i *)(p))
#define STORE(p, x) _mm_storeu_si128((__m128i *)(p), x)
#endif

/* --- ChaCha20 (RFC 8439) ---------------------------------------------------- */

static void chacha20(const uint32_t start[16], unsigned char to[64])
{
    uint32_t state[16];
#if defined __XOP__
    __m128i a = LOAD(start), b = LOAD(start + 4), c = LOAD(start + 8), d = LOAD(start + 12);
    for (int round = 0; round < 20; round++) {
        a = _mm_add_epi32(a, b), d = _mm_roti_epi32(_mm_xor_si128(d, a), 16);
        c = _mm_add_epi32(c, d), b = _mm_roti_epi32(_mm_xor_si128(b, c), 12);
        a = _mm_add_epi32(a, b), d = _mm_roti_epi32(_mm_xor_si128(d, a), 8);
        c = _mm_add_epi32(c, d), b = _mm_roti_epi32(_mm_xor_si128(b, c), 7);
        /* From columns to diagonals and back. */
        if (round % 2 == 0)
            b = _mm_shuffle_epi32(b, 0x39), c = _mm_shuffle_epi32(c, 0x4e),
            d = _mm_shuffle_epi32(d, 0x93);
        else
            b = _mm_shuffle_epi32(b, 0x93), c = _mm_shuffle_epi32(c, 0x4e),
            d = _mm_shuffle_epi32(d, 0x39);
    }
    STORE(state, a), STORE(state + 4, b), STORE(state + 8, c), STORE(state + 12, d);
#else
    memcpy(state, start, sizeof state);
#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < 4; i++) {
            uint32_t *a = state + i, *b = state + 4 + (i + round % 2) % 4;
            uint32_t *c = state + 8 + (i + 2 * (round % 2)) % 4;
            uint32_t *d = state + 12 + (i + 3 * (round % 2)) % 4;
            *a += *b, *d ^= *a, *d = ROTATE(*d, 16);
            *c += *d, *b ^= *c, *b = ROTATE(*b, 12);
            *a += *b, *d ^= *a, *d = ROTATE(*d, 8);
            *c += *d, *b ^= *c, *b = ROTATE(*b, 7);
        }
#endif
    for (int i = 0; i < 16; i++)
        state[i] += start[i];
    memcpy(to, state, 64);
}

static void published_block(FILE *out)
{
    uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (uint32_t i = 0; i < 8; i++)
        start[4 + i] = 0x03020100 + 0x04040404 * i;
    start[12] = 1, start[13] = 0x09000000, start[14] = 0x4a000000, start[15] = 0;
    unsigned char block[64];
    chacha20(start, block);
    published(out, "RFC 8439 section 2.3.2", block,
              "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d7"
              "05d98b02a2b5129cd1de164eb9cbd083e8a2503c4e");
}

/* --- Rotations and shifts --------------------------------------------------- */

/* Lanes of one type, in place of a vector. */
#define EACH(type, count, expression)                                                              \
    for (int i = 0; i < count; i++) {                                                              \
        type a = ((const type *)x)[i], b = ((const type *)y)[i];                                   \
        (void)a, (void)b;                                                                          \
        ((type *)to)[i] = (type)(expression);                                                      \
    }

#if !defined __XOP__
/* The count's lower byte is signed; to the left if it is positive. */
static uint64_t rotated(uint64_t a, int count, int bits)
{
    count &= bits - 1;
    uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    a &= mask;
    return count ? (a << count | a >> (bits - count)) & mask : a;
}

static uint64_t shifted(int64_t a, int8_t count, int bits, int is_signed)
{
    uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    if (count >= 0)
        return (uint64_t)a << count & mask;
    return is_signed ? (uint64_t)(a >> -count) : ((uint64_t)a & mask) >> -count;
}
#endif

/* Shifts go both ways, and by less than a lane's width. */
static void counts(const unsigned char *from, unsigned char *to, int bits)
{
    memcpy(to, from, 16);
    for (int i = 0; i < 16; i += bits / 8)
        to[i] = (unsigned char)((int8_t)from[i] % bits);
}

static void turns(FILE *out, const void *x, const void *y)
{
    const unsigned char *any = y;
    unsigned char to[16], in_width[4][16];
    for (int i = 0; i < 4; i++)
        counts(any, in_width[i], 8 << i);
#if defined __XOP__
#define TURN(intrinsic, type, count, expression) STORE(to, intrinsic(LOAD(x), LOAD(y)))
#else
#define TURN(intrinsic, type, count, expression) EACH(type, count, expression)
#endif
#define REPORTED(what) report(out, to, sizeof to, #what)
    TURN(_mm_rot_epi8, uint8_t, 16, rotated(a, (int8_t)b, 8));
    REPORTED(rotate bytes);
    TURN(_mm_rot_epi16, uint16_t, 8, rotated(a, (int8_t)b, 16));
    REPORTED(rotate words);
    TURN(_mm_rot_epi32, uint32_t, 4, rotated(a, (int8_t)b, 32));
    REPORTED(rotate doublewords);
    TURN(_mm_rot_epi64, uint64_t, 2, rotated(a, (int8_t)b, 64));
    REPORTED(rotate quadwords);
    y = in_width[0];
    TURN(_mm_shl_epi8, uint8_t, 16, shifted(a, (int8_t)b, 8, 0));
    REPORTED(shift bytes);
    TURN(_mm_sha_epi8, int8_t, 16, shifted(a, b, 8, 1));
    REPORTED(shift signed bytes);
    y = in_width[1];
    TURN(_mm_shl_epi16, uint16_t, 8, shifted(a, (int8_t)b, 16, 0));
    REPORTED(shift words);
    TURN(_mm_sha_epi16, int16_t, 8, shifted(a, (int8_t)b, 16, 1));
    REPORTED(shift signed words);
    y = in_width[2];
    TURN(_mm_shl_epi32, uint32_t, 4, shifted(a, (int8_t)b, 32, 0));
    REPORTED(shift doublewords);
    TURN(_mm_sha_epi32, int32_t, 4, shifted(a, (int8_t)b, 32, 1));
    REPORTED(shift signed doublewords);
    y = in_width[3];
    TURN(_mm_shl_epi64, uint64_t, 2, shifted((int64_t)a, (int8_t)b, 64, 0));
    REPORTED(shift quadwords);
    TURN(_mm_sha_epi64, int64_t, 2, shifted(a, (int8_t)b, 64, 1));
    REPORTED(shift signed quadwords);
}

/* --- Comparisons ------------------------------------------------------------- */

static void comparisons(FILE *out, const void *x, const void *y)
{
    unsigned char to[16];
#if defined __XOP__
    __m128i a = LOAD(x), b = LOAD(y);
#define COMPARE(intrinsic, type, count, operator) STORE(to, intrinsic(a, b))
#else
#define COMPARE(intrinsic, type, count, operator) EACH(type, count, -(a operator b))
#endif
    COMPARE(_mm_comlt_epu8, uint8_t, 16, <);
    REPORTED(less bytes);
    COMPARE(_mm_comle_epi8, int8_t, 16, <=);
    REPORTED(less or equal signed bytes);
    COMPARE(_mm_comgt_epu16, uint16_t, 8, >);
    REPORTED(greater words);
    COMPARE(_mm_comge_epi16, int16_t, 8, >=);
    REPORTED(greater or equal signed words);
    COMPARE(_mm_comeq_epu32, uint32_t, 4, ==);
    REPORTED(equal doublewords);
    COMPARE(_mm_comneq_epi32, int32_t, 4, !=);
    REPORTED(unequal doublewords);
    COMPARE(_mm_comlt_epu64, uint64_t, 2, <);
    REPORTED(less quadwords);
    COMPARE(_mm_comge_epi64, int64_t, 2, >=);
    REPORTED(greater or equal signed quadwords);
}

/* --- Selection --------------------------------------------------------------- */

static void selections(FILE *out, const void *x, const void *y, const void *z)
{
    unsigned char to[16];
    const unsigned char *select = z;
    (void)select;
    /* Each bit from x where z has a one, else from y. */
#if defined __XOP__
    STORE(to, _mm_cmov_si128(LOAD(x), LOAD(y), LOAD(z)));
#else
    EACH(uint8_t, 16, (a & select[i]) | (b & ~select[i]));
#endif
    REPORTED(select bits);
    /* A byte of the 32 by the lower five bits, changed by the upper three. */
#if defined __XOP__
    STORE(to, _mm_perm_epi8(LOAD(x), LOAD(y), LOAD(z)));
#else
    EACH(uint8_t, 16, (b = 0, select[i] % 32 < 16 ? ((const uint8_t *)x)[select[i] % 16]
                                                   : ((const uint8_t *)y)[select[i] % 16]));
    for (int i = 0; i < 16; i++) {
        unsigned byte = to[i], reversed = 0;
        for (int k = 0; k < 8; k++)
            reversed |= (byte >> k & 1) << (7 - k);
        switch (select[i] >> 5) {
        case 0: break;
        case 1: byte = ~byte; break;
        case 2: byte = reversed; break;
        case 3: byte = ~reversed; break;
        case 4: byte = 0; break;
        case 5: byte = 0xff; break;
        case 6: byte = byte & 0x80 ? 0xff : 0; break;
        case 7: byte = byte & 0x80 ? 0 : 0xff; break;
        }
        to[i] = (unsigned char)byte;
    }
#endif
    REPORTED(permute bytes);
    unsigned char both[32];
#if defined __XOP__
    __m256i wide = _mm256_set_m128i(LOAD(y), LOAD(x)), other = _mm256_set_m128i(LOAD(z), LOAD(y));
    __m256i mask = _mm256_set_m128i(LOAD(x), LOAD(z));
    _mm256_storeu_si256((__m256i *)both, _mm256_cmov_si256(wide, other, mask));
#else
    const unsigned char *xs = x, *ys = y;
    for (int i = 0; i < 16; i++) {
        both[i] = (unsigned char)((xs[i] & select[i]) | (ys[i] & ~select[i]));
        both[16 + i] = (unsigned char)((ys[i] & xs[i]) | (select[i] & ~xs[i]));
    }
#endif
    report(out, both, sizeof both, "select 256 bits");
    /* Floats of two vectors, with zero where the selector's bit 3 says so. */
#if defined __XOP__
    STORE(to, _mm_castps_si128(_mm_permute2_ps(_mm_castsi128_ps(LOAD(x)), _mm_castsi128_ps(LOAD(y)),
                                               LOAD(z), 2)));
#else
    for (int i = 0; i < 4; i++) {
        uint32_t selector, value;
        memcpy(&selector, select + 4 * i, 4);
        const unsigned char *from = selector & 4 ? y : x;
        memcpy(&value, from + 4 * (selector & 3), 4);
        if (selector & 8)
            value = 0;
        memcpy(to + 4 * i, &value, 4);
    }
#endif
    REPORTED(permute floats);
}

/* --- Multiplication with addition -------------------------------------------- */

#if !defined __XOP__
static int32_t clip(int64_t value)
{
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

static int16_t clip_word(int32_t value)
{
    return value > 32767 ? 32767 : value < -32768 ? -32768 : (int16_t)value;
}
#endif

static void products(FILE *out, const int16_t *x, const int16_t *y, const void *z)
{
    unsigned char to[16];
    int32_t numbers[4], others[4], sums[4];
    int16_t words[8];
    int64_t longs[2];
    memcpy(numbers, x, 16);
    memcpy(others, y, 16);
    memcpy(sums, z, 16);
    memcpy(words, z, 16);
    memcpy(longs, z, 16);
#if defined __XOP__
    __m128i a = LOAD(x), b = LOAD(y), c = LOAD(z);
#define PRODUCT(intrinsic, type, count, expression) STORE(to, intrinsic(a, b, c))
#else
#define PRODUCT(intrinsic, type, count, expression)                                                \
    for (int i = 0; i < count; i++)                                                                \
    ((type *)to)[i] = (type)(expression)
#endif
    PRODUCT(_mm_macc_epi16, int16_t, 8, (uint32_t)(x[i] * y[i]) + (uint32_t)words[i]);
    REPORTED(words);
    PRODUCT(_mm_maccs_epi16, int16_t, 8, clip_word(clip((int64_t)x[i] * y[i] + words[i])));
    REPORTED(words saturated);
    PRODUCT(_mm_macc_epi32, int32_t, 4,
            (uint32_t)numbers[i] * (uint32_t)others[i] + (uint32_t)sums[i]);
    REPORTED(doublewords);
    PRODUCT(_mm_maccs_epi32, int32_t, 4, clip((int64_t)numbers[i] * others[i] + sums[i]));
    REPORTED(doublewords saturated);
    PRODUCT(_mm_maccd_epi16, int32_t, 4,
            (uint32_t)(x[2 * i + 1] * y[2 * i + 1]) + (uint32_t)sums[i]);
    REPORTED(odd words);
    PRODUCT(_mm_maccsd_epi16, int32_t, 4, clip((int64_t)x[2 * i + 1] * y[2 * i + 1] + sums[i]));
    REPORTED(odd words saturated);
    PRODUCT(_mm_macclo_epi32, int64_t, 2,
            (uint64_t)((int64_t)numbers[2 * i] * others[2 * i]) + (uint64_t)longs[i]);
    REPORTED(even doublewords);
    PRODUCT(_mm_macchi_epi32, int64_t, 2,
            (uint64_t)((int64_t)numbers[2 * i + 1] * others[2 * i + 1]) + (uint64_t)longs[i]);
    REPORTED(odd doublewords);
    PRODUCT(_mm_maddd_epi16, int32_t, 4,
            (uint32_t)(x[2 * i] * y[2 * i]) + (uint32_t)(x[2 * i + 1] * y[2 * i + 1]) +
                (uint32_t)sums[i]);
    REPORTED(pairs);
    PRODUCT(_mm_maddsd_epi16, int32_t, 4,
            clip((int64_t)x[2 * i] * y[2 * i] + (int64_t)x[2 * i + 1] * y[2 * i + 1] + sums[i]));
    REPORTED(pairs saturated);
}

/* --- Sums of neighbours, and fractions ----------------------------------------- */

static void neighbours(FILE *out, const void *x)
{
    unsigned char to[16];
    const uint8_t *bytes = x;
    const int8_t *signed_bytes = x;
    const int16_t *words = x;
    const int32_t *numbers = x;
    (void)bytes, (void)signed_bytes, (void)words, (void)numbers;
#if defined __XOP__
#define SUM(intrinsic, type, count, from, each, sign) STORE(to, intrinsic(LOAD(x)))
#else
#define SUM(intrinsic, type, count, from, each, sign)                                              \
    for (int i = 0; i < count; i++) {                                                              \
        type sum = 0;                                                                              \
        for (int k = 0; k < each; k++)                                                             \
            sum = (type)(sum + (k && sign < 0 ? -(type)from[each * i + k] : (type)from[each * i + k])); \
        ((type *)to)[i] = sum;                                                                     \
    }
#endif
    SUM(_mm_haddw_epu8, uint16_t, 8, bytes, 2, 1);
    REPORTED(bytes to words);
    SUM(_mm_haddd_epu8, uint32_t, 4, bytes, 4, 1);
    REPORTED(bytes to doublewords);
    SUM(_mm_haddq_epi8, int64_t, 2, signed_bytes, 8, 1);
    REPORTED(signed bytes to quadwords);
    SUM(_mm_haddd_epi16, int32_t, 4, words, 2, 1);
    REPORTED(words to doublewords);
    SUM(_mm_haddq_epi16, int64_t, 2, words, 4, 1);
    REPORTED(words to quadwords);
    SUM(_mm_haddq_epi32, int64_t, 2, numbers, 2, 1);
    REPORTED(doublewords to quadwords);
    SUM(_mm_hsubw_epi8, int16_t, 8, signed_bytes, 2, -1);
    REPORTED(differences of bytes);
    SUM(_mm_hsubd_epi16, int32_t, 4, words, 2, -1);
    REPORTED(differences of words);
    SUM(_mm_hsubq_epi32, int64_t, 2, numbers, 2, -1);
    REPORTED(differences of doublewords);
}

static void fractions(FILE *out, struct random *random)
{
    float from[8], to[8];
    double single[2], part[2];
    for (int i = 0; i < 8; i++)
        from[i] = random_float(random) * 100;
    single[0] = random_double(random) * 1e6;
    single[1] = -single[0] / 7;
#if defined __XOP__
    _mm256_storeu_ps(to, _mm256_frcz_ps(_mm256_loadu_ps(from)));
    _mm_storeu_pd(part, _mm_frcz_pd(_mm_loadu_pd(single)));
#else
    for (int i = 0; i < 8; i++)
        to[i] = from[i] - truncf(from[i]);
    for (int i = 0; i < 2; i++)
        part[i] = single[i] - trunc(single[i]);
#endif
    report(out, to, sizeof to, "fractions");
    report(out, part, sizeof part, "fractions of doubles");
}

static void run(FILE *out, unsigned scale)
{
    published_block(out);
    struct random random = {0x0f};
    for (unsigned i = 0; i < 40 * scale; i++) {
        unsigned char x[16], y[16], z[16];
        random_bytes(&random, x, 16);
        random_bytes(&random, y, 16);
        random_bytes(&random, z, 16);
        if (i % 3 == 0)
            memcpy(y, x, 8);
        if (i % 4 == 0)
            for (int k = 0; k < 16; k++)
                y[k] = (unsigned char)((int8_t)y[k] % 40);
        if (i % 5 == 0)
            memset(x, i % 2 ? 0x80 : 0x7f, 8);
        turns(out, x, y);
        comparisons(out, x, y);
        selections(out, x, y, z);
        products(out, (int16_t *)x, (int16_t *)y, z);
        neighbours(out, x);
        fractions(out, &random);
        uint32_t key[16];
        random_bytes(&random, key, sizeof key);
        unsigned char block[64];
        chacha20(key, block);
        report(out, block, sizeof block, "chacha20");
    }
}
