/*
 * A shared object with instructions that today's CPUs lack (XOP), for runtimes to call: by ctypes, by
 * JNI, by cgo.
 */
#include <stdint.h>
#include <string.h>

/* Turns `value` left by three bits, so many times. */
uint32_t lost_turn(uint32_t value, uint32_t times)
{
    uint32_t lanes[4] = { value, value, value, value };
    for (uint32_t i = 0; i < times; i++)
        __asm__ volatile("movdqu (%0), %%xmm0\n\tvprotd $3, %%xmm0, %%xmm0\n\t"
                         "movdqu %%xmm0, (%0)" : : "r"(lanes) : "xmm0", "memory");
    return lanes[0];
}

/* The same with AVX2, which every CPU lacks that is old enough. */
uint32_t lost_turn_avx2(uint32_t value, uint32_t times)
{
    uint32_t lanes[8] = { value, value, value, value, value, value, value, value };
    for (uint32_t i = 0; i < times; i++)
        __asm__ volatile("vmovdqu (%0), %%ymm0\n\tvpslld $3, %%ymm0, %%ymm1\n\t"
                         "vpsrld $29, %%ymm0, %%ymm0\n\tvpor %%ymm1, %%ymm0, %%ymm0\n\t"
                         "vmovdqu %%ymm0, (%0)\n\tvzeroupper"
                         : : "r"(lanes) : "xmm0", "xmm1", "memory");
    return lanes[7];
}

/* What no CPU has. */
void lost_undefined(void)
{
    __asm__ volatile("ud2");
}

/* Java's names for them. */
int32_t Java_Lost_turn(void *env, void *class, int32_t value, int32_t times)
{
    (void)env;
    (void)class;
    return (int32_t)lost_turn((uint32_t)value, (uint32_t)times);
}

void Java_Lost_undefined(void *env, void *class)
{
    (void)env;
    (void)class;
    lost_undefined();
}
