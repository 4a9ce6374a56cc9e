/* Instructions of AMD's CPUs that newer ones lack, against scalar formulations. */
#include "case.h"

static uint32_t random_state = 12345;

static uint32_t next(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return random_state ^ random_state >> 16;
}

static void xop(void)
{
    for (int round = 0; round < 300; round++) {
        uint32_t a[4], b[4], c[4], out[4];
        for (int i = 0; i < 4; i++) {
            a[i] = next();
            b[i] = next();
            c[i] = next();
        }
        __asm__ volatile("movups %1, %%xmm1\n\tvprotd $5, %%xmm1, %%xmm0\n\tmovups %%xmm0, %0"
                         : "=m"(out) : "m"(a) : "xmm0", "xmm1");
        for (int i = 0; i < 4; i++)
            CHECK(out[i] == (a[i] << 5 | a[i] >> 27));
        __asm__ volatile("movups %1, %%xmm1\n\tmovups %2, %%xmm2\n\tmovups %3, %%xmm3\n\t"
                         "vpcmov %%xmm3, %%xmm2, %%xmm1, %%xmm0\n\tmovups %%xmm0, %0"
                         : "=m"(out) : "m"(a), "m"(b), "m"(c) : "xmm0", "xmm1", "xmm2", "xmm3");
        for (int i = 0; i < 4; i++)
            CHECK(out[i] == ((a[i] & c[i]) | (b[i] & ~c[i])));
        __asm__ volatile("movups %1, %%xmm1\n\tmovups %2, %%xmm2\n\tmovups %3, %%xmm3\n\t"
                         "vpmacsdd %%xmm3, %%xmm2, %%xmm1, %%xmm0\n\tmovups %%xmm0, %0"
                         : "=m"(out) : "m"(a), "m"(b), "m"(c) : "xmm0", "xmm1", "xmm2", "xmm3");
        for (int i = 0; i < 4; i++)
            CHECK(out[i] == a[i] * b[i] + c[i]);
    }
}

static void fma4(void)
{
    for (int round = 0; round < 300; round++) {
        double a[4], b[4], c[4], out[4];
        for (int i = 0; i < 4; i++) {
            a[i] = (double)(int32_t)next() / 3;
            b[i] = (double)(int32_t)next() / 7;
            c[i] = -a[i] * b[i];
        }
        __asm__ volatile("vmovupd %1, %%ymm1\n\tvmovupd %2, %%ymm2\n\tvmovupd %3, %%ymm3\n\t"
                         "vfmaddpd %%ymm3, %%ymm2, %%ymm1, %%ymm0\n\tvmovupd %%ymm0, %0"
                         : "=m"(out) : "m"(a), "m"(b), "m"(c) : "xmm0", "xmm1", "xmm2", "xmm3");
        for (int i = 0; i < 4; i++)
            CHECK(out[i] == __builtin_fma(a[i], b[i], c[i]));
    }
}

static void tbm(void)
{
    for (int round = 0; round < 300; round++) {
        uint64_t a = next() | (uint64_t)next() << 32, out;
        __asm__ volatile("blcfill %1, %0" : "=r"(out) : "r"(a) : "cc");
        CHECK(out == (a & (a + 1)));
        __asm__ volatile("tzmsk %1, %0" : "=r"(out) : "r"(a) : "cc");
        CHECK(out == (~a & (a - 1)));
        __asm__ volatile("bextr $0x0c08, %1, %0" : "=r"(out) : "r"(a) : "cc");
        CHECK(out == (a >> 8 & 0xfff));
    }
}

static __thread float local[2] = { 2, 3 };

static void three_d_now(void)
{
    float *volatile at = local, sum[2];
    uintptr_t base;
    __asm__("movq %%fs:0, %0" : "=r"(base));
    __asm__ volatile("movq %1, %%mm0\n\tpfadd %%fs:(%2), %%mm0\n\tmovq %%mm0, %0\n\tfemms"
                     : "=m"(sum) : "m"(*at), "r"((uintptr_t)at - base) : "mm0");
    CHECK(sum[0] == 4);
    for (int round = 0; round < 300; round++) {
        float a[2] = { (float)(next() % 1000), (float)(next() % 1000) }, b[2] = { 0.5f, 3 }, out[2];
        __asm__ volatile("movq %1, %%mm0\n\tmovq %2, %%mm1\n\tpfmul %%mm1, %%mm0\n\t"
                         "pfadd %%mm1, %%mm0\n\tmovq %%mm0, %0\n\tfemms"
                         : "=m"(out) : "m"(a), "m"(b) : "mm0", "mm1");
        for (int i = 0; i < 2; i++)
            CHECK(out[i] == a[i] * b[i] + b[i]);
        /* FEMMS has emptied the x87 stack. */
        long double sum = (long double)a[0] + a[1];
        CHECK((float)sum == a[0] + a[1]);
        int32_t whole[2] = { (int32_t)next() % 1000, 7 };
        __asm__ volatile("movq %1, %%mm3\n\tpi2fd %%mm3, %%mm4\n\tpswapd %%mm4, %%mm4\n\t"
                         "movq %%mm4, %0\n\temms"
                         : "=m"(out) : "m"(whole) : "mm3", "mm4");
        CHECK(out[1] == (float)whole[0] && out[0] == 7);
    }
}

/* What the x87 stack holds stays there while something else is emulated. */
static void x87(void)
{
    long double values[3] = { 1.5L, -2.25L, 1e300L }, out[3];
    uint32_t lanes[4] = { 1, 2, 3, 4 };
    __asm__ volatile("fldt %4\n\tfldt %5\n\tfldt %6\n\tmovups %3, %%xmm1\n\t"
                     "vprotd $1, %%xmm1, %%xmm0\n\tmovups %%xmm0, %3\n\t"
                     "fstpt %2\n\tfstpt %1\n\tfstpt %0"
                     : "=m"(out[0]), "=m"(out[1]), "=m"(out[2]), "+m"(lanes)
                     : "m"(values[0]), "m"(values[1]), "m"(values[2])
                     : "xmm0", "xmm1");
    for (int i = 0; i < 3; i++)
        CHECK(out[i] == values[i]);
    CHECK(lanes[3] == 8);
}

/* A pending x87 exception is raised by the next MMX instruction, with its code. */
static volatile sig_atomic_t code;
static sigjmp_buf back;

static void on_fpe(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    code = info->si_code;
    siglongjmp(back, 1);
}

static void pending(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fpe;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGFPE, &action, NULL) == 0);
    static const uint16_t unmask = 0x37f & ~4;
    if (sigsetjmp(back, 1) == 0) {
        __asm__ volatile("fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tpfadd %%mm1, %%mm0"
                         : : "m"(unmask) : "mm0");
        CHECK(!"no signal");
    }
    __asm__ volatile("fnclex\n\tfninit");
    CHECK(code == FPE_FLTDIV);
}

const struct test_case cases[] = {
    { "xop", xop }, { "fma4", fma4 },       { "tbm", tbm }, { "3dnow", three_d_now },
    { "x87", x87 }, { "pending", pending }, { NULL, NULL },
};
