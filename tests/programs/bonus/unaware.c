/*
 * A program that knows nothing of the library: what do glibc, libgcc and it
 * itself believe of the CPU?
 *
 *     supports FEATURE 0|1           by libgcc's __builtin_cpu_supports
 *     bound FUNCTION OBJECT ADDRESS  where an IFUNC of libc or libm leads,
 *                                    relative to the object's own addresses
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

/* ld.so fills this in when it relocates the program. */
static const struct {
    const char *name;
    void *function;
} bound[] = {
#define BOUND(function) { #function, (void *)function }
    BOUND(memcpy), BOUND(memmove), BOUND(memset), BOUND(memcmp), BOUND(memchr), BOUND(strlen),
    BOUND(strnlen), BOUND(strcpy), BOUND(strcat), BOUND(strcmp), BOUND(strncmp), BOUND(strchr),
    BOUND(strrchr), BOUND(wcslen), BOUND(wmemset), BOUND(sin), BOUND(exp), BOUND(log),
    BOUND(pow), BOUND(atan2), BOUND(expf), BOUND(sinf), BOUND(fma),
};

int main(void)
{
    __builtin_cpu_init();
#define SUPPORTS(feature) printf("supports %s %d\n", feature, __builtin_cpu_supports(feature) != 0)
    SUPPORTS("sse4.2");
    SUPPORTS("popcnt");
    SUPPORTS("avx");
    SUPPORTS("avx2");
    SUPPORTS("fma");
    SUPPORTS("bmi");
    SUPPORTS("bmi2");
    SUPPORTS("avx512f");
    SUPPORTS("avx512bw");
    SUPPORTS("vaes");
    for (unsigned i = 0; i < sizeof bound / sizeof *bound; i++) {
        Dl_info object;
        if (!dladdr(bound[i].function, &object))
            return 1;
        printf("bound %s %s %#tx\n", bound[i].name, object.dli_fname,
               (char *)bound[i].function - (char *)object.dli_fbase);
    }
    return 0;
}
