/*
 * A small math library and its user in one file: computes on the best path
 * that the machine has at the moment, follows the machine while it migrates,
 * and checks every result against a plain one.
 *
 *     cc -O2 demo.c -lisahotplug -o demo && ./demo
 *
 * Prints a line for each event and, ten times a second, a line of counters.
 * Ends after the number of rounds given as its argument, or never; the exit
 * status is 1 if any result was wrong.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <isahotplug.h>

enum { COUNT = 64, LANES = 8 };

struct input {
    int32_t a[COUNT], b[COUNT];
    float x[COUNT], y[COUNT];
    uint64_t bits, mask;
};

/* Every path fills this with the same bits. */
struct result {
    int32_t products[LANES];
    float sums[LANES];
    uint16_t halves[LANES];
    uint64_t extracted;
};

/* The plain path: what the results must be. */

static uint16_t half_of(float value)
{
    /* Round to nearest even; the inputs are normal halves and not NaN. */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = (bits & 0x7fffffffu) - (112u << 23);
    magnitude += 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | magnitude >> 13);
}

static uint64_t extract(uint64_t bits, uint64_t mask)
{
    uint64_t out = 0;
    for (int to = 0; mask; mask &= mask - 1, to++)
        out |= (bits >> __builtin_ctzll(mask) & 1) << to;
    return out;
}

static void compute_plain(const struct input *in, struct result *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < COUNT; i++) {
        int lane = i % LANES;
        out->products[lane] = (int32_t)((uint32_t)out->products[lane]
                                        + (uint32_t)in->a[i] * (uint32_t)in->b[i]);
        /* The products are exact, so this rounds once, like a fused one. */
        out->sums[lane] += in->x[i] * in->y[i];
    }
    for (int lane = 0; lane < LANES; lane++)
        out->halves[lane] = half_of(in->x[lane]);
    out->extracted = extract(in->bits, in->mask);
}

/* The path that every x86-64 has. */

static __m128i multiply(__m128i a, __m128i b)
{
    __m128i even = _mm_mul_epu32(a, b);
    __m128i odd = _mm_mul_epu32(_mm_srli_epi64(a, 32), _mm_srli_epi64(b, 32));
    return _mm_unpacklo_epi32(_mm_shuffle_epi32(even, _MM_SHUFFLE(0, 0, 2, 0)),
                              _mm_shuffle_epi32(odd, _MM_SHUFFLE(0, 0, 2, 0)));
}

static void compute_sse2(const struct input *in, struct result *out)
{
    __m128i products[2] = { _mm_setzero_si128(), _mm_setzero_si128() };
    __m128 sums[2] = { _mm_setzero_ps(), _mm_setzero_ps() };
    for (int i = 0; i < COUNT; i += 4) {
        int part = i / 4 % 2;
        __m128i product = multiply(_mm_loadu_si128((const __m128i *)(in->a + i)),
                                   _mm_loadu_si128((const __m128i *)(in->b + i)));
        products[part] = _mm_add_epi32(products[part], product);
        sums[part] = _mm_add_ps(sums[part], _mm_mul_ps(_mm_loadu_ps(in->x + i),
                                                       _mm_loadu_ps(in->y + i)));
    }
    for (int part = 0; part < 2; part++) {
        _mm_storeu_si128((__m128i *)(out->products + 4 * part), products[part]);
        _mm_storeu_ps(out->sums + 4 * part, sums[part]);
    }
    for (int lane = 0; lane < LANES; lane++)
        out->halves[lane] = half_of(in->x[lane]);
    out->extracted = extract(in->bits, in->mask);
}

/* The path for AVX2, FMA, F16C and BMI2. */

__attribute__((target("avx2,fma,f16c,bmi2")))
static void compute_avx2(const struct input *in, struct result *out)
{
    __m256i products = _mm256_setzero_si256();
    __m256 sums = _mm256_setzero_ps();
    for (int i = 0; i < COUNT; i += LANES) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(in->a + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(in->b + i));
        products = _mm256_add_epi32(products, _mm256_mullo_epi32(a, b));
        sums = _mm256_fmadd_ps(_mm256_loadu_ps(in->x + i), _mm256_loadu_ps(in->y + i), sums);
    }
    _mm256_storeu_si256((__m256i *)out->products, products);
    _mm256_storeu_ps(out->sums, sums);
    _mm_storeu_si128((__m128i *)out->halves,
                     _mm256_cvtps_ph(_mm256_loadu_ps(in->x), _MM_FROUND_TO_NEAREST_INT));
    out->extracted = _pext_u64(in->bits, in->mask);
}

