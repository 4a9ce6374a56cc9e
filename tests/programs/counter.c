/* Prints 1, 2, 3, … a line each, as fast as it is read, until SIGTERM; then
 * "last N" with the last number, and ends with status 0. */
#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
    (void)signal;
    stop = 1;
}

int main(void)
{
    /* A write that is waiting goes on afterwards: no number is lost to the signal. */
    struct sigaction action = { .sa_handler = on_term, .sa_flags = SA_RESTART };
    if (sigaction(SIGTERM, &action, NULL) != 0)
        return 1;
    long number = 0;
    while (!stop)
        if (printf("%ld\n", ++number) < 0)
            return 1;
    return printf("last %ld\n", number) < 0 || fflush(stdout) != 0;
}
