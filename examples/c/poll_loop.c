/*
 * A server with an event loop of its own: it answers lines of its input with a
 * checksum, and follows the machine without any thread of the library's. One
 * descriptor, isahp_fd(), stands in the loop beside the others.
 *
 *     cc -O2 poll_loop.c -lisahotplug -o poll_loop && ./poll_loop
 *
 * Prints an answer for each line and a line for each event.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <isahotplug.h>

/* CRC-32C by a loop over bits, and by the instruction. */

static uint32_t crc_plain(const char *text, size_t length)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned char)text[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

__attribute__((target("sse4.2")))
static uint32_t crc_sse42(const char *text, size_t length)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++)
        crc = __builtin_ia32_crc32qi(crc, (unsigned char)text[i]);
    return ~crc;
}

static ISAHP_SLOT(crc, crc_plain, (crc_sse42, "sse4_2"));

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    /*
     * Called by isahp_poll() below, between two answers: nobody is on a lost
     * path, and ISAHP_OK says so. The slot has been changed already.
     */
    printf("event generation=%llu path=%s\n", (unsigned long long)event->generation,
           ISAHP_CALL(crc) == crc_sse42 ? "sse4_2" : "plain");
    return ISAHP_OK;
}

int main(void)
{
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL };
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER | ISAHP_INITIAL,
        .features = "sse4_2",
        .callback = on_event,
    };
    struct pollfd wait[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .events = POLLIN } };
    char line[256];
    setvbuf(stdout, NULL, _IOLBF, 0);
    int32_t result = isahp_init(&options);
    if (result == ISAHP_OK)
        result = isahp_register(&registration, NULL);
    if (result == ISAHP_OK)
        result = isahp_fd(&wait[1].fd);
    if (result != ISAHP_OK) {
        fprintf(stderr, "isahotplug: %s\n", isahp_error_text(result));
        return 2;
    }
    for (;;) {
        if (poll(wait, 2, -1) < 0)
            continue;
        /* Once in each turn, not only when its descriptor is readable: it is cheap. */
        isahp_poll(NULL);
        if (wait[0].revents) {
            ssize_t length = read(STDIN_FILENO, line, sizeof line);
            if (length <= 0)
                break;
            printf("crc %08x\n", (unsigned)ISAHP_CALL(crc)(line, (size_t)length));
        }
    }
    isahp_unload();
    return 0;
}
