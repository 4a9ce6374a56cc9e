/* As many different handlers as the library has room for where each needs something of its own. */
#include "case.h"

#include <errno.h>

static volatile int ran;

#define HANDLER(number) \
    static void on_##number(int signal) \
    { \
        (void)signal; \
        ran = 0x##number; \
    }
#define NAME(number) on_##number,
#define SIXTEEN(make, n) \
    make(n##0) make(n##1) make(n##2) make(n##3) make(n##4) make(n##5) make(n##6) make(n##7) \
    make(n##8) make(n##9) make(n##a) make(n##b) make(n##c) make(n##d) make(n##e) make(n##f)
#define ALL(make, n) \
    SIXTEEN(make, n##0) SIXTEEN(make, n##1) SIXTEEN(make, n##2) SIXTEEN(make, n##3) \
    SIXTEEN(make, n##4) SIXTEEN(make, n##5) SIXTEEN(make, n##6) SIXTEEN(make, n##7) \
    SIXTEEN(make, n##8) SIXTEEN(make, n##9) SIXTEEN(make, n##a) SIXTEEN(make, n##b) \
    SIXTEEN(make, n##c) SIXTEEN(make, n##d) SIXTEEN(make, n##e) SIXTEEN(make, n##f)

enum { ROOM = 512 };

ALL(HANDLER, 0)
ALL(HANDLER, 1)
HANDLER(200)

static void (*const handlers[ROOM + 1])(int) = { ALL(NAME, 0) ALL(NAME, 1) NAME(200) };

static void install(int index)
{
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = handlers[index];
    CHECK(sigaction(SIGUSR1, &action, &before) == 0);
    CHECK(before.sa_handler == (index > 0 ? handlers[index - 1] : SIG_DFL));
    ran = -1;
    CHECK(raise(SIGUSR1) == 0);
    CHECK(ran == index);
}

static void all(void)
{
    for (int i = 0; i < ROOM; i++)
        install(i);
    /* One too many is refused, and changes nothing. */
    struct sigaction action, now;
    memset(&action, 0, sizeof action);
    action.sa_handler = handlers[ROOM];
    errno = 0;
    CHECK(sigaction(SIGUSR1, &action, NULL) == -1 && errno == ENOMEM);
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == handlers[ROOM - 1]);
    CHECK(raise(SIGUSR1) == 0 && ran == ROOM - 1);
    /* Those that it knows it takes, on any signal. */
    for (int i = ROOM - 1; i >= 0; i--) {
        CHECK(signal(SIGUSR2, handlers[i]) == (i < ROOM - 1 ? handlers[i + 1] : SIG_DFL));
        CHECK(raise(SIGUSR2) == 0 && ran == i);
    }
}

const struct test_case cases[] = { { "all", all }, { NULL, NULL } };
