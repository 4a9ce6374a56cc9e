/* Functions of the C library by name: those that it has chosen, or those at
 * the offsets NAME=0x1234 of the command line, as `offsets` prints them where
 * another CPU chose. */
#ifndef VARIANTS_H
#define VARIANTS_H

#include <dlfcn.h>

static void *variant(const char *name)
{
    Dl_info info;
    dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL);
    void *chosen = dlsym(RTLD_DEFAULT, name);
    if (!chosen || !dladdr(chosen, &info))
        die("there is no function %s", name);
    size_t length = strlen(name);
    for (char **argument = further; *argument; argument++)
        if (!strncmp(*argument, name, length) && (*argument)[length] == '=')
            return (char *)info.dli_fbase + strtoul(*argument + length + 1, NULL, 16);
    if (*further)
        die("no offset was given for %s", name);
    return chosen;
}

#endif
