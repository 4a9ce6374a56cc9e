/*
 * Follow the instruction set of a virtual machine that migrates.
 *
 * Results are int32_t: ISAHP_OK or a negative ISAHP_ERROR_...; outputs go
 * through pointers and are untouched on error; NULL is an error unless said
 * otherwise; userdata is the first argument of a callback; structs begin with
 * their size and can grow. Every function may be called from any thread; from
 * a signal handler only those that say "Async-signal-safe".
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef ISAHOTPLUG_H
#define ISAHOTPLUG_H

/* Made from libisahotplug/src/c.rs by `cargo xtask header`; do not edit. */

#include <stddef.h>
#include <stdint.h>

// All went well.
#define ISAHP_OK 0

// An argument is NULL, not aligned, or makes no sense; isahp_error_message() says which.
#define ISAHP_ERROR_INVALID -1

// isahp_init() has not been called.
#define ISAHP_ERROR_NOT_INITIALISED -2

// Not now: from a signal handler that has interrupted this library, from a callback that runs in
// the #UD handler, or where the thread would wait for itself.
#define ISAHP_ERROR_BUSY -3

// No variant of the slot fits what is available.
#define ISAHP_ERROR_NO_VARIANT -4

// A variant uses a feature whose loss does not fault (lzcnt, tzcnt, ...) and its slot is not one
// that is called only inside sections (ISAHP_SLOT_SECTIONED).
#define ISAHP_ERROR_SILENT -5

// A system call failed.
#define ISAHP_ERROR_SYSTEM -6

// There is no such handle, slot, variant or feature name.
#define ISAHP_ERROR_NOT_FOUND -7

// A mistake in this library.
#define ISAHP_ERROR_INTERNAL -8

// The copy of the library that serves the process is older and cannot do that.
#define ISAHP_ERROR_UNSUPPORTED -9

// What a callback returns to refuse; any negative value does.
#define ISAHP_REFUSE -100

// isahp_options.flags: no thread; the program calls isahp_poll().
#define ISAHP_POLL 1

// isahp_options.flags: do not install the #UD handler. Such a copy of the library neither joins
// another one nor is joined.
#define ISAHP_NO_TRAP 2

// isahp_registration.flags: it is called before others of the guest, and a planned removal waits
// for it.
#define ISAHP_EAGER 1

// isahp_registration.flags: called inside isahp_poll(), though the library has a thread.
#define ISAHP_BY_POLL 2

// isahp_registration.flags: called, besides, inside the #UD handler, on the thread that met an
// instruction that is lost, before it goes on. The callback must be async-signal-safe, may run on
// several threads at once, and must call only those functions of this library that are
// async-signal-safe. What it returns there has no meaning.
#define ISAHP_IN_TRAP 4

// isahp_registration.flags: the first event comes at once and tells of all that is available, as
// added; there is none if none of the registration's features is available.
#define ISAHP_INITIAL 8

// isahp_registration.flags: the process is not woken for it. It is called when something of the
// process looks the next time: isahp_poll(), another registration that is not lazy, or the
// library's thread after a #UD.
#define ISAHP_LAZY 16

// isahp_slot_options.flags: the process is not woken for the slot. It is made right by
// isahp_slot_checked(), isahp_poll(), a #UD, or when something else wakes the process.
#define ISAHP_SLOT_LAZY 2

// isahp_slot_options.flags: the slot is called only between isahp_enter() and isahp_exit(). Its
// variants may use features whose loss does not fault.
#define ISAHP_SLOT_SECTIONED 1

// isahp_event.cause: the state at start.
#define ISAHP_CAUSE_START 0

// isahp_event.cause: a host said what it can execute.
#define ISAHP_CAUSE_OFFER 1

// isahp_event.cause: a host announced a removal.
#define ISAHP_CAUSE_PREPARE 2

// isahp_event.cause: a host took an announced removal back.
#define ISAHP_CAUSE_ABORT 3

