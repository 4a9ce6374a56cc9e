/*
 * A program that is linked with the shared library, and a plugin that has a copy of its own. The test
 * plays the agent: after a line of its own on standard output the program waits for a generation.
 *
 *     copies CASE [preloaded]
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <isahotplug.h>

static int failures, preloaded;

static void expect_at(int line, const char *what, long found, long expected)
{
    if (found != expected) {
        printf("%d: %s is %ld, not %ld\n", line, what, found, expected);
        __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
    }
}

#define EXPECT(what, expected) expect_at(__LINE__, #what, (long)(what), (long)(expected))

/* What the kernel would call for SIGILL, whatever wraps sigaction(2). */
static void *handler(void)
{
    struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } action;
    if (syscall(SYS_rt_sigaction, SIGILL, NULL, &action, 8) != 0)
        abort();
    return action.handler;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

#define WAIT_FOR(what)                                                                             \
    do {                                                                                           \
        for (double end_ = seconds() + 20; !(what) && seconds() < end_;)                           \
            sched_yield();                                                                         \
        EXPECT(!!(what), 1);                                                                       \
    } while (0)

static void *plugin;
static int32_t (*plugin_init)(void), (*plugin_unload)(void), (*plugin_register)(void), (*plugin_left_alone)(void);
static int (*plugin_calls)(void), (*plugin_releases)(void), (*plugin_slot)(void);
static uint64_t (*plugin_generation)(void);

static void *find(const char *name)
{
    void *found = dlsym(plugin, name);
    if (found == NULL)
        abort();
    return found;
}

static void load(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/plugin.so", getenv("ISAHOTPLUG_RUN_DIR"));
    plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        puts(dlerror());
        exit(2);
    }
    *(void **)&plugin_init = find("plugin_init");
    *(void **)&plugin_unload = find("plugin_unload");
    *(void **)&plugin_register = find("plugin_register");
    *(void **)&plugin_left_alone = find("plugin_left_alone");
    *(void **)&plugin_calls = find("plugin_calls");
    *(void **)&plugin_releases = find("plugin_releases");
    *(void **)&plugin_slot = find("plugin_slot");
    *(void **)&plugin_generation = find("plugin_generation");
    EXPECT(dlsym(plugin, "isahp_init") == (void *)isahp_init || dlsym(plugin, "isahp_init") == NULL, 1);
}

static int calls, stopped, went_on;

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&stopped, __ATOMIC_SEQ_CST) && !__atomic_load_n(&went_on, __ATOMIC_SEQ_CST))
        sched_yield();
    return ISAHP_OK;
}

static int best(void) { return 1; }
static int plain(void) { return 2; }
static const isahp_variant variants[] = {
    { (isahp_function)best, "pni", NULL },
    { (isahp_function)plain, NULL, NULL },
};
static isahp_slot slot = ISAHP_SLOT_INITIALIZER;

static void register_own(void)
{
    isahp_registration registration = { .size = sizeof registration, .features = "pni", .callback = on_event };
    EXPECT(isahp_register(&registration, NULL), ISAHP_OK);
    EXPECT(isahp_slot_init(&slot, NULL, variants, 2), ISAHP_OK);
}

static uint64_t generation = 7;

static void next_generation(void)
{
    puts("next");
    fflush(stdout);
    generation++;
    WAIT_FOR(isahp_generation() == generation || plugin_generation() == generation);
}

static int slot_value(void) { return ISAHP_SLOT_CALL(&slot, int (*)(void))(); }

/* Generation 8 lacks SSE3, 9 has it, and so on. */
static int expected(void) { return generation % 2 == 0 ? 2 : 1; }

/* Neither copy is in use. */
static void nobody(void)
{
    EXPECT(isahp_generation(), 0);
    EXPECT(plugin_generation(), 0);
    if (!preloaded)
        EXPECT(handler() == NULL, 1);
}

static void both_are_told(void)
{
    int before = calls, plugins = plugin_calls();
    next_generation();
    WAIT_FOR(calls > before && plugin_calls() > plugins);
    WAIT_FOR(slot_value() == expected() && plugin_slot() == expected());
    EXPECT(isahp_generation(), generation);
    EXPECT(plugin_generation(), generation);
    EXPECT(calls, before + 1);
    EXPECT(plugin_calls(), plugins + 1);
}

static void only_the_program_is_told(void)
{
    int before = calls;
    next_generation();
    WAIT_FOR(calls > before && slot_value() == expected());
    EXPECT(calls, before + 1);
}

