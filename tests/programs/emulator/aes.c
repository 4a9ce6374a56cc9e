/* AES-128 and AES-256 by their instructions, in counter mode with GHASH by
 * carry-less multiplication (GCM), and backwards; two blocks in a register
 * where the CPU has VAES. With published vectors. */
#include "program.h"

struct aes {
    unsigned char key[15][16] __attribute__((aligned(16)));
    int rounds;
};

/* --- The cipher, from FIPS 197 ------------------------------------------- */

#if defined __AES__

/* The instruction takes the round's constant as an immediate. */
static __m128i assist(__m128i key, int round)
{
    switch (round) {
    case 1: return _mm_aeskeygenassist_si128(key, 0x01);
    case 2: return _mm_aeskeygenassist_si128(key, 0x02);
    case 3: return _mm_aeskeygenassist_si128(key, 0x04);
    case 4: return _mm_aeskeygenassist_si128(key, 0x08);
    case 5: return _mm_aeskeygenassist_si128(key, 0x10);
    case 6: return _mm_aeskeygenassist_si128(key, 0x20);
    case 7: return _mm_aeskeygenassist_si128(key, 0x40);
    case 8: return _mm_aeskeygenassist_si128(key, 0x80);
    case 9: return _mm_aeskeygenassist_si128(key, 0x1b);
    default: return _mm_aeskeygenassist_si128(key, 0x36);
    }
}

static __m128i spread(__m128i key)
{
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, _mm_slli_si128(key, 8));
}

static void expand(struct aes *aes, const unsigned char *key, int bits)
{
    __m128i *to = (__m128i *)aes->key;
    aes->rounds = bits / 32 + 6;
    to[0] = _mm_loadu_si128((const __m128i *)key);
    if (bits == 128) {
        for (int i = 1; i <= 10; i++)
            to[i] = _mm_xor_si128(spread(to[i - 1]),
                                  _mm_shuffle_epi32(assist(to[i - 1], i), 0xff));
        return;
    }
    to[1] = _mm_loadu_si128((const __m128i *)(key + 16));
    for (int i = 2; i <= 14; i++)
        to[i] = _mm_xor_si128(spread(to[i - 2]),
                              i % 2 ? _mm_shuffle_epi32(assist(to[i - 1], 1), 0xaa)
                                    : _mm_shuffle_epi32(assist(to[i - 1], i / 2), 0xff));
}

static void encrypt(const struct aes *aes, unsigned char block[16])
{
    const __m128i *key = (const __m128i *)aes->key;
    __m128i state = _mm_xor_si128(_mm_loadu_si128((__m128i *)block), key[0]);
    for (int i = 1; i < aes->rounds; i++)
        state = _mm_aesenc_si128(state, key[i]);
    _mm_storeu_si128((__m128i *)block, _mm_aesenclast_si128(state, key[aes->rounds]));
}

static void decrypt(const struct aes *aes, unsigned char block[16])
{
    const __m128i *key = (const __m128i *)aes->key;
    __m128i state = _mm_xor_si128(_mm_loadu_si128((__m128i *)block), key[aes->rounds]);
    for (int i = aes->rounds - 1; i > 0; i--)
        state = _mm_aesdec_si128(state, _mm_aesimc_si128(key[i]));
    _mm_storeu_si128((__m128i *)block, _mm_aesdeclast_si128(state, key[0]));
}

#else

static unsigned char times(unsigned char a, unsigned char b)
{
    unsigned product = 0;
    for (int i = 0; i < 8; i++) {
        product ^= b & 1 ? a : 0;
        a = (unsigned char)(a << 1 ^ (a & 0x80 ? 0x1b : 0));
        b >>= 1;
    }
    return (unsigned char)product;
}

static unsigned char substituted(unsigned char x)
{
    unsigned char inverse = 1; /* x to the power of 254 */
    for (int i = 0; i < 254; i++)
        inverse = times(inverse, x);
    unsigned char result = 0x63;
    for (int i = 0; i < 5; i++)
        result ^= (unsigned char)(inverse << i | inverse >> (8 - i));
    return result;
}