// isahp_event.cause: an announced removal did not happen in time.
#define ISAHP_CAUSE_DEADLINE 4

// isahp_event.cause: an instruction raised #UD.
#define ISAHP_CAUSE_TRAP 5

// How the library is to run. All zero but the size is the default.
typedef struct isahp_options {
  // sizeof(isahp_options).
  size_t size;
  // ISAHP_POLL, ISAHP_NO_TRAP.
  uint32_t flags;
  // 0.
  uint32_t reserved;
  // What the agent calls this process; NULL for the program's name. The first who gives a name
  // is heard.
  const char *name;
  // The agent's directory; NULL for $ISAHOTPLUG_RUN_DIR or /run/isahotplug. The first
  // isahp_init() of the process decides.
  const char *run_dir;
  // Called with each of the few lines worth reading, from any thread; NULL
  // for stderr if $ISAHOTPLUG_LOG is set, nowhere otherwise. It must not call this library.
  void (*log)(void *userdata, const char *line);
  // First argument of log.
  void *log_userdata;
} isahp_options;

// A set of features: bit n is the feature with id n.
typedef struct isahp_set {
  // Least significant first.
  uint64_t words[8];
} isahp_set;

// What ISAHP_HAS and ISAHP_GENERATION look at. For them alone.
typedef struct isahp_view {
  // The published generation.
  const uint64_t *generation;
  // The generation of the words; 0 if they are void.
  uint64_t seen;
  // What is available.
  uint64_t words[8];
} isahp_view;

// Which host, since which boot, said it how many times.
typedef struct isahp_epoch {
  // The machine id of the host; all zero if no host has said anything yet.
  uint8_t machine[16];
  // Its boot id.
  uint8_t boot[16];
  // Counts its offers.
  uint64_t sequence;
} isahp_epoch;

// What changed since the callback was called last (or was registered).
typedef struct isahp_event {
  // sizeof(isahp_event) of the library.
  size_t size;
  // ISAHP_CAUSE_... of the latest change.
  uint32_t cause;
  // How many times the callback has asked for time for this very event.
  uint32_t attempt;
  // The generation that is published now.
  uint64_t generation;
  // When the news reached the guest, or this process for its own trap:
  // microseconds on CLOCK_MONOTONIC.
  uint64_t since_us;
  // For ISAHP_CAUSE_PREPARE, until when the host waits for an answer: microseconds on
  // CLOCK_MONOTONIC; otherwise 0.
  uint64_t deadline_us;
  // For a trap of this process, the instruction emulated last; otherwise 0.
  uint64_t address;
  // The host whose offer is in force.
  struct isahp_epoch epoch;
  // What may be used now and could not before.
  struct isahp_set added;
  // What may no longer be used.
  struct isahp_set removed;
  // All that may be used now.
  struct isahp_set available;
  // For a trap of this process, the features of the instructions that raised #UD.
  struct isahp_set trapped;
} isahp_event;

// Called when features come or go.
//
// Returns ISAHP_OK once the removed features are left: no thread that the callback speaks for
// uses them any more (threads inside isahp_enter() and isahp_exit() are waited for by the
// library). A positive value asks for that many milliseconds: the callback is then called again
// with the same event, unless isahp_left() has come first. A negative value refuses; a planned
// removal is then called off (see isahp_refuse()).
//
// It may register, unregister and poll. It must not unwind.
typedef int32_t (*isahp_callback)(void *userdata, const struct isahp_event *event);

// Called with userdata once it is not used any more; never from a signal handler. It may call what a
// callback may.
typedef void (*isahp_release)(void *userdata);

