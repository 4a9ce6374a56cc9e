/*
 * Refuses whatever it is told, until its input ends.
 */
#include <stdio.h>

#include <isahotplug.h>

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    return isahp_refuse("never");
}

int main(void)
{
    isahp_registration registration = {
        .size = sizeof registration,
        .flags = ISAHP_EAGER,
        .callback = on_event,
    };
    if (isahp_init(NULL) != ISAHP_OK || isahp_register(&registration, NULL) != ISAHP_OK)
        return 2;
    while (getchar() != EOF)
        ;
    return isahp_unload() == ISAHP_OK ? 0 : 3;
}