static unsigned char SBOX[256], INVERSE[256];

__attribute__((constructor)) static void make_tables(void)
{
    for (int i = 0; i < 256; i++)
        INVERSE[SBOX[i] = substituted((unsigned char)i)] = (unsigned char)i;
}

static void expand(struct aes *aes, const unsigned char *key, int bits)
{
    int words = bits / 32;
    unsigned char(*w)[4] = (unsigned char(*)[4])aes->key;
    unsigned char constant = 1;
    aes->rounds = words + 6;
    memcpy(w, key, (size_t)bits / 8);
    for (int i = words; i < 4 * (aes->rounds + 1); i++) {
        unsigned char t[4];
        memcpy(t, w[i - 1], 4);
        if (i % words == 0) {
            unsigned char first = t[0];
            for (int k = 0; k < 4; k++)
                t[k] = SBOX[k < 3 ? t[k + 1] : first];
            t[0] ^= constant;
            constant = times(constant, 2);
        } else if (words > 6 && i % words == 4) {
            for (int k = 0; k < 4; k++)
                t[k] = SBOX[t[k]];
        }
        for (int k = 0; k < 4; k++)
            w[i][k] = w[i - words][k] ^ t[k];
    }
}

static void mix(unsigned char s[16], const unsigned char row[4])
{
    for (int c = 0; c < 16; c += 4) {
        unsigned char t[4];
        memcpy(t, s + c, 4);
        for (int r = 0; r < 4; r++)
            s[c + r] = times(row[0], t[r]) ^ times(row[1], t[(r + 1) % 4]) ^
                       times(row[2], t[(r + 2) % 4]) ^ times(row[3], t[(r + 3) % 4]);
    }
}

static void add_key(unsigned char s[16], const unsigned char key[16])
{
    for (int i = 0; i < 16; i++)
        s[i] ^= key[i];
}

static void encrypt(const struct aes *aes, unsigned char s[16])
{
    static const unsigned char row[4] = {2, 3, 1, 1};
    add_key(s, aes->key[0]);
    for (int round = 1; round <= aes->rounds; round++) {
        unsigned char t[16];
        for (int i = 0; i < 16; i++)
            t[i] = SBOX[s[(i + 4 * (i % 4)) % 16]];
        memcpy(s, t, 16);
        if (round < aes->rounds)
            mix(s, row);
        add_key(s, aes->key[round]);
    }
}

static void decrypt(const struct aes *aes, unsigned char s[16])
{
    static const unsigned char row[4] = {14, 11, 13, 9};
    for (int round = aes->rounds; round > 0; round--) {
        unsigned char t[16];
        add_key(s, aes->key[round]);
        if (round < aes->rounds)
            mix(s, row);
        for (int i = 0; i < 16; i++)
            t[(i + 4 * (i % 4)) % 16] = INVERSE[s[i]];
        memcpy(s, t, 16);
    }
    add_key(s, aes->key[0]);
}

#endif

/* --- Counter mode --------------------------------------------------------- */

static void count(unsigned char counter[16])
{
    uint32_t number;
    memcpy(&number, counter + 12, 4);
    number = __builtin_bswap32(__builtin_bswap32(number) + 1);
    memcpy(counter + 12, &number, 4);
}

