/*
 * Loads and unloads an object with slots, given as its argument, while
 * generations come and go. For each line of its input polls and prints what the
 * object, if it is loaded, computes and how many changes its observer saw:
 *   init, thread (init with the library's thread), load, unload, poll,
 *   fork (a child that ends by exit)
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <isahotplug.h>

static void *object;

static void say(void)
{
    if (isahp_poll(NULL) != ISAHP_OK)
        exit(3);
    if (!object) {
        puts("none");
        return;
    }
    int (*compute)(int) = (int (*)(int))dlsym(object, "compute");
    int *changes = (int *)dlsym(object, "changes");
    printf("%d changes=%d\n", compute(1), *changes);
}

int main(int argc, char **argv)
{
    char line[16];
    isahp_options options = { .size = sizeof options, .flags = ISAHP_POLL };
    if (argc != 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "init\n") && isahp_init(&options) != ISAHP_OK)
            return 3;
        if (!strcmp(line, "thread\n") && isahp_init(NULL) != ISAHP_OK)
            return 3;
        if (!strcmp(line, "load\n") && !(object = dlopen(argv[1], RTLD_NOW))) {
            puts(dlerror());
            return 3;
        }
        if (!strcmp(line, "unload\n")) {
            dlclose(object);
            object = dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD);
            if (object)
                puts("still there");
        }
        if (!strcmp(line, "fork\n")) {
            int status;
            pid_t child = fork();
            if (child == 0)
                exit(7);
            if (waitpid(child, &status, 0) != child || status != 7 << 8)
                return 4;
        }
        say();
    }
    return 0;
}
