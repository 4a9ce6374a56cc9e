/*
 * Its log function forks, as popen() does: the library is in the middle of its work.
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <isahotplug.h>

static void on_log(void *userdata, const char *line)
{
    int status = -1;
    pid_t child = fork();
    (void)line;
    if (child == 0)
        _exit(7);
    if (child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7)
        ++*(int *)userdata;
}

static int32_t on_event(void *userdata, const isahp_event *event)
{
    (void)userdata;
    (void)event;
    return ISAHP_OK;
}

int main(void)
{
    int forks = 0;
    isahp_options options = {
        .size = sizeof options,
        .flags = ISAHP_POLL,
        .log = on_log,
        .log_userdata = &forks,
    };
    isahp_registration registration = { .size = sizeof registration, .callback = on_event };
    int status = -1;
    /* There is no agent, which is worth a line. */
    if (isahp_init(&options) != ISAHP_OK || isahp_register(&registration, NULL) != ISAHP_OK
        || isahp_poll(NULL) != ISAHP_OK)
        return 2;
    /* And one as everybody forks. */
    pid_t child = fork();
    if (child == 0)
        _exit(isahp_poll(NULL) == ISAHP_OK ? 0 : 1);
    waitpid(child, &status, 0);
    printf("%d forks, %d\n", forks, status);
    return isahp_unload() == ISAHP_OK ? 0 : 3;
}
