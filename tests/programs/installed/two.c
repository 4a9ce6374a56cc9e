/* One program, two static libraries in Rust. */
#include <dlfcn.h>
#include <isahotplug.h>
#include <stdio.h>
#include <string.h>

int other_count(int n);

int main(void)
{
    Dl_info info;
    uint32_t id = 0;
    if (isahp_init(NULL) != ISAHP_OK || isahp_feature("avx2", &id) != ISAHP_OK)
        return 1;
    if (other_count(2) != 2 || other_count(9) != -1)
        return 2;
    if (dladdr((void *)(uintptr_t)memcpy, &info) == 0 || strstr(info.dli_fname, "libc.so") == NULL)
        return 3;
    puts("ok");
    return 0;
}
