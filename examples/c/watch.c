/*
 * Prints what the machine gains and loses, on the library's own thread, while
 * the program itself sleeps.
 *
 *     cc -O2 watch.c -lisahotplug -o watch && ./watch
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <isahotplug.h>

static const char *const causes[] = { "start", "offer", "prepare", "abort", "deadline", "trap" };

static int count(const isahp_set *set)
{
    int bits = 0;
    for (int i = 0; i < 8; i++)
        bits += __builtin_popcountll(set->words[i]);
    return bits;
}

/* Called on a thread of the library, one event at a time. */
static int32_t on_event(void *userdata, const isahp_event *event)
{
    struct timespec now;
    (void)userdata;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    printf("event cause=%s generation=%llu added=%d removed=%d latency_us=%llu\n",
           event->cause < 6 ? causes[event->cause] : "?", (unsigned long long)event->generation,
           count(&event->added), count(&event->removed),
           (unsigned long long)(now_us - event->since_us));
    /* This program uses none of the features: they are left as soon as asked. */
    return ISAHP_OK;
}

int main(void)
{
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER,
        .callback = on_event,
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    int32_t result = isahp_init(NULL);
    if (result == ISAHP_OK)
        result = isahp_register(&registration, NULL);
    if (result != ISAHP_OK) {
        fprintf(stderr, "isahotplug: %s\n", isahp_error_text(result));
        return 1;
    }
    printf("watching from generation %llu on\n", (unsigned long long)isahp_generation());
    for (;;)
        pause();
}
