/* Validates UTF-8 by three table look-ups a byte: the byte before's two
 * halves and the byte's own upper half each say which errors are possible,
 * and an error that all three allow is one. */
#include "program.h"

/* RFC 3629, section 4, byte by byte. */
static int is_utf8_plain(const unsigned char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        unsigned char lead = text[i];
        size_t more = lead < 0x80 ? 0 : lead < 0xc2 ? 9 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2
                      : lead < 0xf5                                            ? 3
                                                                               : 9;
        if (more == 9 || size - i <= more)
            return 0;
        for (size_t k = 1; k <= more; k++)
            if ((text[i + k] & 0xc0) != 0x80)
                return 0;
        if ((lead == 0xe0 && text[i + 1] < 0xa0) || (lead == 0xed && text[i + 1] > 0x9f) ||
            (lead == 0xf0 && text[i + 1] < 0x90) || (lead == 0xf4 && text[i + 1] > 0x8f))
            return 0;
        i += 1 + more;
    }
    return 1;
}

#if defined __AVX2__

enum {
    TOO_SHORT = 1,       /* a lead byte, then no continuation */
    TOO_LONG = 2,        /* ASCII, then a continuation */
    OVERLONG_3 = 4,      /* e0 and below a0 */
    TOO_LARGE = 8,       /* f4 and above 8f, or f5 and above */
    SURROGATE = 16,      /* ed and above 9f */
    OVERLONG_2 = 32,     /* c0, c1 */
    TOO_LARGE_1000 = 64, /* f5 and above, then 80 to 8f */
    OVERLONG_4 = 64,     /* f0 and below 90 */
    TWO_CONTINUE = 128,  /* right where a byte of three or four calls for it */
    CARRY = TOO_SHORT | TOO_LONG | TWO_CONTINUE,
};

static __m256i look_up(__m256i index, const unsigned char table[16])
{
    __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    return _mm256_shuffle_epi8(both, index);
}

static __m256i upper_half(__m256i bytes)
{
    return _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
}

/* Not zero where the block `now`, which follows `before`, is wrong. */
static __m256i errors(__m256i before, __m256i now)
{
    static const unsigned char first_high[16] = {
        TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
        TWO_CONTINUE, TWO_CONTINUE, TWO_CONTINUE, TWO_CONTINUE, TOO_SHORT | OVERLONG_2, TOO_SHORT,
        TOO_SHORT | OVERLONG_3 | SURROGATE, TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4};
    static const unsigned char first_low[16] = {
        CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4, CARRY | OVERLONG_2, CARRY, CARRY,
        CARRY | TOO_LARGE, CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000,
        CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000,
        CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000,
        CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000,
        CARRY | TOO_LARGE | TOO_LARGE_1000 | SURROGATE, CARRY | TOO_LARGE | TOO_LARGE_1000,
        CARRY | TOO_LARGE | TOO_LARGE_1000};
    static const unsigned char second_high[16] = {
        TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
        TOO_LONG | OVERLONG_2 | TWO_CONTINUE | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4,
        TOO_LONG | OVERLONG_2 | TWO_CONTINUE | OVERLONG_3 | TOO_LARGE,
        TOO_LONG | OVERLONG_2 | TWO_CONTINUE | SURROGATE | TOO_LARGE,
        TOO_LONG | OVERLONG_2 | TWO_CONTINUE | SURROGATE | TOO_LARGE, TOO_SHORT, TOO_SHORT,
        TOO_SHORT, TOO_SHORT};
    __m256i across = _mm256_permute2x128_si256(before, now, 0x21);
    __m256i first = _mm256_alignr_epi8(now, across, 15);
    __m256i special = _mm256_and_si256(
        _mm256_and_si256(look_up(upper_half(first), first_high),
                         look_up(_mm256_and_si256(first, _mm256_set1_epi8(15)), first_low)),
        look_up(upper_half(now), second_high));
    /* Two bytes on from a lead of three, three from one of four, there has to
     * be a continuation. */
    __m256i third = _mm256_subs_epu8(_mm256_alignr_epi8(now, across, 14), _mm256_set1_epi8(0x60));
    __m256i fourth = _mm256_subs_epu8(_mm256_alignr_epi8(now, across, 13), _mm256_set1_epi8(0x70));
    __m256i has_to = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));
    return _mm256_xor_si256(has_to, special);
}

