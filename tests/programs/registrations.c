/*
 * Registers with the agent and does what the word on each line of its input
 * says: unregister, fork (the child lives on), quit. Prints "done" after each,
 * for unregister with the CPU time in milliseconds that half a second took.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <isahotplug.h>

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    return ISAHP_OK;
}

int main(void)
{
    char line[32];
    uint64_t handle;
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER,
        .callback = on_event,
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (isahp_init(NULL) != ISAHP_OK || isahp_register(&registration, &handle) != ISAHP_OK)
        return 2;
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "unregister\n")) {
            if (isahp_unregister(handle) != ISAHP_OK)
                return 3;
            clock_t before = clock();
            poll(NULL, 0, 500);
            printf("done cpu_ms=%ld\n", (long)((clock() - before) * 1000 / CLOCKS_PER_SEC));
        } else if (!strcmp(line, "fork\n")) {
            pid_t child = fork();
            if (child == 0) {
                /* Until the test, which holds the other end, is over. */
                char c;
                while (read(0, &c, 1) > 0)
                    ;
                _exit(0);
            }
            puts("done");
        } else {
            _exit(0);
        }
    }
    return 0;
}
