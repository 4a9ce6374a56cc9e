/*
 * Counts leading zeros of 0x400 for ever with the instruction LZCNT, whose
 * loss is silent, and prints "wrong=N right=M" as it goes.
 *   lzcnt careless   uses it whatever happens
 *   lzcnt careful    uses it while the library says that it is there
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <isahotplug.h>

static uint32_t with_lzcnt(uint32_t value)
{
    uint32_t result;
    __asm__ volatile("lzcnt %1, %0" : "=r"(result) : "r"(value) : "cc");
    return result;
}

static uint32_t without_lzcnt(uint32_t value)
{
    return value ? (uint32_t)__builtin_clz(value) : 32;
}

static uint32_t abm;
static int use_it;

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    use_it = isahp_has(abm);
    printf("event cause=%u lzcnt=%d\n", event->cause, use_it);
    return ISAHP_OK;
}

int main(int argc, char **argv)
{
    int careful = argc > 1 && !strcmp(argv[1], "careful");
    setvbuf(stdout, NULL, _IOLBF, 0);
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL, .name = "lzcnt" };
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER,
        .features = "abm",
        .callback = on_event,
    };
    if (isahp_init(&options) != ISAHP_OK || isahp_feature("abm", &abm) != ISAHP_OK
        || (careful && isahp_register(&registration, NULL) != ISAHP_OK))
        return 2;
    use_it = isahp_has(abm);
    uint64_t wrong = 0, right = 0;
    clock_t next = 0;
    for (;;) {
        if (careful)
            isahp_poll(NULL);
        uint32_t found = !careful || use_it ? with_lzcnt(0x400) : without_lzcnt(0x400);
        if (found == 21)
            right++;
        else
            wrong++;
        if (clock() >= next) {
            next = clock() + CLOCKS_PER_SEC / 20;
            printf("tick wrong=%llu right=%llu use=%d\n", (unsigned long long)wrong,
                   (unsigned long long)right, !careful || use_it);
        }
    }
}
