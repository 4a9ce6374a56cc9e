/*
 * Computes through a slot with an AVX-512, an AVX2 and a plain variant, and
 * checks every result. Prints a line when the path changes, ten times a second,
 * and after the number of rounds given as its argument; without one it never
 * ends.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <isahotplug.h>

enum { COUNT = 64 };

typedef uint32_t (*dot_function)(const uint32_t *, const uint32_t *);

static uint32_t dot_plain(const uint32_t *a, const uint32_t *b)
{
    uint32_t sum = 0;
    for (int i = 0; i < COUNT; i++)
        sum += a[i] * b[i];
    return sum;
}

__attribute__((target("avx2")))
static uint32_t dot_avx2(const uint32_t *a, const uint32_t *b)
{
    __m256i sums = _mm256_setzero_si256();
    for (int i = 0; i < COUNT; i += 8) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(a + i));
        __m256i y = _mm256_loadu_si256((const __m256i *)(b + i));
        sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(x, y));
    }
    uint32_t lanes[8], sum = 0;
    _mm256_storeu_si256((__m256i *)lanes, sums);
    for (int i = 0; i < 8; i++)
        sum += lanes[i];
    return sum;
}

__attribute__((target("avx512f")))
static uint32_t dot_avx512(const uint32_t *a, const uint32_t *b)
{
    __m512i sums = _mm512_setzero_si512();
    for (int i = 0; i < COUNT; i += 16)
        sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(_mm512_loadu_si512(a + i),
                                                         _mm512_loadu_si512(b + i)));
    return (uint32_t)_mm512_reduce_add_epi32(sums);
}

static isahp_slot dot = ISAHP_SLOT_INITIALIZER;

static const isahp_variant variants[] = {
    { (isahp_function)dot_avx512, "avx512f", "avx512" },
    { (isahp_function)dot_avx2, "avx2", "avx2" },
    { (isahp_function)dot_plain, NULL, "plain" },
};

static const char *name_of(dot_function path)
{
    return path == dot_avx512 ? "avx512" : path == dot_avx2 ? "avx2" : "plain";
}

/* Runs inside isahp_poll(): nobody is on a lost path then. */
static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    return ISAHP_OK;
}

static void need(int32_t result, const char *what)
{
    if (result != ISAHP_OK) {
        fprintf(stderr, "%s: %s\n", what, isahp_error_text(result));
        exit(2);
    }
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t emulated(void)
{
    isahp_counters counters = { .size = sizeof counters };
    isahp_count(&counters);
    return counters.emulated;
}

int main(int argc, char **argv)
{
    uint64_t all = argc > 1 ? strtoull(argv[1], NULL, 10) : UINT64_MAX;
    setvbuf(stdout, NULL, _IOLBF, 0);
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL, .name = "slots" };
    need(isahp_init(&options), "isahp_init");
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER,
        .features = "avx2 avx512f",
        .callback = on_event,
    };
    need(isahp_register(&registration, NULL), "isahp_register");
    need(isahp_slot_init(&dot, NULL, variants, 3), "isahp_slot_init");

    uint32_t a[COUNT], b[COUNT], seed = 1;
    uint64_t rounds = 0, wrong = 0, next_line = 0;
    dot_function before = NULL;
    while (rounds < all) {
        need(isahp_poll(NULL), "isahp_poll");
        dot_function path = ISAHP_SLOT_CALL(&dot, dot_function);
        for (int i = 0; i < COUNT; i++) {
            a[i] = seed = seed * 1664525u + 1013904223u;
            b[i] = seed = seed * 1664525u + 1013904223u;
        }
        rounds++;
        wrong += path(a, b) != dot_plain(a, b);
        if (path != before || now_ms() >= next_line || rounds == all) {
            printf("path=%s rounds=%llu wrong=%llu emulated=%llu\n", name_of(path),
                   (unsigned long long)rounds, (unsigned long long)wrong,
                   (unsigned long long)emulated());
            next_line = now_ms() + 100;
            before = path;
        }
    }
    return wrong != 0;
}
