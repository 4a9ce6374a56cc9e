/* Bursts among other threads, signals, and code that changes. With AMD's XOP, which traps on any
   newer CPU. */
#include "case.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LOST "vprotd $7, %%xmm0, %%xmm0\n\t"

/* Counters that two threads change in bursts are exact. */
static uint64_t added, incremented, exchanged, lock_word, guarded;
static struct { uint64_t low, high; } __attribute__((aligned(16))) pair;
static pthread_barrier_t together;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* For a while, so that the two surely meet; returns how often. */
static void *change(void *unused)
{
    (void)unused;
    uint64_t rounds = 0;
    pthread_barrier_wait(&together);
    int64_t end = now_ns() + 400000000;
    for (; rounds % 256 != 0 || now_ns() < end; rounds++) {
        uint64_t one = 1, old;
        __asm__ volatile(LOST "lock xaddq %0, %1" : "+r"(one), "+m"(added) : : "cc", "xmm0");
        __asm__ volatile("lock incb %0" : "+m"(incremented) : : "cc");
        old = exchanged;
        uint64_t new;
        uint8_t done;
        do {
            new = old + 3;
            __asm__ volatile("lock cmpxchgq %3, %1\n\tsete %2"
                             : "+a"(old), "+m"(exchanged), "=qm"(done) : "r"(new) : "cc");
        } while (!done);
        uint64_t low = pair.low, high = pair.high;
        do {
            __asm__ volatile("lock cmpxchg16b %3\n\tsete %2"
                             : "+a"(low), "+d"(high), "=qm"(done), "+m"(pair)
                             : "b"(low + 1), "c"(high + 2) : "cc");
        } while (!done);
        /* A lock by exchange, with an ordinary addition inside. */
        uint32_t taken;
        do {
            taken = 1;
            __asm__ volatile("xchgl %0, %1" : "+r"(taken), "+m"(lock_word) : : "memory");
        } while (taken);
        guarded++;
        __asm__ volatile(LOST "movl $0, %0" : "=m"(*(uint32_t *)&lock_word) : : "memory", "xmm0");
    }
    return (void *)rounds;
}

static void atomics(void)
{
    pthread_t other;
    void *others;
    CHECK(pthread_barrier_init(&together, NULL, 2) == 0);
    CHECK(pthread_create(&other, NULL, change, NULL) == 0);
    uint64_t all = (uint64_t)change(NULL);
    CHECK(pthread_join(other, &others) == 0);
    all += (uint64_t)others;
    CHECK(added == all && exchanged == 3 * all && guarded == all);
    CHECK(pair.low == all && pair.high == 2 * all);
    CHECK(incremented == (all & 0xff));
}

/* A loop that changes its own next instruction: add eax, imm32 counts up its immediate. */
static void changing(void)
{
    static const uint8_t code[] = {
        0x31, 0xc0,                                     /*     xor eax, eax */
        0xb9, 0x64, 0, 0, 0,                            /*     mov ecx, 100 */
        0x8f, 0xe8, 0x78, 0xc2, 0xc0, 0x07,             /* 1:  vprotd xmm0, xmm0, 7 */
        0xff, 0x05, 1, 0, 0, 0,                         /*     inc dword ptr [rip + 1] */
        0x05, 0, 0, 0, 0,                               /*     add eax, 0 */
        0xff, 0xc9,                                     /*     dec ecx */
        0x75, 0xeb,                                     /*     jnz 1b */
        0xc3,
    };
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    for (uint32_t round = 0; round < 10; round++) {
        memcpy(page, code, sizeof code);
        uint32_t sum = ((uint32_t (*)(void))page)();
        CHECK(sum == 100 * 101 / 2);
    }
}

/* Another thread changes it. */
static uint8_t *shared_code;

static void *patch(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++)
        sched_yield();
    /* The jump's displacement: from "again" to "go on". */
    __atomic_store_n(shared_code + 7, 0, __ATOMIC_SEQ_CST);
    return NULL;
}

