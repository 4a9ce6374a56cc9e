/* For the tests: a process that says that it has more rights than its user. */
#include <sys/auxv.h>

unsigned long getauxval(unsigned long type)
{
    return type == AT_SECURE;
}
