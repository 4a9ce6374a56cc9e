/* Prints 1, 2, 3, … a line each, as fast as it is read, up to the number on
 * the command line. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    long last = argc == 2 ? atol(argv[1]) : 0;
    for (long number = 1; number <= last; number++)
        if (printf("%ld\n", number) < 0)
            return 1;
    return 0;
}
