/*
 * A library with worker threads whose jobs take long. It is told by a callback
 * on isahotplug's own thread, eagerly: a host that plans to take something away
 * waits for the answer. The callback turns new jobs to the plain path and, if
 * some are still on the wide one, asks for time; the last of them to finish
 * says that it is left.
 *
 *     cc -O2 callback.c -pthread -lisahotplug -o callback && ./callback
 *
 * Prints a line for each event, and when a worker changes its path. Ends at the
 * end of its input; the exit status is 1 if a result was wrong.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <immintrin.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <isahotplug.h>

enum { WORKERS = 2, COUNT = 4096, PASSES = 20000 };
static const char needed[] = "avx2";

/* The two paths: the same sum. */

static uint32_t job_plain(const uint32_t *values)
{
    uint32_t sum = 0;
    for (int pass = 0; pass < PASSES; pass++)
        for (int i = 0; i < COUNT; i++)
            sum += values[i] ^ (uint32_t)pass;
    return sum;
}

__attribute__((target("avx2")))
static uint32_t job_wide(const uint32_t *values)
{
    __m256i sums = _mm256_setzero_si256();
    for (int pass = 0; pass < PASSES; pass++)
        for (int i = 0; i < COUNT; i += 8) {
            __m256i eight = _mm256_loadu_si256((const __m256i *)(values + i));
            sums = _mm256_add_epi32(sums, _mm256_xor_si256(eight, _mm256_set1_epi32(pass)));
        }
    uint32_t lanes[8], sum = 0;
    _mm256_storeu_si256((__m256i *)lanes, sums);
    for (int i = 0; i < 8; i++)
        sum += lanes[i];
    return sum;
}

/* Which path new jobs take, and how many are on the wide one. */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int wide, on_wide, asked;
static uint64_t registration;

/* Of the event that it was asked for. */
static uint64_t generation;

static int take_path(void)
{
    pthread_mutex_lock(&lock);
    int mine = wide;
    on_wide += mine;
    pthread_mutex_unlock(&lock);
    return mine;
}

static void leave_path(int mine)
{
    if (!mine)
        return;
    pthread_mutex_lock(&lock);
    int was_last = --on_wide == 0 && asked;
    uint64_t about = generation;
    if (was_last)
        asked = 0;
    pthread_mutex_unlock(&lock);
    /* Without the lock: what this library locks, and what its callbacks lock, must not mix. */
    if (was_last)
        isahp_left(registration, about);
}

static int32_t on_event(void *userdata, const isahp_event *event)
{
    isahp_set set;
    (void)userdata;
    isahp_set_parse(needed, &set);
    pthread_mutex_lock(&lock);
    wide = 1;
    for (int i = 0; i < 8; i++)
        wide &= (event->available.words[i] & set.words[i]) == set.words[i];
    int busy = wide ? 0 : on_wide;
    asked = busy != 0;
    generation = event->generation;
    pthread_mutex_unlock(&lock);
    printf("event generation=%llu wide=%d busy=%s attempt=%u\n",
           (unsigned long long)event->generation, wide, busy ? "yes" : "no", event->attempt);
    /*
     * ISAHP_OK would be a promise that no thread is on the wide path. In 10 s
     * the callback is called again, unless isahp_left() has come first.
     */
    return busy ? 10000 : ISAHP_OK;
}

static uint32_t values[COUNT], expected;
static atomic_int stop, wrong;

static void *work(void *unused)
{
    int before = 0;
    while (!stop) {
        int mine = take_path();
        if (mine != before)
            printf("worker takes the %s path\n", mine ? "wide" : "plain");
        before = mine;
        uint32_t found = mine ? job_wide(values) : job_plain(values);
        leave_path(mine);
        wrong |= found != expected;
    }
    return unused;
}

int main(void)
{
    pthread_t workers[WORKERS];
    isahp_registration given = {
        .size = sizeof given,
        .flags = ISAHP_EAGER | ISAHP_INITIAL,
        .features = needed,
        .callback = on_event,
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < COUNT; i++)
        values[i] = (uint32_t)i * 2654435761u;
    expected = job_plain(values);
    int32_t result = isahp_init(NULL);
    if (result == ISAHP_OK)
        result = isahp_register(&given, &registration);
    if (result != ISAHP_OK) {
        fprintf(stderr, "isahotplug: %s\n", isahp_error_text(result));
        return 2;
    }
    /* Workers say that they have left by the handle: it is there now. */
    for (int i = 0; i < WORKERS; i++)
        pthread_create(&workers[i], NULL, work, NULL);
    while (getchar() != EOF)
        ;
    stop = 1;
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    /* Returns when the callback is not running any more. */
    isahp_unregister(registration);
    isahp_unload();
    return wrong;
}