// What isahp_register() takes.
typedef struct isahp_registration {
  // sizeof(isahp_registration).
  size_t size;
  // ISAHP_EAGER, ISAHP_LAZY, ISAHP_BY_POLL, ISAHP_IN_TRAP, ISAHP_INITIAL.
  uint32_t flags;
  // Higher ones are called first.
  int32_t priority;
  // Linux names of the features to hear of, separated by spaces; NULL or ""
  // for all.
  const char *features;
  // Called on the library's thread, or inside isahp_poll().
  isahp_callback callback;
  // First argument of callback.
  void *userdata;
  // NULL, or called when the registration has ended.
  isahp_release release;
  // Handles of registrations that this one builds upon: it is called after them when something
  // was added, and before them when something is removed, each time once they have answered.
  // NULL if there is none. Handles that are not registered (any more, or yet) have no effect.
  const uint64_t *after;
  // How many.
  size_t after_count;
} isahp_registration;

// Any function; cast it to its type before the call.
typedef void (*isahp_function)(void);

// A slot: holds the best variant. Before isahp_slot_init() or isahp_slot_declare() whatever it was
// given, NULL or a function that needs nothing. Must not move or go away before
// isahp_slot_release().
typedef struct isahp_slot {
  // The variant in force; read it with ISAHP_SLOT_CALL.
  isahp_function function;
  // The library's.
  uint64_t reserved[3];
} isahp_slot;

// Called after another variant of a slot has come into force: from the library's thread, or
// inside isahp_poll(). `from` and `to` are indexes of variants; changes in between may have gone
// unseen.
typedef void (*isahp_observer)(void *userdata, struct isahp_slot *slot, size_t from, size_t to);

// How a slot is to be kept. All zero but the size is the default.
typedef struct isahp_slot_options {
  // sizeof(isahp_slot_options).
  size_t size;
  // ISAHP_SLOT_SECTIONED, ISAHP_SLOT_LAZY.
  uint32_t flags;
  // 0.
  uint32_t reserved;
  // Its name, for $ISAHOTPLUG_FORCE; NULL for none.
  const char *name;
  // NULL, or called after each change.
  isahp_observer observer;
  // First argument of observer.
  void *userdata;
  // NULL, or called when the slot has been released.
  isahp_release release;
} isahp_slot_options;

// One way to compute something, and what it needs.
typedef struct isahp_variant {
  // The function.
  isahp_function function;
  // Linux names of the features that it uses, separated by spaces; NULL or
  // "" for none.
  const char *features;
  // Its name, for isahp_slot_force() and $ISAHOTPLUG_FORCE; NULL for none.
  const char *name;
} isahp_variant;

// A thread's record of sections, which ISAHP_ENTER and ISAHP_EXIT look at. For them alone.
typedef struct isahp_section {
  // 0 outside; inside, the epoch in the upper half and the depth in the lower.
  uint64_t word;
  // What the word is at a depth of 1.
  uint64_t outermost;
  // Not 0: to be entered by a call.
  uint32_t slow;
  // The library's.
  uint32_t reserved;
} isahp_section;

// What the #UD handler did so far.
typedef struct isahp_counters {
  // sizeof(isahp_counters), set by the caller.
  size_t size;
  // Instructions emulated.
  uint64_t emulated;
  // SIGILLs that were not ours.
  uint64_t passed_on;
  // Address of the instruction emulated last; 0 for none.
  uint64_t address;
} isahp_counters;

// What was done at one address.
typedef struct isahp_address_count {
  // Of the instruction that trapped.
  uint64_t address;
  // How often it did.
  uint64_t traps;
  // Instructions emulated by these traps: it, and those after it in bursts.
  uint64_t instructions;
} isahp_address_count;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Starts the library; installs the #UD handler, looks for the agent, starts a thread unless
// ISAHP_POLL. `options` may be NULL.
//
// Each success counts, and wants an isahp_unload(). Where another copy of the library serves the
// process already this one joins it: there is one handler and one connection with the agent.
// Flags count in the first isahp_init() of each copy. The first one is not to be called while a
// thread is in a section.
//
// After fork() the child keeps the handler, the slots and the registrations. It gets events from
// its first isahp_init(), isahp_poll(), isahp_register() or isahp_slot_init() on.
//
// # Safety
// `options` must be NULL or point to an isahp_options whose strings are C
// strings; `log` must be callable from any thread until isahp_unload() has returned.
int32_t isahp_init(const struct isahp_options *options);

