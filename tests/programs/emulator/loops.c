/* Plain loops that the compiler turns into vector instructions as it likes:
 * all widths of integers and floats, conversions, conditions, reductions,
 * strides and shifts. */
#include "program.h"

#include <math.h>

enum { N = 203 };

/* Each loop is a function of its own, with nothing known of its arguments. */
#define LOOP __attribute__((noipa)) static void

LOOP add_saturated(uint8_t *a, const uint8_t *b, int n)
{
    for (int i = 0; i < n; i++) {
        int sum = a[i] + b[i];
        a[i] = (uint8_t)(sum > 255 ? 255 : sum);
    }
}

LOOP average(uint8_t *a, const uint8_t *b, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = (uint8_t)((a[i] + b[i] + 1) >> 1);
}

LOOP scale_words(int16_t *a, const int16_t *b, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = (int16_t)((a[i] * b[i] + 0x4000) >> 15);
}

LOOP multiply_add(int32_t *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = (int32_t)((uint32_t)a[i] * (uint32_t)b[i] + (uint32_t)(a[i] >> 3));
}

LOOP multiply_long(uint64_t *a, const uint64_t *b, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = a[i] * b[i] ^ (a[i] >> (b[i] & 63));
}

LOOP shift_each(uint32_t *a, const uint32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = (a[i] << (b[i] & 31)) | (uint32_t)((int32_t)b[i] >> (a[i] & 31));
}

LOOP rotate_each(uint32_t *a, const uint32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = (a[i] << 7 | a[i] >> 25) + (b[i] >> 19 | b[i] << 13);
}

LOOP choose(int32_t *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = a[i] > b[i] ? (b[i] < 0 ? -b[i] : a[i] ^ b[i]) : a[i] & ~b[i];
}

LOOP extremes(int32_t *to, const int32_t *a, int n)
{
    int32_t least = a[0], most = a[0];
    for (int i = 0; i < n; i++) {
        least = a[i] < least ? a[i] : least;
        most = a[i] > most ? a[i] : most;
    }
    to[0] = least;
    to[1] = most;
}

LOOP sums(uint64_t *to, const uint8_t *bytes, const int16_t *words, int n)
{
    uint32_t of_bytes = 0;
    int32_t of_products = 0;
    uint64_t differences = 0;
    for (int i = 0; i < n; i++)
        of_bytes += bytes[i];
    for (int i = 0; i + 1 < n; i++)
        of_products += (words[i] >> 4) * (words[i + 1] >> 4);
    for (int i = 0; i + 3 < n; i++)
        differences += (uint64_t)abs(bytes[i] - bytes[i + 3]);
    to[0] = of_bytes;
    to[1] = (uint64_t)(int64_t)of_products;
    to[2] = differences;
}

LOOP widen(int64_t *to, const int8_t *a, const uint16_t *b, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (int64_t)a[i] * b[i] - (int32_t)((uint32_t)b[i] << 15);
}

LOOP narrow(int8_t *to, const int32_t *a, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (int8_t)(a[i] >> 7);
}

LOOP interleave(uint16_t *to, const uint16_t *a, const uint16_t *b, int n)
{
    for (int i = 0; i < n; i++) {
        to[2 * i] = a[i];
        to[2 * i + 1] = (uint16_t)(b[i] + a[n - 1 - i]);
    }
}

LOOP stride(float *to, const float *a, int n)
{
    for (int i = 0; 3 * i + 2 < n; i++)
        to[i] = a[3 * i] * a[3 * i + 1] - a[3 * i + 2];
}

LOOP look_up(int32_t *to, const int32_t *table, const uint8_t *index, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = table[index[i] % 64] + i;
}

LOOP polynomial(float *a, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = fmaf(fmaf(fmaf(0.25f, a[i], -0.5f), a[i], 1.5f), a[i], 0.125f);
}

LOOP fused(double *a, const double *b, const double *c, int n)
{
    for (int i = 0; i < n; i++)
        a[i] = fma(-b[i], c[i], a[i]) + fma(b[i], a[i], -c[i]);
}

LOOP convert(int32_t *to, double *wide, const float *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++) {
        to[i] = (int32_t)(a[i] * 1000);
        wide[i] = (double)b[i] / 3 + (double)a[i];
    }
}

LOOP roots(float *a, double *b, int n)
{
    for (int i = 0; i < n; i++) {
        a[i] = sqrtf(fabsf(a[i])) / (1 + a[i] * a[i]);
        b[i] = b[i] > 0.5 ? sqrt(b[i]) : floor(b[i] * 8);
    }
}

