/* Bit manipulation of BMI1, BMI2, ADX, POPCNT and MOVBE: long integers, Morton
 * codes, bit boards, ranks and selections. */
#include "program.h"

enum { LIMBS = 8 };

/* --- Long integers: two chains of carries at once ------------------------- */

/* product = a * b. */
static void multiply(const uint64_t a[LIMBS], const uint64_t b[LIMBS],
                     uint64_t product[2 * LIMBS])
{
    memset(product, 0, 2 * LIMBS * sizeof *product);
    for (int i = 0; i < LIMBS; i++) {
#if defined __BMI2__ && defined __ADX__
        uint64_t *to = product + i;
        uint64_t low, high, zero = 0, count = LIMBS;
        /* One row: the low halves go by the carry, the high by the overflow
         * flag. LEA and JRCXZ leave both alone. */
        const uint64_t *from = b;
        __asm__ volatile("xorl %k[zero], %k[zero]\n"
                         "1:\n\t"
                         "mulxq (%[from]), %[low], %[high]\n\t"
                         "adcxq (%[to]), %[low]\n\t"
                         "movq %[low], (%[to])\n\t"
                         "adoxq 8(%[to]), %[high]\n\t"
                         "movq %[high], 8(%[to])\n\t"
                         "leaq 8(%[from]), %[from]\n\t"
                         "leaq 8(%[to]), %[to]\n\t"
                         "leaq -1(%%rcx), %%rcx\n\t"
                         "jrcxz 2f\n\t"
                         "jmp 1b\n"
                         "2:\n\t"
                         "movq (%[to]), %[low]\n\t"
                         "adcxq %[zero], %[low]\n\t"
                         "movq %[low], (%[to])\n\t"
                         : [low] "=&r"(low), [high] "=&r"(high), [zero] "+&r"(zero),
                           [from] "+&r"(from), [to] "+&r"(to), "+&c"(count)
                         : "d"(a[i])
                         : "cc", "memory");
#else
        uint64_t carry = 0;
        for (int j = 0; j < LIMBS; j++) {
            unsigned __int128 sum = (unsigned __int128)a[i] * b[j] + product[i + j] + carry;
            product[i + j] = (uint64_t)sum;
            carry = (uint64_t)(sum >> 64);
        }
        product[i + LIMBS] = carry;
#endif
    }
}

