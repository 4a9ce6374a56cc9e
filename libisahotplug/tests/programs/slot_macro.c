/*
 * ISAHP_SLOT: what its slots hold before, while, between and after the library
 * is in use. C99 and C++11. Prints a line for each expectation that is not met.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <isahotplug.h>

static int failures;

static void expect_at(int line, const char *what, long found, long expected)
{
    if (found != expected) {
        printf("%d: %s is %ld, not %ld\n", line, what, found, expected);
        failures++;
    }
}

#define EXPECT(what, expected) expect_at(__LINE__, #what, (long)(what), (long)(expected))

/* A constructor that runs before those of ISAHP_SLOT. */
static void early(void) __attribute__((constructor(101)));
/* A destructor that runs after theirs. */
static void late(void) __attribute__((destructor(101)));

static int plus_plain(int a, int b) { return a + b; }
static int plus_sse2(int a, int b) { return 100 + a + b; }
static int plus_missing(int a, int b) { return 1000 + a + b; }

static ISAHP_SLOT(plus, plus_plain,
    (plus_missing, "sse2 xop amx_tile"),
    (plus_sse2, "sse2"));

/* One that other files see. */
extern isahp_slot visible;
static const char *word_plain(void) { return "plain"; }
static const char *word_a(void) { return "a"; }
ISAHP_SLOT(visible, word_plain, (word_a, "sse2 sse"));

/* As many as there can be. */
static int one(void) { return 1; }
static int two(void) { return 2; }
static ISAHP_SLOT(many, two,
    (one, "xop amx_tile"), (one, "xop amx_tile"), (one, "xop amx_tile"), (one, "xop amx_tile"),
    (one, "xop amx_tile"), (one, "xop amx_tile"), (one, "xop amx_tile"), (one, "sse2"));

/* A silent feature, called in sections only. */
static ISAHP_SLOT_WITH(sectioned, ISAHP_SLOT_SECTIONED, NULL, NULL, two, (one, "abm"));

/* Recursion goes through the slot each time. */
static int depth_plain(int n);
static int depth_sse2(int n);
static ISAHP_SLOT(depth, depth_plain, (depth_sse2, "sse2"));
static int depth_plain(int n) { return n ? 1 + ISAHP_CALL(depth)(n - 1) : 0; }
static int depth_sse2(int n) { return n ? 10 + ISAHP_CALL(depth)(n - 1) : 0; }

/* One without a constructor, as a binding for another language would do it. */
static isahp_slot by_hand = { (isahp_function)two, { 0, 0, 0 } };
static const isahp_variant by_hand_variants[] = {
    { (isahp_function)one, "sse2", "one" },
    { (isahp_function)two, NULL, "two" },
};

static int before;

static void early(void)
{
    before = ISAHP_CALL(plus)(1, 2);
}

static void expect_all(int line, int best)
{
    expect_at(line, "plus", ISAHP_CALL(plus)(1, 2), best ? 103 : 3);
    expect_at(line, "visible", strcmp(ISAHP_CALL(visible)(), best ? "a" : "plain"), 0);
    expect_at(line, "many", ISAHP_CALL(many)(), best ? 1 : 2);
    expect_at(line, "depth", ISAHP_CALL(depth)(3), best ? 30 : 3);
    expect_at(line, "by_hand", ISAHP_SLOT_CALL(&by_hand, int (*)(void))(), best ? 1 : 2);
}

static void late(void)
{
    /* What is left over by then needs nothing. */
    if (ISAHP_CALL(plus)(1, 2) != 3) {
        printf("late\n");
        fflush(stdout);
        _Exit(3);
    }
}

static void refusals(void)
{
    static isahp_slot slot = ISAHP_SLOT_INITIALIZER;
    const isahp_variant best_only[] = { { (isahp_function)one, "sse2", NULL } };
    const isahp_variant misspelt[] = { { (isahp_function)one, "avx3", NULL }, { (isahp_function)two, NULL, NULL } };
    const isahp_variant silent[] = { { (isahp_function)one, "abm", NULL }, { (isahp_function)two, "", NULL } };
    const isahp_variant nothing[] = { { NULL, "", NULL } };
    EXPECT(isahp_slot_declare(NULL, NULL, by_hand_variants, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_declare(&slot, NULL, NULL, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_declare(&slot, NULL, by_hand_variants, 0), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_declare(&slot, NULL, best_only, 1), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_declare(&slot, NULL, misspelt, 2), ISAHP_ERROR_INVALID);
    EXPECT(isahp_slot_declare(&slot, NULL, silent, 2), ISAHP_ERROR_SILENT);
    EXPECT(isahp_slot_declare(&slot, NULL, nothing, 1), ISAHP_ERROR_INVALID);
    EXPECT(slot.function == NULL, 1);
    EXPECT(isahp_slot_release(&slot) < 0, 1);
}

int main(void)
{
    EXPECT(before, 3);
    EXPECT(isahp_slot_declare(&by_hand, NULL, by_hand_variants, 2), ISAHP_OK);
    EXPECT(isahp_slot_declare(&by_hand, NULL, by_hand_variants, 2), ISAHP_OK);
    expect_all(__LINE__, 0);
    refusals();

    for (int round = 0; round < 3; round++) {
        isahp_options options;
        memset(&options, 0, sizeof options);
        options.size = sizeof options;
        options.flags = ISAHP_POLL;
        EXPECT(isahp_init(&options), ISAHP_OK);
        expect_all(__LINE__, 1);
        EXPECT(isahp_init(NULL), ISAHP_OK);
        refusals();
        uint32_t abm = 0;
        EXPECT(isahp_feature("abm", &abm), ISAHP_OK);
        isahp_enter();
        EXPECT(ISAHP_CALL(sectioned)(), isahp_has(abm) ? 1 : 2);
        isahp_exit();

        EXPECT(isahp_slot_force(&plus, "plus_plain"), ISAHP_OK);
        EXPECT(ISAHP_CALL(plus)(1, 2), 3);
        EXPECT(isahp_slot_force(&plus, "plus_missing"), ISAHP_ERROR_NO_VARIANT);
        EXPECT(isahp_slot_force(&plus, "plus_nobody"), ISAHP_ERROR_NOT_FOUND);
        EXPECT(ISAHP_CALL(plus)(1, 2), 3);
        EXPECT(isahp_slot_force(&plus, NULL), ISAHP_OK);
        EXPECT(ISAHP_CALL(plus)(1, 2), 103);
        EXPECT(((int (*)(int, int))isahp_slot_checked(&plus))(1, 2), 103);

        EXPECT(isahp_unload(), ISAHP_OK);
        expect_all(__LINE__, 1);
        EXPECT(isahp_unload(), ISAHP_OK);
        expect_all(__LINE__, 0);
        EXPECT(isahp_unload(), ISAHP_ERROR_NOT_INITIALISED);
    }
    EXPECT(isahp_slot_release(&by_hand), ISAHP_OK);
    EXPECT(isahp_slot_release(&by_hand) < 0, 1);
    EXPECT(isahp_init(NULL), ISAHP_OK);
    EXPECT(ISAHP_SLOT_CALL(&by_hand, int (*)(void))(), 2);
    EXPECT(isahp_slot_declare(&by_hand, NULL, by_hand_variants, 2), ISAHP_OK);
    expect_all(__LINE__, 1);
    puts(failures ? "failed" : "ok");
    return failures != 0;
}
