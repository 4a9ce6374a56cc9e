/*
 * A program with an allocator of its own that must not be called by whoever interrupts it, and with a
 * lock in it: the handler neither allocates nor frees, from its first trap on.
 */
#include "case.h"

#include <stdbool.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);

static volatile bool forbidden;

static void check(void)
{
    static const char what[] = "the handler allocates\n";
    if (forbidden)
        _exit(write(STDOUT_FILENO, what, sizeof what - 1) < 0 ? 2 : 1);
}

void *malloc(size_t size)
{
    check();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    check();
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    check();
    return __libc_realloc(old, size);
}

void free(void *old)
{
    check();
    __libc_free(old);
}

static void none(void)
{
    free(malloc(10));
    forbidden = true;
    /* Of different families: the decoder and the emulator have tables for them. */
    __asm__ volatile("vprotd $7, %%xmm0, %%xmm1\n\tvfmaddps %%xmm0, %%xmm0, %%xmm0, %%xmm1\n\t"
                     "blcfill %%eax, %%eax\n\tvpcmov %%xmm0, %%xmm1, %%xmm2, %%xmm3\n\t"
                     "pfadd %%mm0, %%mm1\n\tfemms\n\tpause\n\t"
                     "vprotd $7, %%xmm0, %%xmm1"
                     : : : "eax", "cc", "xmm1", "xmm3", "mm1");
    forbidden = false;
}

const struct test_case cases[] = { { "none", none }, { NULL, NULL } };
