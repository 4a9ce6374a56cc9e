/* What came with SSE3 to SSE4.2: string comparison instructions, horizontal
 * sums, shuffles, inserts and extracts, blends, dot products. */
#include "program.h"

/* The place of `needle`, at most 16 bytes; -1 if it is not there. 16 bytes
 * behind the text are read, too. */
static long find(const char *text, size_t length, const char *needle, int needle_length)
{
#if defined __SSE4_2__
    __m128i wanted = _mm_loadu_si128((const __m128i *)needle);
    for (size_t i = 0; i < length;) {
        __m128i here = _mm_loadu_si128((const __m128i *)(text + i));
        int rest = length - i < 16 ? (int)(length - i) : 16;
        int at = _mm_cmpestri(wanted, needle_length, here, rest, _SIDD_CMP_EQUAL_ORDERED);
        if (at == 16) {
            i += 16;
        } else if (at + needle_length <= 16) {
            if (at + needle_length > rest)
                return -1;
            return (long)i + at;
        } else {
            i += (size_t)at;
            if (at == 0)
                return -1;
        }
    }
    return -1;
#else
    for (size_t i = 0; i + (size_t)needle_length <= length; i++)
        if (!memcmp(text + i, needle, (size_t)needle_length))
            return (long)i;
    return -1;
#endif
}