static void patched(void)
{
    static const uint8_t code[] = {
        0x8f, 0xe8, 0x78, 0xc2, 0xc0, 0x07, /* 1:  vprotd xmm0, xmm0, 7 */
        0xeb, 0xf8,                         /*     jmp 1b, later jmp 2f */
        0xc3,                               /* 2:  ret */
    };
    shared_code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(shared_code != MAP_FAILED);
    memcpy(shared_code, code, sizeof code);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, patch, NULL) == 0);
    ((void (*)(void))shared_code)();
    CHECK(pthread_join(other, NULL) == 0);
}

/* Timers are not held up, even by a loop without end. */
static volatile sig_atomic_t ticks;
static sigjmp_buf back;
static volatile int64_t due_ns, least_ns;

static void on_alarm(int signal)
{
    (void)signal;
    if (++ticks == 20)
        siglongjmp(back, 1);
}

static void endless(void)
{
    signal(SIGALRM, on_alarm);
    struct itimerval timer = { { 0, 2000 }, { 0, 2000 } };
    if (sigsetjmp(back, 1) == 0) {
        CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
        __asm__ volatile("1:\n\t" LOST "jmp 1b" : : : "xmm0");
    }
    memset(&timer, 0, sizeof timer);
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    CHECK(ticks == 20);
}

/* How late a signal comes, at best: a burst's bound beside what the machine does by itself. */
static void on_due(int signal)
{
    (void)signal;
    int64_t late = now_ns() - due_ns;
    if (least_ns == 0 || late < least_ns)
        least_ns = late;
    siglongjmp(back, 1);
}

static void prompt(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    timer_t timer;
    signal(SIGALRM, on_due);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    for (volatile int round = 0; round < 20; round++) {
        due_ns = now_ns() + 3000000;
        struct itimerspec when = {
            .it_value = { .tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000 },
        };
        if (sigsetjmp(back, 1) == 0) {
            CHECK(timer_settime(timer, TIMER_ABSTIME, &when, NULL) == 0);
            /* The slowest instructions that trap. */
            __asm__ volatile("1:\n\t"
                             "vpermil2pd $0, %%ymm1, %%ymm2, %%ymm3, %%ymm0\n\t"
                             "vfmaddpd %%ymm1, %%ymm2, %%ymm3, %%ymm0\n\t"
                             "vpmacsdqh %%xmm1, %%xmm2, %%xmm3, %%xmm0\n\t"
                             "pcmpestri $0x0c, %%xmm1, %%xmm2\n\t"
                             "vdivpd %%ymm1, %%ymm2, %%ymm4\n\t"
                             "jmp 1b" : : : "xmm0", "xmm4", "rcx", "cc");
        }
    }
    CHECK(least_ns < 10000000);
}

/*
 * A restartable sequence in glibc's area: two threads on one CPU add to that CPU's counter with
 * plain instructions. An addition is lost if a sequence is interrupted and not aborted.
 */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));

struct area {
    uint32_t cpu_id_start, cpu_id;
    uint64_t rseq_cs;
    uint32_t flags;
    uint64_t others;
};

#ifdef OWN_AREA
/* As tcmalloc has it where glibc registers none (GLIBC_TUNABLES=glibc.pthread.rseq=0). */
__thread struct area __rseq_abi __attribute__((aligned(32)));

static struct area *area_of_thread(void)
{
    CHECK(syscall(SYS_rseq, &__rseq_abi, 32, 0, 0x53053053) == 0);
    return &__rseq_abi;
}
#else
static struct area *area_of_thread(void)
{
    char *self;
    __asm__("movq %%fs:0, %0" : "=r"(self));
    return (struct area *)(self + __rseq_offset);
}
#endif

static volatile uint64_t counter;
enum { ADDITIONS = 30000 };

