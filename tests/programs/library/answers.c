/*
 * A process whose callback answers a planned removal as its argument says, on the library's thread:
 *
 *     ready     at once
 *     again     asks for 20 ms, twice, and has left then
 *     left      asks for a minute, and says that it has left when SIGUSR1 comes
 *     refuse    will not
 *     section   at once, but a thread is in a section until SIGUSR1 comes
 *     silent    as section, on a slot whose best variant uses a feature whose loss does not fault
 *
 * Prints a line for each event, and for what it does then.
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <isahotplug.h>

static const char *mode;
static isahp_slot slot = ISAHP_SLOT_INITIALIZER;

static sem_t changed_once;
static _Atomic uint64_t asked_for;

static int best(void) { return 1; }
static int plain(void) { return 2; }

static const isahp_variant variants[] = {
    { (isahp_function)best, "abm", "best" },
    { (isahp_function)plain, NULL, "plain" },
};

static void need(int32_t result, const char *what)
{
    if (result != ISAHP_OK) {
        fprintf(stderr, "%s: %s\n", what, isahp_error_text(result));
        exit(2);
    }
}

static int is(const char *name)
{
    return strcmp(mode, name) == 0;
}

static int64_t left_ms(const isahp_event *event)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    return event->deadline_us ? ((int64_t)event->deadline_us - now_us) / 1000 : -1;
}

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    char removed[256];
    need(isahp_set_format(&event->removed, removed, sizeof removed), "isahp_set_format");
    printf("event cause=%u attempt=%u generation=%llu left_ms=%lld sequence=%llu removed=%s\n",
           event->cause, event->attempt, (unsigned long long)event->generation,
           (long long)left_ms(event), (unsigned long long)event->epoch.sequence, removed);
    fflush(stdout);
    if (event->cause != ISAHP_CAUSE_PREPARE)
        return ISAHP_OK;
    if (is("again"))
        return event->attempt < 2 ? 20 : ISAHP_OK;
    if (is("left")) {
        asked_for = event->generation;
        return 60000;
    }
    if (is("refuse"))
        return isahp_refuse("a batch runs until noon");
    return ISAHP_OK;
}

static void wait_for(int number)
{
    sigset_t set;
    int got;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigwait(&set, &got);
}

static void *in_a_section(void *nothing)
{
    ISAHP_ENTER();
    printf("inside\n");
    fflush(stdout);
    wait_for(SIGUSR1);
    printf("outside\n");
    fflush(stdout);
    ISAHP_EXIT();
    return nothing;
}

static void on_change(void *userdata, isahp_slot *changed, size_t from, size_t to)
{
    (void)userdata, (void)changed;
    printf("slot %s -> %s\n", variants[from].name, variants[to].name);
    fflush(stdout);
    sem_post(&changed_once);
}

int main(int argc, char **argv)
{
    mode = argc > 1 ? argv[1] : "ready";
    sem_init(&changed_once, 0, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    isahp_options options = { .size = sizeof options, .name = "answers" };
    need(isahp_init(&options), "isahp_init");
    uint64_t handle;
    if (is("silent")) {
        isahp_slot_options sectioned = {
            .size = sizeof sectioned, .flags = ISAHP_SLOT_SECTIONED, .observer = on_change,
        };
        need(isahp_slot_init(&slot, &sectioned, variants, 2), "isahp_slot_init");
        int which = ISAHP_SLOT_CALL(&slot, int (*)(void))();
        printf("start %d\n", which);
        fflush(stdout);
        /* Plain until the agent has confirmed that it waits for this process. */
        if (which == 2)
            sem_wait(&changed_once);
    } else {
        isahp_registration registration = {
            .size = sizeof registration, .flags = ISAHP_EAGER, .callback = on_event,
        };
        need(isahp_register(&registration, &handle), "isahp_register");
    }
    if (is("section") || is("silent")) {
        pthread_t thread;
        pthread_create(&thread, NULL, in_a_section, NULL);
        pthread_join(thread, NULL);
    } else if (is("left")) {
        wait_for(SIGUSR1);
        printf("left %d\n", isahp_left(handle, asked_for));
        fflush(stdout);
    }
    wait_for(SIGUSR1);
    return 0;
}
