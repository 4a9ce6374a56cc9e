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

// An argument is NULL or makes no sense; isahp_error_text() says which.
#define ISAHP_ERROR_INVALID -1

// isahp_init() has not been called.
#define ISAHP_ERROR_NOT_INITIALISED -2

// isahp_poll() was called from inside a callback.
#define ISAHP_ERROR_BUSY -3

// No variant of the slot fits what is available.
#define ISAHP_ERROR_NO_VARIANT -4

// A variant uses a feature whose loss does not fault (lzcnt, tzcnt, ...): a
// slot cannot protect a call that is already running.
#define ISAHP_ERROR_SILENT -5

// A system call failed.
#define ISAHP_ERROR_SYSTEM -6

// There is no such handle, slot, or feature name.
#define ISAHP_ERROR_NOT_FOUND -7

// A mistake in this library.
#define ISAHP_ERROR_INTERNAL -8

// isahp_options.flags: no thread; the program calls isahp_poll().
#define ISAHP_POLL 1

// isahp_options.flags: do not install the #UD handler.
#define ISAHP_NO_TRAP 2

// isahp_registration.flags: a planned removal waits for this callback.
#define ISAHP_EAGER 1

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
  // What the agent calls this process; NULL for the program's name.
  const char *name;
  // The agent's directory; NULL for $ISAHOTPLUG_RUN_DIR or /run/isahotplug.
  const char *run_dir;
  // Called with each of the few lines worth reading, from any thread; NULL
  // for stderr if $ISAHOTPLUG_LOG is set, nowhere otherwise.
  void (*log)(void *userdata, const char *line);
  // First argument of log.
  void *log_userdata;
} isahp_options;

// A set of features: bit n is the feature with id n.
typedef struct isahp_set {
  // Least significant first.
  uint64_t words[8];
} isahp_set;

// What changed.
typedef struct isahp_event {
  // sizeof(isahp_event) of the library.
  size_t size;
  // ISAHP_CAUSE_...
  uint32_t cause;
  // 0.
  uint32_t reserved;
  // The generation that is published now.
  uint64_t generation;
  // When the news reached the guest, or this process for its own trap:
  // microseconds on CLOCK_MONOTONIC.
  uint64_t since_us;
  // For a trap of this process, the instruction emulated last; otherwise 0.
  uint64_t address;
  // What may be used now and could not before.
  struct isahp_set added;
  // What may no longer be used.
  struct isahp_set removed;
  // All that may be used now.
  struct isahp_set available;
} isahp_event;

// Called when features come or go. Returns ISAHP_OK once the removed features
// are left: no thread that the callback speaks for uses them any more. Any
// other value refuses; a planned removal is then called off.
typedef int32_t (*isahp_callback)(void *userdata, const struct isahp_event *event);

// What isahp_register() takes.
typedef struct isahp_registration {
  // sizeof(isahp_registration).
  size_t size;
  // ISAHP_EAGER.
  uint32_t flags;
  // 0.
  uint32_t reserved;
  // Linux names of the features to hear of, separated by spaces; NULL or ""
  // for all.
  const char *features;
  // Called on the library's thread, or inside isahp_poll().
  isahp_callback callback;
  // First argument of callback.
  void *userdata;
} isahp_registration;

// A slot: holds the best variant. Zero before isahp_slot_init(). Must not move
// or go away before isahp_slot_release().
typedef struct isahp_slot {
  // The variant in force; read it with ISAHP_SLOT_CALL.
  void *function;
  // The library's.
  uint64_t reserved[3];
} isahp_slot;

// Any function; cast it to its type before the call.
typedef void (*isahp_function)(void);

// One way to compute something, and what it needs.
typedef struct isahp_variant {
  // The function.
  isahp_function function;
  // Linux names of the features that it uses, separated by spaces; NULL or
  // "" for none.
  const char *features;
} isahp_variant;

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

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Starts the library; again does nothing. Installs the #UD handler, looks for
// the agent, starts a thread unless ISAHP_POLL. `options` may be NULL.
//
// # Safety
// `options` must be NULL or point to an isahp_options whose strings are C
// strings; `log` must be callable from any thread until the process ends.
int32_t isahp_init(const struct isahp_options *options);

// The version of the library: 0x00MMmmpp.
//
// Async-signal-safe.
uint32_t isahp_version(void);

// A result code in words, as a string that lives for ever.
//
// Async-signal-safe.
const char *isahp_error_text(int32_t result);

// The published generation; 0 before isahp_init(). One load.
//
// Async-signal-safe.
uint64_t isahp_generation(void);

// The id of the feature that Linux calls `name`, such as "avx2".
//
// # Safety
// `name` must be a C string and `id` writable, or either NULL.
int32_t isahp_feature(const char *name, uint32_t *id);

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

// Calls back whenever one of the features comes or goes. `*handle` names the
// registration for isahp_unregister(); `handle` may be NULL.
//
// # Safety
// `registration` must point to an isahp_registration whose features are a C
// string or NULL, and whose callback may be called with userdata, from the
// library's thread or isahp_poll(), until isahp_unregister() has returned.
int32_t isahp_register(const struct isahp_registration *registration, uint64_t *handle);

// Ends a registration. Returns when its callback is not running any more; from
// inside the callback, at once.
int32_t isahp_unregister(uint64_t handle);

// A descriptor that becomes readable when isahp_poll() has something to do;
// for poll(2) and the like, not to be read or closed.
//
// # Safety
// `fd` must be writable or NULL.
int32_t isahp_fd(int32_t *fd);

// Takes in what is new and calls back from here. A few nanoseconds when there
// is no news. Call it where none of your threads uses a feature that may go.
// `*calls` is how many callbacks ran; `calls` may be NULL.
//
// # Safety
// `calls` must be writable or NULL.
int32_t isahp_poll(uint32_t *calls);

// Takes the best of `count` variants, best first, into the slot and keeps it
// so. The last should need nothing.
//
// # Safety
// `slot` must stay where it is until isahp_slot_release() has returned;
// `variants` must point to `count` variants whose features are C strings or
// NULL.
int32_t isahp_slot_init(struct isahp_slot *slot,
                        const struct isahp_variant *variants,
                        size_t count);

// Gives a slot back; it keeps its last variant. Not from a signal handler or
// from code that a trap may interrupt.
//
// # Safety
// `slot` must be one that isahp_slot_init() took, or NULL.
int32_t isahp_slot_release(struct isahp_slot *slot);

// The variant in force, after a look at the generation: follows by itself in a
// program that neither polls nor has the library's thread.
//
// # Safety
// `slot` must be one that isahp_slot_init() took, or NULL (which gives NULL).
isahp_function isahp_slot_checked(struct isahp_slot *slot);

// What the #UD handler did so far.
//
// Async-signal-safe.
//
// # Safety
// `counters` must point to an isahp_counters whose size is set, or be NULL.
int32_t isahp_count(struct isahp_counters *counters);

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
    ((type)(isahp_function)__atomic_load_n(&(slot)->function, __ATOMIC_ACQUIRE))

/* A slot before isahp_slot_init(). */
#define ISAHP_SLOT_INITIALIZER { NULL, { 0, 0, 0 } }
