/* Instructions beside the arithmetic: random numbers, stores past the caches,
 * cache lines written back, a compare-and-exchange of 16 bytes. Nothing of
 * what the numbers are is printed, only what they must be. */
#include "program.h"

static void numbers(FILE *out)
{
    unsigned long long drawn[4] = {1, 2, 3, 4};
    int there = 1;
#if defined __RDRND__ && defined __RDSEED__
    for (int i = 0; i < 4; i++) {
        int tries = 0;
        while (!(i % 2 ? _rdseed64_step(drawn + i) : _rdrand64_step(drawn + i)) && ++tries < 1000)
            _mm_pause();
        there &= tries < 1000;
    }
    unsigned short narrow = 0;
    there &= _rdrand16_step(&narrow);
#endif
    /* They are all equal once in 2^192 times. */
    int differ = drawn[0] != drawn[1] || drawn[1] != drawn[2] || drawn[2] != drawn[3];
    fprintf(out, "random numbers there=%d differ=%d\n", there, differ);
}

static void stores(FILE *out, struct random *random)
{
    unsigned char from[64], to[192] __attribute__((aligned(64))) = {0};
    random_bytes(random, from, sizeof from);
    uint64_t word;
    memcpy(&word, from + 8, 8);
#if defined __MOVDIRI__ && defined __MOVDIR64B__
    _movdir64b(to + 64, from);
    _directstoreu_u32(to + 12, (unsigned)word);
    _directstoreu_u64(to + 131, word);
#else
    uint32_t half = (uint32_t)word;
    memcpy(to + 64, from, 64);
    memcpy(to + 12, &half, 4);
    memcpy(to + 131, &word, 8);
#endif
#if defined __CLWB__ && defined __CLFLUSHOPT__
    _mm_clwb(to);
    _mm_clflushopt(to + 64);
    __builtin_prefetch(to, 1, 3);
    _mm_sfence();
#endif
    report(out, to, sizeof to, "direct stores");
}

/* Shared by all threads of the program: each adds 1 and 3 at the same time. */
static unsigned __int128 shared __attribute__((aligned(16)));
static unsigned wanted;

static void exchanges(FILE *out, unsigned count)
{
    __atomic_fetch_add(&wanted, count, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < count; i++) {
        uint64_t low = 0, high = 0;
        unsigned char done;
        do {
            uint64_t next_low = low + 1, next_high = high + 3;
            __asm__ volatile("lock cmpxchg16b %1\n\tsetz %0"
                             : "=qm"(done), "+m"(shared), "+a"(low), "+d"(high)
                             : "b"(next_low), "c"(next_high)
                             : "cc");
        } while (!done);
    }
    fprintf(out, "exchanged %u\n", count);
}

/* None is lost, and the halves stay together. */
__attribute__((destructor)) static void check_exchanges(void)
{
    if ((uint64_t)shared != wanted || (uint64_t)(shared >> 64) != 3 * (uint64_t)wanted) {
        fputs("exchanges were lost\n", stderr);
        _exit(3);
    }
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {16};
    numbers(out);
    for (unsigned i = 0; i < 10 * scale; i++)
        stores(out, &random);
    exchanges(out, 200 * scale);
}
