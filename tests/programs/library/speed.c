/*
 * What the calls that programs make all the time cost. Prints a line for each round, with the
 * nanoseconds of one call of each kind; they take turns, so that what slows the machine down for a
 * while slows all.
 *
 *     speed ROUNDS
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <isahotplug.h>

enum { CALLS = 200000 };

typedef long (*function)(long);

/* What is called: as little as can be, each result needed for the next call. */
__attribute__((noipa)) static long plus(long number)
{
    return number + 1;
}

__attribute__((noipa)) static long plus_too(long number)
{
    return number + 1;
}

/* Not static, and not constant: it is loaded for each call, as a library's own pointer is. */
function pointer = plus;

static function resolve(void)
{
    return plus;
}

long by_ifunc(long number) __attribute__((ifunc("resolve")));

static isahp_slot slot = ISAHP_SLOT_INITIALIZER;
static uint32_t sse2;
static long failed;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

#define MEASURE(name, call)                                                   \
    static double name(void)                                                  \
    {                                                                         \
        long number = 0;                                                      \
        double start = now();                                                 \
        for (int i = 0; i < CALLS; i++)                                       \
            number = (call);                                                  \
        double end = now();                                                   \
        failed += number != CALLS;                                            \
        return (end - start) / CALLS;                                         \
    }

/* The loop itself, which the compiler must not do away with. */
static inline long nothing(long number)
{
    __asm__ volatile("" : "+r"(number));
    return number + 1;
}

static long checked(long number)
{
    return ((function)isahp_slot_checked(&slot))(number);
}

static inline long section(long number)
{
    ISAHP_ENTER();
    number = nothing(number);
    ISAHP_EXIT();
    return number;
}

static inline long section_called(long number)
{
    isahp_enter();
    number = nothing(number);
    isahp_exit();
    return number;
}

static long poll_once(long number)
{
    isahp_poll(NULL);
    return number + 1;
}

static uint64_t generation;

static inline long unchanged(long number)
{
    return number + (ISAHP_GENERATION() == generation);
}

MEASURE(measure_nothing, nothing(number))
MEASURE(measure_direct, plus(number))
MEASURE(measure_pointer, pointer(number))
MEASURE(measure_slot, ISAHP_SLOT_CALL(&slot, function)(number))
MEASURE(measure_ifunc, by_ifunc(number))
MEASURE(measure_checked, checked(number))
MEASURE(measure_has, nothing(number) - 1 + ISAHP_HAS(sse2))
MEASURE(measure_has_called, number + isahp_has(sse2))
MEASURE(measure_generation, nothing(unchanged(number)) - 1)
MEASURE(measure_section, section(number))
MEASURE(measure_section_called, section_called(number))
MEASURE(measure_poll, poll_once(number))

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 1;
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL, .name = "speed" };
    const isahp_variant variants[] = {
        { (isahp_function)plus, "sse2", "best" },
        { (isahp_function)plus_too, NULL, "plain" },
    };
    if (isahp_init(&options) != ISAHP_OK || isahp_slot_init(&slot, NULL, variants, 2) != ISAHP_OK
        || isahp_feature("sse2", &sse2) != ISAHP_OK)
        return 2;
    isahp_poll(NULL);
    generation = isahp_generation();
    for (int round = -2; round < rounds; round++) {
        double bare = measure_nothing(), direct = measure_direct(), plain = measure_pointer(),
               in_slot = measure_slot(), ifunc = measure_ifunc(), check = measure_checked(),
               has = measure_has(),
               has_called = measure_has_called(), same = measure_generation(), read_side = measure_section(),
               read_side_called = measure_section_called(),
               poll = measure_poll();
        if (round < 0)
            continue; /* warm now */
        printf("nothing=%.4f direct=%.4f pointer=%.4f slot=%.4f ifunc=%.4f checked=%.4f has=%.4f "
               "has_called=%.4f generation=%.4f section=%.4f section_called=%.4f poll=%.4f\n",
               bare, direct, plain, in_slot, ifunc, check, has, has_called, same, read_side,
               read_side_called, poll);
    }
    return failed != 0;
}