// Takes one isahp_init() back. The last one of this copy of the library ends its registrations,
// releases its slots (each keeps its last variant, those that were declared the one that needs
// nothing) and waits for their callbacks; the last one of the process also stops the thread, leaves
// the agent and takes the #UD handler away: what is lost later kills. ISAHP_ERROR_BUSY inside a
// callback or `release`.
int32_t isahp_unload(void);

// The version of the library: 0x00MMmmpp.
//
// Async-signal-safe.
uint32_t isahp_version(void);

// A result code in words, as a string that lives for ever.
//
// Async-signal-safe.
const char *isahp_error_text(int32_t result);

// Writes what the last function that failed on this thread had to say to `buffer` of `size`
// bytes, cut off if need be and always terminated.
//
// # Safety
// `buffer` must be writable for `size` bytes, or NULL.
int32_t isahp_error_message(char *buffer, size_t size);

// The published generation; 0 before isahp_init(). A few loads.
//
// Async-signal-safe.
uint64_t isahp_generation(void);

// The id of the feature that Linux calls `name`, such as "avx2".
//
// # Safety
// `name` must be a C string and `id` writable, or either NULL.
int32_t isahp_feature(const char *name, uint32_t *id);

// What Linux calls the feature with this id, as a string that lives for ever; NULL if there is
// no such feature.
//
// Async-signal-safe.
const char *isahp_feature_name(uint32_t id);

// 1 if the loss of the feature with this id does not fault but gives wrong results (lzcnt runs as
// bsr, tzcnt as bsf); 0 if not, or if there is no such feature.
//
// Async-signal-safe.
int32_t isahp_feature_is_silent(uint32_t id);

// Reads Linux names of features, separated by spaces, into a set.
//
// # Safety
// `names` must be a C string and `set` writable, or either NULL.
int32_t isahp_set_parse(const char *names, struct isahp_set *set);

// Writes the names of the features in `set`, separated by spaces, to `buffer` of `size` bytes,
// cut off if need be and always terminated.
//
// # Safety
// `set` must be readable, `buffer` writable for `size` bytes, or either NULL.
int32_t isahp_set_format(const struct isahp_set *set, char *buffer, size_t size);

// 1 if the feature with this id is in the set, 0 if not. NULL is an empty set.
//
// Async-signal-safe.
//
// # Safety
// `set` must be readable or NULL.
int32_t isahp_set_has(const struct isahp_set *set, uint32_t id);

// This copy's view; never NULL, and the same as long as the copy is loaded.
//
// Async-signal-safe.
const struct isahp_view *isahp_view_of_copy(void);

// 1 if the feature with this id may be used now, 0 if not (or if there is no
// such feature, or before isahp_init()). Lock-free.
//
// Async-signal-safe.
int32_t isahp_has(uint32_t id);

// All that may be used now. Lock-free.
//
// Async-signal-safe.
//
// # Safety
// `set` must be writable or NULL.
int32_t isahp_available(struct isahp_set *set);

// What CPUID shows. Lock-free.
//
// Async-signal-safe.
//
// # Safety
// `set` must be writable or NULL.
int32_t isahp_visible(struct isahp_set *set);

// What may be used though CPUID does not show it. Lock-free.
//
// Async-signal-safe.
//
// # Safety
// `set` must be writable or NULL.
int32_t isahp_bonus(struct isahp_set *set);

// What CPUID shows and must not be used. Lock-free.
//
// Async-signal-safe.
//
// # Safety
// `set` must be writable or NULL.
int32_t isahp_lost(struct isahp_set *set);

