/*
 * Memory that the CPU refuses: what an instruction of XOP's raises, and what instructions raise that
 * are carried out after one, is what any other raises there.
 */
#include "case.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define LOST "vprotd $7, %%xmm0, %%xmm0\n\t"
enum { PAGE = 4096 };

struct exception {
    int signal, code, key;
    void *address;
    uintptr_t rip;
    uint32_t register_1[4];
};

static sigjmp_buf back;
static struct exception seen;

static void note(int signal, siginfo_t *info, void *context)
{
    const mcontext_t *registers = &((ucontext_t *)context)->uc_mcontext;
    seen = (struct exception){
        .signal = signal,
        .code = info->si_code,
        .address = info->si_addr,
        .key = info->si_code == SEGV_PKUERR ? (int)info->si_pkey : 0,
        .rip = (uintptr_t)registers->gregs[REG_RIP],
    };
    memcpy(seen.register_1, registers->fpregs->_xmm + 1, 16);
    siglongjmp(back, 1);
}

static void catch(int signal)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = note;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static const uint32_t before[4] = { 11, 22, 33, 44 };

/* Executes the instruction with `at` in RAX and known numbers in XMM1; what it raises is in `seen`. */
#define RAISE(prefix, instruction, at) \
    do { \
        static volatile uintptr_t wanted; \
        memset(&seen, 0, sizeof seen); \
        if (sigsetjmp(back, 1) == 0) \
            __asm__ volatile("movdqu (%1), %%xmm1\n\tleaq 1f(%%rip), %%rdx\n\tmovq %%rdx, %2\n\t" \
                             prefix "1: " instruction \
                             : : "a"(at), "r"(before), "m"(wanted) : "rdx", "xmm0", "xmm1", \
                               "memory"); \
        CHECK(seen.signal != 0 && seen.rip == wanted); \
        CHECK(memcmp(seen.register_1, before, 16) == 0); \
    } while (0)

/* All ways to use `at` raise this. */
static void check_loads(char *at, int signal, int code, int key)
{
    RAISE("", "movdqu (%%rax), %%xmm1", at);
    CHECK(seen.signal == signal && seen.code == code && seen.key == key);
    struct exception plain = seen;
    RAISE("", "vprotd $3, (%%rax), %%xmm1", at);
    CHECK(seen.signal == signal && seen.code == code && seen.key == key);
    CHECK(seen.address == plain.address);
    RAISE(LOST, "movdqu (%%rax), %%xmm1", at);
    CHECK(seen.signal == signal && seen.code == code && seen.key == key);
    CHECK(seen.address == plain.address);
    RAISE(LOST, "vprotd $3, (%%rax), %%xmm1", at);
    CHECK(seen.signal == signal && seen.code == code && seen.key == key);
    CHECK(seen.address == plain.address);
}

static void check_stores(char *at, int signal, int code)
{
    RAISE("", "movdqu %%xmm1, (%%rax)", at);
    CHECK(seen.signal == signal && seen.code == code);
    struct exception plain = seen;
    RAISE(LOST, "movdqu %%xmm1, (%%rax)", at);
    CHECK(seen.signal == signal && seen.code == code);
    CHECK(seen.address == plain.address);
}

static char *pages(int count)
{
    char *at = mmap(NULL, (size_t)count * PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void faults(void)
{
    catch(SIGSEGV);
    catch(SIGBUS);
    char *gone = pages(3), *shut = pages(3), *read_only = pages(3);
    CHECK(munmap(gone + PAGE, PAGE) == 0);
    CHECK(mprotect(shut + PAGE, PAGE, PROT_NONE) == 0);
    CHECK(mprotect(read_only + PAGE, PAGE, PROT_READ) == 0);
    int file = memfd_create("short", 0);
    CHECK(file >= 0 && ftruncate(file, 100) == 0);
    char *cut = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(cut != MAP_FAILED);
    for (int round = 0; round < 3; round++) {
        /* In the page, across its beginning, across its end. */
        for (int offset = -8; offset <= 0; offset += 4) {
            check_loads(gone + PAGE + offset, SIGSEGV, SEGV_MAPERR, 0);
            check_loads(shut + PAGE + offset, SIGSEGV, SEGV_ACCERR, 0);
            check_loads(cut + PAGE + offset, SIGBUS, BUS_ADRERR, 0);
            check_stores(gone + PAGE + offset, SIGSEGV, SEGV_MAPERR);
            check_stores(read_only + PAGE + offset, SIGSEGV, SEGV_ACCERR);
            check_stores(cut + PAGE + offset, SIGBUS, BUS_ADRERR);
        }
        check_loads(gone + 2 * PAGE - 8, SIGSEGV, SEGV_MAPERR, 0);
        check_stores(read_only + 2 * PAGE - 8, SIGSEGV, SEGV_ACCERR);
        check_loads(NULL, SIGSEGV, SEGV_MAPERR, 0);
        /* A store that faults half-way has stored nothing. */
        for (int i = 0; i < 8; i++)
            CHECK(read_only[PAGE - 8 + i] == 0 && cut[PAGE - 8 + i] == 0);
    }
}

/* Protection keys: the handler may touch what the thread may, and nothing else. */
static void keys(void)
{
    int key = pkey_alloc(0, 0);
    if (key < 0) {
        puts("skip: no protection keys");
        exit(0);
    }
    catch(SIGSEGV);
    char *guarded = pages(1);
    uint32_t *lanes = (uint32_t *)guarded;
    for (uint32_t i = 0; i < 4; i++)
        lanes[i] = 0x10000001 * (i + 1);
    CHECK(pkey_mprotect(guarded, PAGE, PROT_READ | PROT_WRITE, key) == 0);
    for (int round = 0; round < 3; round++) {
        uint32_t out[4];
        /* A signal's handler begins without this right. */
        CHECK(pkey_set(key, 0) == 0);
        __asm__ volatile("vprotd $4, (%0), %%xmm1\n\tmovdqu %%xmm1, (%1)\n\t" LOST
                         "movdqu (%0), %%xmm1\n\tmovdqu %%xmm1, (%0)\n\t" LOST
                         : : "r"(lanes), "r"(out) : "xmm0", "xmm1", "memory");
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t value = 0x10000001 * (i + 1);
            CHECK(out[i] == (value << 4 | value >> 28));
        }
        CHECK(pkey_get(key) == 0);
        CHECK(pkey_set(key, PKEY_DISABLE_ACCESS) == 0);
        check_loads(guarded, SIGSEGV, SEGV_PKUERR, key);
    }
}

const struct test_case cases[] = { { "faults", faults }, { "keys", keys }, { NULL, NULL } };
