/* The C library's own mathematical functions, in the variants that a CPU with
 * fused multiplication and addition gets. */
#include "program.h"

#include <math.h>

#include "variants.h"

#define ONE(name, from, to)                                                                      \
    do {                                                                                          \
        double (*function)(double) = (double (*)(double))variant(#name);                         \
        double results[COUNT];                                                                    \
        for (int i = 0; i < COUNT; i++)                                                           \
            results[i] = function(between(&random, from, to));                                    \
        report(out, results, sizeof results, #name);                                              \
    } while (0)

#define ONE_FLOAT(name, from, to)                                                                \
    do {                                                                                          \
        float (*function)(float) = (float (*)(float))variant(#name);                             \
        float results[COUNT];                                                                     \
        for (int i = 0; i < COUNT; i++)                                                           \
            results[i] = function((float)between(&random, from, to));                             \
        report(out, results, sizeof results, #name);                                              \
    } while (0)

#define TWO(type, name, from, to)                                                                \
    do {                                                                                          \
        type (*function)(type, type) = (type(*)(type, type))variant(#name);                      \
        type results[COUNT];                                                                      \
        for (int i = 0; i < COUNT; i++) {                                                         \
            type a = (type)between(&random, from, to), b = (type)between(&random, from, to);      \
            results[i] = function(a, b);                                                          \
        }                                                                                         \
        report(out, results, sizeof results, #name);                                              \
    } while (0)

#define THREE(type, name, from, to)                                                              \
    do {                                                                                          \
        type (*function)(type, type, type) = (type(*)(type, type, type))variant(#name);          \
        type results[COUNT];                                                                      \
        for (int i = 0; i < COUNT; i++) {                                                         \
            type a = (type)between(&random, from, to), b = (type)between(&random, from, to);      \
            /* Cancels all but what is below the product's last place. */                         \
            results[i] = function(a, b, -(a * b));                                                \
        }                                                                                         \
        report(out, results, sizeof results, #name);                                              \
    } while (0)

static double between(struct random *random, double from, double to)
{
    return from + (random_double(random) + 1) / 2 * (to - from);
}

static void run(FILE *out, unsigned scale)
{
    enum { COUNT = 40 };
    for (unsigned round = 0; round < scale; round++) {
        struct random random = {271828 + round};
        ONE(sin, -40, 40);
        ONE(cos, -1e6, 1e6);
        ONE(tan, -10, 10);
        ONE(atan, -100, 100);
        ONE(log2, 0, 1e9);
        ONE(floor, -9, 9);
        ONE(ceil, -9, 9);
        ONE(rint, -9, 9);
        ONE(nearbyint, -9, 9);
        ONE(trunc, -9, 9);
        ONE_FLOAT(sinf, -40, 40);
        ONE_FLOAT(cosf, -1e4, 1e4);
        ONE_FLOAT(expf, -80, 80);
        ONE_FLOAT(exp2f, -100, 100);
        ONE_FLOAT(logf, 0, 1e9);
        ONE_FLOAT(log2f, 0, 1e9);
        ONE_FLOAT(floorf, -9, 9);
        TWO(float, powf, 0.01, 30);
        THREE(double, fma, -3, 3);
        THREE(float, fmaf, -3, 3);
    }
}
