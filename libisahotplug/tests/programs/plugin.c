/* A shared object with a slot that ISAHP_SLOT keeps, and an observer in it. */
#include <sys/stat.h>
#include <unistd.h>

#include <isahotplug.h>

int compute(int value);
extern int changes;
int changes;

static int compute_plain(int value) { return value; }
static int compute_sse3(int value) { return value + 1000; }

static void on_change(void *userdata, isahp_slot *slot, size_t from, size_t to)
{
    (void)slot;
    if (from != to)
        ++*(int *)userdata;
}

static ISAHP_SLOT_WITH(plugin, 0, on_change, &changes, compute_plain, (compute_sse3, "pni"));

int compute(int value)
{
    return ISAHP_CALL(plugin)(value);
}

static pid_t parent;

static void remember(void) __attribute__((constructor));
static void remember(void) { parent = getpid(); }

/* Runs after the destructor of the slot, which must not have started a thread in a child. */
static void count_threads(void) __attribute__((destructor(101)));
static void count_threads(void)
{
    struct stat tasks;
    /* ".", ".." and one for each thread. */
    if (getpid() != parent && (stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink != 3))
        _exit(5);
}
