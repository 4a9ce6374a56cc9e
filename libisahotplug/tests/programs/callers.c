/*
 * Who is called when: prints a line for each callback, "NAME+" if something was
 * added and "NAME-" if something was removed. For each line of its input, a
 * number, polls until so many callbacks have run and prints
 * "idle".
 *   callers poll      without the library's thread
 *   callers thread    with it; "polled" is called by isahp_poll() all the same
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <isahotplug.h>

static int value_plain(void) { return 0; }
static int value_best(void) { return 1; }

static void on_change(void *userdata, isahp_slot *slot, size_t from, size_t to)
{
    (void)userdata;
    (void)slot;
    printf("observer%c\n", to < from ? '+' : '-');
}

static ISAHP_SLOT_WITH(value, 0, on_change, NULL, value_plain, (value_best, "pni"));

/* The slot's variant must be right in every callback. */
static int32_t on_event(void *userdata, const isahp_event *event)
{
    const char *name = (const char *)userdata;
    uint32_t sse3 = 0;
    isahp_feature("pni", &sse3);
    int added = isahp_set_has(&event->added, sse3), there = isahp_set_has(&event->available, sse3);
    printf("%s%c%s\n", name, added ? '+' : '-',
           ISAHP_CALL(value)() == there && isahp_has(sse3) == there ? "" : " slot is wrong");
    if (!strcmp(name, "slow") && !added && event->attempt == 0)
        return 200;
    return ISAHP_OK;
}

static uint64_t add(const char *name, uint32_t flags, int32_t priority, const uint64_t *after, size_t count)
{
    uint64_t handle = 0;
    isahp_registration registration;
    memset(&registration, 0, sizeof registration);
    registration.size = sizeof registration;
    registration.flags = flags;
    registration.priority = priority;
    registration.features = "pni";
    registration.callback = on_event;
    registration.userdata = (void *)(size_t)name;
    registration.after = after;
    registration.after_count = count;
    if (isahp_register(&registration, &handle) != ISAHP_OK)
        printf("not registered: %s\n", name);
    return handle;
}

int main(int argc, char **argv)
{
    char line[16];
    isahp_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = argc > 1 && !strcmp(argv[1], "poll") ? ISAHP_POLL : 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (isahp_init(&options) != ISAHP_OK)
        return 2;
    add("low", 0, -1, NULL, 0);
    uint64_t base = add("base", 0, 0, NULL, 0);
    add("second", 0, 0, NULL, 0);
    uint64_t slow = add("slow", ISAHP_EAGER, 7, &base, 1);
    uint64_t both[] = { slow, base };
    add("top", 0, 3, both, 2);
    add("high", 0, 9, NULL, 0);
    if (!options.flags)
        add("polled", ISAHP_BY_POLL, 20, NULL, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        uint32_t wanted = (uint32_t)atoi(line), calls = 0;
        for (uint32_t ran = 0; ran < wanted; ran += calls)
            if (isahp_poll(&calls) != ISAHP_OK)
                return 3;
        /* A poll that has not returned would take in what is published next. */
        puts("idle");
    }
    return 0;
}
