/*
 * Follows an agent, and tells of itself when it is asked by a line on standard input:
 *
 *     look     how things stand
 *     churn    registers and unregisters a thousand times, then as look
 *
 *     follower thread|poll
 *
 * In its own event loop or by the library's thread. At the end of the input it unloads the library.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <isahotplug.h>

static int calls, turns;
static uint64_t last;

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&last, event->generation, __ATOMIC_SEQ_CST);
    return ISAHP_OK;
}

static int one(void) { return 1; }
static isahp_slot slot = ISAHP_SLOT_INITIALIZER;
static const isahp_variant variants[] = {
    { (isahp_function)one, "pni", NULL },
    { (isahp_function)one, NULL, NULL },
};

static void look(void)
{
    char state[512] = "";
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    long cpu = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000L
        + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
    if (isahp_state(state, sizeof state) != ISAHP_OK || ISAHP_SLOT_CALL(&slot, int (*)(void))() != 1)
        abort();
    printf("generation=%llu calls=%d last=%llu cpu_ms=%ld turns=%d state=%s\n",
           (unsigned long long)isahp_generation(), __atomic_load_n(&calls, __ATOMIC_SEQ_CST),
           (unsigned long long)__atomic_load_n(&last, __ATOMIC_SEQ_CST), cpu, turns, state);
}

int main(int argc, char **argv)
{
    int polls = argc == 2 && strcmp(argv[1], "poll") == 0;
    isahp_options options = { .size = sizeof options, .flags = polls ? ISAHP_POLL : 0 };
    isahp_registration registration = {
        .size = sizeof registration, .flags = ISAHP_EAGER, .features = "pni", .callback = on_event,
    };
    struct pollfd wait[2] = { { .fd = 0, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
    char line[64];
    setvbuf(stdin, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (isahp_init(&options) != ISAHP_OK || isahp_register(&registration, NULL) != ISAHP_OK
        || isahp_slot_init(&slot, NULL, variants, 2) != ISAHP_OK)
        return 2;
    if (polls && isahp_fd(&wait[1].fd) != ISAHP_OK)
        return 3;
    for (;; turns++) {
        if (poll(wait, 2, -1) < 0)
            return 4;
        if (polls && isahp_poll(NULL) != ISAHP_OK)
            return 5;
        if (wait[0].revents == 0)
            continue;
        if (fgets(line, sizeof line, stdin) == NULL)
            break;
        if (strcmp(line, "churn\n") == 0)
            for (int i = 0; i < 1000; i++) {
                uint64_t handle;
                registration.features = i % 2 ? "avx2" : "fma";
                registration.flags = 0;
                if (isahp_register(&registration, &handle) != ISAHP_OK || isahp_poll(NULL) != ISAHP_OK
                    || isahp_unregister(handle) != ISAHP_OK)
                    return 6;
            }
        look();
    }
    if (isahp_unload() != ISAHP_OK)
        return 7;
    puts("ok");
    return 0;
}
