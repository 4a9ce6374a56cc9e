/* Executes one instruction, named on the command line, and prints its result:
 *   avx2   the sum of two vectors of eight numbers; 24 on every lane
 *   lzcnt  leading zeros of 0x400 in 32 bits: 21. A CPU without it runs BSR: 10
 *   tzcnt  trailing zeros of 0: 32. A CPU without it runs BSF: the old value, 77
 */
#include <stdio.h>
#include <string.h>

static int avx2(void)
{
    int lanes[8];
    int value = 12;
    __asm__ volatile("vmovd %1, %%xmm0\n\t"
                     "vpbroadcastd %%xmm0, %%ymm0\n\t"
                     "vpaddd %%ymm0, %%ymm0, %%ymm0\n\t"
                     "vmovdqu %%ymm0, %0\n\t"
                     "vzeroupper"
                     : "=m"(lanes)
                     : "r"(value)
                     : "xmm0");
    for (int lane = 1; lane < 8; lane++)
        if (lanes[lane] != lanes[0])
            return -1;
    return lanes[0];
}

static int lzcnt(void)
{
    int result;
    __asm__ volatile("lzcnt %1, %0" : "=r"(result) : "r"(0x400) : "cc");
    return result;
}

static int tzcnt(void)
{
    int result = 77;
    __asm__ volatile("tzcnt %1, %0" : "+r"(result) : "r"(0) : "cc");
    return result;
}

int main(int argc, char **argv)
{
    const char *what = argc == 2 ? argv[1] : "";
    int result;
    if (!strcmp(what, "avx2"))
        result = avx2();
    else if (!strcmp(what, "lzcnt"))
        result = lzcnt();
    else if (!strcmp(what, "tzcnt"))
        result = tzcnt();
    else {
        fprintf(stderr, "usage: probe avx2|lzcnt|tzcnt\n");
        return 2;
    }
    printf("%d\n", result);
    return 0;
}