static int is_utf8(const unsigned char *text, size_t size)
{
    __m256i before = _mm256_setzero_si256(), wrong = before;
    for (size_t i = 0;; i += 32) {
        unsigned char last[32] = {0};
        const unsigned char *block = text + i;
        if (size - i < 32) {
            memcpy(last, block, size - i);
            block = last;
        }
        __m256i now = _mm256_loadu_si256((const __m256i *)block);
        if (_mm256_movemask_epi8(_mm256_or_si256(now, before)))
            wrong = _mm256_or_si256(wrong, errors(before, now));
        before = now;
        /* The zeros behind the end show a last letter that is cut off. */
        if (block == last)
            break;
    }
    return _mm256_testz_si256(wrong, wrong);
}

#else
#define is_utf8 is_utf8_plain
#endif

/* A letter of one to four bytes. */
static size_t letter(struct random *random, unsigned char *to)
{
    uint32_t code;
    switch (random_u64(random) % 5) {
    case 0:
    case 1:
        to[0] = (unsigned char)(random_u64(random) % 0x80);
        return 1;
    case 2:
        code = 0x80 + (uint32_t)(random_u64(random) % 0x780);
        to[0] = (unsigned char)(0xc0 | code >> 6);
        to[1] = (unsigned char)(0x80 | (code & 63));
        return 2;
    case 3:
        do
            code = 0x800 + (uint32_t)(random_u64(random) % 0xf800);
        while (code >= 0xd800 && code < 0xe000);
        to[0] = (unsigned char)(0xe0 | code >> 12);
        to[1] = (unsigned char)(0x80 | (code >> 6 & 63));
        to[2] = (unsigned char)(0x80 | (code & 63));
        return 3;
    default:
        code = 0x10000 + (uint32_t)(random_u64(random) % 0x100000);
        to[0] = (unsigned char)(0xf0 | code >> 18);
        to[1] = (unsigned char)(0x80 | (code >> 12 & 63));
        to[2] = (unsigned char)(0x80 | (code >> 6 & 63));
        to[3] = (unsigned char)(0x80 | (code & 63));
        return 4;
    }
}

static void run(FILE *out, unsigned scale)
{
    static const unsigned char bad[] = {0xc0, 0x80, 0xe0, 0x9f, 0xed, 0xa0, 0xf0, 0x8f,
                                        0xf4, 0x90, 0xf5, 0xff, 0xc1, 0xbf, 0x41, 0xe2};
    struct random random = {8};
    unsigned valid = 0;
    for (unsigned i = 0; i < 200 * scale; i++) {
        unsigned char text[200];
        size_t size = 0, wanted = random_u64(&random) % 180;
        while (size < wanted)
            size += letter(&random, text + size);
        size_t spoilt = random_u64(&random) % 3;
        for (size_t k = 0; k < spoilt && size; k++)
            text[random_u64(&random) % size] = bad[random_u64(&random) % sizeof bad];
        struct fenced at_edge = fenced_end(size, 1);
        memcpy(at_edge.bytes, text, size);
        int found = is_utf8(at_edge.bytes, size);
        if (found != is_utf8_plain(at_edge.bytes, size))
            die("text %u of %zu bytes is found to be %s", i, size, found ? "valid" : "wrong");
        valid += (unsigned)found;
        if (i % 10 == 0)
            report(out, text, size, "text %u valid=%d", i, found);
        release(at_edge);
    }
    fprintf(out, "valid %u\n", valid);
}