/* Modulo 2^512 - 38: fold the upper half. */
static void reduce(const uint64_t product[2 * LIMBS], uint64_t result[LIMBS])
{
    uint64_t carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        unsigned __int128 sum =
            (unsigned __int128)product[LIMBS + i] * 38 + product[i] + carry;
        result[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
    for (int i = 0; carry && i < LIMBS; i++) {
        unsigned __int128 sum = (unsigned __int128)carry * (i ? 1 : 38) + result[i];
        result[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
}

static void power(FILE *out, struct random *random, unsigned exponent)
{
    uint64_t base[LIMBS], result[LIMBS] = {1}, product[2 * LIMBS];
    random_bytes(random, base, sizeof base);
    for (unsigned rest = exponent; rest; rest >>= 1) {
        if (rest & 1) {
            multiply(result, base, product);
            reduce(product, result);
        }
        multiply(base, base, product);
        reduce(product, base);
    }
    report(out, result, sizeof result, "power %u", exponent);
}

/* --- Single instructions in the shape of what they are for ---------------- */

/* The bits of x and y in turn. */
static uint64_t morton(uint32_t x, uint32_t y)
{
#if defined __BMI2__
    return _pdep_u64(x, 0x5555555555555555) | _pdep_u64(y, 0xaaaaaaaaaaaaaaaa);
#else
    uint64_t code = 0;
    for (int i = 0; i < 32; i++)
        code |= (uint64_t)(x >> i & 1) << 2 * i | (uint64_t)(y >> i & 1) << (2 * i + 1);
    return code;
#endif
}

static uint64_t extracted(uint64_t bits, uint64_t mask)
{
#if defined __BMI2__
    return _pext_u64(bits, mask) ^ (uint64_t)_pext_u32((uint32_t)bits, (uint32_t)(mask >> 32)) << 32;
#else
    uint64_t result = 0, half = 0;
    int at = 0;
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1)
            result |= (bits >> i & 1) << at++;
    at = 0;
    for (int i = 0; i < 32; i++)
        if (mask >> (32 + i) & 1)
            half |= (bits >> i & 1) << at++;
    return result ^ half << 32;
#endif
}

/* The place of the n-th set bit; 64 if there is none. (TZCNT of zero is not
 * tried: a CPU without it does not refuse it, but runs BSF.) */
static unsigned selected(uint64_t bits, unsigned n)
{
#if defined __BMI2__
    bits = _pdep_u64(1ull << n, bits);
#else
    for (; n && bits; n--)
        bits &= bits - 1;
#endif
    return bits ? (unsigned)__builtin_ctzll(bits) : 64;
}

/* A field of `length` bits from `start`, both from one byte's worth each. */
static uint64_t field(uint64_t bits, unsigned start, unsigned length)
{
#if defined __BMI__
    return _bextr_u64(bits, start, length);
#else
    bits = start < 64 ? bits >> start : 0;
    return length < 64 ? bits & ((1ull << length) - 1) : bits;
#endif
}

static uint64_t low_bits(uint64_t bits, unsigned count)
{
#if defined __BMI2__
    return _bzhi_u64(bits, count);
#else
    return count < 64 ? bits & ((1ull << count) - 1) : bits;
#endif
}

/* Solutions of the problem of n queens. */
static unsigned queens(uint32_t all, uint32_t columns, uint32_t left, uint32_t right)
{
    unsigned solutions = columns == all;
    uint32_t open = all & ~(columns | left | right);
    while (open) {
        uint32_t queen = open & -open;
        open &= open - 1;
        solutions += queens(all, columns | queen, (left | queen) << 1, (right | queen) >> 1);
    }
    return solutions;
}

/* Through memory in the other order of bytes. */
static uint64_t big_endian_sum(const unsigned char *bytes, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i + 8 <= size; i += 3) {
        uint64_t whole;
        uint32_t half;
        memcpy(&whole, bytes + i, 8);
        memcpy(&half, bytes + i + 1, 4);
        sum = sum * 3 + (__builtin_bswap64(whole) ^ __builtin_bswap32(half));
    }
    return sum;
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {1};
    for (unsigned i = 0; i < 4 * scale; i++)
        power(out, &random, 5 + 1000 * i);
    fprintf(out, "queens 6: %u 7: %u\n", queens(63, 0, 0, 0), queens(127, 0, 0, 0));
    unsigned char bytes[200];
    random_bytes(&random, bytes, sizeof bytes);
    uint64_t sum = big_endian_sum(bytes, sizeof bytes);
    report(out, &sum, sizeof sum, "big-endian");
    for (unsigned i = 0; i < 40 * scale; i++) {
        uint64_t a = random_u64(&random), b = random_u64(&random);
        if (i % 5 == 0)
            a &= b;
        unsigned start = (unsigned)(random_u64(&random) % 80), n = (unsigned)(b % 64);
        uint64_t results[] = {
            morton((uint32_t)a, (uint32_t)b),
            extracted(a, b),
            selected(a, n),
            field(a, start, n + 8),
            low_bits(a, start),
            (uint64_t)__builtin_popcountll(a) << 32 | (uint64_t)__builtin_popcount((uint32_t)b),
            ~a & b,
            a & -a,
            a ^ (a - 1),
            a << n | b >> n,
            (uint64_t)((int64_t)a >> n),
            a >> n | a << (-n & 63),
        };
        report(out, results, sizeof results, "bits %u", i);
    }
}