// Calls back whenever one of the features comes or goes. `*handle` names the
// registration for isahp_unregister(); `handle` may be NULL.
//
// The agent hears of it a moment later; a planned removal that is answered before that does not wait
// for it. (Slots use what is lost in silence only once the agent has confirmed that it waits.)
//
// What comes and goes is reckoned from the moment of the call: ask isahp_has() after it, or use
// ISAHP_INITIAL.
//
// # Safety
// `registration` must point to an isahp_registration whose features are a C
// string or NULL, whose `after` has `after_count` handles, and whose callback may be called with
// userdata until isahp_unregister() has returned.
int32_t isahp_register(const struct isahp_registration *registration,
                       uint64_t *handle);

// Ends a registration. Returns when its callback is not running any more and its `release` has
// returned; inside the callback at once, and it takes effect when that has returned.
// ISAHP_ERROR_BUSY if the callback runs on another thread and waits for this one; the registration
// has ended all the same. Handles are never given twice.
int32_t isahp_unregister(uint64_t handle);

// Says for a callback that has asked for time that the features are left that the event of this
// generation (isahp_event.generation) took away. ISAHP_ERROR_NOT_FOUND if it has not asked, or has
// been told of a later event since: that one is to be answered for itself.
int32_t isahp_left(uint64_t handle, uint64_t generation);

// For the return statement of a callback: refuses, for a reason that reaches the operator.
// Returns ISAHP_REFUSE. NULL gives no reason.
//
// # Safety
// `reason` must be a C string or NULL.
int32_t isahp_refuse(const char *reason);

// A descriptor that becomes readable when isahp_poll() has something to do;
// for poll(2) and the like, not to be read or closed. It stays the same until isahp_unload(),
// also in the child of a fork.
//
// # Safety
// `fd` must be writable or NULL.
int32_t isahp_fd(int32_t *fd);

// Takes in what is new and calls back from here those who are to be called here. A few
// nanoseconds when there is no news. Call it where none of your threads uses a feature that may
// go. `*calls` is how many callbacks ran; `calls` may be NULL.
//
// # Safety
// `calls` must be writable or NULL.
int32_t isahp_poll(uint32_t *calls);

// Takes the best of `count` variants, best first, into the slot and keeps it
// so. The last should need nothing, and must need nothing whose loss does not fault. `options` may
// be NULL.
//
// Again with the same variants does nothing; with others it is ISAHP_ERROR_INVALID.
//
// # Safety
// `slot` must stay where it is until isahp_slot_release() has returned;
// `variants` must point to `count` variants whose strings are C strings or
// NULL; `options` to an isahp_slot_options or be NULL.
int32_t isahp_slot_init(struct isahp_slot *slot,
                        const struct isahp_slot_options *options,
                        const struct isahp_variant *variants,
                        size_t count);

// Declares a slot before the library is initialised, from a constructor for instance: the slot
// holds the last variant, which must need nothing, until isahp_init() has been called, and is kept
// right as by isahp_slot_init() from then on. After the last isahp_unload() it holds the last
// variant again. If the library is initialised already it is isahp_slot_init().
//
// ISAHP_SLOT does this at file scope. Again does nothing.
//
// # Safety
// As for isahp_slot_init(), and all that is passed must stay until isahp_slot_release() has
// returned. `options` must have no release.
int32_t isahp_slot_declare(struct isahp_slot *slot,
                           const struct isahp_slot_options *options,
                           const struct isahp_variant *variants,
                           size_t count);

// Gives a slot back; it keeps its last variant, one that was declared the one that needs nothing.
// (None keeps a variant that uses a feature whose loss does not fault.)
// Returns when its observer is not running any more, as isahp_unregister() does.
//
// An object that is unloaded (dlclose) must have released its slots; those of ISAHP_SLOT are
// released by a destructor.
//
// # Safety
// `slot` must be one that isahp_slot_init() or isahp_slot_declare() took, or NULL.
int32_t isahp_slot_release(struct isahp_slot *slot);

