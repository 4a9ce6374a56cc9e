/*
 * Every function with what a caller may do wrong: NULL, wrong sizes, misaligned pointers, unknown
 * flags, wrong handles; before isahp_init(), after isahp_unload(), from signal handlers, callbacks
 * and several threads. Prints a line for each answer that is not the documented one.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <isahotplug.h>

static int failures;

static void expect_at(int line, const char *what, long found, long expected)
{
    if (found != expected) {
        /* Also in a signal handler: one write. */
        char text[256];
        int length = snprintf(text, sizeof text, "%d: %s is %ld, not %ld\n", line, what, found, expected);
        if (write(1, text, length) != length)
            abort();
        __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
    }
}

#define EXPECT(what, expected) expect_at(__LINE__, #what, (long)(what), (long)(expected))

static int best(void) { return 1; }
static int plain(void) { return 2; }

static const isahp_variant variants[] = {
    { (isahp_function)best, "sse2", "best" },
    { (isahp_function)plain, NULL, "plain" },
};

static int32_t answer(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    return ISAHP_OK;
}

/* The last `size` bytes before a page that nobody may touch. */
static void *at_the_end(size_t size)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + 4096, 4096, PROT_NONE) != 0)
        abort();
    return pages + 4096 - size;
}

static void not_at_the_end(void *place, size_t size)
{
    munmap((char *)place + size - 4096, 8192);
}

/* One byte off. */
#define CROOKED(type, place) ((type *)((char *)(place) + 1))

/* `call` takes a struct of `type` at `given`: each size that it must refuse, and those it must not. */
#define SIZES(type, given, call, accepted, undo)                                                    \
    do {                                                                                           \
        union { type known; char bytes[4096 + 64]; } large;                                        \
        memset(&large, 0, sizeof large);                                                           \
        large.known = (given);                                                                     \
        const size_t refused[] = { 0, 1, 4, 8, sizeof(type) - 1, 4097, 1u << 30, SIZE_MAX };       \
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {                            \
            large.known.size = refused[i];                                                         \
            type *taken = &large.known;                                                            \
            EXPECT(call, ISAHP_ERROR_INVALID);                                                     \
        }                                                                                          \
        large.known.size = sizeof(type) + 8;                                                       \
        type *taken = &large.known;                                                                \
        EXPECT(call, accepted);                                                                    \
        undo;                                                                                      \
        large.bytes[sizeof(type) + 7] = 1;                                                         \
        EXPECT(call, ISAHP_ERROR_INVALID);                                                         \
        /* A struct that ends where it says so is not read beyond. */                              \
        taken = at_the_end(8);                                                                     \
        memset(taken, 0, 8);                                                                       \
        EXPECT(call, ISAHP_ERROR_INVALID);                                                         \
        *(size_t *)(void *)taken = 8;                                                              \
        EXPECT(call, ISAHP_ERROR_INVALID);                                                         \
        not_at_the_end(taken, 8);                                                                  \
        memset(&large, 0, sizeof large);                                                           \
        taken = CROOKED(type, &large);                                                             \
        type copy = (given);                                                                       \
        memcpy(taken, &copy, sizeof copy);                                                         \
        EXPECT(call, ISAHP_ERROR_INVALID);                                                         \
    } while (0)

