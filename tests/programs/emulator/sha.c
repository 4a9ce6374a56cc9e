/* Hashes and checksums: SHA-1, SHA-256 by their instructions, CRC-32C by its
 * own and CRC-32 by carry-less multiplication; with published vectors. */
#include "program.h"

/* --- SHA-256 (FIPS 180-4) ------------------------------------------------ */

static const uint32_t K256[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

__attribute__((unused)) static uint32_t big_endian(const unsigned char *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, 4);
    return __builtin_bswap32(word);
}

static void sha256_block(uint32_t state[8], const unsigned char *data)
{
#if defined __SHA__
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abcd = _mm_loadu_si128((const __m128i *)state);
    __m128i efgh = _mm_loadu_si128((const __m128i *)(state + 4));
    /* The instructions want ABEF and CDGH. */
    __m128i cdab = _mm_shuffle_epi32(abcd, 0xb1), hgfe = _mm_shuffle_epi32(efgh, 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, cdab, 0xf0);
    __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];
    for (int i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
    for (int i = 0; i < 16; i++) {
        __m128i sums = _mm_add_epi32(w[0], _mm_load_si128((const __m128i *)(K256 + 4 * i)));
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sums);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sums, 0x0e));
        __m128i next = _mm_add_epi32(_mm_sha256msg1_epu32(w[0], w[1]),
                                     _mm_alignr_epi8(w[3], w[2], 4));
        next = _mm_sha256msg2_epu32(next, w[3]);
        w[0] = w[1], w[1] = w[2], w[2] = w[3], w[3] = next;
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
#else
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = big_endian(data + 4 * i);
#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] +
               (ROTATE(w[i - 15], 7) ^ ROTATE(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (ROTATE(w[i - 2], 17) ^ ROTATE(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t one = s[7] + (ROTATE(s[4], 6) ^ ROTATE(s[4], 11) ^ ROTATE(s[4], 25)) +
                       ((s[4] & s[5]) ^ (~s[4] & s[6])) + K256[i] + w[i];
        uint32_t two = (ROTATE(s[0], 2) ^ ROTATE(s[0], 13) ^ ROTATE(s[0], 22)) +
                       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
#endif
}

/* --- SHA-1 --------------------------------------------------------------- */

static void sha1_block(uint32_t state[5], const unsigned char *data)
{
#if defined __SHA__
    const __m128i swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1b);
    __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0);
    __m128i abcd_before = abcd, e_before = e, earlier = abcd;
    __m128i w[4];
    for (int i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
    for (int i = 0; i < 20; i++) {
        __m128i sums = i ? _mm_sha1nexte_epu32(earlier, w[0]) : _mm_add_epi32(e, w[0]);
        earlier = abcd;
        switch (i / 5) {
        case 0:
            abcd = _mm_sha1rnds4_epu32(abcd, sums, 0);
            break;
        case 1:
            abcd = _mm_sha1rnds4_epu32(abcd, sums, 1);
            break;
        case 2:
            abcd = _mm_sha1rnds4_epu32(abcd, sums, 2);
            break;
        default:
            abcd = _mm_sha1rnds4_epu32(abcd, sums, 3);
        }
        __m128i next = _mm_xor_si128(_mm_sha1msg1_epu32(w[0], w[1]), w[2]);
        next = _mm_sha1msg2_epu32(next, w[3]);
        w[0] = w[1], w[1] = w[2], w[2] = w[3], w[3] = next;
    }
    e = _mm_sha1nexte_epu32(earlier, e_before);
    abcd = _mm_add_epi32(abcd, abcd_before);
    _mm_storeu_si128((__m128i *)state, _mm_shuffle_epi32(abcd, 0x1b));
    state[4] = (uint32_t)_mm_extract_epi32(e, 3);
#else
    uint32_t w[80], s[5];
    for (int i = 0; i < 16; i++)
        w[i] = big_endian(data + 4 * i);
    for (int i = 16; i < 80; i++) {
        uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
        w[i] = x << 1 | x >> 31;
    }
    memcpy(s, state, sizeof s);
    static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20             ? (s[1] & s[2]) | (~s[1] & s[3])
                     : i / 20 == 2      ? (s[1] & s[2]) | (s[1] & s[3]) | (s[2] & s[3])
                                        : s[1] ^ s[2] ^ s[3];
        uint32_t next = (s[0] << 5 | s[0] >> 27) + f + s[4] + k[i / 20] + w[i];
        s[4] = s[3], s[3] = s[2], s[2] = s[1] << 30 | s[1] >> 2, s[1] = s[0], s[0] = next;
    }
    for (int i = 0; i < 5; i++)
        state[i] += s[i];
#endif
}

/* Pads as both hashes do and hashes; the result's bytes are in their order. */
static void hash(int is_256, const unsigned char *data, size_t size, unsigned char *to)
{
    uint32_t state[8] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    if (is_256)
        memcpy(state, start, sizeof state);
    void (*block)(uint32_t *, const unsigned char *) = is_256 ? sha256_block : sha1_block;
    uint64_t bits = 8 * (uint64_t)size;
    for (; size >= 64; data += 64, size -= 64)
        block(state, data);
    unsigned char last[128] = {0};
    memcpy(last, data, size);
    last[size] = 0x80;
    size_t end = size < 56 ? 64 : 128;
    for (int i = 0; i < 8; i++)
        last[end - 1 - i] = (unsigned char)(bits >> 8 * i);
    for (size_t i = 0; i < end; i += 64)
        block(state, last + i);
    for (int i = 0; i < (is_256 ? 8 : 5); i++) {
        uint32_t word = __builtin_bswap32(state[i]);
        memcpy(to + 4 * i, &word, 4);
    }
}

/* --- Checksums ----------------------------------------------------------- */

static uint32_t crc32c(const unsigned char *data, size_t size)
{
    uint32_t crc = ~0u;
#if defined __SSE4_2__
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        crc = (uint32_t)_mm_crc32_u64(crc, word);
    }
    if (size & 4) {
        uint32_t word;
        memcpy(&word, data, 4);
        crc = _mm_crc32_u32(crc, word);
        data += 4;
    }
    if (size & 2) {
        uint16_t word;
        memcpy(&word, data, 2);
        crc = _mm_crc32_u16(crc, word);
        data += 2;
    }
    if (size & 1)
        crc = _mm_crc32_u8(crc, *data);
#else
    for (; size; size--, data++) {
        crc ^= *data;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
#endif
    return ~crc;
}

/* CRC-32 of IEEE 802.3, bit-reflected. */
static uint32_t crc32_bitwise(uint32_t crc, const unsigned char *data, size_t size)
{
    for (; size; size--, data++) {
        crc ^= *data;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return crc;
}

static uint32_t crc32(const unsigned char *data, size_t size)
{
    uint32_t crc = ~0u;
#if defined __PCLMUL__
    if (size >= 32) {
        /* x^(128+32) and x^(128-32) modulo the polynomial, reflected, one bit
         * to the left: what 64 bits of the folded block are worth 128 bits on.
         */
        const __m128i fold = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
        __m128i sum = _mm_xor_si128(_mm_loadu_si128((const __m128i *)data), _mm_cvtsi32_si128(-1));
        for (data += 16, size -= 16; size >= 16; data += 16, size -= 16)
            sum = _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(sum, fold, 0x00),
                                              _mm_clmulepi64_si128(sum, fold, 0x11)),
                                _mm_loadu_si128((const __m128i *)data));
        unsigned char folded[16];
        _mm_storeu_si128((__m128i *)folded, sum);
        crc = crc32_bitwise(0, folded, sizeof folded);
    }
#endif
    return ~crc32_bitwise(crc, data, size);
}