LOOP bounds(float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        if (b[i] > -0.5f && b[i] < 0.5f)
            a[i] = a[i] > b[i] ? b[i] : a[i] + 1;
}

/* How long each point of a line stays bounded. */
LOOP mandelbrot(int32_t *to, float y, int n)
{
    for (int i = 0; i < n; i++) {
        float x = -2 + 3 * (float)i / (float)n, re = 0, im = 0;
        int steps = 0;
        for (int k = 0; k < 24; k++) {
            float next = fmaf(re, re, -(im * im)) + x;
            im = fmaf(re + re, im, y);
            re = next;
            steps += fmaf(re, re, im * im) <= 4;
            re = fminf(fmaxf(re, -1e3f), 1e3f);
            im = fminf(fmaxf(im, -1e3f), 1e3f);
        }
        to[i] = steps;
    }
}

LOOP life(uint8_t *to, const uint8_t *from, int width)
{
    for (int x = 1; x + 1 < width; x++) {
        const uint8_t *above = from + x, *here = above + width, *below = here + width;
        uint8_t around = (uint8_t)(above[-1] + above[0] + above[1] + here[-1] + here[1] + below[-1] +
                                   below[0] + below[1]);
        to[x] = (uint8_t)((around == 3) | ((around == 2) & here[0]));
    }
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {99};
    for (unsigned round = 0; round < 4 * scale; round++) {
        int n = (int)(N - random_u64(&random) % 40);
        uint8_t bytes[2][N];
        uint16_t words[2][N], both[2 * N];
        int32_t numbers[2][N], to[N];
        uint64_t longs[2][N], three[3];
        int64_t wide[N];
        float floats[2][N], some[N];
        double doubles[3][N], converted[N];
        random_bytes(&random, bytes, sizeof bytes);
        random_bytes(&random, words, sizeof words);
        random_bytes(&random, numbers, sizeof numbers);
        random_bytes(&random, longs, sizeof longs);
        random_floats(&random, floats[0], 2 * N);
        random_doubles(&random, doubles[0], 3 * N);
#define DO(call, result)                                                                           \
    do {                                                                                           \
        call;                                                                                      \
        report(out, result, (size_t)n * sizeof *(result), "%.*s n=%d",                             \
               (int)strcspn(#call, "("), #call, n);                                                \
    } while (0)
        memset(some, 0, sizeof some);
        DO(sums(three, bytes[0], (int16_t *)words[0], n), bytes[1]);
        report(out, three, sizeof three, "sums");
        DO(add_saturated(bytes[0], bytes[1], n), bytes[0]);
        DO(average(bytes[0], bytes[1], n), bytes[0]);
        DO(scale_words((int16_t *)words[0], (int16_t *)words[1], n), words[0]);
        DO(widen(wide, (int8_t *)bytes[0], words[1], n), wide);
        DO(interleave(both, words[0], words[1], n), both + n);
        DO(look_up(to, numbers[1], bytes[0], n), to);
        DO(multiply_add(numbers[0], numbers[1], n), numbers[0]);
        DO(multiply_long(longs[0], longs[1], n), longs[0]);
        DO(shift_each((uint32_t *)numbers[0], (uint32_t *)numbers[1], n), numbers[0]);
        DO(rotate_each((uint32_t *)numbers[0], (uint32_t *)numbers[1], n), numbers[0]);
        DO(choose(numbers[0], numbers[1], n), numbers[0]);
        DO(narrow((int8_t *)bytes[0], numbers[0], n), bytes[0]);
        extremes(to, numbers[0], n);
        report(out, to, 8, "extremes");
        DO(stride(some, floats[0], n), some);
        DO(convert(to, converted, floats[0], numbers[0], n), to);
        report(out, converted, (size_t)n * sizeof *converted, "converted");
        DO(polynomial(floats[0], n), floats[0]);
        DO(bounds(floats[0], floats[1], n), floats[0]);
        DO(fused(doubles[0], doubles[1], doubles[2], n), doubles[0]);
        DO(roots(floats[1], doubles[1], n), floats[1]);
        report(out, doubles[1], (size_t)n * sizeof(double), "roots");
        DO(mandelbrot(to, 0.1f * (float)round, n / 4), to);
        uint8_t cells[3 * N];
        for (int i = 0; i < 3 * N; i++)
            cells[i] = (uint8_t)(random_u64(&random) >> 63);
        memset(bytes[0], 0, N);
        DO(life(bytes[0], cells, N), bytes[0]);
    }
}
