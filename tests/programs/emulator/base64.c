/* Base64 (RFC 4648) by shuffles, multiplications of bytes and words, and
 * comparisons: 24 bytes to 32 letters and back. */
#include "program.h"

static const char LETTERS[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#if defined __AVX2__

/* The six bits of each letter, from 24 bytes that begin 4 bytes after `from`'s
 * beginning (12 in each half's middle). */
static __m256i sixes(__m256i bytes)
{
    bytes = _mm256_shuffle_epi8(
        bytes, _mm256_setr_epi8(5, 4, 6, 5, 8, 7, 9, 8, 11, 10, 12, 11, 14, 13, 15, 14, 1, 0, 2, 1,
                                4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
    __m256i high = _mm256_mulhi_epu16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x0fc0fc00)),
                                      _mm256_set1_epi32(0x04000040));
    __m256i low = _mm256_mullo_epi16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x003f03f0)),
                                     _mm256_set1_epi32(0x01000010));
    return _mm256_or_si256(high, low);
}

static __m256i letters(__m256i six)
{
    __m256i class = _mm256_subs_epu8(six, _mm256_set1_epi8(51));
    class = _mm256_sub_epi8(class, _mm256_cmpgt_epi8(six, _mm256_set1_epi8(25)));
    const __m256i shift =
        _mm256_setr_epi8(65, 71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 0, 0, 65, 71,
                         -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 0, 0);
    return _mm256_add_epi8(six, _mm256_shuffle_epi8(shift, class));
}

/* Where `low` <= byte <= `high`. */
static __m256i between(__m256i bytes, char low, char high)
{
    return _mm256_and_si256(_mm256_cmpgt_epi8(bytes, _mm256_set1_epi8((char)(low - 1))),
                            _mm256_cmpgt_epi8(_mm256_set1_epi8((char)(high + 1)), bytes));
}

/* The six bits of each of 32 letters; false if one is none. */
static int values(__m256i text, __m256i *six)
{
    __m256i upper = between(text, 'A', 'Z'), lower = between(text, 'a', 'z');
    __m256i digit = between(text, '0', '9');
    __m256i plus = _mm256_cmpeq_epi8(text, _mm256_set1_epi8('+'));
    __m256i slash = _mm256_cmpeq_epi8(text, _mm256_set1_epi8('/'));
    __m256i any = _mm256_or_si256(_mm256_or_si256(upper, lower),
                                  _mm256_or_si256(digit, _mm256_or_si256(plus, slash)));
    __m256i shift = _mm256_setzero_si256();
    shift = _mm256_blendv_epi8(shift, _mm256_set1_epi8(-65), upper);
    shift = _mm256_blendv_epi8(shift, _mm256_set1_epi8(-71), lower);
    shift = _mm256_blendv_epi8(shift, _mm256_set1_epi8(4), digit);
    shift = _mm256_blendv_epi8(shift, _mm256_set1_epi8(19), plus);
    shift = _mm256_blendv_epi8(shift, _mm256_set1_epi8(16), slash);
    *six = _mm256_add_epi8(text, shift);
    return _mm256_testc_si256(any, _mm256_set1_epi8(-1));
}

#endif

static size_t encode(const unsigned char *from, size_t size, char *to)
{
    char *end = to;
#if defined __AVX2__
    if (size >= 32) {
        /* The first load begins 4 bytes early, so that a half lies in each
         * lane: those bytes are made up. */
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)from),
                                                    _mm256_setr_epi32(0, 0, 1, 2, 3, 4, 5, 6));
        _mm256_storeu_si256((__m256i *)end, letters(sixes(bytes)));
        from += 24, size -= 24, end += 32;
        for (; size >= 28; from += 24, size -= 24, end += 32) {
            bytes = _mm256_loadu_si256((const __m256i *)(from - 4));
            _mm256_storeu_si256((__m256i *)end, letters(sixes(bytes)));
        }
    }
#endif
    for (; size >= 3; from += 3, size -= 3, end += 4) {
        uint32_t bits = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        for (int i = 0; i < 4; i++)
            end[i] = LETTERS[bits >> (18 - 6 * i) & 63];
    }
    if (size) {
        uint32_t bits = (uint32_t)from[0] << 16 | (size == 2 ? (uint32_t)from[1] << 8 : 0);
        end[0] = LETTERS[bits >> 18];
        end[1] = LETTERS[bits >> 12 & 63];
        end[2] = size == 2 ? LETTERS[bits >> 6 & 63] : '=';
        end[3] = '=';
        end += 4;
    }
    return (size_t)(end - to);
}

/* How many bytes `from` spells; -1 where it is not Base64. */
static long decode(const char *from, size_t length, unsigned char *to)
{
    unsigned char *end = to;
    if (length % 4)
        return -1;
#if defined __AVX2__
    /* 8 bytes more than the result are written, hence the distance. */
    for (; length >= 48; from += 32, length -= 32, end += 24) {
        __m256i six;
        if (!values(_mm256_loadu_si256((const __m256i *)from), &six))
            return -1;
        __m256i pairs = _mm256_maddubs_epi16(six, _mm256_set1_epi32(0x01400140));
        __m256i threes = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
        threes = _mm256_shuffle_epi8(
            threes, _mm256_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1, 2, 1,
                                     0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1));
        threes = _mm256_permutevar8x32_epi32(threes, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)end, threes);
    }
#endif
    for (; length; from += 4, length -= 4) {
        uint32_t bits = 0;
        int padding = length == 4 && from[3] == '=' ? (from[2] == '=' ? 2 : 1) : 0;
        for (int i = 0; i < 4; i++) {
            const char *letter = memchr(LETTERS, from[i], 64);
            if (!letter && i < 4 - padding)
                return -1;
            bits = bits << 6 | (letter ? (uint32_t)(letter - LETTERS) : 0);
        }
        for (int i = 0; i < 3 - padding; i++)
            *end++ = (unsigned char)(bits >> (16 - 8 * i));
    }
    return end - to;
}

static void round_trip(FILE *out, struct random *random, size_t size)
{
    struct fenced bytes = fenced_end(size, 1);
    size_t length = (size + 2) / 3 * 4;
    struct fenced text = fenced_end(length, 1);
    random_bytes(random, bytes.bytes, size);
    char *letters = (char *)text.bytes;
    if (encode(bytes.bytes, size, letters) != length)
        die("%zu bytes do not become %zu letters", size, length);
    report(out, letters, length, "encode %zu", size);
    struct fenced back = fenced_end(size + 16, 1);
    long decoded = decode(letters, length, back.bytes);
    if (decoded != (long)size || memcmp(back.bytes, bytes.bytes, size))
        die("%zu bytes do not come back", size);
    report(out, back.bytes, size, "decode %zu", size);
    if (length) {
        letters[random_u64(random) % length] = (char)(random_u64(random) % 2 ? '-' : 0xc1);
        fprintf(out, "decode wrong letters %zu %ld\n", size, decode(letters, length, back.bytes));
    }
    release(bytes);
    release(text);
    release(back);
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {64};
    for (size_t size = 0; size < 100; size += 1 + size / 30)
        round_trip(out, &random, size);
    for (unsigned i = 0; i < scale; i++)
        round_trip(out, &random, 3000 + i);
    char text[48];
    encode((const unsigned char *)"foobar", 6, text);
    published(out, "RFC 4648 section 10", text, "5a6d3976596d4679");
}
