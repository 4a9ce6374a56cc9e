/*
 * Every function with what it must refuse, and what it must do. Prints a line
 * for each expectation that is not met.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <isahotplug.h>

static int failures;

static void expect_at(int line, const char *what, long found, long expected)
{
    if (found != expected) {
        printf("%d: %s is %ld, not %ld\n", line, what, found, expected);
        failures++;
    }
}

#define EXPECT(what, expected) expect_at(__LINE__, #what, (long)(what), (long)(expected))

static int called;
static uint64_t own_handle;

static int32_t on_event(void *userdata, const isahp_event *event)
{
    called++;
    EXPECT(userdata == (void *)&called, 1);
    EXPECT(event->size, sizeof *event);
    /* From inside: polling calls nobody who is running, unregistering takes effect afterwards. */
    EXPECT(isahp_poll(NULL), ISAHP_OK);
    uint64_t other;
    isahp_registration registration = { .size = sizeof registration, .callback = on_event, .userdata = &called };
    EXPECT(isahp_register(&registration, &other), ISAHP_OK);
    EXPECT(isahp_unregister(other), ISAHP_OK);
    EXPECT(isahp_unregister(own_handle), ISAHP_OK);
    char state[64];
    EXPECT(isahp_state(state, sizeof state), ISAHP_OK);
    int32_t fd;
    EXPECT(isahp_fd(&fd), ISAHP_OK);
    isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    const isahp_variant variants[] = { { (isahp_function)abort, NULL, NULL } };
    EXPECT(isahp_slot_init(&slot, NULL, variants, 1), ISAHP_OK);
    EXPECT(isahp_slot_checked(&slot) == (isahp_function)abort, 1);
    EXPECT(isahp_slot_release(&slot), ISAHP_OK);
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(isahp_generation(), event->generation);
    return ISAHP_OK;
}

static int best(void) { return 1; }
static int plain(void) { return 2; }

static int lines;
static void on_log(void *userdata, const char *line)
{
    (void)userdata;
    lines += line[0] != 0;
}