static void counter_mode(const struct aes *aes, unsigned char counter[16],
                         const unsigned char *from, size_t size, unsigned char *to)
{
#if defined __VAES__
    for (; size >= 32; from += 32, to += 32, size -= 32) {
        __m128i first = _mm_loadu_si128((__m128i *)counter);
        count(counter);
        __m256i state = _mm256_set_m128i(_mm_loadu_si128((__m128i *)counter), first);
        count(counter);
        const __m128i *key = (const __m128i *)aes->key;
        state = _mm256_xor_si256(state, _mm256_broadcastsi128_si256(key[0]));
        for (int i = 1; i < aes->rounds; i++)
            state = _mm256_aesenc_epi128(state, _mm256_broadcastsi128_si256(key[i]));
        state = _mm256_aesenclast_epi128(state, _mm256_broadcastsi128_si256(key[aes->rounds]));
        state = _mm256_xor_si256(state, _mm256_loadu_si256((const __m256i *)from));
        _mm256_storeu_si256((__m256i *)to, state);
    }
#endif
    while (size) {
        unsigned char stream[16];
        memcpy(stream, counter, 16);
        encrypt(aes, stream);
        count(counter);
        size_t here = size < 16 ? size : 16;
        for (size_t i = 0; i < here; i++)
            to[i] = from[i] ^ stream[i];
        from += here, to += here, size -= here;
    }
}

/* --- GHASH, NIST SP 800-38D ----------------------------------------------- */

/* y times h in the field of 2^128 elements; the first bit is the coefficient
 * of 1. */
static void times_h(unsigned char y[16], const unsigned char h[16])
{
#if defined __PCLMUL__
    const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i a = _mm_shuffle_epi8(_mm_loadu_si128((__m128i *)y), reverse);
    __m128i b = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)h), reverse);
    __m128i low = _mm_clmulepi64_si128(a, b, 0x00), high = _mm_clmulepi64_si128(a, b, 0x11);
    __m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01),
                                   _mm_clmulepi64_si128(a, b, 0x10));
    low = _mm_xor_si128(low, _mm_slli_si128(middle, 8));
    high = _mm_xor_si128(high, _mm_srli_si128(middle, 8));
    /* The product of two reflected numbers is one bit short: to the left. */
    __m128i carry_low = _mm_srli_epi64(low, 63), carry_high = _mm_srli_epi64(high, 63);
    low = _mm_or_si128(_mm_slli_epi64(low, 1), _mm_slli_si128(carry_low, 8));
    high = _mm_or_si128(_mm_slli_epi64(high, 1), _mm_slli_si128(carry_high, 8));
    high = _mm_or_si128(high, _mm_srli_si128(carry_low, 8));
    /* Modulo x^128 + x^7 + x^2 + x + 1, reflected, 64 bits at a time. */
    const __m128i modulus = _mm_set_epi64x(0, (long long)0xc200000000000000);
    for (int i = 0; i < 2; i++) {
        __m128i part = _mm_clmulepi64_si128(low, modulus, 0x00);
        low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), part);
    }
    _mm_storeu_si128((__m128i *)y, _mm_shuffle_epi8(_mm_xor_si128(low, high), reverse));
#else
    unsigned char product[16] = {0}, v[16];
    memcpy(v, h, 16);
    for (int i = 0; i < 128; i++) {
        if (y[i / 8] >> (7 - i % 8) & 1)
            for (int k = 0; k < 16; k++)
                product[k] ^= v[k];
        int last = v[15] & 1;
        for (int k = 15; k > 0; k--)
            v[k] = (unsigned char)(v[k] >> 1 | v[k - 1] << 7);
        v[0] = (unsigned char)(v[0] >> 1 ^ (last ? 0xe1 : 0));
    }
    memcpy(y, product, 16);
#endif
}

static void ghash(const unsigned char h[16], const unsigned char *data, size_t size,
                  unsigned char y[16])
{
    while (size) {
        size_t here = size < 16 ? size : 16;
        for (size_t i = 0; i < here; i++)
            y[i] ^= data[i];
        times_h(y, h);
        data += here, size -= here;
    }
}