static void trap(void)
{
    isahp_counters before = { .size = sizeof before }, after = before;
    EXPECT(isahp_count(&before), ISAHP_OK);
    /* vprotd xmm0, xmm0, 3: XOP, which this CPU lacks. */
    __asm__ volatile(".byte 0x8f, 0xe8, 0x78, 0xc2, 0xc0, 0x03" ::: "xmm0");
    EXPECT(isahp_count(&after), ISAHP_OK);
    /* A copy that is not in use counts for itself. */
    EXPECT(after.emulated > before.emulated, isahp_generation() != 0);
}

/* The plugin's copy joins; the plugin goes away without a word. */
static void plugin_second(void)
{
    void *before = handler();
    EXPECT(isahp_init(NULL), ISAHP_OK);
    void *installed = handler();
    EXPECT(installed == before, preloaded);
    load();
    EXPECT(plugin_generation(), 0);
    /* (What it remembers about an error must not keep it from being unloaded.) */
    EXPECT(plugin_left_alone(), ISAHP_ERROR_INVALID);
    EXPECT(plugin_init(), ISAHP_OK);
    EXPECT(handler() == installed, 1);
    register_own();
    EXPECT(plugin_register(), ISAHP_OK);
    both_are_told();
    both_are_told();
    trap();
    EXPECT(dlclose(plugin), 0);
    char path[4096];
    snprintf(path, sizeof path, "%s/plugin.so", getenv("ISAHOTPLUG_RUN_DIR"));
    EXPECT(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL, 1);
    plugin_generation = isahp_generation;
    only_the_program_is_told();
    trap();
    only_the_program_is_told();
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(handler() == before, 1);
    nobody();
}

/* The plugin's copy serves, and has to stay when the plugin is closed. */
static void plugin_first(void)
{
    void *before = handler();
    load();
    EXPECT(plugin_init(), ISAHP_OK);
    void *installed = handler();
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(handler() == installed, 1);
    register_own();
    EXPECT(plugin_register(), ISAHP_OK);
    both_are_told();
    EXPECT(plugin_unload(), ISAHP_OK);
    EXPECT(plugin_releases(), 1);
    EXPECT(plugin_unload(), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(plugin_left_alone(), ISAHP_ERROR_INVALID);
    EXPECT(plugin_register(), ISAHP_ERROR_NOT_INITIALISED);
    EXPECT(handler() == installed, 1);
    EXPECT(dlclose(plugin), 0);
    plugin_generation = isahp_generation;
    only_the_program_is_told();
    trap();
    EXPECT(isahp_unload(), ISAHP_OK);
    EXPECT(handler() == before, 1);
    nobody();
    /* The program's own copy serves now. */
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(preloaded || handler() != installed, 1);
    register_own();
    only_the_program_is_told();
    trap();
    EXPECT(isahp_unload(), ISAHP_OK);
    nobody();
}

/* i: init, u: unload; capitals are the plugin's. */
static void orders(void)
{
    const char *orders[] = { "iIuU", "iIUu", "IiuU", "IiUu", "iuIU", "IUiu", "iiIuUu", "IiIUuU", "iIuiUu", "IiUIuU" };
    load();
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
            for (const char *step = orders[i]; *step != 0; step++) {
                int32_t result = *step == 'i' ? isahp_init(NULL)
                    : *step == 'u'            ? isahp_unload()
                    : *step == 'I'            ? plugin_init()
                                              : plugin_unload();
                EXPECT(result, ISAHP_OK);
                if (*step == 'i')
                    register_own();
                if (*step == 'I')
                    EXPECT(plugin_register(), ISAHP_OK);
                if (*step == 'i' || *step == 'I')
                    trap();
            }
            EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
            EXPECT(plugin_unload(), ISAHP_ERROR_NOT_INITIALISED);
            nobody();
        }
    EXPECT(plugin_releases() > 0, 1);
}

static void *unload_the_plugin(void *nothing)
{
    (void)nothing;
    return (void *)(long)plugin_unload();
}

static void *unload_own(void *nothing)
{
    (void)nothing;
    return (void *)(long)isahp_unload();
}