int main(void)
{
    uint32_t id = 77;
    int32_t fd = -1;
    char buffer[8];
    isahp_set set;
    isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    isahp_counters counters = { .size = sizeof counters };
    isahp_registration registration = { .size = sizeof registration, .callback = on_event, .userdata = &called };
    const isahp_variant variants[] = { { (isahp_function)best, "sse2", NULL }, { (isahp_function)plain, NULL, NULL } };
    const isahp_variant impossible[] = { { (isahp_function)best, "xop amx_tile", NULL } };
    const isahp_variant silent[] = { { (isahp_function)best, "abm", NULL }, { (isahp_function)plain, "", NULL } };
    const isahp_variant misspelt[] = { { (isahp_function)best, "avx3", NULL } };
    const isahp_variant empty[] = { { NULL, "", NULL } };

    /* Before isahp_init(). */
    EXPECT(isahp_generation(), 0);
    EXPECT(isahp_has(0), 0);
    EXPECT(isahp_poll(NULL), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_fd(&fd), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_register(&registration, NULL), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_unregister(1), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_state(buffer, sizeof buffer), ISAHP_ERROR_NOT_INITIALISED);

    isahp_options options = { .size = 8, .flags = ISAHP_POLL, .log = on_log };
    EXPECT(isahp_init(&options), ISAHP_ERROR_INVALID);
    options.size = sizeof options;
    options.flags = 1u << 30;
    EXPECT(isahp_init(&options), ISAHP_ERROR_INVALID);
    options.flags = ISAHP_POLL;
    options.name = "\xff\xfe";
    EXPECT(isahp_init(&options), ISAHP_ERROR_INVALID);
    options.name = "api";
    EXPECT(isahp_init(&options), ISAHP_OK);
    EXPECT(isahp_init(NULL), ISAHP_OK);

    EXPECT(isahp_generation() >= 1, 1);
    EXPECT(isahp_feature("avx2", NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_feature(NULL, &id), ISAHP_ERROR_INVALID);
    EXPECT(isahp_feature("avx3", &id), ISAHP_ERROR_NOT_FOUND);
    EXPECT(id, 77);
    EXPECT(isahp_feature("sse2", &id), ISAHP_OK);
    EXPECT(isahp_has(id), 1);
    EXPECT(isahp_has(511), 0);
    EXPECT(isahp_has(0x10000u + id), 0);
    EXPECT(isahp_available(NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_available(&set), ISAHP_OK);
    EXPECT(set.words[id / 64] >> (id % 64) & 1, 1);

    EXPECT(isahp_register(NULL, NULL), ISAHP_ERROR_INVALID);
    registration.size = 4;
    EXPECT(isahp_register(&registration, NULL), ISAHP_ERROR_INVALID);
    registration.size = sizeof registration;
    registration.flags = 1u << 31;
    EXPECT(isahp_register(&registration, NULL), ISAHP_ERROR_INVALID);
    registration.flags = ISAHP_EAGER;
    registration.features = "sse2 nonsense";
    EXPECT(isahp_register(&registration, NULL), ISAHP_ERROR_INVALID);
    registration.features = NULL;
    registration.callback = NULL;
    EXPECT(isahp_register(&registration, NULL), ISAHP_ERROR_INVALID);
    registration.callback = on_event;
    EXPECT(isahp_register(&registration, &own_handle), ISAHP_OK);
    EXPECT(isahp_unregister(own_handle + 1000), ISAHP_ERROR_NOT_FOUND);

    EXPECT(isahp_fd(NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_fd(&fd), ISAHP_OK);
    EXPECT(fd >= 0, 1);

    EXPECT(isahp_slot_init(NULL, NULL, variants, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, NULL, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, variants, 0), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, empty, 1), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, misspelt, 1), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, impossible, 1), ISAHP_ERROR_NO_VARIANT);
    EXPECT(isahp_slot_init(&slot, NULL, silent, 2), ISAHP_ERROR_SILENT);
    EXPECT(slot.function == NULL, 1);
    EXPECT(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_OK);
    /* Zeroed and initialised again: known, and right again. */
    slot.function = NULL;
    EXPECT(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_OK);
    EXPECT(ISAHP_SLOT_CALL(&slot, int (*)(void))(), 1);
    EXPECT(((int (*)(void))isahp_slot_checked(&slot))(), 1);
    EXPECT(isahp_slot_checked(NULL) == NULL, 1);
    EXPECT(isahp_slot_release(&slot), ISAHP_OK);
    EXPECT(isahp_slot_release(&slot), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_slot_release(NULL), ISAHP_ERROR_NOT_FOUND);
    EXPECT(ISAHP_SLOT_CALL(&slot, int (*)(void))(), 1);

    EXPECT(isahp_count(NULL), ISAHP_ERROR_INVALID);
    counters.size = 1;
    EXPECT(isahp_count(&counters), ISAHP_ERROR_INVALID);
    counters.size = sizeof counters;
    EXPECT(isahp_count(&counters), ISAHP_OK);
    EXPECT(counters.emulated, 0);

    EXPECT(isahp_poll(NULL), ISAHP_OK);
    EXPECT(isahp_state(NULL, 8), ISAHP_ERROR_INVALID);
    EXPECT(isahp_state(buffer, 0), ISAHP_ERROR_INVALID);
    EXPECT(isahp_state(buffer, sizeof buffer), ISAHP_OK);
    EXPECT(strlen(buffer) < sizeof buffer, 1);
    EXPECT(strlen(isahp_error_text(ISAHP_ERROR_SILENT)) > 5, 1);
    EXPECT(strcmp(isahp_error_text(12345), "unknown result"), 0);
    EXPECT(isahp_version() >> 24, 0);
    EXPECT(lines > 0, 1);

    /* The test now publishes a generation and writes a line. */
    puts("ready");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin))
        return 2;
    uint32_t calls = 9;
    EXPECT(isahp_poll(&calls), ISAHP_OK);
    EXPECT(calls, 1);
    EXPECT(called, 1);
    EXPECT(isahp_generation(), 8);
    EXPECT(isahp_poll(&calls), ISAHP_OK);
    EXPECT(calls, 0);
    EXPECT(called, 1);
    EXPECT(isahp_unregister(own_handle), ISAHP_ERROR_NOT_FOUND);
    puts(failures ? "failed" : "ok");
    return failures != 0;
}