/* How many of the letters are vowels, and a mask of digits of the first 16. */
static uint32_t classes(const char *text)
{
#if defined __SSE4_2__
    __m128i here = _mm_loadu_si128((const __m128i *)text);
    __m128i vowels = _mm_setr_epi8('a', 'e', 'i', 'o', 'u', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128i range = _mm_setr_epi8('0', '9', 'A', 'F', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128i any = _mm_cmpistrm(vowels, here, _SIDD_CMP_EQUAL_ANY | _SIDD_BIT_MASK);
    __m128i digit = _mm_cmpistrm(range, here, _SIDD_CMP_RANGES | _SIDD_UNIT_MASK);
    int last = _mm_cmpistri(range, here, _SIDD_CMP_RANGES | _SIDD_MOST_SIGNIFICANT);
    return (uint32_t)__builtin_popcount((unsigned)_mm_cvtsi128_si32(any)) |
           (uint32_t)_mm_movemask_epi8(digit) << 8 | (uint32_t)last << 26;
#else
    uint32_t vowels = 0, digits = 0, last = 16;
    for (uint32_t i = 0; i < 16 && text[i]; i++) {
        vowels += strchr("aeiou", text[i]) != NULL;
        if ((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'F')) {
            digits |= 1u << i;
            last = i;
        }
    }
    return vowels | digits << 8 | last << 26;
#endif
}

/* A complex product of two pairs. */
static void complex_products(const float a[4], const float b[4], float to[4])
{
#if defined __SSE3__
    __m128 x = _mm_loadu_ps(a), y = _mm_loadu_ps(b);
    __m128 straight = _mm_mul_ps(_mm_moveldup_ps(x), y);
    __m128 crossed = _mm_mul_ps(_mm_movehdup_ps(x), _mm_shuffle_ps(y, y, 0xb1));
    _mm_storeu_ps(to, _mm_addsub_ps(straight, crossed));
#else
    for (int i = 0; i < 4; i += 2) {
        to[i] = a[i] * b[i] - a[i + 1] * b[i + 1];
        to[i + 1] = a[i] * b[i + 1] + a[i + 1] * b[i];
    }
#endif
}

/* Four numbers of 16 bits and their mixtures, by what SSSE3 and SSE4.1 have. */
static void mixture(const int16_t a[8], const int16_t b[8], int32_t to[8])
{
#if defined __SSE4_1__
    __m128i x = _mm_loadu_si128((const __m128i *)a), y = _mm_loadu_si128((const __m128i *)b);
    __m128i sums = _mm_hadds_epi16(x, y), differences = _mm_hsub_epi16(x, y);
    __m128i wide = _mm_cvtepi16_epi32(_mm_sign_epi16(sums, differences));
    __m128i scaled = _mm_cvtepi16_epi32(_mm_mulhrs_epi16(x, y));
    __m128i product = _mm_mullo_epi32(wide, scaled);
    __m128i least = _mm_min_epi32(wide, scaled);
    _mm_storeu_si128((__m128i *)to, _mm_blend_epi16(product, least, 0x3c));
    _mm_storeu_si128((__m128i *)(to + 4), _mm_insert_epi32(_mm_abs_epi32(least),
                                                          _mm_extract_epi16(x, 5), 2));
#else
    int32_t product[4], least[4];
    for (int i = 0; i < 4; i++) {
        /* The lower four lanes of the sums come from a. */
        int32_t sum = a[2 * i] + a[2 * i + 1];
        sum = sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum;
        int16_t difference = (int16_t)(a[2 * i] - a[2 * i + 1]);
        int32_t wide = difference < 0 ? (int16_t)-sum : difference ? sum : 0;
        int32_t scaled = (int16_t)((a[i] * b[i] + 0x4000) >> 15);
        product[i] = (int32_t)((uint32_t)wide * (uint32_t)scaled);
        least[i] = wide < scaled ? wide : scaled;
    }
    for (int i = 0; i < 4; i++) {
        to[i] = i == 1 || i == 2 ? least[i] : product[i];
        to[4 + i] = (int32_t)(least[i] < 0 ? -(uint32_t)least[i] : (uint32_t)least[i]);
    }
    to[6] = (uint16_t)a[5];
#endif
}

/* Selected by the sign of a third vector; and whether nothing of it is set. */
static int selected(const float a[4], const float b[4], const float which[4], float to[4])
{
#if defined __SSE4_1__
    __m128 x = _mm_loadu_ps(a), y = _mm_loadu_ps(b), mask = _mm_loadu_ps(which);
    _mm_storeu_ps(to, _mm_blendv_ps(x, _mm_insert_ps(y, x, 0x1c), mask));
    return _mm_testz_si128(_mm_castps_si128(mask), _mm_castps_si128(x));
#else
    float y[4];
    memcpy(y, b, sizeof y);
    y[1] = a[0];
    y[2] = y[3] = 0;
    uint32_t common = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t mask, bits;
        memcpy(&mask, which + i, 4);
        memcpy(&bits, a + i, 4);
        common |= mask & bits;
        to[i] = mask >> 31 ? y[i] : a[i];
    }
    return common == 0;
#endif
}

static float dot(const float a[4], const float b[4])
{
#if defined __SSE4_1__
    return _mm_cvtss_f32(_mm_dp_ps(_mm_loadu_ps(a), _mm_loadu_ps(b), 0xf1));
#else
    return (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3]);
#endif
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {42};
    for (unsigned round = 0; round < 30 * scale; round++) {
        char text[160], needle[17] = {0};
        size_t length = random_u64(&random) % 140;
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (char)('a' + random_u64(&random) % 2);
        int needle_length = 1 + (int)(random_u64(&random) % 7);
        for (int i = 0; i < needle_length; i++)
            needle[i] = (char)('a' + random_u64(&random) % 2);
        struct fenced at_edge = fenced_end(length + 16, 1);
        memcpy(at_edge.bytes, text, length);
        fprintf(out, "find %s %ld\n", needle,
                find((char *)at_edge.bytes, length, needle, needle_length));
        release(at_edge);

        char mixed[17];
        for (int i = 0; i < 16; i++)
            mixed[i] = "aeioubcdfgABF0189_"[random_u64(&random) % 18];
        mixed[random_u64(&random) % 17] = 0;
        fprintf(out, "classes %08x\n", classes(mixed));

        float a[4], b[4], c[4], to[4];
        int16_t x[8], y[8];
        int32_t mixed_up[8];
        random_floats(&random, a, 4);
        random_floats(&random, b, 4);
        random_floats(&random, c, 4);
        random_bytes(&random, x, sizeof x);
        random_bytes(&random, y, sizeof y);
        complex_products(a, b, to);
        report(out, to, sizeof to, "complex");
        mixture(x, y, mixed_up);
        report(out, mixed_up, sizeof mixed_up, "mixture");
        int none = selected(a, b, c, to);
        report(out, to, sizeof to, "select none=%d", none);
        fprintf(out, "dot %a\n", (double)dot(a, b));
    }
}