// Forces the variant of this name as long as its features are available; NULL for the best one
// again. ISAHP_ERROR_NOT_FOUND if there is none, ISAHP_ERROR_NO_VARIANT if its features are not
// available now; nothing changes then.
//
// $ISAHOTPLUG_FORCE does so from outside, for slots as they are initialised: `SLOT=VARIANT`, more
// of them separated by commas, `*` for every slot. What cannot be forced is logged.
//
// # Safety
// `slot` must be one that isahp_slot_init() took, or NULL; `variant` a C string or NULL.
int32_t isahp_slot_force(struct isahp_slot *slot, const char *variant);

// The variant in force, after a look at the generation: follows by itself in a
// program that neither polls nor has the library's thread.
//
// # Safety
// `slot` must be one that isahp_slot_init() took, or NULL (which gives NULL).
isahp_function isahp_slot_checked(struct isahp_slot *slot);

// Begins a read-side section of this thread: until isahp_exit() a planned removal of this process
// is not acknowledged. Sections nest. Keep them short, and do not fork in them: nobody waits for the
// child. The variant that is read from a slot inside
// a section may be called until its end.
//
// Async-signal-safe.
void isahp_enter(void);

// isahp_enter(), for ISAHP_ENTER: gives this thread's record.
//
// Async-signal-safe.
struct isahp_section *isahp_enter_section(void);

// Ends the section that isahp_enter() has begun on this thread; without one it does nothing.
//
// Async-signal-safe.
void isahp_exit(void);

// What the #UD handler did so far.
//
// Async-signal-safe.
//
// # Safety
// `counters` must point to an isahp_counters whose size is set, or be NULL.
int32_t isahp_count(struct isahp_counters *counters);

// How many traps so far were of instructions that need the feature with this id, or led to one in
// a burst.
//
// Async-signal-safe.
//
// # Safety
// `count` must be writable or NULL.
int32_t isahp_count_feature(uint32_t id, uint64_t *count);

// Where instructions were emulated, most first: fills `counts` with up to `capacity` entries, and
// `*count` is how many. A thousand addresses are told apart.
//
// Async-signal-safe.
//
// # Safety
// `counts` must be writable for `capacity` entries, `count` writable, or either NULL.
int32_t isahp_count_addresses(struct isahp_address_count *counts, size_t capacity, size_t *count);

// The addresses of the instructions that trapped last, the latest first: fills `addresses` with
// up to `capacity` of them, at most 16, and `*count` is how many.
//
// Async-signal-safe.
//
// # Safety
// `addresses` must be writable for `capacity` numbers, `count` writable, or either NULL.
int32_t isahp_last_addresses(uint64_t *addresses, size_t capacity, size_t *count);

// Writes how the library stands with the agent, in words, to `buffer` of
// `size` bytes, cut off if need be and always terminated.
//
// # Safety
// `buffer` must be writable for `size` bytes, or NULL.
int32_t isahp_state(char *buffer, size_t size);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ISAHOTPLUG_H */

/*
 * Calls the variant in force: one load more than a direct call. `type` is the
 * type of a pointer to the function:
 *
 *     int sum = ISAHP_SLOT_CALL(&slot, int (*)(const int *, size_t))(v, n);
 *
 * Async-signal-safe.
 */
#define ISAHP_SLOT_CALL(slot, type) \
    ((type)__atomic_load_n(&(slot)->function, __ATOMIC_ACQUIRE))

/*
 * isahp_has() and isahp_generation() without a call as long as nothing has changed.
 *
 * Async-signal-safe.
 */
#define ISAHP_HAS(id) isahp_has_inline(id)
#define ISAHP_GENERATION() isahp_generation_inline()

/*
 * isahp_enter() and isahp_exit() without a call but for a thread's first section in each file.
 * The two kinds can be mixed.
 *
 * Async-signal-safe.
 */
#define ISAHP_ENTER() isahp_enter_inline()
#define ISAHP_EXIT() isahp_exit_inline()

