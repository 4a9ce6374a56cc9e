// isahotplug.hpp: what each part promises, with exceptions where there are any. Reads lines that
// say what to do next; prints "ok" after each if all was as expected.
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <isahotplug.hpp>

namespace {

int failures;

void expect_at(int line, const char *what, bool is_so)
{
    if (!is_so) {
        std::printf("%d: not %s\n", line, what);
        failures++;
    }
}

#define EXPECT(what) expect_at(__LINE__, #what, what)

int plus_plain(int a, int b) { return a + b; }
int plus_sse2(int a, int b) { return 100 + a + b; }
int plus_sse3(int a, int b) { return 1000 + a + b; }

// Called before its constructor could have run, were there one.
struct early {
    early();
    int found;
};
extern early before;
early before;

#if __cplusplus >= 202002L
#define CONSTINIT constinit
#else
#define CONSTINIT
#endif

CONSTINIT isahotplug::slot<int(int, int)> plus{
    "plus", plus_plain, {plus_sse3, "sse2 pni", "sse3"}, {plus_sse2, "sse2", "sse2"}};

early::early() : found(plus(1, 2)) {}

// Arguments and results that cannot be copied; a slot that is const; no name.
std::unique_ptr<int> pass_plain(std::unique_ptr<int> value) { return value; }
std::unique_ptr<int> pass_sse2(std::unique_ptr<int> value)
{
    ++*value;
    return value;
}
const isahotplug::slot<std::unique_ptr<int>(std::unique_ptr<int>)> pass{pass_plain, {pass_sse2, "sse2"}};

void change_plain(std::string &text) { text = "plain"; }
void change_sse2(std::string &text) { text = "sse2"; }
isahotplug::slot<void(std::string &)> change{change_plain, {change_sse2, "sse2"}};

int zeros_plain(unsigned value)
{
    return value ? __builtin_clz(value) : 32;
}
int zeros_abm(unsigned value) { return 1000 + zeros_plain(value); }
isahotplug::sectioned_slot<int(unsigned)> zeros{"zeros", zeros_plain, {zeros_abm, "abm"}};

int observed_from = -1, observed_to = -1;
void observe(void *userdata, std::size_t from, std::size_t to)
{
    EXPECT(userdata == &observed_from);
    observed_from = static_cast<int>(from);
    observed_to = static_cast<int>(to);
#ifdef __cpp_exceptions
    throw std::runtime_error("from an observer");
#endif
}
isahotplug::slot<int(int, int)> observed{
    "observed", observe, &observed_from, plus_plain, {plus_sse3, "pni"}, {plus_sse2, "sse2"}};

int local_slot(int n)
{
    static isahotplug::slot<int(int, int)> local{"local", plus_plain, {plus_sse2, "sse2"}};
    return n == 0 ? local(0, 0) : local_slot(n - 1);
}

// Used by destructors that run after those of the slots.
struct late {
    ~late()
    {
        if (plus(1, 2) != 3) {
            std::puts("late");
            std::fflush(stdout);
            std::_Exit(3);
        }
    }
};

void sets()
{
    using isahotplug::feature;
    using isahotplug::features;
    const feature sse2("sse2"), none("avx3");
    EXPECT(sse2.is_known() && sse2.is_available() && !sse2.is_silent());
    EXPECT(!std::strcmp(sse2.name(), "sse2"));
    EXPECT(feature("lzcnt").is_silent() && feature("lzcnt") == feature("abm"));
    EXPECT(!none.is_known() && !none.is_available() && !none.is_silent() && none != sse2);
    bool found = false;
    const features two("sse2 avx2", &found);
    EXPECT(found && two.contains(sse2) && !two.empty());
    EXPECT(two.to_string() == "sse2 avx2" || two.to_string() == "avx2 sse2");
    EXPECT(features("sse2 avx3", &found).empty() && !found);
    EXPECT((two - features("avx2")) == features("sse2"));
    EXPECT((features("sse2") | features("avx2")) == two && (two & features("avx2")) != two);
    EXPECT(two.contains(features("avx2")) && !features("avx2").contains(two));
    EXPECT(features::available().contains(sse2) && features::visible().contains(sse2));
    EXPECT(features::bonus() == features::available() - features::visible());
    EXPECT(features::lost() == features::visible() - features::available());
}

const char *next = "";
int calls;

isahotplug::answer on_event(const isahp_event &event)
{
    calls++;
    EXPECT(event.size >= sizeof event);
#ifdef __cpp_exceptions
    if (!std::strcmp(next, "throw\n"))
        throw std::runtime_error("no way out of the loop");
    if (!std::strcmp(next, "throw a number\n"))
        throw 7;
#endif
    if (!std::strcmp(next, "refuse\n"))
        return isahotplug::answer::refuse("busy with x²");
    if (!std::strcmp(next, "needs\n") && event.attempt == 0)
        return isahotplug::answer::needs(20);
    return isahotplug::answer::left();
}

} // namespace

