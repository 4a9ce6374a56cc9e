/*
 * libisahotplug for C++11 and later. A thin layer on isahotplug.h, which says
 * what each thing means; all of it is inline, and it needs neither exceptions
 * nor run-time type information.
 *
 *     #include <isahotplug.hpp>
 *
 *     static isahotplug::slot<int(const int *, std::size_t)> sum{
 *         "sum", sum_plain, {sum_avx512, "avx512f"}, {sum_avx2, "avx2 fma"}};
 *
 *     isahotplug::library library;         // as long as it lives, slots follow the machine
 *     int result = sum(values, count);
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef ISAHOTPLUG_HPP
#define ISAHOTPLUG_HPP

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>

#include <isahotplug.h>

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#include <exception>
#define ISAHP_TRY_ try
#define ISAHP_CATCH_(what) catch (...) { what; }
#else
#define ISAHP_TRY_
#define ISAHP_CATCH_(what)
#endif

namespace isahotplug {

/// isahp_init() as long as it lives. Not for callbacks, where isahp_unload() is refused.
class library {
public:
    /// Looks for the agent, installs the #UD handler, starts a thread unless ISAHP_POLL.
    library() noexcept : library(0) {}
    /// The same with isahp_options.flags, and a name for the agent or nullptr.
    explicit library(std::uint32_t flags, const char *name = nullptr) noexcept
    {
        isahp_options options = isahp_options();
        options.size = sizeof options;
        options.flags = flags;
        options.name = name;
        result_ = isahp_init(&options);
    }
    explicit library(const isahp_options &options) noexcept : result_(isahp_init(&options)) {}
    ~library()
    {
        if (result_ == ISAHP_OK)
            isahp_unload();
    }
    library(const library &) = delete;
    library &operator=(const library &) = delete;

    /// Whether isahp_init() went well.
    explicit operator bool() const noexcept { return result_ == ISAHP_OK; }
    /// ISAHP_OK or what isahp_init() answered.
    std::int32_t result() const noexcept { return result_; }

private:
    std::int32_t result_;
};

/// What isahp_error_message() has to say on this thread.
inline std::string error_message()
{
    char text[512] = "";
    isahp_error_message(text, sizeof text);
    return text;
}

/// isahp_poll(): how many callbacks ran, or a negative ISAHP_ERROR_....
inline std::int32_t poll() noexcept
{
    std::uint32_t calls = 0;
    const std::int32_t result = isahp_poll(&calls);
    return result == ISAHP_OK ? static_cast<std::int32_t>(calls) : result;
}

/// One feature, looked up once by the name that Linux gives it. No feature at all if the name is
/// unknown.
class feature {
public:
    explicit feature(const char *name) noexcept : id_(none)
    {
        if (isahp_feature(name, &id_) != ISAHP_OK)
            id_ = none;
    }
    static feature from_id(std::uint32_t id) noexcept { return feature(id); }

    std::uint32_t id() const noexcept { return id_; }
    /// Whether there is a feature of this name.
    bool is_known() const noexcept { return name() != nullptr; }
    /// Whether it may be used now. Not to be remembered: ask each time, or use a slot.
    /// Async-signal-safe.
    bool is_available() const noexcept { return isahp_has(id_) != 0; }
    /// Whether its loss does not fault but gives wrong results.
    bool is_silent() const noexcept { return isahp_feature_is_silent(id_) != 0; }
    /// nullptr if there is no such feature.
    const char *name() const noexcept { return isahp_feature_name(id_); }

    friend bool operator==(feature a, feature b) noexcept { return a.id_ == b.id_; }
    friend bool operator!=(feature a, feature b) noexcept { return a.id_ != b.id_; }

private:
    static constexpr std::uint32_t none = 0xffffffff;
    explicit feature(std::uint32_t id) noexcept : id_(id) {}

    std::uint32_t id_;
};

/// A set of features.
class features {
public:
    features() noexcept : set_() {}
    features(const isahp_set &set) noexcept : set_(set) {}

    /// Reads names, separated by spaces. `found`, if given, is false if one of them is unknown; the
    /// set is empty then.
    explicit features(const char *names, bool *found = nullptr) noexcept : set_()
    {
        const bool known = isahp_set_parse(names, &set_) == ISAHP_OK;
        if (found)
            *found = known;
    }

    /// What may be used now; empty before isahp_init(). Async-signal-safe, as the next three are.
    static features available() noexcept { return read(isahp_available); }
    /// What CPUID shows.
    static features visible() noexcept { return read(isahp_visible); }
    /// What may be used though CPUID does not show it.
    static features bonus() noexcept { return read(isahp_bonus); }
    /// What CPUID shows and must not be used.
    static features lost() noexcept { return read(isahp_lost); }

    bool contains(feature one) const noexcept { return isahp_set_has(&set_, one.id()) != 0; }
    bool contains(const features &all) const noexcept { return (*this & all) == all; }
    bool empty() const noexcept { return *this == features(); }
    const isahp_set &c_set() const noexcept { return set_; }

    /// The names, separated by spaces.
    std::string to_string() const
    {
        char text[8192] = "";
        isahp_set_format(&set_, text, sizeof text);
        return text;
    }

    friend features operator|(const features &a, const features &b) noexcept
    {
        features both;
        for (int i = 0; i < words; i++)
            both.set_.words[i] = a.set_.words[i] | b.set_.words[i];
        return both;
    }
    friend features operator&(const features &a, const features &b) noexcept
    {
        features both;
        for (int i = 0; i < words; i++)
            both.set_.words[i] = a.set_.words[i] & b.set_.words[i];
        return both;
    }
    friend features operator-(const features &a, const features &b) noexcept
    {
        features rest;
        for (int i = 0; i < words; i++)
            rest.set_.words[i] = a.set_.words[i] & ~b.set_.words[i];
        return rest;
    }
    friend bool operator==(const features &a, const features &b) noexcept
    {
        for (int i = 0; i < words; i++)
            if (a.set_.words[i] != b.set_.words[i])
                return false;
        return true;
    }
    friend bool operator!=(const features &a, const features &b) noexcept { return !(a == b); }

private:
    static constexpr int words = 8;

    static features read(std::int32_t (*from)(isahp_set *)) noexcept
    {
        features result;
        from(&result.set_);
        return result;
    }

    isahp_set set_;
};

/// A read-side section of this thread: isahp_enter() and isahp_exit(). For local variables only.
class section {
public:
    section() noexcept { isahp_enter(); }
    ~section() { isahp_exit(); }
    section(const section &) = delete;
    section &operator=(const section &) = delete;
    static void *operator new(std::size_t) = delete;
    static void *operator new[](std::size_t) = delete;
};

/// What a callback answers.
class answer {
public:
    /// The removed features are left: no thread that the callback speaks for uses them any more.
    static answer left() noexcept { return answer(ISAHP_OK); }
    /// It takes so many milliseconds; 0 counts as 1.
    static answer needs(std::uint32_t milliseconds) noexcept
    {
        const std::uint32_t most = 0x7fffffff;
        const std::uint32_t ms = milliseconds == 0 ? 1 : milliseconds;
        return answer(static_cast<std::int32_t>(ms < most ? ms : most));
    }
    /// They cannot be left; the reason reaches the operator.
    static answer refuse(const char *reason) noexcept { return answer(isahp_refuse(reason)); }
    static answer refuse(const std::string &reason) noexcept { return refuse(reason.c_str()); }

    /// What isahp_callback returns.
    std::int32_t value() const noexcept { return value_; }

private:
    explicit answer(std::int32_t value) noexcept : value_(value) {}

    std::int32_t value_;
};

class registration;

/// How a callback is registered.
struct registering {
    /// ISAHP_EAGER, ISAHP_BY_POLL, ISAHP_INITIAL. (ISAHP_IN_TRAP is for C: an exception could not
    /// be caught there.)
    std::uint32_t flags = 0;
    /// Higher ones are called first.
    std::int32_t priority = 0;
    /// Handles of registrations that this one builds upon.
    const std::uint64_t *after = nullptr;
    std::size_t after_count = 0;
};

/// A callback that is called when features come or go, until this is destroyed. The destructor
/// waits for it, unless it runs inside it. An exception that leaves the callback is a refusal.
class registration {
public:
    /// None.
    registration() noexcept : handle_(0), result_(ISAHP_ERROR_NOT_FOUND) {}

    /// `callback` takes a `const isahp_event &` and returns an `answer`; nullptr as `names` stands
    /// for all features.
    template <class Callback>
    registration(const char *names, Callback callback, const registering &how = registering())
        : handle_(0), result_(ISAHP_ERROR_SYSTEM)
    {
        Callback *kept = new (std::nothrow) Callback(std::move(callback));
        if (!kept)
            return;
        isahp_registration given = isahp_registration();
        given.size = sizeof given;
        given.flags = how.flags;
        given.priority = how.priority;
        given.features = names;
        given.callback = call<Callback>;
        given.userdata = kept;
        given.release = release<Callback>;
        given.after = how.after;
        given.after_count = how.after_count;
        result_ = (how.flags & ISAHP_IN_TRAP) != 0 ? ISAHP_ERROR_INVALID
                                                   : isahp_register(&given, &handle_);
        if (result_ != ISAHP_OK)
            delete kept;
    }
    ~registration() { end(); }

    registration(registration &&other) noexcept : handle_(other.handle_), result_(other.result_)
    {
        other.forget();
    }
    registration &operator=(registration &&other) noexcept
    {
        if (this != &other) {
            end();
            handle_ = other.handle_;
            result_ = other.result_;
            other.forget();
        }
        return *this;
    }

    /// isahp_unregister().
    void end() noexcept
    {
        if (result_ == ISAHP_OK)
            isahp_unregister(handle_);
        forget();
    }

    explicit operator bool() const noexcept { return result_ == ISAHP_OK; }
    /// ISAHP_OK or what isahp_register() answered.
    std::int32_t result() const noexcept { return result_; }
    /// For isahp_left(), and for registering::after of others.
    std::uint64_t handle() const noexcept { return handle_; }

private:
    void forget() noexcept
    {
        handle_ = 0;
        result_ = ISAHP_ERROR_NOT_FOUND;
    }

    template <class Callback>
    static std::int32_t call(void *userdata, const isahp_event *event) noexcept
    {
        ISAHP_TRY_ {
            const answer said = (*static_cast<Callback *>(userdata))(*event);
            return said.value();
        }
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
        catch (const std::exception &error) {
            return isahp_refuse(error.what());
        }
        catch (...) {
            return isahp_refuse("a callback has thrown something");
        }
#endif
    }

    template <class Callback>
    static void release(void *userdata) noexcept
    {
        delete static_cast<Callback *>(userdata);
    }

    std::uint64_t handle_;
    std::int32_t result_;
};

template <class Signature>
class slot;

template <class Signature>
class sectioned_slot;

/// What slot and sectioned_slot have in common. Constant-initialised: the first call declares the
/// slot (isahp_slot_declare()), in whatever constructor that happens.
template <class Result, class... Arguments>
class basic_slot {
public:
    using function = Result (*)(Arguments...);
    /// Called after another variant has come into force, with the variants' indexes: 0 is the one
    /// that is declared first after `plain`, `plain` itself the last. What it throws is swallowed.
    using observer = void (*)(void *userdata, std::size_t from, std::size_t to);

    /// One way to compute it, and the Linux names of what it needs. Its own name is for
    /// force() and $ISAHOTPLUG_FORCE.
    struct variant {
        constexpr variant() noexcept : code(nullptr), features(nullptr), name(nullptr) {}
        constexpr variant(function code_, const char *features_, const char *name_ = nullptr) noexcept
            : code(code_), features(features_), name(name_)
        {
        }
        function code;
        const char *features;
        const char *name;
    };

    basic_slot(const basic_slot &) = delete;
    basic_slot &operator=(const basic_slot &) = delete;

    /// Declares it now and not at the first call: for slots whose first call is in a signal
    /// handler, and to see what is wrong with it.
    std::int32_t declare() const noexcept
    {
        return isahp_slot_declare(&slot_, &options_,
                                  reinterpret_cast<const isahp_variant *>(variants_ + first_),
                                  most + 1 - first_);
    }

    /// isahp_slot_force(): nullptr for the best again. The plain variant's name is "plain".
    std::int32_t force(const char *name) const noexcept
    {
        load();
        return isahp_slot_force(&slot_, name);
    }

    const isahp_slot *c_slot() const noexcept { return &slot_; }

protected:
    /// Variants beside the plain one.
    static constexpr std::size_t most = 8;

    constexpr basic_slot(const char *name, std::uint32_t flags, observer watch, void *userdata,
                         function plain, variant a, variant b, variant c, variant d, variant e,
                         variant f, variant g, variant h) noexcept
        : slot_{nullptr, {0, 0, 0}},
          options_{sizeof(isahp_slot_options), flags, 0, name, watch ? on_change : nullptr,
                   const_cast<basic_slot *>(this), nullptr},
          watch_(watch),
          userdata_(userdata),
          plain_(plain),
          // Those that are not given are passed over.
          first_(!a.code ? 8 : !b.code ? 7 : !c.code ? 6 : !d.code ? 5 : !e.code ? 4
                 : !f.code ? 3 : !g.code ? 2 : !h.code ? 1 : 0),
          variants_{pick(0, first_, a, b, c, d, e, f, g, h), pick(1, first_, a, b, c, d, e, f, g, h),
                    pick(2, first_, a, b, c, d, e, f, g, h), pick(3, first_, a, b, c, d, e, f, g, h),
                    pick(4, first_, a, b, c, d, e, f, g, h), pick(5, first_, a, b, c, d, e, f, g, h),
                    pick(6, first_, a, b, c, d, e, f, g, h), pick(7, first_, a, b, c, d, e, f, g, h),
                    variant(plain, nullptr, "plain")}
    {
    }

    ~basic_slot()
    {
        if (__atomic_load_n(&slot_.function, __ATOMIC_ACQUIRE))
            isahp_slot_release(&slot_);
    }

    /// The variant in force.
    function load() const noexcept
    {
        isahp_function found = __atomic_load_n(&slot_.function, __ATOMIC_ACQUIRE);
        if (__builtin_expect(!found, 0))
            return first();
        return reinterpret_cast<function>(found);
    }

private:
    /// The variants stand at the table's end, before the plain one.
    static constexpr variant pick(std::size_t at, std::size_t first, variant a, variant b, variant c,
                                  variant d, variant e, variant f, variant g, variant h) noexcept
    {
        return at < first ? variant()
             : at - first == 0 ? a : at - first == 1 ? b : at - first == 2 ? c : at - first == 3 ? d
             : at - first == 4 ? e : at - first == 5 ? f : at - first == 6 ? g : h;
    }

    __attribute__((noinline, cold)) function first() const noexcept
    {
        declare();
        isahp_function found = __atomic_load_n(&slot_.function, __ATOMIC_ACQUIRE);
        // Refused: in a signal handler that has interrupted the library, or for ever.
        return found ? reinterpret_cast<function>(found) : plain_;
    }

    static void on_change(void *userdata, isahp_slot *, std::size_t from, std::size_t to) noexcept
    {
        const basic_slot *self = static_cast<const basic_slot *>(userdata);
        ISAHP_TRY_ { self->watch_(self->userdata_, from, to); }
        ISAHP_CATCH_((void)0)
    }

    static_assert(sizeof(variant) == sizeof(isahp_variant), "it is passed as one");

    mutable isahp_slot slot_;
    isahp_slot_options options_;
    observer watch_;
    void *userdata_;
    function plain_;
    std::size_t first_;
    variant variants_[most + 1];
};

/// A function with variants, of which the library keeps the best in force; call it like the
/// function. Before isahp_init(), and after isahp_unload() and its own destructor, `plain` is
/// called. It is constant-initialised: any constructor may call it.
///
/// `plain` needs nothing that an x86-64 may lack; then come up to eight others, best first. The
/// first call declares the slot, and must not be in a signal handler that may have interrupted
/// malloc(): see declare().
template <class Result, class... Arguments>
class slot<Result(Arguments...)> : public basic_slot<Result, Arguments...> {
    using base = basic_slot<Result, Arguments...>;

public:
    using typename base::function;
    using typename base::observer;
    using typename base::variant;

    constexpr slot(function plain, variant a, variant b = variant(), variant c = variant(),
                   variant d = variant(), variant e = variant(), variant f = variant(),
                   variant g = variant(), variant h = variant()) noexcept
        : base(nullptr, 0, nullptr, nullptr, plain, a, b, c, d, e, f, g, h)
    {
    }
    /// With a name, for $ISAHOTPLUG_FORCE.
    constexpr slot(const char *name, function plain, variant a, variant b = variant(),
                   variant c = variant(), variant d = variant(), variant e = variant(),
                   variant f = variant(), variant g = variant(), variant h = variant()) noexcept
        : base(name, 0, nullptr, nullptr, plain, a, b, c, d, e, f, g, h)
    {
    }
    /// With an observer.
    constexpr slot(const char *name, observer watch, void *userdata, function plain, variant a,
                   variant b = variant(), variant c = variant(), variant d = variant(),
                   variant e = variant(), variant f = variant(), variant g = variant(),
                   variant h = variant()) noexcept
        : base(name, 0, watch, userdata, plain, a, b, c, d, e, f, g, h)
    {
    }

    /// Calls the variant in force: one load and a test more than through a pointer.
    Result operator()(Arguments... arguments) const
    {
        return this->load()(std::forward<Arguments>(arguments)...);
    }

    /// The variant in force, for one call: the next one may have to go elsewhere.
    function get() const noexcept { return this->load(); }
};

/// A slot whose variants may use features whose loss does not fault (lzcnt, tzcnt): each call is a
/// section, which a planned removal waits for.
template <class Result, class... Arguments>
class sectioned_slot<Result(Arguments...)> : public basic_slot<Result, Arguments...> {
    using base = basic_slot<Result, Arguments...>;

public:
    using typename base::function;
    using typename base::observer;
    using typename base::variant;

    constexpr sectioned_slot(const char *name, function plain, variant a, variant b = variant(),
                             variant c = variant(), variant d = variant(), variant e = variant(),
                             variant f = variant(), variant g = variant(),
                             variant h = variant()) noexcept
        : base(name, ISAHP_SLOT_SECTIONED, nullptr, nullptr, plain, a, b, c, d, e, f, g, h)
    {
    }

    /// A section, and in it a call of the variant in force.
    Result operator()(Arguments... arguments) const
    {
        section inside;
        return this->load()(std::forward<Arguments>(arguments)...);
    }

    /// The variant in force, to be called until the end of the section only.
    function get(const section &) const noexcept { return this->load(); }
};

} // namespace isahotplug

#undef ISAHP_TRY_
#undef ISAHP_CATCH_

#endif /* ISAHOTPLUG_HPP */
