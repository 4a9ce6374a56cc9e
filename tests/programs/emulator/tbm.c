/* AMD's TBM: the lowest zero or one of a number, filled, isolated, cleared;
 * fields of bits by an immediate. On 32 and 64 bits, with the flags that each
 * leaves. */
#include "program.h"

/* An instruction's result and its carry, zero and sign. */
#if defined __TBM__
#define TRICK(name, suffix, type, expression)                                                      \
    do {                                                                                           \
        type result;                                                                               \
        unsigned char carry, zero, sign;                                                           \
        __asm__ volatile(name suffix " %4, %0\n\tsetc %1\n\tsetz %2\n\tsets %3"                    \
                         : "=r"(result), "=qm"(carry), "=qm"(zero), "=qm"(sign)                    \
                         : "r"(a)                                                                  \
                         : "cc");                                                                  \
        results[count++] = result;                                                                 \
        results[count++] = (uint64_t)(carry << 2 | zero << 1 | sign);                              \
    } while (0)
#else
#define TRICK(name, suffix, type, expression)                                                      \
    do {                                                                                           \
        type result = (type)(expression);                                                          \
        /* A carry where the addition or subtraction of 1 had one. */                              \
        int adds = strcmp(name, "blsfill") && strcmp(name, "blsic") && strcmp(name, "tzmsk");      \
        unsigned carry = adds ? (type)(a + 1) == 0 : a == 0;                                       \
        unsigned zero = result == 0, sign = (unsigned)(result >> (8 * sizeof(type) - 1));          \
        results[count++] = result;                                                                 \
        results[count++] = (uint64_t)(carry << 2 | zero << 1 | sign);                              \
    } while (0)
#endif

#define TRICKS(suffix, type)                                                                       \
    static int tricks##suffix(type a, uint64_t *results)                                           \
    {                                                                                              \
        int count = 0;                                                                             \
        TRICK("blcfill", #suffix, type, a & (a + 1));                                              \
        TRICK("blci", #suffix, type, a | ~(a + 1));                                                \
        TRICK("blcic", #suffix, type, ~a & (a + 1));                                               \
        TRICK("blcmsk", #suffix, type, a ^ (a + 1));                                               \
        TRICK("blcs", #suffix, type, a | (a + 1));                                                 \
        TRICK("blsfill", #suffix, type, a | (a - 1));                                              \
        TRICK("blsic", #suffix, type, ~a | (a - 1));                                               \
        TRICK("t1mskc", #suffix, type, ~a | (a + 1));                                              \
        TRICK("tzmsk", #suffix, type, ~a & (a - 1));                                               \
        return count;                                                                              \
    }
TRICKS(l, uint32_t)
TRICKS(q, uint64_t)

#if defined __TBM__
#define FIELD(a, start, length) __bextri_u64(a, (length) << 8 | (start))
#define FIELD_32(a, start, length) __bextri_u32(a, (length) << 8 | (start))
#else
static uint64_t field(uint64_t a, unsigned start, unsigned length)
{
    return length < 64 ? a >> start & ((1ull << length) - 1) : a >> start;
}
#define FIELD(a, start, length) field(a, start, length)
#define FIELD_32(a, start, length) field((uint32_t)(a), start, length)
#endif

/* Decimal digits set apart from what lies between them, by filling runs. */
static uint64_t runs(uint64_t bits)
{
    uint64_t sum = 0;
    while (bits) {
        uint64_t without_zeros = bits >> __builtin_ctzll(bits);
        uint64_t rest = without_zeros & (without_zeros + 1);
        sum = sum * 67 + (uint64_t)__builtin_popcountll(without_zeros ^ rest);
        bits = rest;
    }
    return sum;
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {21};
    for (unsigned i = 0; i < 100 * scale; i++) {
        uint64_t a = random_u64(&random), results[64];
        switch (i % 8) {
        case 0: a >>= random_u64(&random) % 64; break;
        case 1: a <<= random_u64(&random) % 64; break;
        case 2: a = ~(a << random_u64(&random) % 64); break;
        case 3: a = i == 3 ? 0 : ~0ull; break;
        case 4: a &= 0xffffffff00000000; break;
        }
        int count = tricksl((uint32_t)a, results);
        count += tricksq(a, results + count);
        results[count++] = FIELD(a, 0, 1);
        results[count++] = FIELD(a, 5, 13);
        results[count++] = FIELD(a, 40, 40);
        results[count++] = FIELD(a, 63, 64);
        results[count++] = FIELD_32(a, 7, 9);
        results[count++] = FIELD_32(a, 20, 32);
        results[count++] = runs(a);
        report(out, results, (size_t)count * sizeof *results, "tricks %016llx", (unsigned long long)a);
    }
}