int main()
{
    static late after;
    static_assert(!std::is_copy_constructible<isahotplug::slot<int(int, int)>>::value
                      && !std::is_move_constructible<isahotplug::slot<int(int, int)>>::value
                      && !std::is_copy_constructible<isahotplug::registration>::value
                      && std::is_nothrow_move_constructible<isahotplug::registration>::value
                      && !std::is_copy_constructible<isahotplug::section>::value
                      && !std::is_copy_constructible<isahotplug::library>::value,
                  "what has an address stays");
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    EXPECT(before.found == 3);
    EXPECT(plus(1, 2) == 3 && *pass(std::unique_ptr<int>(new int(1))) == 1 && local_slot(3) == 0);
    EXPECT(!isahotplug::registration(nullptr, on_event));
    {
        isahotplug::library library(ISAHP_POLL, "cxx");
        EXPECT(bool(library) && library.result() == ISAHP_OK);
        EXPECT(plus(1, 2) == 1003 && *pass(std::unique_ptr<int>(new int(1))) == 2);
        EXPECT(local_slot(3) == 100 && observed(1, 2) == 1003);
        std::string text;
        change(text);
        EXPECT(text == "sse2");
        // As long as no agent knows of this process nobody would wait for it: no silent feature.
        EXPECT(zeros(0x400) == 21);
        {
            isahotplug::section outer, inner;
            EXPECT(zeros.get(outer)(0x400) == 21);
        }
        EXPECT(plus.force("sse2") == ISAHP_OK && plus(1, 2) == 103);
        EXPECT(plus.force("plain") == ISAHP_OK && plus(1, 2) == 3);
        EXPECT(plus.force("nobody") == ISAHP_ERROR_NOT_FOUND && plus(1, 2) == 3);
        EXPECT(plus.force(nullptr) == ISAHP_OK && plus(1, 2) == 1003);
        isahotplug::slot<int(int, int)> misspelt{plus_plain, {plus_sse2, "sse9"}};
        EXPECT(misspelt.declare() == ISAHP_ERROR_INVALID && misspelt(1, 2) == 3);
        EXPECT(isahotplug::error_message().find("sse9") != std::string::npos);
        isahotplug::slot<int(int, int)> silent{plus_plain, {plus_sse2, "abm"}};
        EXPECT(silent.declare() == ISAHP_ERROR_SILENT && silent(1, 2) == 3);
        isahp_slot *gone;
        {
            isahotplug::slot<int(int, int)> brief{plus_plain, {plus_sse2, "sse2"}};
            EXPECT(brief(1, 2) == 103);
            gone = const_cast<isahp_slot *>(brief.c_slot());
        }
        EXPECT(isahp_slot_release(gone) == ISAHP_ERROR_NOT_FOUND);
        sets();

        isahotplug::registering how;
        how.flags = ISAHP_EAGER;
        isahotplug::registration none("sse2 avx3", on_event, how);
        EXPECT(!none && none.result() == ISAHP_ERROR_INVALID);
        how.flags = ISAHP_IN_TRAP;
        EXPECT(!isahotplug::registration("sse2", on_event, how));
        how.flags = ISAHP_EAGER;
        isahotplug::registration first("pni", on_event, how);
        isahotplug::registration events(std::move(first));
        EXPECT(!first && bool(events) && events.handle() != 0);
        // One that ends inside its callback, and frees what it holds.
        std::shared_ptr<int> held = std::make_shared<int>(0);
        isahotplug::registration once;
        once = isahotplug::registration("pni", [held, &once](const isahp_event &) {
            ++*held;
            once.end();
            return isahotplug::answer::left();
        });
        EXPECT(bool(once) && held.use_count() == 2);
        puts(failures ? "failed" : "ok");

        char line[32];
        while (std::fgets(line, sizeof line, stdin)) {
            next = line;
            int ran = 0;
            while (ran == 0)
                ran = isahotplug::poll();
            EXPECT(*held == 1 && held.use_count() == 1);
            EXPECT(observed_from != observed_to && observed_to >= 0);
            // As an agent's deadline does: what asked for time is asked again.
            for (int asked = calls; !std::strcmp(next, "needs\n") && calls == asked;)
                isahotplug::poll();
            std::printf("%s calls=%d plus=%d observed=%d-%d\n", failures ? "failed" : "ok", calls,
                        plus(1, 2), observed_from, observed_to);
        }
    }
    EXPECT(plus(1, 2) == 3 && *pass(std::unique_ptr<int>(new int(1))) == 1 && local_slot(3) == 0);
    return failures != 0;
}
