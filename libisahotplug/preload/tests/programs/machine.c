/* Instructions that need more of the machine than registers and plain memory. */
#include "case.h"

#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

static void random_numbers(void)
{
    uint64_t a = 0, b = 0, c = 0;
    uint8_t carry[3];
    __asm__ volatile("clc\n\trdrand %0\n\tsetc %1" : "=r"(a), "=qm"(carry[0]) : : "cc");
    __asm__ volatile("clc\n\trdrand %0\n\tsetc %1" : "=r"(b), "=qm"(carry[1]) : : "cc");
    __asm__ volatile("clc\n\trdseed %0\n\tsetc %1" : "=r"(c), "=qm"(carry[2]) : : "cc");
    CHECK(carry[0] == 1 && carry[1] == 1 && carry[2] == 1);
    CHECK(a != b && b != c && a != c);
    uint16_t small = 0;
    uint64_t whole = ~0ull;
    __asm__ volatile("rdrand %w0\n\tsetc %1" : "+r"(whole), "=qm"(carry[0]) : : "cc");
    small = (uint16_t)whole;
    CHECK((whole | 0xffff) == ~0ull && carry[0] == 1);
    (void)small;
}

/* The counter goes on, and the CPU is the one that the kernel names. */
static void stamps(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    uint64_t last = 0;
    for (int round = 0; round < 100; round++) {
        uint32_t low, high, aux;
        __asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
        uint64_t now = (uint64_t)high << 32 | low;
        CHECK(now > last);
        last = now;
        CHECK((aux & 0xfff) == (uint32_t)sched_getcpu());
        uint64_t again;
        __asm__ volatile("rdpid %0" : "=r"(again));
        CHECK(again == aux);
    }
}

/* CLWB and CLFLUSHOPT change nothing that one can read. */
static void lines(void)
{
    static char memory[4096] __attribute__((aligned(64)));
    memset(memory, 5, sizeof memory);
    for (int i = 0; i < 4096; i += 64) {
        __asm__ volatile(".byte 0x66, 0x0f, 0xae, 0x37" : : "D"(memory + i) : "memory"); /* clwb */
        __asm__ volatile(".byte 0x66, 0x0f, 0xae, 0x3f" : : "D"(memory + i) : "memory");
    }
    for (int i = 0; i < 4096; i++)
        CHECK(memory[i] == 5);
}

/* MOVDIRI and MOVDIR64B store like any other, past the cache. */
static void direct(void)
{
    static uint64_t from[9], to[16] __attribute__((aligned(64)));
    for (uint64_t round = 1; round <= 100; round++) {
        memset(to, 0, sizeof to);
        for (uint64_t i = 0; i < 9; i++)
            from[i] = round * 0x9e3779b97f4a7c15 + i;
        /* The source need not be aligned. */
        const char *source = (const char *)from + round % 8;
        __asm__ volatile("movdir64b (%0), %1" : : "r"(source), "r"(to + 8) : "memory");
        CHECK(memcmp(to + 8, source, 64) == 0);
        for (int i = 0; i < 8; i++)
            CHECK(to[i] == 0);
        __asm__ volatile("movdiri %1, %0" : "=m"(to[1]) : "r"(from[1]));
        __asm__ volatile("movdiri %1, %0" : "=m"(*(uint32_t *)&to[2]) : "r"((uint32_t)from[2]));
        CHECK(to[0] == 0 && to[1] == from[1] && to[2] == (uint32_t)from[2] && to[3] == 0);
    }
}

static void bits(void)
{
    uint64_t value = 0x0123456789abcdef, out;
    __asm__ volatile("popcnt %1, %0" : "=r"(out) : "r"(value) : "cc");
    CHECK(out == 32);
    __asm__ volatile("movbe %1, %0" : "=r"(out) : "m"(value));
    CHECK(out == 0xefcdab8967452301);
    __asm__ volatile("pext %2, %1, %0" : "=r"(out) : "r"(value), "r"(0xff00ff00ff00ff00ull));
    CHECK(out == 0x014589cdull);
    __asm__ volatile("mulx %1, %0, %%rcx" : "=r"(out) : "r"(value), "d"(value) : "rcx");
    CHECK(out == value * value);
    uint32_t crc = ~0u;
    __asm__ volatile("crc32q %1, %q0" : "+r"(crc) : "r"(value));
    CHECK(crc != ~0u);
}

/* What RCPPS gives, VRCPPS gives. */
static void reciprocals(void)
{
    uint32_t state = 1;
    for (int round = 0; round < 1000; round++) {
        float in[4], a[4], b[4];
        for (int i = 0; i < 4; i++) {
            state = state * 1664525 + 1013904223;
            memcpy(&in[i], &state, 4);
        }
        __asm__ volatile("movups %2, %%xmm0\n\trcpps %%xmm0, %%xmm1\n\tmovups %%xmm1, %0\n\t"
                         "vrcpps %%xmm0, %%xmm2\n\tvmovups %%xmm2, %1"
                         : "=m"(a), "=m"(b) : "m"(in) : "xmm0", "xmm1", "xmm2");
        CHECK(memcmp(a, b, sizeof a) == 0);
        __asm__ volatile("movups %2, %%xmm0\n\trsqrtps %%xmm0, %%xmm1\n\tmovups %%xmm1, %0\n\t"
                         "vrsqrtps %%xmm0, %%xmm2\n\tvmovups %%xmm2, %1"
                         : "=m"(a), "=m"(b) : "m"(in) : "xmm0", "xmm1", "xmm2");
        CHECK(memcmp(a, b, sizeof a) == 0);
    }
}

/* Thread-local storage, which lies relative to FS. */
static __thread float local[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

static void segments(void)
{
    float out[8];
    float *volatile at = local;
    uintptr_t base, offset;
    __asm__("movq %%fs:0, %0" : "=r"(base));
    offset = (uintptr_t)at - base;
    for (int round = 0; round < 3; round++) {
        __asm__ volatile("vmovups %%fs:(%1), %%ymm0\n\tvaddps %%fs:(%1), %%ymm0, %%ymm0\n\t"
                         "vmovups %%ymm0, %0"
                         : "=m"(out) : "r"(offset) : "xmm0");
        for (int i = 0; i < 8; i++)
            CHECK(out[i] == 2 * local[i]);
    }
    /* GS has no base. */
    __asm__ volatile("vmovups %%gs:(%1), %%ymm0\n\tvmovups %%ymm0, %0"
                     : "=m"(out) : "r"(at) : "xmm0");
    CHECK(memcmp(out, local, sizeof out) == 0);
}

const struct test_case cases[] = {
    { "random", random_numbers }, { "stamps", stamps }, { "lines", lines },
    { "direct", direct },
    { "bits", bits },             { "reciprocals", reciprocals },
    { "segments", segments },     { NULL, NULL },
};