/* Following the machine. */

typedef void (*compute_function)(const struct input *, struct result *);

static isahp_slot compute = ISAHP_SLOT_INITIALIZER;

static const isahp_variant variants[] = {
    { (isahp_function)compute_avx2, "avx2 fma f16c bmi2", "avx2" },
    { (isahp_function)compute_sse2, NULL, "sse2" },
};

static const char *path(void)
{
    compute_function now = ISAHP_SLOT_CALL(&compute, compute_function);
    return now == compute_avx2 ? "avx2" : "sse2";
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t emulated(void)
{
    isahp_counters counters = { .size = sizeof counters };
    isahp_count(&counters);
    return counters.emulated;
}

static const char *const causes[] = { "start", "offer", "prepare", "abort", "deadline", "trap" };

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    /*
     * This runs inside isahp_poll(), between two calls of compute: nobody is
     * on a lost path, and returning ISAHP_OK says so.
     */
    printf("event cause=%s generation=%llu path=%s latency_us=%llu emulated=%llu\n",
           event->cause < 6 ? causes[event->cause] : "?",
           (unsigned long long)event->generation, path(),
           (unsigned long long)(now_us() - event->since_us), (unsigned long long)emulated());
    return ISAHP_OK;
}

static void on_log(void *userdata, const char *line)
{
    (void)userdata;
    printf("log %s\n", line);
}

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Twelve significant bits, between 1/8 and 8: products are exact. */
static float next_float(void)
{
    uint64_t r = next_random();
    float value = (float)(2048 + (r & 2047)) / 2048.0f;
    float scale = (float)(1 << (r >> 16 & 3)) / ((r >> 20 & 1) ? 8.0f : 1.0f);
    return (r >> 32 & 1) ? -value * scale : value * scale;
}

static void fill(struct input *in)
{
    for (int i = 0; i < COUNT; i++) {
        in->a[i] = (int32_t)next_random();
        in->b[i] = (int32_t)next_random();
        in->x[i] = next_float();
        in->y[i] = next_float();
    }
    in->bits = next_random();
    in->mask = next_random();
}

static void need(int32_t result, const char *what)
{
    if (result != ISAHP_OK) {
        fprintf(stderr, "%s: %s\n", what, isahp_error_text(result));
        exit(2);
    }
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : UINT64_MAX;
    setvbuf(stdout, NULL, _IOLBF, 0);

    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL, .name = "demo", .log = on_log };
    need(isahp_init(&options), "isahp_init");
    need(isahp_slot_init(&compute, NULL, variants, 2), "isahp_slot_init");
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER,
        .features = "avx2 fma f16c bmi2",
        .callback = on_event,
    };
    need(isahp_register(&registration, NULL), "isahp_register");
    printf("start path=%s generation=%llu\n", path(), (unsigned long long)isahp_generation());

    uint64_t wrong = 0, wide = 0, next_line = 0;
    for (uint64_t round = 1; round <= rounds; round++) {
        struct input in;
        struct result found, expected;
        fill(&in);
        need(isahp_poll(NULL), "isahp_poll");
        compute_function best = ISAHP_SLOT_CALL(&compute, compute_function);
        wide += best == compute_avx2;
        best(&in, &found);
        compute_plain(&in, &expected);
        wrong += memcmp(&found, &expected, sizeof found) != 0;
        if (now_us() >= next_line || round == rounds) {
            next_line = now_us() + 100000;
            printf("tick path=%s rounds=%llu wide=%llu wrong=%llu emulated=%llu\n", path(),
                   (unsigned long long)round, (unsigned long long)wide,
                   (unsigned long long)wrong, (unsigned long long)emulated());
        }
    }
    return wrong != 0;
}
