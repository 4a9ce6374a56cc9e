/* What the programs of the emulator's tests share: the ways to run, inputs
 * from a fixed generator, digests, buffers at a page's edge.
 *
 * A program defines `run`, which writes a line for each kernel: its name and
 * sizes, a digest of its result, and the first bytes of it. The lines are the
 * same whatever the program was compiled for and in whichever way it runs:
 *
 *   PROGRAM [SCALE [WAY]]
 *
 * SCALE, at least 1, multiplies the work. WAY is one of
 *   plain    once
 *   threads  twice, at the same time
 *   signals  again and again while a timer interrupts it, whose handler uses
 *            every vector register
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#define _GNU_SOURCE

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <x86intrin.h>

/* What the program is there for. May run in several threads at a time. */
static void run(FILE *out, unsigned scale);

/* The program's further arguments, behind SCALE and WAY; ends with NULL. */
static char **further __attribute__((unused));

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

/* --- Inputs ------------------------------------------------------------- */

/* Splitmix64: the same numbers for the same seed, everywhere. */
struct random {
    uint64_t state;
};

__attribute__((unused)) static uint64_t random_u64(struct random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* In [-1, 1), a multiple of 2^-23. */
__attribute__((unused)) static float random_float(struct random *random)
{
    return (float)((int32_t)(random_u64(random) >> 40) - 0x800000) * 0x1p-23f;
}

/* In [-1, 1), a multiple of 2^-52. */
__attribute__((unused)) static double random_double(struct random *random)
{
    return (double)((int64_t)(random_u64(random) >> 11) - 0x10000000000000) * 0x1p-52;
}

__attribute__((unused)) static void random_bytes(struct random *random, void *to, size_t size)
{
    unsigned char *bytes = to;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(random_u64(random) >> 56);
}

__attribute__((unused)) static void random_floats(struct random *random, float *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = random_float(random);
}

__attribute__((unused)) static void random_doubles(struct random *random, double *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = random_double(random);
}

/* --- Buffers ------------------------------------------------------------ */

enum { PAGE = 4096 };

/* Memory between two pages that cannot be touched. */
struct fenced {
    unsigned char *bytes; /* of the caller's size */
    void *mapping;
    size_t length;
};

static struct fenced fence(size_t size, size_t align, int at_end)
{
    size_t pages = (size + PAGE - 1) / PAGE * PAGE;
    size_t length = pages + 2 * PAGE;
    unsigned char *mapping =
        mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        die("mmap of %zu bytes", length);
    if (pages && mprotect(mapping + PAGE, pages, PROT_READ | PROT_WRITE))
        die("mprotect of %zu bytes", pages);
    size_t gap = at_end ? (pages - size) / align * align : 0;
    return (struct fenced){mapping + PAGE + gap, mapping, length};
}

/* `size` bytes that end where the next page cannot be touched, as nearly as
 * the alignment allows. */
__attribute__((unused)) static struct fenced fenced_end(size_t size, size_t align)
{
    return fence(size, align, 1);
}

/* `size` bytes that begin where the page before cannot be touched. */
__attribute__((unused)) static struct fenced fenced_start(size_t size)
{
    return fence(size, 1, 0);
}

__attribute__((unused)) static void release(struct fenced memory)
{
    munmap(memory.mapping, memory.length);
}

/* --- Results ------------------------------------------------------------ */

/* FNV-1a. */
__attribute__((unused)) static uint64_t digest(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

/* A line: the kernel (as printf), digest and first bytes of its result. */
__attribute__((unused, format(printf, 4, 5))) static void
report(FILE *out, const void *data, size_t size, const char *kernel, ...)
{
    va_list arguments;
    va_start(arguments, kernel);
    vfprintf(out, kernel, arguments);
    va_end(arguments);
    fprintf(out, " %016llx ", (unsigned long long)digest(data, size));
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size && i < 16; i++)
        fprintf(out, "%02x", bytes[i]);
    fputc('\n', out);
}

/* A line for a published test vector; a wrong result ends the program. */
__attribute__((unused)) static void published(FILE *out, const char *what, const void *result,
                                              const char *hex)
{
    const unsigned char *bytes = result;
    size_t size = strlen(hex) / 2;
    char text[2 * size + 1];
    text[0] = 0;
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    if (strcmp(text, hex))
        die("%s: %s, and not %s", what, text, hex);
    fprintf(out, "%s %s\n", what, text);
}

/* The bytes that `hex` spells. */
__attribute__((unused)) static void from_hex(const char *hex, void *to)
{
    unsigned char *bytes = to;
    for (size_t i = 0; hex[2 * i]; i++) {
        char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (unsigned char)strtoul(two, NULL, 16);
    }
}

/* --- Ways to run -------------------------------------------------------- */

static char *output_of_run(unsigned scale)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        die("open_memstream");
    run(out, scale);
    fclose(out);
    return text;
}

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    unsigned scale;
    char *text;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    pthread_barrier_wait(worker->start);
    worker->text = output_of_run(worker->scale);
    return NULL;
}

