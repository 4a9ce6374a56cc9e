/* Complex fast Fourier transforms, radix 2 and radix 4, in both precisions;
 * each complex product is one multiplication and one fused one that
 * alternates between adding and subtracting. */
#include "program.h"

#include "lanes.h"

/* Four complex products; a pair of lanes is a number. */
static inline f8 multiply_f8(f8 a, f8 b)
{
    return f8_fmaddsub(f8_even(a), b, f8_mul(f8_odd(a), f8_swap(b)));
}

static inline d4 multiply_d4(d4 a, d4 b)
{
    return d4_fmaddsub(d4_even(a), b, d4_mul(d4_odd(a), d4_swap(b)));
}

/* The n-th roots of unity from one, by squaring and multiplying: no sine of a
 * library, which may differ. */
static void roots(size_t n, double *w)
{
    w[0] = 1;
    w[1] = 0;
    double c = -1, s = 0; /* the root of order 2 */
    for (size_t order = 2; order < n; order *= 2) {
        double half = sqrt((1 + c) / 2);
        s = c == -1 ? 1 : s / (2 * half);
        c = half;
    }
    for (size_t k = 1; k < n; k++) {
        w[2 * k] = fma(w[2 * k - 2], c, -(w[2 * k - 1] * s));
        w[2 * k + 1] = fma(w[2 * k - 2], s, w[2 * k - 1] * c);
    }
}

static size_t reversed(size_t i, size_t n)
{
    size_t r = 0;
    for (; n > 1; n /= 2, i /= 2)
        r = 2 * r + i % 2;
    return r;
}

/* Radix 2, decimation in time, in place; `n` a power of two. */
static void fft_double(size_t n, const double *w, double *x)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = reversed(i, n);
        if (i < j)
            for (size_t part = 0; part < 2; part++) {
                double keep = x[2 * i + part];
                x[2 * i + part] = x[2 * j + part];
                x[2 * j + part] = keep;
            }
    }
    for (size_t half = 1; half < n; half *= 2) {
        double twiddle[2 * half];
        for (size_t k = 0; k < half; k++) {
            twiddle[2 * k] = w[2 * k * (n / 2 / half)];
            twiddle[2 * k + 1] = -w[2 * k * (n / 2 / half) + 1];
        }
        for (size_t base = 0; base < n; base += 2 * half) {
            double *low = x + 2 * base, *high = low + 2 * half;
            size_t k = 0;
            for (; k + 2 <= half; k += 2) {
                d4 odd = multiply_d4(d4_load(twiddle + 2 * k), d4_load(high + 2 * k));
                d4 even = d4_load(low + 2 * k);
                d4_store(low + 2 * k, d4_add(even, odd));
                d4_store(high + 2 * k, d4_sub(even, odd));
            }
            for (; k < half; k++) {
                double re = fma(twiddle[2 * k], high[2 * k], -(twiddle[2 * k + 1] * high[2 * k + 1]));
                double im = fma(twiddle[2 * k], high[2 * k + 1], twiddle[2 * k + 1] * high[2 * k]);
                high[2 * k] = low[2 * k] - re;
                high[2 * k + 1] = low[2 * k + 1] - im;
                low[2 * k] += re;
                low[2 * k + 1] += im;
            }
        }
    }
}

/* Radix 4, Stockham's order, from x to y and back; `n` a power of four, at
 * least 16. Returns which of the two holds the result. */
