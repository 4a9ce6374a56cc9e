/*
 * What isahp_poll() costs a program without a thread of the library, in system calls: the better of
 * several rounds. Prints the two times in nanoseconds.
 */
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <isahotplug.h>

enum { CALLS = 20000, ROUNDS = 20 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(void)
{
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL };
    double best_poll = 1e9, best_call = 1e9;
    if (isahp_init(&options) != ISAHP_OK)
        return 2;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < CALLS; i++)
            if (isahp_poll(NULL) != ISAHP_OK)
                return 3;
        double middle = now();
        for (int i = 0; i < CALLS; i++)
            syscall(SYS_getppid);
        double end = now();
        best_poll = middle - start < best_poll ? middle - start : best_poll;
        best_call = end - middle < best_call ? end - middle : best_call;
    }
    printf("poll=%.0f call=%.0f\n", 100 * best_poll / CALLS, 100 * best_call / CALLS);
    return 0;
}
