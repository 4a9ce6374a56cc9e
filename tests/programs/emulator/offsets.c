/* Prints where the C library's functions are that this CPU gets, as offsets
 * from the load address of the object that holds them:
 *
 *   offsets [fma4] NAME…      ->      NAME=0x1234 …, one a line
 *
 * A function that is chosen by the CPU at start (IFUNC) appears as the variant
 * that was chosen. With `fma4` the C library is made to believe that the CPU
 * has FMA4 and neither FMA nor AVX2.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/platform/x86.h>

/* The words that say what of a CPUID leaf may be used lie behind the four
 * registers themselves (glibc 2.33 and later). */
static void pretend_fma4(void)
{
    static const unsigned off[] = {x86_cpu_FMA, x86_cpu_AVX2};
    for (unsigned i = 0; i < 3; i++) {
        unsigned index = i < 2 ? off[i] : (unsigned)x86_cpu_FMA4;
        unsigned leaf = index / (8 * sizeof(unsigned) * 4);
        unsigned word = index / 32 % 4, bit = index % 32;
        struct cpuid_feature *feature =
            (struct cpuid_feature *)(uintptr_t)__x86_get_cpuid_feature_leaf(leaf);
        uintptr_t page = (uintptr_t)feature & ~(uintptr_t)4095;
        mprotect((void *)page, 8192, PROT_READ | PROT_WRITE);
        if (i < 2)
            feature->active_array[word] &= ~(1u << bit);
        else
            feature->active_array[word] |= 1u << bit;
    }
}

int main(int argc, char **argv)
{
    int first = 1;
    if (argc > 1 && !strcmp(argv[1], "fma4")) {
        pretend_fma4();
        first = 2;
    }
    dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL);
    for (int i = first; i < argc; i++) {
        Dl_info info;
        void *function = dlsym(RTLD_DEFAULT, argv[i]);
        if (!function || !dladdr(function, &info)) {
            fprintf(stderr, "there is no function %s\n", argv[i]);
            return 1;
        }
        printf("%s=%#lx\n", argv[i],
               (unsigned long)((char *)function - (char *)info.dli_fbase));
    }
    return 0;
}
