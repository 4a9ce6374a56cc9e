/*
 * Uses the installed library in the ways a program would, as C and as C++. The agent's page says
 * that there is no AVX2; with the argument "trap" the CPU has none either; with "thread" the library
 * has a thread.
 */
#include <dlfcn.h>
#include <isahotplug.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);              \
            return 1;                                                                    \
        }                                                                                \
    } while (0)

typedef int (*width_function)(void);

static int narrow(void) { return 128; }
static int wide(void) { return 256; }

static int32_t told(void *userdata, const isahp_event *event)
{
    (void)event;
    ++*(int *)userdata;
    return ISAHP_OK;
}

/* Lanes of 32 bits: each of the sums has to be 3. */
static int add_with_avx2(void)
{
    int ones[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    int twos[8] = { 2, 2, 2, 2, 2, 2, 2, 2 };
    int sums[8] = { 0 };
    __asm__ volatile("vmovdqu %1, %%ymm0\n\t"
                     "vpaddd %2, %%ymm0, %%ymm0\n\t"
                     "vmovdqu %%ymm0, %0\n\t"
                     "vzeroupper"
                     : "=m"(sums)
                     : "m"(ones), "m"(twos)
                     : "xmm0");
    for (int i = 0; i < 8; i++)
        if (sums[i] != 3)
            return 0;
    return 1;
}

int main(int argc, char **argv)
{
    const isahp_variant variants[] = {
        { (isahp_function)wide, "avx2", "wide" },
        { (isahp_function)narrow, NULL, "narrow" },
    };
    isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    isahp_options options;
    isahp_registration registration;
    isahp_set available;
    uint64_t handle = 0;
    uint32_t avx2 = 0, calls = 1;
    int times_told = 0;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = argc > 1 && strcmp(argv[1], "thread") == 0 ? 0 : ISAHP_POLL;
    options.name = "installed";
    CHECK(isahp_init(&options) == ISAHP_OK);

    CHECK(isahp_feature("avx2", &avx2) == ISAHP_OK);
    CHECK(isahp_has(avx2) == 0 && ISAHP_HAS(avx2) == 0);
    CHECK(ISAHP_GENERATION() == isahp_generation());
    CHECK(isahp_available(&available) == ISAHP_OK);
    CHECK((available.words[avx2 / 64] >> (avx2 % 64) & 1) == 0);

    memset(&registration, 0, sizeof registration);
    registration.size = sizeof registration;
    registration.features = "avx2";
    registration.callback = told;
    registration.userdata = &times_told;
    CHECK(isahp_register(&registration, &handle) == ISAHP_OK);
    CHECK(isahp_poll(&calls) == ISAHP_OK);
    CHECK(calls == 0 && times_told == 0);

    CHECK(isahp_slot_init(&slot, NULL, variants, 2) == ISAHP_OK);
    ISAHP_ENTER();
    CHECK(ISAHP_SLOT_CALL(&slot, width_function)() == 128);
    ISAHP_EXIT();
    CHECK(((width_function)isahp_slot_checked(&slot))() == 128);

    if (argc > 1 && strcmp(argv[1], "trap") == 0) {
        isahp_counters counters;
        memset(&counters, 0, sizeof counters);
        counters.size = sizeof counters;
        CHECK(add_with_avx2());
        CHECK(isahp_count(&counters) == ISAHP_OK);
        CHECK(counters.emulated > 0);
    }

    CHECK(isahp_slot_release(&slot) == ISAHP_OK);
    CHECK(isahp_unregister(handle) == ISAHP_OK);
    CHECK(isahp_unload() == ISAHP_OK);

#ifndef __SANITIZE_ADDRESS__ /* which has a memcpy of its own */
    {
        /* Dynamic programs only: a static one has no names to look up. */
        Dl_info info;
        if (dlsym(RTLD_DEFAULT, "printf") != NULL) {
            CHECK(dladdr((void *)(uintptr_t)memcpy, &info) != 0);
            CHECK(strstr(info.dli_fname, "libc.so") != NULL);
        }
    }
#endif
    puts("ok");
    return 0;
}