static void run(FILE *out, unsigned scale)
{
    unsigned char sum[32];
    hash(1, (const unsigned char *)"abc", 3, sum);
    published(out, "FIPS 180-2 B.1", sum,
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    hash(1, (const unsigned char *)two, strlen(two), sum);
    published(out, "FIPS 180-2 B.2", sum,
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    hash(0, (const unsigned char *)"abc", 3, sum);
    published(out, "FIPS 180-2 A.1", sum, "a9993e364706816aba3e25717850c26c9cd0d89d");
    hash(0, (const unsigned char *)two, strlen(two), sum);
    published(out, "FIPS 180-2 A.2", sum, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    const unsigned char *digits = (const unsigned char *)"123456789";
    uint32_t crc = __builtin_bswap32(crc32c(digits, 9));
    published(out, "CRC-32C check", &crc, "e3069283");
    crc = __builtin_bswap32(crc32(digits, 9));
    published(out, "CRC-32 check", &crc, "cbf43926");

    struct random random = {256};
    for (size_t size = 0; size < 300 * scale; size += 1 + size / 10) {
        struct fenced data = fenced_end(size, 1);
        random_bytes(&random, data.bytes, size);
        hash(1, data.bytes, size, sum);
        report(out, sum, 32, "sha256 %zu", size);
        hash(0, data.bytes, size, sum);
        report(out, sum, 20, "sha1 %zu", size);
        fprintf(out, "crc %zu crc32c=%08x crc32=%08x\n", size, crc32c(data.bytes, size),
                crc32(data.bytes, size));
        release(data);
    }
}
