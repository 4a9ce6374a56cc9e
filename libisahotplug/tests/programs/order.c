/*
 * Three registrations that build upon each other, the second called inside isahp_poll(), the others
 * on the library's thread. The main thread is an event loop that does nothing but wait for isahp_fd().
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include <isahotplug.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char order[8];
static int told, polls, polls_meanwhile, inside;

static int32_t on_event(void *name, const isahp_event *event)
{
    (void)event;
    if (*(char *)name == 'a') {
        /* Long enough for an event loop that turns in vain to be seen. */
        __atomic_store_n(&inside, 1, __ATOMIC_SEQ_CST);
        int before = __atomic_load_n(&polls, __ATOMIC_SEQ_CST);
        struct timespec while_it_waits = { 0, 200000000 };
        nanosleep(&while_it_waits, NULL);
        polls_meanwhile = __atomic_load_n(&polls, __ATOMIC_SEQ_CST) - before;
    }
    pthread_mutex_lock(&lock);
    order[told++] = *(char *)name;
    pthread_mutex_unlock(&lock);
    return ISAHP_OK;
}

static int all_told(void)
{
    pthread_mutex_lock(&lock);
    int all = told == 3;
    pthread_mutex_unlock(&lock);
    return all;
}

int main(void)
{
    struct pollfd wait = { .events = POLLIN };
    uint64_t before = 0;
    char names[] = "abc";
    if (isahp_init(NULL) != ISAHP_OK || isahp_fd(&wait.fd) != ISAHP_OK)
        return 2;
    for (int i = 0; i < 3; i++) {
        isahp_registration registration = {
            .size = sizeof registration,
            .flags = ISAHP_INITIAL | (i == 1 ? ISAHP_BY_POLL : 0),
            .callback = on_event,
            .userdata = &names[i],
            .after = &before,
            .after_count = i > 0,
        };
        if (isahp_register(&registration, &before) != ISAHP_OK)
            return 3;
    }
    while (!__atomic_load_n(&inside, __ATOMIC_SEQ_CST))
        sched_yield();
    if (isahp_poll(NULL) != ISAHP_OK)
        return 5;
    /* Nothing else wakes anybody. */
    for (int turn = 0; turn < 100000 && !all_told(); turn++) {
        if (poll(&wait, 1, told < 2 ? 20000 : 10) < 0 || isahp_poll(NULL) != ISAHP_OK)
            return 4;
        __atomic_add_fetch(&polls, 1, __ATOMIC_SEQ_CST);
        if (polls > 2000)
            break;
    }
    printf("order=%s meanwhile=%d\n", order, polls_meanwhile);
    return 0;
}
