/*
 * A program that loads the library, starts it, and closes it again. The handler stays, and so must its
 * code: nobody can take it away from a thread that is about to enter it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isahotplug.h"

/* Natively lost on all but old CPUs of AMD's: vprotd $4, %xmm0, %xmm0. */
static uint32_t lost(uint32_t value)
{
    uint32_t lanes[4] = { value, value, value, value };
    __asm__ volatile("movdqu (%0), %%xmm0\n\t.byte 0x8f,0xe8,0x78,0xc2,0xc0,0x04\n\t"
                     "movdqu %%xmm0, (%0)" : : "r"(lanes) : "xmm0", "memory");
    return lanes[0];
}

/*
 * Starts the library, in a thread of its own: what a library leaves to be done at a thread's end keeps
 * it from being unloaded as long as the thread lives.
 */
static void *start(void *library)
{
    int32_t (*init)(const isahp_options *);
    *(void **)&init = dlsym(library, "isahp_init");
    isahp_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = ISAHP_POLL;
    return init != NULL && init(&options) == ISAHP_OK ? library : NULL;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    for (int round = 0; round < 3; round++) {
        void *library = dlopen(argv[1], RTLD_NOW);
        if (library == NULL) {
            puts(dlerror());
            return 2;
        }
        pthread_t starter;
        void *started = NULL;
        if (pthread_create(&starter, NULL, start, library) != 0
            || pthread_join(starter, &started) != 0 || started == NULL)
            return 2;
        if (lost(0x12345678) != 0x23456781)
            return 1;
        if (dlclose(library) != 0)
            return 2;
        if (lost(0x12345678) != 0x23456781)
            return 1;
    }
    puts("ok");
    return 0;
}
