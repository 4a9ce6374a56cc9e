/* The first stage of a JSON parser: a bit for each structural character
 * outside of strings, 64 bytes at a time, and the numbers between them. Uses
 * shuffles to classify, a carry-less multiplication to find what lies between
 * quotes, and bit scans. */
#include "program.h"

struct scan {
    uint64_t backslash; /* the last block ended with an odd run of them */
    uint64_t quoted;    /* all ones if the last block ended inside a string */
};

#if defined __AVX2__

static uint64_t mask_of(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

static uint64_t equal(__m256i low, __m256i high, char to)
{
    __m256i wanted = _mm256_set1_epi8(to);
    return mask_of(_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted));
}

/* Where { } [ ] : , stand: a letter's lower half selects the one with that
 * half that is structural, and it has to be that. */
static __m256i structural(__m256i bytes)
{
    const __m256i table =
        _mm256_setr_epi8(-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, ':', '{', ',', '}', 0, 0, -1, 0, 0, 0, 0,
                         0, 0, 0, 0, 0, ':', '{', ',', '}', 0, 0);
    /* [ and ] differ from { and } in one bit. */
    __m256i folded = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
    __m256i wanted = _mm256_shuffle_epi8(table, bytes);
    __m256i brackets = _mm256_cmpeq_epi8(folded, wanted);
    /* A control character or Z must not become one by the folding. */
    __m256i small = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), bytes);
    return _mm256_andnot_si256(small, brackets);
}

#endif

/* Bits of the quotes that open or close, and from them of what is inside. */
static uint64_t inside(uint64_t quotes)
{
#if defined __PCLMUL__
    __m128i all = _mm_set1_epi8(-1);
    return (uint64_t)_mm_cvtsi128_si64(
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)quotes), all, 0));
#else
    for (int shift = 1; shift < 64; shift *= 2)
        quotes ^= quotes << shift;
    return quotes;
#endif
}

/* The structural characters of 64 bytes. */
static uint64_t block(struct scan *scan, const char *text)
{
    uint64_t quotes = 0, backslashes = 0, found = 0;
#if defined __AVX2__
    __m256i low = _mm256_loadu_si256((const __m256i *)text);
    __m256i high = _mm256_loadu_si256((const __m256i *)(text + 32));
    quotes = equal(low, high, '"');
    backslashes = equal(low, high, '\\');
    found = mask_of(structural(low), structural(high));
#else
    for (int i = 0; i < 64; i++) {
        quotes |= (uint64_t)(text[i] == '"') << i;
        backslashes |= (uint64_t)(text[i] == '\\') << i;
        found |= (uint64_t)(text[i] && strchr("{}[]:,", text[i])) << i;
    }
#endif
    /* What an odd run of backslashes stands before is escaped: of a run's
     * bits the first is the one without a neighbour below. */
    uint64_t escaped = 0;
    uint64_t odd = scan->backslash;
    backslashes &= ~odd;
    escaped |= odd;
    uint64_t rest = backslashes;
    scan->backslash = 0;
    while (rest) {
        int start = __builtin_ctzll(rest);
        uint64_t not_run = ~(backslashes >> start);
        int length = not_run ? __builtin_ctzll(not_run) : 64;
        if (start + length >= 64) {
            scan->backslash = (uint64_t)(64 - start) & 1;
            break;
        }
        if (length & 1)
            escaped |= 1ull << (start + length);
        rest &= ~(((1ull << length) - 1) << start);
    }
    quotes &= ~escaped;
    uint64_t in_string = inside(quotes) ^ scan->quoted;
    scan->quoted = (uint64_t)((int64_t)in_string >> 63);
    return (found & ~in_string) | quotes;
}

/* Eight digits to a number. */
static uint32_t eight_digits(const char *digits)
{
#if defined __AVX2__
    __m128i text = _mm_loadl_epi64((const __m128i *)digits);
    text = _mm_sub_epi8(text, _mm_set1_epi8('0'));
    __m128i pairs = _mm_maddubs_epi16(text, _mm_set1_epi16(0x010a));
    __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(0x00010064));
    fours = _mm_packus_epi32(fours, fours);
    return (uint32_t)_mm_cvtsi128_si32(_mm_madd_epi16(fours, _mm_set1_epi32(0x00012710)));
#else
    uint32_t number = 0;
    for (int i = 0; i < 8; i++)
        number = 10 * number + (uint32_t)(digits[i] - '0');
    return number;
#endif
}

/* The bits of every other structural character, by the positions of all. */
static uint64_t every_other(uint64_t bits)
{
#if defined __BMI2__
    return _pdep_u64(0x5555555555555555, bits);
#else
    uint64_t result = 0;
    for (int take = 1; bits; bits &= bits - 1, take ^= 1)
        if (take)
            result |= bits & -bits;
    return result;
#endif
}

static void document(FILE *out, struct random *random, size_t pieces)
{
    static const char *const some[] = {
        "{\"a\":[1,2,3],", "\"b\\\"c\": {}, ", "\"\\\\\",", "[[]]:", "\"[{,:}]\"", "12345678,",
        "true , null,\n", "\"\\\\\\\"z\\\\\"", "  \t", "Z\x1a;K[", "\"long string \\u00e4 { }\"",
        "\"ends \\\\\\\\\""};
    size_t room = 64 * (pieces + 1);
    char *text = calloc(room, 1);
    size_t length = 0;
    for (size_t i = 0; i < pieces; i++) {
        const char *piece = some[random_u64(random) % (sizeof some / sizeof *some)];
        length += (size_t)sprintf(text + length, "%s", piece);
    }
    size_t blocks = (length + 63) / 64;
    struct fenced at_edge = fenced_end(64 * blocks, 1);
    memcpy(at_edge.bytes, text, 64 * blocks);
    struct scan scan = {0};
    uint64_t sum = 0;
    unsigned count = 0;
    uint32_t *places = malloc(64 * blocks * sizeof *places);
    for (size_t i = 0; i < blocks; i++) {
        uint64_t bits = block(&scan, (const char *)at_edge.bytes + 64 * i);
        sum = sum * 31 + every_other(bits);
        for (; bits; bits &= bits - 1)
            places[count++] = (uint32_t)(64 * i) + (uint32_t)__builtin_ctzll(bits);
    }
    report(out, places, count * sizeof *places, "document %zu bytes structural=%u others=%016llx",
           length, count, (unsigned long long)sum);
    free(places);
    free(text);
    release(at_edge);
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {77};
    for (size_t pieces = 0; pieces < 40; pieces += 3)
        document(out, &random, pieces);
    for (unsigned i = 0; i < scale; i++)
        document(out, &random, 300);
    uint32_t numbers[50];
    for (int i = 0; i < 50; i++) {
        char digits[24];
        sprintf(digits, "%08llu", (unsigned long long)(random_u64(&random) % 100000000));
        numbers[i] = eight_digits(digits);
        if (numbers[i] != strtoul(digits, NULL, 10))
            die("%s is read as %u", digits, numbers[i]);
    }
    report(out, numbers, sizeof numbers, "numbers");
}