/* One waits for its callback, and the other, which has nothing to wait for, is not the last. */
static void both_unload_at_once(void)
{
    pthread_t threads[2];
    void *results[2];
    load();
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(plugin_init(), ISAHP_OK);
    register_own();
    __atomic_store_n(&stopped, 1, __ATOMIC_SEQ_CST);
    next_generation();
    WAIT_FOR(__atomic_load_n(&calls, __ATOMIC_SEQ_CST) == 1);
    pthread_create(&threads[0], NULL, unload_own, NULL);
    /* It has given its slots back, and waits. */
    WAIT_FOR(isahp_slot_release(&slot) == ISAHP_ERROR_NOT_FOUND);
    pthread_create(&threads[1], NULL, unload_the_plugin, NULL);
    pthread_join(threads[1], &results[1]);
    EXPECT((long)results[1], ISAHP_OK);
    __atomic_store_n(&went_on, 1, __ATOMIC_SEQ_CST);
    pthread_join(threads[0], &results[0]);
    EXPECT((long)results[0], ISAHP_OK);
    EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
    nobody();
}

/* A copy of another version, as others see it: the table behind what lies in front of its handler. */
struct table {
    char magic[16];
    uint32_t abi, size, version, reserved;
    void *joined;
    void *functions[40];
};

enum { INIT = 1, UNLOAD = 2, FORGET = 3, GENERATION = 5, HAS = 6, FUNCTIONS = 26 };

struct table other_table = { .magic = "isahotplug #UD\0\1" };
void other_handler(int, siginfo_t *, void *);
__asm__(".pushsection .text\n\t"
        ".p2align 4\n"
        "9: .ascii \"isahotplug #UD\\000\\001\"\n\t"
        ".quad other_table - 9b\n"
        ".globl other_handler\n"
        "other_handler: jmp other_sigill\n\t"
        ".popsection");

static int other_calls;

__attribute__((used)) void other_sigill(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    /* Passes over the six bytes of vprotd, as if it had carried it out. */
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 6;
    other_calls++;
}

static int32_t other_init(uint64_t *owner, uint32_t version, const isahp_options *options)
{
    (void)options;
    EXPECT(version, isahp_version());
    *owner = 77;
    return ISAHP_OK;
}

static int32_t other_unload(uint64_t owner, uint64_t *left)
{
    EXPECT(owner, 77);
    *left = 0;
    return ISAHP_OK;
}

static uint64_t other_generation(void) { return 4242; }
static int32_t other_has(uint32_t id) { return id == 5; }
static void unknown(void) { abort(); }

static void install_other(uint32_t abi, uint32_t size)
{
    struct sigaction action = { .sa_sigaction = other_handler, .sa_flags = SA_SIGINFO };
    other_table.abi = abi;
    other_table.size = size;
    for (int i = 0; i < 40; i++)
        other_table.functions[i] = (void *)unknown;
    other_table.functions[INIT] = (void *)other_init;
    other_table.functions[UNLOAD] = (void *)other_unload;
    other_table.functions[GENERATION] = (void *)other_generation;
    other_table.functions[HAS] = (void *)other_has;
    sigaction(SIGILL, &action, NULL);
}

/* One that joining is possible with is joined, newer or not; any other is as foreign as a program's. */
static void other_versions(void)
{
    const uint32_t full = 40 + 8 * FUNCTIONS;
    const struct { uint32_t abi, size; int joins; } versions[] = {
        { 1, full, 1 }, { 1, full + 8, 1 }, { 1, full - 8, 0 }, { 1, 0, 0 }, { 2, full, 0 }, { 0, full, 0 },
    };
    plugin_generation = isahp_generation;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        install_other(versions[i].abi, versions[i].size);
        EXPECT(isahp_init(NULL), ISAHP_OK);
        if (versions[i].joins) {
            EXPECT(isahp_generation(), 4242);
            EXPECT(isahp_has(5), 1);
            EXPECT(isahp_has(6), 0);
            EXPECT(handler() == (void *)other_handler, 1);
        } else {
            EXPECT(isahp_generation() != 4242, 1);
            EXPECT(handler() != (void *)other_handler, 1);
            int before = other_calls;
            trap();
            EXPECT(other_calls, before);
        }
        EXPECT(isahp_unload(), ISAHP_OK);
        EXPECT(isahp_generation(), 0);
        EXPECT(handler() == (void *)other_handler, 1);
    }
    signal(SIGILL, SIG_DFL);
}

int main(int argc, char **argv)
{
    const struct { const char *name; void (*run)(void); } cases[] = {
        { "plugin-second", plugin_second }, { "plugin-first", plugin_first }, { "orders", orders },
        { "at-once", both_unload_at_once }, { "versions", other_versions },
    };
    if (argc < 2)
        return 2;
    preloaded = argc > 2;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(argv[1], cases[i].name) == 0)
            cases[i].run();
    puts(failures ? "failed" : "ok");
    return failures != 0;
}