static void *count(void *unused)
{
    (void)unused;
    struct area *area = area_of_thread();
    for (int i = 0; i < ADDITIONS; i++) {
        __asm__ volatile(
            ".pushsection __rseq_cs, \"aw\"\n\t.balign 32\n\t"
            "3: .long 0, 0\n\t.quad 1f, 2f - 1f, 4f\n\t.popsection\n\t"
            /* The abort handler, with the signature that the kernel asks for. */
            ".pushsection .text.unlikely, \"ax\"\n\t.byte 0x0f, 0xb9, 0x3d\n\t.long 0x53053053\n\t"
            "4: jmp 5f\n\t.popsection\n\t"
            "5:\n\t" LOST
            "leaq 3b(%%rip), %%rax\n\t"
            "movq %%rax, 8(%[area])\n\t"
            "1:\n\t"
            "movq %[counter], %%rcx\n\t"
            "incq %%rcx\n\t"
            "movl $20, %%eax\n\t"
            "6: decl %%eax\n\tjnz 6b\n\t"
            "movq %%rcx, %[counter]\n\t"
            "2:\n\t" LOST
            : [counter] "+m"(counter) : [area] "r"(area) : "rax", "rcx", "cc", "memory", "xmm0");
    }
    return NULL;
}

static void sequences(void)
{
#ifdef OWN_AREA
    CHECK(&__rseq_size == NULL || __rseq_size == 0);
    if (syscall(SYS_rseq, NULL, 0, 0, 0) == -1 && errno == ENOSYS) {
#else
    if (&__rseq_size == NULL || __rseq_size == 0) {
#endif
        puts("skip: no restartable sequences here");
        exit(0);
    }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, count, NULL) == 0);
    count(NULL);
    CHECK(pthread_join(other, NULL) == 0);
    CHECK(counter == 2 * ADDITIONS);
}

/* The same without a call: right after a trap the stack is written, far below where it was. */
static void deep_at_once(void)
{
    uint64_t wrong = 0;
    __asm__ volatile("movl $7, %%eax\n\t" LOST
                     "subq $8192, %%rsp\n\t"
                     ".set at, 0\n\t"
                     ".rept 56\n\t"
                     "movq %%rax, at(%%rsp)\n\t"
                     ".set at, at + 144\n\t"
                     ".endr\n\t" LOST
                     ".set at, 0\n\t"
                     ".rept 56\n\t"
                     "movq at(%%rsp), %%rcx\n\t"
                     "subq %%rax, %%rcx\n\t"
                     "orq %%rcx, %0\n\t"
                     ".set at, at + 144\n\t"
                     ".endr\n\t"
                     "addq $8192, %%rsp"
                     : "+r"(wrong) : : "rax", "rcx", "cc", "memory", "xmm0");
    CHECK(wrong == 0);
}

/* A function that is called in a burst and uses more stack than the red zone. */
__attribute__((noinline, noclone)) static uint64_t deep(uint64_t n)
{
    volatile uint64_t frame[64];
    for (int i = 0; i < 64; i++)
        frame[i] = n + (uint64_t)i;
    uint64_t sum = n > 0 ? deep(n - 1) : 0;
    for (int i = 0; i < 64; i++)
        sum += frame[i];
    return sum;
}

static void calls(void)
{
    give_up_alternate_stack();
    uint64_t expected = 0;
    for (uint64_t n = 0; n <= 20; n++)
        expected += 64 * n + 64 * 63 / 2;
    for (int round = 0; round < 200; round++) {
        deep_at_once();
        __asm__ volatile(LOST : : : "xmm0");
        CHECK(deep(20) == expected);
    }
}

/* A page without permission to execute is not code, whoever reads it: the call faults there. */
static sigjmp_buf before_call;
static void *volatile faulted_at;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    faulted_at = info->si_addr;
    siglongjmp(before_call, signal);
}

static void data(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    page[0] = 0xc3; /* ret */
    int signal = sigsetjmp(before_call, 1);
    if (signal == 0) {
        __asm__ volatile(LOST "call *%0" : : "r"(page) : "memory", "xmm0");
        CHECK(!"data was executed");
    }
    CHECK(signal == SIGSEGV && faulted_at == page);
}

/* Aligned sixteen bytes are loaded and stored in one piece. */
static uint64_t whole[2] __attribute__((aligned(16)));
static int finished;

static void *alternate(void *unused)
{
    (void)unused;
    for (uint64_t value = 0; !__atomic_load_n(&finished, __ATOMIC_RELAXED); value = ~value)
        __asm__ volatile("movq %1, %%xmm0\n\tpunpcklqdq %%xmm0, %%xmm0\n\tmovaps %%xmm0, %0"
                         : "=m"(whole) : "r"(value) : "xmm0");
    return NULL;
}

