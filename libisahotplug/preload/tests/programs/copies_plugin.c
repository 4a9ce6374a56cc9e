/*
 * A plugin that has the library linked into it, and shows none of it.
 */
#include <isahotplug.h>

static isahp_slot slot = ISAHP_SLOT_INITIALIZER;
static int calls, releases;
static uint64_t handle;

static int best(void) { return 1; }
static int plain(void) { return 2; }
static const isahp_variant variants[] = {
    { (isahp_function)best, "pni", NULL },
    { (isahp_function)plain, NULL, NULL },
};

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    return ISAHP_OK;
}

static void on_release(void *userdata)
{
    (void)userdata;
    __atomic_add_fetch(&releases, 1, __ATOMIC_SEQ_CST);
}

int32_t plugin_init(void) { return isahp_init(NULL); }
int32_t plugin_unload(void) { return isahp_unload(); }
uint64_t plugin_generation(void) { return isahp_generation(); }
int plugin_calls(void) { return __atomic_load_n(&calls, __ATOMIC_SEQ_CST); }
int plugin_releases(void) { return __atomic_load_n(&releases, __ATOMIC_SEQ_CST); }
int plugin_slot(void) { return ISAHP_SLOT_CALL(&slot, int (*)(void))(); }
int32_t plugin_left_alone(void) { return isahp_register(NULL, NULL); }

int32_t plugin_register(void)
{
    isahp_registration registration = {
        .size = sizeof registration, .features = "pni", .callback = on_event, .release = on_release,
    };
    int32_t result = isahp_register(&registration, &handle);
    return result != ISAHP_OK ? result : isahp_slot_init(&slot, NULL, variants, 2);
}
