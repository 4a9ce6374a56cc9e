/*
 * Waits on isahp_fd() in its own event loop, as a program without a thread of
 * the library does. Prints a line for each callback.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <isahotplug.h>

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    printf("generation %llu\n", (unsigned long long)event->generation);
    return ISAHP_OK;
}

int main(void)
{
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL, .name = "pollfd" };
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER,
        .callback = on_event,
    };
    struct pollfd wait = { .events = POLLIN };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (isahp_init(&options) != ISAHP_OK || isahp_register(&registration, NULL) != ISAHP_OK
        || isahp_fd(&wait.fd) != ISAHP_OK)
        return 2;
    for (uint32_t events = 0; events < 2;) {
        uint32_t calls = 0;
        if (poll(&wait, 1, 30000) != 1) {
            puts("not woken");
            return 1;
        }
        if (isahp_poll(&calls) != ISAHP_OK)
            return 3;
        events += calls;
    }
    return 0;
}