#ifndef ISAHOTPLUG_INLINE_H
#define ISAHOTPLUG_INLINE_H
#ifdef __cplusplus
extern "C" {
#endif

static const isahp_view *isahp_view_known;

static inline const isahp_view *isahp_view_here(void)
{
    const isahp_view *view = __atomic_load_n(&isahp_view_known, __ATOMIC_RELAXED);
    if (__builtin_expect(!view, 0)) {
        view = isahp_view_of_copy();
        __atomic_store_n(&isahp_view_known, view, __ATOMIC_RELAXED);
    }
    return view;
}

static inline int32_t isahp_has_inline(uint32_t id)
{
    const isahp_view *view = isahp_view_here();
    const uint64_t *generation = __atomic_load_n(&view->generation, __ATOMIC_ACQUIRE);
    uint64_t seen = __atomic_load_n(&view->seen, __ATOMIC_ACQUIRE);
    if (__builtin_expect(id < 512 && seen != 0
                         && __atomic_load_n(generation, __ATOMIC_ACQUIRE) == seen, 1))
        return (int32_t)(__atomic_load_n(&view->words[id / 64], __ATOMIC_RELAXED) >> (id % 64) & 1);
    return isahp_has(id);
}

static __thread isahp_section *isahp_section_known
    __attribute__((tls_model("initial-exec")));

static inline void isahp_enter_inline(void)
{
    isahp_section *mine = isahp_section_known;
    if (__builtin_expect(!mine || __atomic_load_n(&mine->slow, __ATOMIC_RELAXED), 0)) {
        isahp_section_known = isahp_enter_section();
        return;
    }
    uint64_t word = __atomic_load_n(&mine->word, __ATOMIC_RELAXED);
    word = word ? word + 1 : __atomic_load_n(&mine->outermost, __ATOMIC_ACQUIRE);
    __atomic_store_n(&mine->word, word, __ATOMIC_RELEASE);
    /* The library makes other CPUs see it in time (membarrier(2)). */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void isahp_exit_inline(void)
{
    isahp_section *mine = isahp_section_known;
    if (__builtin_expect(!mine || __atomic_load_n(&mine->slow, __ATOMIC_RELAXED), 0)) {
        isahp_exit();
        return;
    }
    uint64_t word = __atomic_load_n(&mine->word, __ATOMIC_RELAXED);
    __atomic_store_n(&mine->word, (uint32_t)word <= 1 ? 0 : word - 1, __ATOMIC_RELEASE);
}

static inline uint64_t isahp_generation_inline(void)
{
    const uint64_t *word = __atomic_load_n(&isahp_view_here()->generation, __ATOMIC_ACQUIRE);
    uint64_t generation = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    return __builtin_expect(generation != 0, 1) ? generation : isahp_generation();
}

#ifdef __cplusplus
}
#endif

#endif /* ISAHOTPLUG_INLINE_H */

/* A slot before isahp_slot_init(). */
#define ISAHP_SLOT_INITIALIZER { NULL, { 0, 0, 0 } }

/*
 * Defines a slot with its variants, at file scope:
 *
 *     static ISAHP_SLOT(sum, sum_plain,
 *         (sum_avx512, "avx512f"),
 *         (sum_avx2, "avx2 fma"));
 *
 *     int result = ISAHP_CALL(sum)(v, n);
 *
 * `plain` needs nothing that an x86-64 may lack; then come one to eight others,
 * best first, each with the Linux names of what it needs. All are functions of
 * the same type, which the compiler checks. `sum` is an isahp_slot, without
 * `static` one with external linkage; its name for isahp_slot_force() and
 * $ISAHOTPLUG_FORCE is "sum", those of the variants are their functions' names.
 *
 * A constructor declares the slot (isahp_slot_declare()) and a destructor
 * releases it, when the program ends or the object is unloaded. Before the
 * first isahp_init(), in other constructors for instance, after the last
 * isahp_unload(), and after the destructor, it holds `plain`. Nobody else is to
 * initialise or release it.
 */
#define ISAHP_SLOT(slot, plain, ...) \
    ISAHP_SLOT_WITH(slot, 0, NULL, NULL, plain, __VA_ARGS__)

/*
 * ISAHP_SLOT with flags (ISAHP_SLOT_SECTIONED) and an observer with its
 * userdata, or NULL and NULL.
 */
#define ISAHP_SLOT_WITH(slot, flags, observer, userdata, plain, ...) \
    isahp_slot slot = { (isahp_function)(plain), { 0, 0, 0 } }; \
    typedef __typeof__(&(plain)) isahp_type_of_##slot; \
    static const isahp_slot_options isahp_options_of_##slot = { \
        sizeof(isahp_slot_options), (flags), 0, #slot, (observer), (userdata), NULL \
    }; \
    /* isahp_variant, but with the functions' type. */ \
    static const struct { \
        isahp_type_of_##slot function; \
        const char *features; \
        const char *name; \
    } isahp_variants_of_##slot[] = { \
        ISAHP_ROWS_(__VA_ARGS__) \
        { (plain), NULL, #plain } \
    }; \
    __attribute__((constructor)) static void isahp_declare_##slot(void) \
    { \
        isahp_slot_declare(&slot, &isahp_options_of_##slot, \
                           (const isahp_variant *)(const void *)isahp_variants_of_##slot, \
                           sizeof isahp_variants_of_##slot / sizeof isahp_variants_of_##slot[0]); \
    } \
    __attribute__((destructor)) static void isahp_release_##slot(void) \
    { \
        isahp_slot_release(&slot); \
    } \
    struct isahp_end_of_##slot

/*
 * Calls the variant in force of a slot that ISAHP_SLOT has defined in the same
 * file; elsewhere ISAHP_SLOT_CALL does it. Read it for each call, and keep no
 * copy: the next call may have to go elsewhere. Async-signal-safe.
 */
#define ISAHP_CALL(slot) ISAHP_SLOT_CALL(&(slot), isahp_type_of_##slot)

/* What ISAHP_SLOT is made of. */
#define ISAHP_ROW_(function, features) { (function), (features), #function },
#define ISAHP_ROWS_(...) \
    ISAHP_NINTH_(__VA_ARGS__, ISAHP_ROWS_8_, ISAHP_ROWS_7_, ISAHP_ROWS_6_, ISAHP_ROWS_5_, \
                 ISAHP_ROWS_4_, ISAHP_ROWS_3_, ISAHP_ROWS_2_, ISAHP_ROWS_1_, )(__VA_ARGS__)
#define ISAHP_NINTH_(a, b, c, d, e, f, g, h, ninth, ...) ninth
#define ISAHP_ROWS_1_(row) ISAHP_ROW_ row
#define ISAHP_ROWS_2_(row, ...) ISAHP_ROW_ row ISAHP_ROWS_1_(__VA_ARGS__)
#define ISAHP_ROWS_3_(row, ...) ISAHP_ROW_ row ISAHP_ROWS_2_(__VA_ARGS__)
#define ISAHP_ROWS_4_(row, ...) ISAHP_ROW_ row ISAHP_ROWS_3_(__VA_ARGS__)
#define ISAHP_ROWS_5_(row, ...) ISAHP_ROW_ row ISAHP_ROWS_4_(__VA_ARGS__)
#define ISAHP_ROWS_6_(row, ...) ISAHP_ROW_ row ISAHP_ROWS_5_(__VA_ARGS__)
#define ISAHP_ROWS_7_(row, ...) ISAHP_ROW_ row ISAHP_ROWS_6_(__VA_ARGS__)
#define ISAHP_ROWS_8_(row, ...) ISAHP_ROW_ row ISAHP_ROWS_7_(__VA_ARGS__)