static float *fft_float(size_t n, const float *w, float *x, float *y)
{
    for (size_t length = n, stride = 1; length > 1; length /= 4, stride *= 4) {
        size_t quarter = length / 4;
        for (size_t p = 0; p < quarter; p++) {
            const float *turn[3];
            for (size_t k = 0; k < 3; k++)
                turn[k] = w + 2 * ((k + 1) * p * stride % n);
            for (size_t q = 0; q < stride; q++) {
                const float *in = x + 2 * (q + stride * p);
                float *to = y + 2 * (q + stride * 4 * p);
                size_t step = 2 * stride * quarter;
                if (stride % 4 == 0) {
                    /* Four neighbours at once. */
                    f8 a = f8_load(in), b = f8_load(in + step);
                    f8 c = f8_load(in + 2 * step), d = f8_load(in + 3 * step);
                    f8 apc = f8_add(a, c), amc = f8_sub(a, c);
                    f8 bpd = f8_add(b, d), bmd = f8_swap(f8_sub(b, d));
                    const float minus_i[8] = {1, -1, 1, -1, 1, -1, 1, -1};
                    bmd = f8_mul(bmd, f8_load(minus_i));
                    f8 results[3] = {f8_add(amc, bmd), f8_sub(apc, bpd), f8_sub(amc, bmd)};
                    f8_store(to, f8_add(apc, bpd));
                    for (size_t k = 0; k < 3; k++) {
                        float both[8];
                        for (size_t l = 0; l < 8; l++)
                            both[l] = turn[k][l % 2];
                        f8_store(to + 2 * stride * (k + 1),
                                 multiply_f8(f8_load(both), results[k]));
                    }
                    q += 3;
                    continue;
                }
                float re[4], im[4];
                for (size_t k = 0; k < 4; k++) {
                    re[k] = in[k * step];
                    im[k] = in[k * step + 1];
                }
                float sums[8] = {
                    re[0] + re[2] + (re[1] + re[3]), im[0] + im[2] + (im[1] + im[3]),
                    re[0] - re[2] + (im[1] - im[3]), im[0] - im[2] - (re[1] - re[3]),
                    re[0] + re[2] - (re[1] + re[3]), im[0] + im[2] - (im[1] + im[3]),
                    re[0] - re[2] - (im[1] - im[3]), im[0] - im[2] + (re[1] - re[3]),
                };
                to[0] = sums[0];
                to[1] = sums[1];
                for (size_t k = 1; k < 4; k++) {
                    const float *t = turn[k - 1];
                    to[2 * stride * k] = fmaf(t[0], sums[2 * k], -(t[1] * sums[2 * k + 1]));
                    to[2 * stride * k + 1] = fmaf(t[0], sums[2 * k + 1], t[1] * sums[2 * k]);
                }
            }
        }
        float *keep = x;
        x = y;
        y = keep;
    }
    return x;
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {3};
    for (size_t n = 2; n <= 128 * scale && n <= 4096; n *= 2) {
        double *w = malloc(2 * n * sizeof *w);
        roots(n, w);
        struct fenced memory = fenced_end(2 * n * sizeof(double), 1);
        double *x = (double *)memory.bytes;
        random_doubles(&random, x, 2 * n);
        double first = x[2];
        fft_double(n, w, x);
        report(out, x, 2 * n * sizeof *x, "fft-double n=%zu", n);
        /* Backwards: conjugated before and after. */
        for (size_t i = 0; i < n; i++)
            x[2 * i + 1] = -x[2 * i + 1];
        fft_double(n, w, x);
        report(out, x, 2 * n * sizeof *x, "fft-double-back n=%zu", n);
        if (fabs(x[2] / (double)n - first) > 1e-12)
            die("the transform of %zu points does not come back", n);
        release(memory);
        free(w);
    }
    for (size_t n = 16; n <= 64 * scale * scale && n <= 4096; n *= 4) {
        double exact[2 * n];
        float w[2 * n];
        roots(n, exact);
        for (size_t i = 0; i < n; i++) {
            w[2 * i] = (float)exact[2 * i];
            w[2 * i + 1] = (float)-exact[2 * i + 1];
        }
        struct fenced memory[2] = {fenced_end(8 * n, 1), fenced_start(8 * n)};
        float *x = (float *)memory[0].bytes;
        random_floats(&random, x, 2 * n);
        double wanted[2 * n];
        for (size_t i = 0; i < 2 * n; i++)
            wanted[i] = x[i];
        float *result = fft_float(n, w, x, (float *)memory[1].bytes);
        report(out, result, 8 * n, "fft-float n=%zu", n);
        fft_double(n, exact, wanted);
        for (size_t i = 0; i < 2 * n; i++)
            if (fabs(result[i] - wanted[i]) > 1e-4)
                die("fft-float n=%zu: number %zu is %g and not %g", n, i, result[i], wanted[i]);
        release(memory[0]);
        release(memory[1]);
    }
}