static void gcm(const struct aes *aes, const unsigned char nonce[12], const unsigned char *more,
                size_t more_size, const unsigned char *from, size_t size, unsigned char *to,
                unsigned char tag[16])
{
    unsigned char h[16] = {0}, counter[16] = {0}, first[16];
    encrypt(aes, h);
    memcpy(counter, nonce, 12);
    counter[15] = 1;
    memcpy(first, counter, 16);
    encrypt(aes, first);
    count(counter);
    counter_mode(aes, counter, from, size, to);
    memset(tag, 0, 16);
    ghash(h, more, more_size, tag);
    ghash(h, to, size, tag);
    unsigned char lengths[16] = {0};
    for (int i = 0; i < 8; i++) {
        lengths[7 - i] = (unsigned char)(8 * (uint64_t)more_size >> 8 * i);
        lengths[15 - i] = (unsigned char)(8 * (uint64_t)size >> 8 * i);
    }
    ghash(h, lengths, 16, tag);
    for (int i = 0; i < 16; i++)
        tag[i] ^= first[i];
}

static void vectors(FILE *out)
{
    struct aes aes;
    unsigned char key[32], block[16], text[64], cipher[64], tag[16], nonce[12], more[20];
    from_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", key);
    from_hex("00112233445566778899aabbccddeeff", block);
    expand(&aes, key, 128);
    encrypt(&aes, block);
    published(out, "FIPS 197 C.1", block, "69c4e0d86a7b0430d8cdb78070b4c55a");
    decrypt(&aes, block);
    published(out, "FIPS 197 C.1 back", block, "00112233445566778899aabbccddeeff");
    expand(&aes, key, 256);
    encrypt(&aes, block);
    published(out, "FIPS 197 C.3", block, "8ea2b7ca516745bfeafc49904b496089");
    decrypt(&aes, block);
    published(out, "FIPS 197 C.3 back", block, "00112233445566778899aabbccddeeff");

    /* McGrew and Viega, The Galois/Counter Mode of Operation, appendix B. */
    memset(key, 0, 16);
    memset(nonce, 0, 12);
    memset(text, 0, 16);
    expand(&aes, key, 128);
    gcm(&aes, nonce, NULL, 0, text, 0, cipher, tag);
    published(out, "GCM test case 1 tag", tag, "58e2fccefa7e3061367f1d57a4e7455a");
    gcm(&aes, nonce, NULL, 0, text, 16, cipher, tag);
    published(out, "GCM test case 2", cipher, "0388dace60b6a392f328c2b971b2fe78");
    published(out, "GCM test case 2 tag", tag, "ab6e47d42cec13bdf53a67b21257bddf");
    from_hex("feffe9928665731c6d6a8f9467308308", key);
    from_hex("cafebabefacedbaddecaf888", nonce);
    from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf"
             "0e2449a6b525b16aedf5aa0de657ba637b39",
             text);
    from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", more);
    expand(&aes, key, 128);
    gcm(&aes, nonce, more, 20, text, 60, cipher, tag);
    published(out, "GCM test case 4", cipher,
              "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f"
              "6a5aac84aa051ba30b396a0aac973d58e091");
    published(out, "GCM test case 4 tag", tag, "5bc94fbc3221a5db94fae95ae7121a47");
}

static void run(FILE *out, unsigned scale)
{
    vectors(out);
    struct random random = {128};
    for (size_t size = 0; size < 150 * scale; size += 1 + size / 6) {
        struct aes aes;
        unsigned char key[32], nonce[12], tag[16];
        random_bytes(&random, key, 32);
        random_bytes(&random, nonce, 12);
        expand(&aes, key, size % 2 ? 128 : 256);
        struct fenced from = fenced_end(size, 1), to = fenced_end(size, 1);
        random_bytes(&random, from.bytes, size);
        gcm(&aes, nonce, key, 32, from.bytes, size, to.bytes, tag);
        report(out, to.bytes, size, "gcm %zu", size);
        report(out, tag, 16, "gcm-tag %zu", size);
        if (size >= 16) {
            decrypt(&aes, to.bytes);
            report(out, to.bytes, 16, "decrypt %zu", size);
        }
        release(from);
        release(to);
    }
}