static char *in_threads(unsigned scale)
{
    enum { THREADS = 2 };
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.start = &start, .scale = scale};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            die("pthread_create");
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    if (strcmp(workers[0].text, workers[1].text))
        die("two threads came to different results:\n%s\n%s", workers[0].text, workers[1].text);
    return workers[0].text;
}

/* Fills every vector register with multiples of `seed` and adds them up, in
 * each of eight lanes: 136 times the seed. */
static void use_every_register(uint32_t seed, uint32_t sums[8])
{
#if defined __AVX2__
    __asm__ volatile("vmovd %1, %%xmm0\n\t"
                     "vpbroadcastd %%xmm0, %%ymm0\n\t"
                     "vpaddd %%ymm0, %%ymm0, %%ymm1\n\t"
                     "vpaddd %%ymm0, %%ymm1, %%ymm2\n\t"
                     "vpaddd %%ymm0, %%ymm2, %%ymm3\n\t"
                     "vpaddd %%ymm0, %%ymm3, %%ymm4\n\t"
                     "vpaddd %%ymm0, %%ymm4, %%ymm5\n\t"
                     "vpaddd %%ymm0, %%ymm5, %%ymm6\n\t"
                     "vpaddd %%ymm0, %%ymm6, %%ymm7\n\t"
                     "vpaddd %%ymm0, %%ymm7, %%ymm8\n\t"
                     "vpaddd %%ymm0, %%ymm8, %%ymm9\n\t"
                     "vpaddd %%ymm0, %%ymm9, %%ymm10\n\t"
                     "vpaddd %%ymm0, %%ymm10, %%ymm11\n\t"
                     "vpaddd %%ymm0, %%ymm11, %%ymm12\n\t"
                     "vpaddd %%ymm0, %%ymm12, %%ymm13\n\t"
                     "vpaddd %%ymm0, %%ymm13, %%ymm14\n\t"
                     "vpaddd %%ymm0, %%ymm14, %%ymm15\n\t"
                     "vpaddd %%ymm1, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm2, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm3, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm4, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm5, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm6, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm7, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm8, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm9, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm10, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm11, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm12, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm13, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm14, %%ymm0, %%ymm0\n\t"
                     "vpaddd %%ymm15, %%ymm0, %%ymm0\n\t"
#if defined __XOP__
                     "vprotd $13, %%xmm0, %%xmm1\n\t"
                     "vprotd $19, %%xmm1, %%xmm1\n\t"
                     "vinserti128 $0, %%xmm1, %%ymm0, %%ymm0\n\t"
#endif
                     "vmovdqu %%ymm0, %0\n\t"
                     "vzeroupper"
                     : "=m"(*(uint32_t(*)[8])sums)
                     : "r"(seed)
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#else
    for (int lane = 0; lane < 8; lane++)
        sums[lane] = 136 * seed;
#endif
}

static volatile sig_atomic_t ticks;
static volatile sig_atomic_t wrong_in_handler;

/* The next tick, counted from now: a handler that takes longer than the time
 * between two ticks would leave none for the program. */
static void arm_timer(void)
{
    struct itimerval soon = {.it_value = {.tv_usec = 300}};
    setitimer(ITIMER_REAL, &soon, NULL);
}

static void on_timer(int signal)
{
    (void)signal;
    uint32_t sums[8];
    uint32_t seed = 0x01234567 + (uint32_t)ticks;
    use_every_register(seed, sums);
    for (int lane = 0; lane < 8; lane++)
        if (sums[lane] != 136 * seed)
            wrong_in_handler = 1;
    ticks = ticks + 1;
    arm_timer();
}

static char *under_signals(unsigned scale)
{
    enum { WANTED = 40 };
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    arm_timer();
    char *first = output_of_run(scale);
    do {
        char *again = output_of_run(scale);
        if (strcmp(first, again))
            die("interrupted runs came to different results:\n%s\n%s", first, again);
        free(again);
    } while (ticks < WANTED);
    action.sa_handler = SIG_IGN;
    sigaction(SIGALRM, &action, NULL);
    if (wrong_in_handler)
        die("the signal handler came to a wrong result");
    return first;
}

int main(int argc, char **argv)
{
    long scale = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    const char *way = argc > 2 ? argv[2] : "plain";
    further = argv + (argc > 3 ? 3 : argc);
    if (scale < 1 || scale > 1000000)
        die("usage: PROGRAM [SCALE [plain|threads|signals]]");
    char *text;
    if (!strcmp(way, "plain"))
        text = output_of_run((unsigned)scale);
    else if (!strcmp(way, "threads"))
        text = in_threads((unsigned)scale);
    else if (!strcmp(way, "signals"))
        text = under_signals((unsigned)scale);
    else
        die("no such way to run: %s", way);
    fputs(text, stdout);
    return 0;
}

#endif