static void pieces(void)
{
    pthread_t other;
    CHECK(pthread_create(&other, NULL, alternate, NULL) == 0);
    uint64_t torn = 0, count = 300000;
    __asm__ volatile("1: " LOST "movdqa %2, %%xmm1\n\tpshufd $0x4e, %%xmm1, %%xmm2\n\t"
                     "pxor %%xmm1, %%xmm2\n\tmovq %%xmm2, %%rax\n\torq %%rax, %0\n\t"
                     "decq %1\n\tjnz 1b"
                     : "+r"(torn), "+r"(count) : "m"(whole)
                     : "rax", "cc", "xmm0", "xmm1", "xmm2");
    CHECK(torn == 0);
    __atomic_store_n(&finished, 1, __ATOMIC_RELAXED);
    CHECK(pthread_join(other, NULL) == 0);
}

/* Has the burst interrupted again and again, on the CPU where it runs, whatever it is doing. */
static void *disturb(void *unused)
{
    (void)unused;
    CHECK(prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0);
    const struct timespec moment = { .tv_nsec = 5000 };
    while (!__atomic_load_n(&finished, __ATOMIC_RELAXED))
        clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
    return NULL;
}

/* Loads all the time; the halves are always equal. */
static void *look(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&together);
    while (!__atomic_load_n(&finished, __ATOMIC_RELAXED)) {
        uint64_t torn = 0, count = 100;
        __asm__ volatile("1: movaps %2, %%xmm1\n\tpshufd $0x4e, %%xmm1, %%xmm2\n\t"
                         "pxor %%xmm1, %%xmm2\n\tmovq %%xmm2, %%rax\n\torq %%rax, %0\n\t"
                         "decq %1\n\tjnz 1b"
                         : "+r"(torn), "+r"(count) : "m"(whole)
                         : "rax", "cc", "memory", "xmm1", "xmm2");
        CHECK(torn == 0);
    }
    return NULL;
}

static void stored_pieces(void)
{
    pthread_t others[2];
    CHECK(pthread_barrier_init(&together, NULL, 2) == 0);
    CHECK(pthread_create(&others[0], NULL, look, NULL) == 0);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    CHECK(sched_setaffinity(0, sizeof here, &here) == 0);
    /* It inherits that. */
    CHECK(pthread_create(&others[1], NULL, disturb, NULL) == 0);
    pthread_barrier_wait(&together);
    for (int64_t until = now_ns() + 1500000000; now_ns() < until;) {
        uint64_t count = 100;
        __asm__ volatile("pxor %%xmm1, %%xmm1\n\tpcmpeqd %%xmm2, %%xmm2\n\t"
                         "1: " LOST
                         ".rept 8\n\t"
                         "movdqa %%xmm1, (%1)\n\tmovaps %%xmm2, (%1)\n\t"
                         "vmovdqa %%xmm1, (%1)\n\tmovapd %%xmm2, (%1)\n\t"
                         ".endr\n\t"
                         "decq %0\n\tjnz 1b"
                         : "+r"(count) : "r"(whole) : "xmm0", "xmm1", "xmm2", "cc", "memory");
    }
    __atomic_store_n(&finished, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(others[i], NULL) == 0);
}

/* Whoever started the program may have blocked the signals that the handler needs. */
static void blocked(void)
{
    if (getenv("BLOCKED") == NULL) {
        uint64_t all = ~0ull;
        CHECK(setenv("BLOCKED", "1", 1) == 0);
        CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all) == 0);
        execl("/proc/self/exe", "program", "blocked", NULL);
        CHECK(!"executed");
    }
    __asm__ volatile(LOST : : : "xmm0");
}

const struct test_case cases[] = {
    { "atomics", atomics }, { "changing", changing }, { "patched", patched },
    { "endless", endless }, { "prompt", prompt },     { "sequences", sequences },
    { "calls", calls },     { "data", data },
    { "pieces", pieces }, { "stored-pieces", stored_pieces }, { "blocked", blocked },         { NULL, NULL },
};
