/*
 * A slot whose best variant uses a feature whose loss does not fault. Told by lines what to do:
 *
 *     slot      initialises the slot
 *     poll      calls isahp_poll()
 *     welcome   waits on isahp_fd(), polling, until the agent has confirmed the registration
 *     await     waits on isahp_fd(), polling, until the slot holds the silent variant
 *     release   releases the slot
 *     alone     tries a slot that has nothing but the silent variant
 *
 * Each answers with what the slot holds, or an error.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <isahotplug.h>

static void plain(void) {}
static void silent(void) {}

static isahp_slot slot = ISAHP_SLOT_INITIALIZER;
static isahp_slot other = ISAHP_SLOT_INITIALIZER;

static const isahp_slot_options sectioned = {
    .size = sizeof sectioned,
    .flags = ISAHP_SLOT_SECTIONED,
};
static const isahp_variant variants[] = {
    { silent, "abm", "silent" },
    { plain, NULL, "plain" },
};

static const char *held(void)
{
    isahp_function function = __atomic_load_n(&slot.function, __ATOMIC_ACQUIRE);
    return function == silent ? "silent" : function == plain ? "plain" : "nothing";
}

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    return ISAHP_OK;
}

static int is_silent(void)
{
    return strcmp(held(), "silent") == 0;
}

static int is_welcome(void)
{
    char state[64];
    return isahp_state(state, sizeof state) == ISAHP_OK
        && strcmp(state, "registered with the agent") == 0;
}

static int32_t await(int (*condition)(void))
{
    struct pollfd wait = { .events = POLLIN };
    int32_t result = isahp_fd(&wait.fd);
    while (result == ISAHP_OK && !condition()) {
        if (poll(&wait, 1, 30000) != 1)
            return ISAHP_ERROR_SYSTEM;
        result = isahp_poll(NULL);
    }
    return result;
}

static int32_t obey(const char *line)
{
    if (strcmp(line, "slot\n") == 0)
        return isahp_slot_init(&slot, &sectioned, variants, 2);
    if (strcmp(line, "poll\n") == 0)
        return isahp_poll(NULL);
    if (strcmp(line, "await\n") == 0)
        return await(is_silent);
    if (strcmp(line, "welcome\n") == 0)
        return await(is_welcome);
    if (strcmp(line, "release\n") == 0)
        return isahp_slot_release(&slot);
    if (strcmp(line, "alone\n") == 0)
        return isahp_slot_init(&other, &sectioned, variants, 1);
    return ISAHP_ERROR_NOT_FOUND;
}

int main(void)
{
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL, .name = "silent" };
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER,
        .features = "sse3",
        .callback = on_event,
    };
    char line[32];
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (isahp_init(&options) != ISAHP_OK || isahp_register(&registration, NULL) != ISAHP_OK)
        return 2;
    while (fgets(line, sizeof line, stdin)) {
        int32_t result = obey(line);
        puts(result == ISAHP_OK ? held() : isahp_error_text(result));
    }
    return isahp_unload() == ISAHP_OK ? 0 : 3;
}