/* What needs no isahp_init(). */
static void at_any_time(void)
{
    char buffer[64], small[4];
    uint32_t id = 77;
    isahp_set set, other;
    EXPECT(isahp_version() != 0, 1);
    EXPECT(strcmp(isahp_error_text(ISAHP_OK), "ok"), 0);
    for (int32_t result = -200; result < 3; result++)
        EXPECT(isahp_error_text(result) != NULL, 1);

    EXPECT(isahp_error_message(NULL, 8), ISAHP_ERROR_INVALID);
    EXPECT(isahp_error_message(buffer, 0), ISAHP_ERROR_INVALID);
    EXPECT(isahp_error_message(small, 1), ISAHP_OK);
    EXPECT(small[0], 0);

    EXPECT(isahp_feature(NULL, &id), ISAHP_ERROR_INVALID);
    EXPECT(isahp_feature("avx2", NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_feature("avx2", CROOKED(uint32_t, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_feature("", &id), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_feature("avx2 ", &id), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_feature("\xff", &id), ISAHP_ERROR_NOT_FOUND);
    EXPECT(id, 77);
    EXPECT(isahp_feature("avx2", &id), ISAHP_OK);
    EXPECT(strcmp(isahp_feature_name(id), "avx2"), 0);
    EXPECT(isahp_feature_name(511) == NULL, 1);
    EXPECT(isahp_feature_name(UINT32_MAX) == NULL, 1);
    EXPECT(isahp_feature_name(0x10000 + id) == NULL, 1);
    EXPECT(isahp_feature_is_silent(id), 0);
    EXPECT(isahp_feature_is_silent(UINT32_MAX), 0);
    EXPECT(isahp_feature("abm", &id), ISAHP_OK);
    EXPECT(isahp_feature_is_silent(id), 1);

    memset(&set, 0x55, sizeof set);
    other = set;
    EXPECT(isahp_set_parse(NULL, &set), ISAHP_ERROR_INVALID);
    EXPECT(isahp_set_parse("sse2", NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_set_parse("sse2", CROOKED(isahp_set, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_set_parse("sse2 nonsense", &set), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_set_parse("\xfe", &set), ISAHP_ERROR_NOT_FOUND);
    EXPECT(memcmp(&set, &other, sizeof set), 0);
    EXPECT(isahp_set_parse("sse2 abm", &set), ISAHP_OK);
    EXPECT(isahp_set_has(&set, id), 1);
    EXPECT(isahp_set_has(&set, 512), 0);
    EXPECT(isahp_set_has(&set, UINT32_MAX), 0);
    EXPECT(isahp_set_has(NULL, id), 0);
    EXPECT(isahp_set_has(CROOKED(isahp_set, buffer), id), 0);

    EXPECT(isahp_set_format(NULL, buffer, sizeof buffer), ISAHP_ERROR_INVALID);
    EXPECT(isahp_set_format(&set, NULL, sizeof buffer), ISAHP_ERROR_INVALID);
    EXPECT(isahp_set_format(&set, buffer, 0), ISAHP_ERROR_INVALID);
    EXPECT(isahp_set_format(CROOKED(isahp_set, buffer), buffer, 8), ISAHP_ERROR_INVALID);
    EXPECT(isahp_set_format(&set, small, sizeof small), ISAHP_OK);
    EXPECT(strlen(small), 3);
    EXPECT(isahp_set_format(&set, buffer, sizeof buffer), ISAHP_OK);
    EXPECT(isahp_set_parse(buffer, &other), ISAHP_OK);
    EXPECT(memcmp(&set, &other, sizeof set), 0);

    EXPECT(isahp_refuse("never mind"), ISAHP_REFUSE);
    EXPECT(isahp_refuse(NULL), ISAHP_REFUSE);
    EXPECT(isahp_refuse("\xff"), ISAHP_REFUSE);

    EXPECT(isahp_available(NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_visible(NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_bonus(NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_lost(NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_available(CROOKED(isahp_set, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_visible(CROOKED(isahp_set, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_bonus(CROOKED(isahp_set, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_lost(CROOKED(isahp_set, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_has(511), 0);
    EXPECT(isahp_has(UINT32_MAX), 0);

    isahp_counters counters = { .size = sizeof counters };
    EXPECT(isahp_count(NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_count(CROOKED(isahp_counters, buffer)), ISAHP_ERROR_INVALID);
    for (counters.size = 0; counters.size < sizeof counters; counters.size++)
        EXPECT(isahp_count(&counters), ISAHP_ERROR_INVALID);
    void *end = at_the_end(8);
    *(size_t *)end = 8;
    EXPECT(isahp_count(end), ISAHP_ERROR_INVALID);
    not_at_the_end(end, 8);
    EXPECT(isahp_count(&counters), ISAHP_OK);
    uint64_t count = 77, addresses[2];
    size_t found = 77;
    isahp_address_count counts[2];
    EXPECT(isahp_count_feature(id, NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_count_feature(id, CROOKED(uint64_t, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_count_feature(511, &count), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_count_feature(UINT32_MAX, &count), ISAHP_ERROR_NOT_FOUND);
    EXPECT(count, 77);
    EXPECT(isahp_count_feature(id, &count), ISAHP_OK);
    EXPECT(isahp_count_addresses(NULL, 2, &found), ISAHP_ERROR_INVALID);
    EXPECT(isahp_count_addresses(counts, 2, NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_count_addresses(counts, 2, CROOKED(size_t, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_count_addresses(CROOKED(isahp_address_count, buffer), 1, &found), ISAHP_ERROR_INVALID);
    EXPECT(isahp_last_addresses(NULL, 2, &found), ISAHP_ERROR_INVALID);
    EXPECT(isahp_last_addresses(addresses, 2, NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_last_addresses(addresses, 2, CROOKED(size_t, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_last_addresses(CROOKED(uint64_t, buffer), 2, &found), ISAHP_ERROR_INVALID);
    EXPECT(found, 77);
    EXPECT(isahp_count_addresses(counts, 0, &found), ISAHP_OK);
    EXPECT(found, 0);
    EXPECT(isahp_last_addresses(addresses, 0, &found), ISAHP_OK);
    EXPECT(found, 0);

    /* Sections need nothing; one end too many does nothing. */
    isahp_exit();
    isahp_enter();
    isahp_enter();
    isahp_exit();
    isahp_exit();
    isahp_exit();
    /* The same without a call; the two kinds can be mixed. */
    isahp_exit_inline();
    isahp_enter_inline();
    isahp_enter();
    isahp_enter_inline();
    isahp_section *mine = isahp_enter_section();
    EXPECT(mine != NULL && (uint32_t)mine->word == 4, 1);
    isahp_exit();
    isahp_exit_inline();
    isahp_exit();
    isahp_exit_inline();
    isahp_exit_inline();
    EXPECT(mine->word, 0);
    EXPECT(isahp_view_here() == isahp_view_of_copy(), 1);
    EXPECT(isahp_has_inline(511), 0);
    EXPECT(isahp_has_inline(UINT32_MAX), 0);
    EXPECT(isahp_generation_inline(), isahp_generation());
    EXPECT(isahp_slot_checked(NULL) == NULL, 1);
    isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    EXPECT(isahp_slot_declare(NULL, NULL, variants, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_declare(CROOKED(isahp_slot, buffer), NULL, variants, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_declare(&slot, NULL, NULL, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_declare(&slot, NULL, variants, 0), ISAHP_ERROR_INVALID);
    EXPECT(slot.function == NULL, 1);
}

/* Before isahp_init(), and after isahp_unload(). */
static void not_in_use(void)
{
    int32_t fd = 77;
    uint32_t calls = 77;
    uint64_t handle = 77;
    char buffer[64] = "as it was";
    isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    isahp_registration registration = { .size = sizeof registration, .callback = answer };
    at_any_time();
    EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_generation(), 0);
    EXPECT(isahp_has(0), 0);
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_unregister(1), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_left(1, 1), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_fd(&fd), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_poll(&calls), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_slot_release(&slot), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_slot_force(&slot, "best"), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(isahp_slot_checked(&slot) == NULL, 1);
    EXPECT(isahp_state(buffer, sizeof buffer), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(strcmp(buffer, "as it was"), 0);
    EXPECT(fd, 77);
    EXPECT(calls, 77);
    EXPECT(handle, 77);
    EXPECT(slot.function == NULL, 1);
    isahp_set set;
    memset(&set, 0x55, sizeof set);
    EXPECT(isahp_available(&set), ISAHP_OK);
    for (int i = 0; i < 8; i++)
        EXPECT(set.words[i], 0);
}

static void wrong_options(void)
{
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL };
    SIZES(isahp_options, options, isahp_init(taken), ISAHP_OK, EXPECT(isahp_unload(), ISAHP_OK));
    for (int bit = 2; bit < 32; bit++) {
        options.flags = 1u << bit;
        EXPECT(isahp_init(&options), ISAHP_ERROR_INVALID);
    }
    options.flags = ISAHP_POLL;
    options.reserved = 1;
    EXPECT(isahp_init(&options), ISAHP_ERROR_INVALID);
    options.reserved = 0;
    options.name = "\xff";
    EXPECT(isahp_init(&options), ISAHP_ERROR_INVALID);
    char message[64];
    EXPECT(isahp_error_message(message, sizeof message), ISAHP_OK);
    EXPECT(strcmp(message, "isahp_options.name is not UTF-8"), 0);
    options.name = NULL;
    options.run_dir = "\xff";
    EXPECT(isahp_init(&options), ISAHP_ERROR_INVALID);
    EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
}

/* Changes nothing, so that any number of threads can do it at once. */
static void wrong_arguments(void)
{
    int32_t fd = 77;
    uint32_t calls = 77;
    uint64_t handle = 77, after[3] = { 0, 1, UINT64_MAX };
    char buffer[64];
    isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    isahp_slot_options options = { .size = sizeof options };
    isahp_registration registration = { .size = sizeof registration, .callback = answer };

    EXPECT(isahp_register(NULL, &handle), ISAHP_ERROR_INVALID);
    EXPECT(isahp_register(&registration, CROOKED(uint64_t, buffer)), ISAHP_ERROR_INVALID);
    SIZES(isahp_registration, registration, isahp_register(taken, &handle), ISAHP_OK,
          EXPECT(isahp_unregister(handle), ISAHP_OK); handle = 77);
    registration.flags = ISAHP_EAGER | ISAHP_LAZY;
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    for (int bit = 5; bit < 32; bit++) {
        registration.flags = 1u << bit;
        EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    }
    registration.flags = 0;
    registration.callback = NULL;
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    registration.callback = answer;
    registration.features = "sse2; avx2";
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    registration.features = "\xff";
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    registration.features = NULL;
    registration.after_count = 1;
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    registration.after = CROOKED(uint64_t, after);
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    registration.after = after;
    registration.after_count = SIZE_MAX;
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    registration.after_count = SIZE_MAX / 8;
    EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_INVALID);
    EXPECT(handle, 77);
    /* Handles that are none have no effect. */
    registration.after_count = 3;
    EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
    EXPECT(isahp_left(handle, 1), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_unregister(handle), ISAHP_OK);
    EXPECT(isahp_unregister(handle), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_left(handle, 1), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_unregister(0), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_unregister(UINT64_MAX), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_left(0, 1), ISAHP_ERROR_NOT_FOUND);

    EXPECT(isahp_fd(NULL), ISAHP_ERROR_INVALID);
    EXPECT(isahp_fd(CROOKED(int32_t, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_fd(&fd), ISAHP_OK);
    EXPECT(isahp_poll(CROOKED(uint32_t, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(calls, 77);

    isahp_variant table[2] = { variants[0], variants[1] };
    EXPECT(isahp_slot_init(NULL, NULL, table, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(CROOKED(isahp_slot, buffer), NULL, table, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, NULL, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, CROOKED(isahp_variant, buffer), 1), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, table, 0), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, table, SIZE_MAX), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, table, SIZE_MAX / sizeof *table), ISAHP_ERROR_INVALID);
    SIZES(isahp_slot_options, options, isahp_slot_init(&slot, taken, table, 2), ISAHP_OK,
          EXPECT(isahp_slot_release(&slot), ISAHP_OK); memset(&slot, 0, sizeof slot));
    for (int bit = 2; bit < 32; bit++) {
        options.flags = 1u << bit;
        EXPECT(isahp_slot_init(&slot, &options, table, 2), ISAHP_ERROR_INVALID);
    }
    options.flags = 0;
    options.reserved = 1;
    EXPECT(isahp_slot_init(&slot, &options, table, 2), ISAHP_ERROR_INVALID);
    options.reserved = 0;
    options.name = "\xff";
    EXPECT(isahp_slot_init(&slot, &options, table, 2), ISAHP_ERROR_INVALID);
    options.name = NULL;
    table[0].features = "sse2 nonsense";
    EXPECT(isahp_slot_init(&slot, NULL, table, 2), ISAHP_ERROR_INVALID);
    table[0].features = "abm";
    EXPECT(isahp_slot_init(&slot, NULL, table, 2), ISAHP_ERROR_SILENT);
    table[0] = variants[0];
    table[0].name = "\xff";
    EXPECT(isahp_slot_init(&slot, NULL, table, 2), ISAHP_ERROR_INVALID);
    table[0] = variants[0];
    table[1].function = NULL;
    EXPECT(isahp_slot_init(&slot, NULL, table, 2), ISAHP_ERROR_INVALID);
    table[1] = variants[1];
    EXPECT(slot.function == NULL, 1);
    EXPECT(isahp_slot_release(NULL), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_slot_release(&slot), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_slot_force(NULL, NULL), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_slot_force(&slot, NULL), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_slot_checked(&slot) == NULL, 1);

    EXPECT(isahp_slot_init(&slot, NULL, table, 2), ISAHP_OK);
    EXPECT(isahp_slot_init(&slot, NULL, table, 2), ISAHP_OK);
    EXPECT(isahp_slot_init(&slot, NULL, table, 1), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_init(&slot, NULL, table + 1, 1), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_force(&slot, "worst"), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_slot_force(&slot, ""), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_slot_force(&slot, "\xff"), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_force(&slot, "plain"), ISAHP_OK);
    EXPECT(ISAHP_SLOT_CALL(&slot, int (*)(void))(), 2);
    EXPECT(isahp_slot_force(&slot, NULL), ISAHP_OK);
    EXPECT(isahp_slot_release(&slot), ISAHP_OK);
    EXPECT(isahp_slot_release(&slot), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_slot_force(&slot, "plain"), ISAHP_ERROR_NOT_FOUND);
    /* It keeps its last variant. */
    EXPECT(ISAHP_SLOT_CALL(&slot, int (*)(void))(), 1);

    EXPECT(isahp_state(NULL, 8), ISAHP_ERROR_INVALID);
    EXPECT(isahp_state(buffer, 0), ISAHP_ERROR_INVALID);
    EXPECT(isahp_state(buffer, 1), ISAHP_OK);
    EXPECT(buffer[0], 0);
}

static void *everything_wrong(void *barrier)
{
    pthread_barrier_wait(barrier);
    for (int round = 0; round < 20; round++) {
        at_any_time();
        wrong_arguments();
    }
    return NULL;
}

/* The handle of a registration that is over does not name a later one, not even after isahp_unload(). */
static void old_handles(void)
{
    uint64_t old, new;
    isahp_registration registration = { .size = sizeof registration, .callback = answer };
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(isahp_register(&registration, &old), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(isahp_register(&registration, &new), ISAHP_OK);
    EXPECT(old != new, 1);
    EXPECT(isahp_unregister(old), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_unregister(new), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_OK);
}

static int initial_calls;
static int32_t count_initial(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    initial_calls++;
    return ISAHP_OK;
}

/* One that names itself, or what does not exist yet, is called all the same. */
static void handles_of_the_future(void)
{
    uint64_t handle, future[8];
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL };
    EXPECT(isahp_init(&options), ISAHP_OK);
    isahp_registration registration = {
        .size = sizeof registration, .flags = ISAHP_INITIAL, .callback = count_initial,
        .after = future, .after_count = 8,
    };
    isahp_registration first = { .size = sizeof first, .callback = answer };
    EXPECT(isahp_register(&first, &handle), ISAHP_OK);
    for (int i = 0; i < 8; i++)
        future[i] = handle + i;
    EXPECT(isahp_register(&registration, NULL), ISAHP_OK);
    EXPECT(isahp_register(&registration, NULL), ISAHP_OK);
    EXPECT(isahp_poll(NULL), ISAHP_OK);
    EXPECT(initial_calls, 2);
    EXPECT(isahp_unload(), ISAHP_OK);
}

/* From a signal handler: what is not async-signal-safe is refused or done, never half. */
static int busy, done;

static void refused_or(int line, const char *what, int32_t found, int32_t expected)
{
    if (found == ISAHP_ERROR_BUSY)
        busy++;
    else {
        done++;
        expect_at(line, what, found, expected);
    }
}

#define REFUSED_OR(what, expected) refused_or(__LINE__, #what, (what), (expected))

static isahp_slot shared_slot = ISAHP_SLOT_INITIALIZER;

static void safe_ones(void)
{
    char buffer[sizeof(isahp_set)];
    isahp_set set;
    isahp_counters counters = { .size = sizeof counters };
    isahp_address_count counts[4];
    uint64_t count, addresses[4];
    size_t found;
    EXPECT(isahp_version() != 0, 1);
    EXPECT(isahp_error_text(ISAHP_ERROR_BUSY) != NULL, 1);
    EXPECT(isahp_feature_name(0) != NULL, 1);
    EXPECT(isahp_feature_is_silent(UINT32_MAX), 0);
    EXPECT(isahp_set_has(NULL, 0), 0);
    EXPECT(isahp_has(UINT32_MAX), 0);
    EXPECT(isahp_available(&set), ISAHP_OK);
    EXPECT(isahp_visible(&set), ISAHP_OK);
    EXPECT(isahp_bonus(&set), ISAHP_OK);
    EXPECT(isahp_lost(&set), ISAHP_OK);
    EXPECT(isahp_lost(CROOKED(isahp_set, buffer)), ISAHP_ERROR_INVALID);
    EXPECT(isahp_count(&counters), ISAHP_OK);
    EXPECT(isahp_count_feature(0, &count), ISAHP_OK);
    EXPECT(isahp_count_addresses(counts, 4, &found), ISAHP_OK);
    EXPECT(isahp_last_addresses(addresses, 4, &found), ISAHP_OK);
    isahp_enter();
    EXPECT(ISAHP_SLOT_CALL(&shared_slot, int (*)(void))(), 1);
    isahp_exit();
}

static void on_alarm(int number)
{
    (void)number;
    char buffer[64];
    int32_t fd;
    uint64_t handle = 0;
    isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    isahp_registration registration = { .size = sizeof registration, .callback = answer };
    safe_ones();
    EXPECT(isahp_generation() != 0, 1);
    REFUSED_OR(isahp_register(&registration, &handle), ISAHP_OK);
    if (handle != 0)
        REFUSED_OR(isahp_unregister(handle), ISAHP_OK);
    REFUSED_OR(isahp_unregister(0), ISAHP_ERROR_NOT_FOUND);
    REFUSED_OR(isahp_left(0, 1), ISAHP_ERROR_NOT_FOUND);
    REFUSED_OR(isahp_fd(&fd), ISAHP_OK);
    REFUSED_OR(isahp_poll(NULL), ISAHP_OK);
    REFUSED_OR(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_OK);
    if (slot.function != NULL)
        REFUSED_OR(isahp_slot_release(&slot), ISAHP_OK);
    REFUSED_OR(isahp_slot_force(NULL, NULL), ISAHP_ERROR_NOT_FOUND);
    REFUSED_OR(isahp_state(buffer, sizeof buffer), ISAHP_OK);
    EXPECT(isahp_slot_checked(&shared_slot) == (isahp_function)best, 1);
    EXPECT(isahp_refuse(NULL), ISAHP_REFUSE);
    int32_t result = isahp_init(NULL);
    REFUSED_OR(result, ISAHP_OK);
    if (result == ISAHP_OK)
        REFUSED_OR(isahp_unload(), ISAHP_OK);
}

static void from_signal_handlers(void)
{
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(isahp_slot_init(&shared_slot, NULL, variants, 2), ISAHP_OK);
    struct sigaction action = { .sa_handler = on_alarm };
    sigaction(SIGALRM, &action, NULL);
    /* Elsewhere: nothing is refused. */
    raise(SIGALRM);
    EXPECT(busy, 0);
    EXPECT(done > 8, 1);

    struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
    isahp_registration registration = { .size = sizeof registration, .callback = answer };
    setitimer(ITIMER_REAL, &often, NULL);
    for (int round = 0; round < 100000 && (busy < 1000 || round < 1000); round++) {
        uint64_t handle;
        char buffer[64];
        isahp_slot slot = ISAHP_SLOT_INITIALIZER;
        EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
        EXPECT(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_OK);
        EXPECT(isahp_poll(NULL), ISAHP_OK);
        EXPECT(isahp_state(buffer, sizeof buffer), ISAHP_OK);
        EXPECT(isahp_init(NULL), ISAHP_OK);
        EXPECT(isahp_slot_release(&slot), ISAHP_OK);
        EXPECT(isahp_unregister(handle), ISAHP_OK);
        EXPECT(isahp_unload(), ISAHP_OK);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    EXPECT(busy > 0, 1);
    EXPECT(isahp_slot_release(&shared_slot), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
}

/* From a callback: all but isahp_unload(). */
static uint64_t own;
static int called;

static int32_t in_callback(void *userdata, const isahp_event *event)
{
    (void)userdata;
    at_any_time();
    wrong_arguments();
    EXPECT(isahp_unload(), ISAHP_ERROR_BUSY);
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(isahp_poll(NULL), ISAHP_OK);
    EXPECT(isahp_left(own, event->generation + 1), ISAHP_ERROR_NOT_FOUND);
    EXPECT(isahp_left(own, event->generation), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_ERROR_BUSY);
    called++;
    return ISAHP_OK;
}

static void released(void *userdata)
{
    EXPECT(isahp_unload(), ISAHP_ERROR_BUSY);
    ++*(int *)userdata;
}

static void from_callbacks(void)
{
    int releases = 0;
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL };
    EXPECT(isahp_init(&options), ISAHP_OK);
    isahp_registration registration = {
        .size = sizeof registration, .flags = ISAHP_INITIAL, .callback = in_callback,
        .userdata = &releases, .release = released,
    };
    EXPECT(isahp_register(&registration, &own), ISAHP_OK);
    for (int round = 0; round < 1000 && called == 0; round++)
        EXPECT(isahp_poll(NULL), ISAHP_OK);
    EXPECT(called, 1);
    EXPECT(releases, 0);
    EXPECT(isahp_unregister(own), ISAHP_OK);
    EXPECT(releases, 1);
    /* The callback has counted once more. */
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
}

/* From a callback in the #UD handler: what is not async-signal-safe is refused. */
static int trapped;

static int32_t in_trap(void *userdata, const isahp_event *event)
{
    (void)userdata;
    char buffer[64];
    int32_t fd;
    uint64_t handle = 0;
    isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    isahp_registration registration = { .size = sizeof registration, .callback = answer };
    if (event->address == 0 || isahp_has(0) > 1)
        return ISAHP_OK;
    if (__atomic_load_n(&trapped, __ATOMIC_RELAXED) == 0) {
        safe_ones();
        EXPECT(isahp_register(&registration, &handle), ISAHP_ERROR_BUSY);
        EXPECT(isahp_unregister(0), ISAHP_ERROR_BUSY);
        EXPECT(isahp_left(0, 1), ISAHP_ERROR_BUSY);
        EXPECT(isahp_fd(&fd), ISAHP_ERROR_BUSY);
        EXPECT(isahp_poll(NULL), ISAHP_ERROR_BUSY);
        EXPECT(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_ERROR_BUSY);
        EXPECT(isahp_slot_release(&shared_slot), ISAHP_ERROR_BUSY);
        EXPECT(isahp_slot_force(&shared_slot, NULL), ISAHP_ERROR_BUSY);
        EXPECT(isahp_state(buffer, sizeof buffer), ISAHP_ERROR_BUSY);
        EXPECT(isahp_slot_checked(&shared_slot) == (isahp_function)best, 1);
        EXPECT(isahp_init(NULL), ISAHP_ERROR_BUSY);
        EXPECT(isahp_unload(), ISAHP_ERROR_BUSY);
        EXPECT(isahp_refuse("from here"), ISAHP_REFUSE);
    }
    __atomic_add_fetch(&trapped, 1, __ATOMIC_RELAXED);
    return ISAHP_OK;
}

static void from_the_trap_handler(void)
{
    uint64_t handle;
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL };
    EXPECT(isahp_init(&options), ISAHP_OK);
    EXPECT(isahp_slot_init(&shared_slot, NULL, variants, 2), ISAHP_OK);
    isahp_registration registration = { .size = sizeof registration, .flags = ISAHP_IN_TRAP, .callback = in_trap };
    EXPECT(isahp_register(&registration, &handle), ISAHP_OK);
    /* vprotd xmm0, xmm0, 3: XOP, which this CPU lacks. */
    __asm__ volatile(".byte 0x8f, 0xe8, 0x78, 0xc2, 0xc0, 0x03" ::: "xmm0");
    EXPECT(trapped, 1);
    EXPECT(isahp_unregister(handle), ISAHP_OK);
    EXPECT(isahp_slot_release(&shared_slot), ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_OK);
}

static void from_several_threads(void)
{
    pthread_t threads[8];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 8);
    EXPECT(isahp_init(NULL), ISAHP_OK);
    for (int i = 0; i < 8; i++)
        if (pthread_create(&threads[i], NULL, everything_wrong, &barrier) != 0)
            abort();
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    EXPECT(isahp_unload(), ISAHP_OK);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const struct { const char *name; void (*run)(void); } cases[] = {
        { "arguments", NULL }, { "old-handles", old_handles }, { "future-handles", handles_of_the_future },
        { "signals", from_signal_handlers }, { "callbacks", from_callbacks },
        { "trap", from_the_trap_handler }, { "threads", from_several_threads },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(argv[1], cases[i].name) == 0 && cases[i].run != NULL)
            cases[i].run();
    if (strcmp(argv[1], "arguments") == 0) {
        not_in_use();
        wrong_options();
        EXPECT(isahp_init(NULL), ISAHP_OK);
        at_any_time();
        wrong_arguments();
        EXPECT(isahp_unload(), ISAHP_OK);
    }
    /* After the last isahp_unload() it is as it was before the first isahp_init(). */
    not_in_use();
    puts(failures ? "failed" : "ok");
    return failures != 0;
}
