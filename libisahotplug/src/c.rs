//! The C functions. `include/isahotplug.h` is made from this file.
//!
//! Conventions: results are `int32_t`, 0 is [`ISAHP_OK`], errors are negative;
//! outputs go through pointers and are untouched on error; NULL is an error
//! unless said otherwise; userdata is the first argument of a callback; structs
//! begin with their size and can grow. Every function may be called from any
//! thread; from a signal handler only those that say so. No panic crosses.
//!
//! Most of them only go on to the [`Junction`](crate::junction::Junction) of the copy of this
//! library that serves the process, where [`entry`] does the work.
#![expect(non_camel_case_types, reason = "these are the C names")]

use std::ffi::{CStr, c_char, c_void};

use isa::{Feature, FeatureSet, RemovalClass, WORDS};

use crate::declared;
use crate::entry;
use crate::junction::{joined, owner, table};

/// All went well.
pub const ISAHP_OK: i32 = 0;
/// An argument is NULL, not aligned, or makes no sense; isahp_error_message() says which.
pub const ISAHP_ERROR_INVALID: i32 = -1;
/// isahp_init() has not been called.
pub const ISAHP_ERROR_NOT_INITIALISED: i32 = -2;
/// Not now: from a signal handler that has interrupted this library, from a callback that runs in
/// the #UD handler, or where the thread would wait for itself.
pub const ISAHP_ERROR_BUSY: i32 = -3;
/// No variant of the slot fits what is available.
pub const ISAHP_ERROR_NO_VARIANT: i32 = -4;
/// A variant uses a feature whose loss does not fault (lzcnt, tzcnt, ...) and its slot is not one
/// that is called only inside sections (ISAHP_SLOT_SECTIONED).
pub const ISAHP_ERROR_SILENT: i32 = -5;
/// A system call failed.
pub const ISAHP_ERROR_SYSTEM: i32 = -6;
/// There is no such handle, slot, variant or feature name.
pub const ISAHP_ERROR_NOT_FOUND: i32 = -7;
/// A mistake in this library.
pub const ISAHP_ERROR_INTERNAL: i32 = -8;
/// The copy of the library that serves the process is older and cannot do that.
pub const ISAHP_ERROR_UNSUPPORTED: i32 = -9;
/// What a callback returns to refuse; any negative value does.
pub const ISAHP_REFUSE: i32 = -100;

/// isahp_options.flags: no thread; the program calls isahp_poll().
pub const ISAHP_POLL: u32 = 1;
/// isahp_options.flags: do not install the #UD handler. Such a copy of the library neither joins
/// another one nor is joined.
pub const ISAHP_NO_TRAP: u32 = 2;

/// isahp_registration.flags: it is called before others of the guest, and a planned removal waits
/// for it.
pub const ISAHP_EAGER: u32 = 1;
/// isahp_registration.flags: called inside isahp_poll(), though the library has a thread.
pub const ISAHP_BY_POLL: u32 = 2;
/// isahp_registration.flags: called, besides, inside the #UD handler, on the thread that met an
/// instruction that is lost, before it goes on. The callback must be async-signal-safe, may run on
/// several threads at once, and must call only those functions of this library that are
/// async-signal-safe. What it returns there has no meaning.
pub const ISAHP_IN_TRAP: u32 = 4;
/// isahp_registration.flags: the first event comes at once and tells of all that is available, as
/// added; there is none if none of the registration's features is available.
pub const ISAHP_INITIAL: u32 = 8;

/// isahp_registration.flags: the process is not woken for it. It is called when something of the
/// process looks the next time: isahp_poll(), another registration that is not lazy, or the
/// library's thread after a #UD.
pub const ISAHP_LAZY: u32 = 16;

/// isahp_slot_options.flags: the process is not woken for the slot. It is made right by
/// isahp_slot_checked(), isahp_poll(), a #UD, or when something else wakes the process.
pub const ISAHP_SLOT_LAZY: u32 = 2;
/// isahp_slot_options.flags: the slot is called only between isahp_enter() and isahp_exit(). Its
/// variants may use features whose loss does not fault.
pub const ISAHP_SLOT_SECTIONED: u32 = 1;

/// isahp_event.cause: the state at start.
pub const ISAHP_CAUSE_START: u32 = 0;
/// isahp_event.cause: a host said what it can execute.
pub const ISAHP_CAUSE_OFFER: u32 = 1;
/// isahp_event.cause: a host announced a removal.
pub const ISAHP_CAUSE_PREPARE: u32 = 2;
/// isahp_event.cause: a host took an announced removal back.
pub const ISAHP_CAUSE_ABORT: u32 = 3;
/// isahp_event.cause: an announced removal did not happen in time.
pub const ISAHP_CAUSE_DEADLINE: u32 = 4;
/// isahp_event.cause: an instruction raised #UD.
pub const ISAHP_CAUSE_TRAP: u32 = 5;

/// A set of features: bit n is the feature with id n.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct isahp_set {
    /// Least significant first.
    pub words: [u64; 8],
}

/// How the library is to run. All zero but the size is the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct isahp_options {
    /// sizeof(isahp_options).
    pub size: usize,
    /// ISAHP_POLL, ISAHP_NO_TRAP.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// What the agent calls this process; NULL for the program's name. The first who gives a name
    /// is heard.
    pub name: *const c_char,
    /// The agent's directory; NULL for $ISAHOTPLUG_RUN_DIR or /run/isahotplug. The first
    /// isahp_init() of the process decides.
    pub run_dir: *const c_char,
    /// Called with each of the few lines worth reading, from any thread; NULL
    /// for stderr if $ISAHOTPLUG_LOG is set, nowhere otherwise. It must not call this library.
    pub log: Option<unsafe extern "C" fn(userdata: *mut c_void, line: *const c_char)>,
    /// First argument of log.
    pub log_userdata: *mut c_void,
}

/// Which host, since which boot, said it how many times.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct isahp_epoch {
    /// The machine id of the host; all zero if no host has said anything yet.
    pub machine: [u8; 16],
    /// Its boot id.
    pub boot: [u8; 16],
    /// Counts its offers.
    pub sequence: u64,
}

/// What changed since the callback was called last (or was registered).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct isahp_event {
    /// sizeof(isahp_event) of the library.
    pub size: usize,
    /// ISAHP_CAUSE_... of the latest change.
    pub cause: u32,
    /// How many times the callback has asked for time for this very event.
    pub attempt: u32,
    /// The generation that is published now.
    pub generation: u64,
    /// When the news reached the guest, or this process for its own trap:
    /// microseconds on CLOCK_MONOTONIC.
    pub since_us: u64,
    /// For ISAHP_CAUSE_PREPARE, until when the host waits for an answer: microseconds on
    /// CLOCK_MONOTONIC; otherwise 0.
    pub deadline_us: u64,
    /// For a trap of this process, the instruction emulated last; otherwise 0.
    pub address: u64,
    /// The host whose offer is in force.
    pub epoch: isahp_epoch,
    /// What may be used now and could not before.
    pub added: isahp_set,
    /// What may no longer be used.
    pub removed: isahp_set,
    /// All that may be used now.
    pub available: isahp_set,
    /// For a trap of this process, the features of the instructions that raised #UD.
    pub trapped: isahp_set,
}

/// Called when features come or go.
///
/// Returns ISAHP_OK once the removed features are left: no thread that the callback speaks for
/// uses them any more (threads inside isahp_enter() and isahp_exit() are waited for by the
/// library). A positive value asks for that many milliseconds: the callback is then called again
/// with the same event, unless isahp_left() has come first. A negative value refuses; a planned
/// removal is then called off (see isahp_refuse()).
///
/// It may register, unregister and poll. It must not unwind.
pub type isahp_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, event: *const isahp_event) -> i32>;

/// Called with userdata once it is not used any more; never from a signal handler. It may call what a
/// callback may.
pub type isahp_release = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

/// What isahp_register() takes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct isahp_registration {
    /// sizeof(isahp_registration).
    pub size: usize,
    /// ISAHP_EAGER, ISAHP_LAZY, ISAHP_BY_POLL, ISAHP_IN_TRAP, ISAHP_INITIAL.
    pub flags: u32,
    /// Higher ones are called first.
    pub priority: i32,
    /// Linux names of the features to hear of, separated by spaces; NULL or ""
    /// for all.
    pub features: *const c_char,
    /// Called on the library's thread, or inside isahp_poll().
    pub callback: isahp_callback,
    /// First argument of callback.
    pub userdata: *mut c_void,
    /// NULL, or called when the registration has ended.
    pub release: isahp_release,
    /// Handles of registrations that this one builds upon: it is called after them when something
    /// was added, and before them when something is removed, each time once they have answered.
    /// NULL if there is none. Handles that are not registered (any more, or yet) have no effect.
    pub after: *const u64,
    /// How many.
    pub after_count: usize,
}

/// Any function; cast it to its type before the call.
pub type isahp_function = Option<unsafe extern "C" fn()>;

/// One way to compute something, and what it needs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct isahp_variant {
    /// The function.
    pub function: isahp_function,
    /// Linux names of the features that it uses, separated by spaces; NULL or
    /// "" for none.
    pub features: *const c_char,
    /// Its name, for isahp_slot_force() and $ISAHOTPLUG_FORCE; NULL for none.
    pub name: *const c_char,
}

/// A slot: holds the best variant. Before isahp_slot_init() or isahp_slot_declare() whatever it was
/// given, NULL or a function that needs nothing. Must not move or go away before
/// isahp_slot_release().
#[repr(C)]
#[derive(Debug)]
pub struct isahp_slot {
    /// The variant in force; read it with ISAHP_SLOT_CALL.
    pub function: isahp_function,
    /// The library's.
    pub reserved: [u64; 3],
}

/// Called after another variant of a slot has come into force: from the library's thread, or
/// inside isahp_poll(). `from` and `to` are indexes of variants; changes in between may have gone
/// unseen.
pub type isahp_observer = Option<
    unsafe extern "C" fn(userdata: *mut c_void, slot: *mut isahp_slot, from: usize, to: usize),
>;

/// How a slot is to be kept. All zero but the size is the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct isahp_slot_options {
    /// sizeof(isahp_slot_options).
    pub size: usize,
    /// ISAHP_SLOT_SECTIONED, ISAHP_SLOT_LAZY.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// Its name, for $ISAHOTPLUG_FORCE; NULL for none.
    pub name: *const c_char,
    /// NULL, or called after each change.
    pub observer: isahp_observer,
    /// First argument of observer.
    pub userdata: *mut c_void,
    /// NULL, or called when the slot has been released.
    pub release: isahp_release,
}

/// A thread's record of sections, which ISAHP_ENTER and ISAHP_EXIT look at. For them alone.
#[repr(C)]
#[derive(Debug)]
pub struct isahp_section {
    /// 0 outside; inside, the epoch in the upper half and the depth in the lower.
    pub word: u64,
    /// What the word is at a depth of 1.
    pub outermost: u64,
    /// Not 0: to be entered by a call.
    pub slow: u32,
    /// The library's.
    pub reserved: u32,
}

/// What the #UD handler did so far.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct isahp_counters {
    /// sizeof(isahp_counters), set by the caller.
    pub size: usize,
    /// Instructions emulated.
    pub emulated: u64,
    /// SIGILLs that were not ours.
    pub passed_on: u64,
    /// Address of the instruction emulated last; 0 for none.
    pub address: u64,
}

/// What was done at one address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct isahp_address_count {
    /// Of the instruction that trapped.
    pub address: u64,
    /// How often it did.
    pub traps: u64,
    /// Instructions emulated by these traps: it, and those after it in bursts.
    pub instructions: u64,
}

pub(crate) fn c_set(set: FeatureSet) -> isahp_set {
    isahp_set { words: set.words() }
}

/// Starts the library; installs the #UD handler, looks for the agent, starts a thread unless
/// ISAHP_POLL. `options` may be NULL.
///
/// Each success counts, and wants an isahp_unload(). Where another copy of the library serves the
/// process already this one joins it: there is one handler and one connection with the agent.
/// Flags count in the first isahp_init() of each copy. The first one is not to be called while a
/// thread is in a section.
///
/// After fork() the child keeps the handler, the slots and the registrations. It gets events from
/// its first isahp_init(), isahp_poll(), isahp_register() or isahp_slot_init() on.
///
/// # Safety
/// `options` must be NULL or point to an isahp_options whose strings are C
/// strings; `log` must be callable from any thread until isahp_unload() has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_init(options: *const isahp_options) -> i32 {
    // SAFETY: passed on from the caller.
    let result = unsafe { crate::junction::init(options) };
    if result == ISAHP_OK {
        declared::begin();
    }
    result
}

/// Takes one isahp_init() back. The last one of this copy of the library ends its registrations,
/// releases its slots (each keeps its last variant, those that were declared the one that needs
/// nothing) and waits for their callbacks; the last one of the process also stops the thread, leaves
/// the agent and takes the #UD handler away: what is lost later kills. ISAHP_ERROR_BUSY inside a
/// callback or `release`.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_unload() -> i32 {
    let result = crate::junction::unload();
    if result == ISAHP_OK {
        declared::end();
    }
    result
}

/// The version of the library: 0x00MMmmpp.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_version() -> u32 {
    VERSION
}

pub(crate) const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
    | number(env!("CARGO_PKG_VERSION_PATCH"));

/// A decimal number, at compile time.
const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version consists of numbers"),
    }
}

/// A result code in words, as a string that lives for ever.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_error_text(result: i32) -> *const c_char {
    let text = match result {
        ISAHP_OK => c"ok",
        ISAHP_ERROR_INVALID => c"invalid argument",
        ISAHP_ERROR_NOT_INITIALISED => c"isahp_init has not been called",
        ISAHP_ERROR_BUSY => c"not from here: it would wait for itself",
        ISAHP_ERROR_NO_VARIANT => c"no variant fits the available features",
        ISAHP_ERROR_SILENT => c"a variant uses a feature whose loss does not fault",
        ISAHP_ERROR_SYSTEM => c"a system call failed",
        ISAHP_ERROR_NOT_FOUND => c"not found",
        ISAHP_ERROR_INTERNAL => c"internal error of libisahotplug",
        ISAHP_ERROR_UNSUPPORTED => c"the copy of libisahotplug in this process is too old for that",
        ISAHP_REFUSE => c"refused",
        _ => c"unknown result",
    };
    text.as_ptr()
}

/// Writes what the last function that failed on this thread had to say to `buffer` of `size`
/// bytes, cut off if need be and always terminated.
///
/// # Safety
/// `buffer` must be writable for `size` bytes, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_error_message(buffer: *mut c_char, size: usize) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().error_message)(buffer, size) }
}

/// The published generation; 0 before isahp_init(). A few loads.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_generation() -> u64 {
    match joined() {
        None => entry::generation(),
        Some(other) => (other.generation)(),
    }
}

/// The id of the feature that Linux calls `name`, such as "avx2".
///
/// # Safety
/// `name` must be a C string and `id` writable, or either NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_feature(name: *const c_char, id: *mut u32) -> i32 {
    if name.is_null() || !entry::is_writable(id) {
        return ISAHP_ERROR_INVALID;
    }
    // SAFETY: a C string, says the caller.
    let name = unsafe { CStr::from_ptr(name) }.to_str();
    let Some(feature) = name.ok().and_then(Feature::from_name) else {
        return ISAHP_ERROR_NOT_FOUND;
    };
    // SAFETY: not NULL, writable, says the caller.
    unsafe { id.write(feature.id().into()) };
    ISAHP_OK
}

/// What Linux calls the feature with this id, as a string that lives for ever; NULL if there is
/// no such feature.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_feature_name(id: u32) -> *const c_char {
    crate::names::of(id).map_or(std::ptr::null(), CStr::as_ptr)
}

/// 1 if the loss of the feature with this id does not fault but gives wrong results (lzcnt runs as
/// bsr, tzcnt as bsf); 0 if not, or if there is no such feature.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_feature_is_silent(id: u32) -> i32 {
    let feature = u16::try_from(id).ok().and_then(Feature::from_id);
    i32::from(feature.is_some_and(|feature| feature.class() == RemovalClass::Silent))
}

/// Reads Linux names of features, separated by spaces, into a set.
///
/// # Safety
/// `names` must be a C string and `set` writable, or either NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_set_parse(names: *const c_char, set: *mut isahp_set) -> i32 {
    if names.is_null() || !entry::is_writable(set) {
        return ISAHP_ERROR_INVALID;
    }
    // SAFETY: a C string, says the caller.
    let names = unsafe { CStr::from_ptr(names) }.to_str();
    let Some(parsed) = names
        .ok()
        .and_then(|names| names.parse::<FeatureSet>().ok())
    else {
        return ISAHP_ERROR_NOT_FOUND;
    };
    // SAFETY: not NULL, writable, says the caller.
    unsafe { set.write(c_set(parsed)) };
    ISAHP_OK
}

/// Writes the names of the features in `set`, separated by spaces, to `buffer` of `size` bytes,
/// cut off if need be and always terminated.
///
/// # Safety
/// `set` must be readable, `buffer` writable for `size` bytes, or either NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_set_format(
    set: *const isahp_set,
    buffer: *mut c_char,
    size: usize,
) -> i32 {
    if !entry::is_writable(set.cast_mut()) {
        return ISAHP_ERROR_INVALID;
    }
    // SAFETY: not NULL, aligned, readable, says the caller.
    let set = unsafe { &*set };
    let text = FeatureSet::from_words(set.words).to_string();
    // SAFETY: NULL or writable, says the caller.
    unsafe { entry::write_text(&text, buffer, size) }
}

/// 1 if the feature with this id is in the set, 0 if not. NULL is an empty set.
///
/// Async-signal-safe.
///
/// # Safety
/// `set` must be readable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_set_has(set: *const isahp_set, id: u32) -> i32 {
    if !set.is_aligned() {
        return 0;
    }
    // SAFETY: NULL or readable, says the caller.
    let word = unsafe { set.as_ref() }.and_then(|set| set.words.get(id as usize / 64));
    i32::from(word.is_some_and(|word| word >> (id % 64) & 1 == 1))
}

/// What ISAHP_HAS and ISAHP_GENERATION look at. For them alone.
#[repr(C)]
#[derive(Debug)]
pub struct isahp_view {
    /// The published generation.
    pub generation: *const u64,
    /// The generation of the words; 0 if they are void.
    pub seen: u64,
    /// What is available.
    pub words: [u64; 8],
}

/// This copy's view; never NULL, and the same as long as the copy is loaded.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_view_of_copy() -> *const isahp_view {
    (&raw const crate::view::VIEW).cast()
}

const _: () = assert!(size_of::<isahp_view>() == size_of::<crate::view::View>());

/// 1 if the feature with this id may be used now, 0 if not (or if there is no
/// such feature, or before isahp_init()). Lock-free.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_has(id: u32) -> i32 {
    match joined() {
        None => entry::has(id),
        Some(other) => (other.has)(id),
    }
}

/// All that may be used now. Lock-free.
///
/// Async-signal-safe.
///
/// # Safety
/// `set` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_available(set: *mut isahp_set) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().set)(entry::AVAILABLE, set) }
}

/// What CPUID shows. Lock-free.
///
/// Async-signal-safe.
///
/// # Safety
/// `set` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_visible(set: *mut isahp_set) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().set)(entry::VISIBLE, set) }
}

/// What may be used though CPUID does not show it. Lock-free.
///
/// Async-signal-safe.
///
/// # Safety
/// `set` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_bonus(set: *mut isahp_set) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().set)(entry::BONUS, set) }
}

/// What CPUID shows and must not be used. Lock-free.
///
/// Async-signal-safe.
///
/// # Safety
/// `set` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_lost(set: *mut isahp_set) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().set)(entry::LOST, set) }
}

/// Calls back whenever one of the features comes or goes. `*handle` names the
/// registration for isahp_unregister(); `handle` may be NULL.
///
/// The agent hears of it a moment later; a planned removal that is answered before that does not wait
/// for it. (Slots use what is lost in silence only once the agent has confirmed that it waits.)
///
/// What comes and goes is reckoned from the moment of the call: ask isahp_has() after it, or use
/// ISAHP_INITIAL.
///
/// # Safety
/// `registration` must point to an isahp_registration whose features are a C
/// string or NULL, whose `after` has `after_count` handles, and whose callback may be called with
/// userdata until isahp_unregister() has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_register(
    registration: *const isahp_registration,
    handle: *mut u64,
) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().register)(owner(), registration, handle) }
}

/// Ends a registration. Returns when its callback is not running any more and its `release` has
/// returned; inside the callback at once, and it takes effect when that has returned.
/// ISAHP_ERROR_BUSY if the callback runs on another thread and waits for this one; the registration
/// has ended all the same. Handles are never given twice.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_unregister(handle: u64) -> i32 {
    (table().unregister)(handle)
}

/// Says for a callback that has asked for time that the features are left that the event of this
/// generation (isahp_event.generation) took away. ISAHP_ERROR_NOT_FOUND if it has not asked, or has
/// been told of a later event since: that one is to be answered for itself.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_left(handle: u64, generation: u64) -> i32 {
    (table().left)(handle, generation)
}

/// For the return statement of a callback: refuses, for a reason that reaches the operator.
/// Returns ISAHP_REFUSE. NULL gives no reason.
///
/// # Safety
/// `reason` must be a C string or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_refuse(reason: *const c_char) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().refuse)(reason) }
}

/// A descriptor that becomes readable when isahp_poll() has something to do;
/// for poll(2) and the like, not to be read or closed. It stays the same until isahp_unload(),
/// also in the child of a fork.
///
/// # Safety
/// `fd` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_fd(fd: *mut i32) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().fd)(owner(), fd) }
}

/// Takes in what is new and calls back from here those who are to be called here. A few
/// nanoseconds when there is no news. Call it where none of your threads uses a feature that may
/// go. `*calls` is how many callbacks ran; `calls` may be NULL.
///
/// # Safety
/// `calls` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_poll(calls: *mut u32) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().poll)(owner(), calls) }
}

/// Takes the best of `count` variants, best first, into the slot and keeps it
/// so. The last should need nothing, and must need nothing whose loss does not fault. `options` may
/// be NULL.
///
/// Again with the same variants does nothing; with others it is ISAHP_ERROR_INVALID.
///
/// # Safety
/// `slot` must stay where it is until isahp_slot_release() has returned;
/// `variants` must point to `count` variants whose strings are C strings or
/// NULL; `options` to an isahp_slot_options or be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_slot_init(
    slot: *mut isahp_slot,
    options: *const isahp_slot_options,
    variants: *const isahp_variant,
    count: usize,
) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().slot_init)(owner(), slot, options, variants, count) }
}

/// Declares a slot before the library is initialised, from a constructor for instance: the slot
/// holds the last variant, which must need nothing, until isahp_init() has been called, and is kept
/// right as by isahp_slot_init() from then on. After the last isahp_unload() it holds the last
/// variant again. If the library is initialised already it is isahp_slot_init().
///
/// ISAHP_SLOT does this at file scope. Again does nothing.
///
/// # Safety
/// As for isahp_slot_init(), and all that is passed must stay until isahp_slot_release() has
/// returned. `options` must have no release.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_slot_declare(
    slot: *mut isahp_slot,
    options: *const isahp_slot_options,
    variants: *const isahp_variant,
    count: usize,
) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { declared::declare_c(slot, options, variants, count) }
}

/// Gives a slot back; it keeps its last variant, one that was declared the one that needs nothing.
/// (None keeps a variant that uses a feature whose loss does not fault.)
/// Returns when its observer is not running any more, as isahp_unregister() does.
///
/// An object that is unloaded (dlclose) must have released its slots; those of ISAHP_SLOT are
/// released by a destructor.
///
/// # Safety
/// `slot` must be one that isahp_slot_init() or isahp_slot_declare() took, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_slot_release(slot: *mut isahp_slot) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { declared::withdraw(slot) }
}

/// Forces the variant of this name as long as its features are available; NULL for the best one
/// again. ISAHP_ERROR_NOT_FOUND if there is none, ISAHP_ERROR_NO_VARIANT if its features are not
/// available now; nothing changes then.
///
/// $ISAHOTPLUG_FORCE does so from outside, for slots as they are initialised: `SLOT=VARIANT`, more
/// of them separated by commas, `*` for every slot. What cannot be forced is logged.
///
/// # Safety
/// `slot` must be one that isahp_slot_init() took, or NULL; `variant` a C string or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_slot_force(slot: *mut isahp_slot, variant: *const c_char) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().slot_force)(slot, variant) }
}

/// The variant in force, after a look at the generation: follows by itself in a
/// program that neither polls nor has the library's thread.
///
/// # Safety
/// `slot` must be one that isahp_slot_init() took, or NULL (which gives NULL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_slot_checked(slot: *mut isahp_slot) -> isahp_function {
    // SAFETY: passed on from the caller.
    unsafe { (table().slot_checked)(slot) }
}

/// Begins a read-side section of this thread: until isahp_exit() a planned removal of this process
/// is not acknowledged. Sections nest. Keep them short, and do not fork in them: nobody waits for the
/// child. The variant that is read from a slot inside
/// a section may be called until its end.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_enter() {
    match joined() {
        None => crate::section::enter(),
        Some(other) => (other.enter)(),
    }
}

/// isahp_enter(), for ISAHP_ENTER: gives this thread's record.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_enter_section() -> *mut isahp_section {
    (table().enter_section)()
}

/// Ends the section that isahp_enter() has begun on this thread; without one it does nothing.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_exit() {
    match joined() {
        None => crate::section::exit(),
        Some(other) => (other.exit)(),
    }
}

/// What the #UD handler did so far.
///
/// Async-signal-safe.
///
/// # Safety
/// `counters` must point to an isahp_counters whose size is set, or be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_count(counters: *mut isahp_counters) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().counters)(counters) }
}

/// How many traps so far were of instructions that need the feature with this id, or led to one in
/// a burst.
///
/// Async-signal-safe.
///
/// # Safety
/// `count` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_count_feature(id: u32, count: *mut u64) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().count_feature)(id, count) }
}

/// Where instructions were emulated, most first: fills `counts` with up to `capacity` entries, and
/// `*count` is how many. A thousand addresses are told apart.
///
/// Async-signal-safe.
///
/// # Safety
/// `counts` must be writable for `capacity` entries, `count` writable, or either NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_count_addresses(
    counts: *mut isahp_address_count,
    capacity: usize,
    count: *mut usize,
) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().count_addresses)(counts, capacity, count) }
}

/// The addresses of the instructions that trapped last, the latest first: fills `addresses` with
/// up to `capacity` of them, at most 16, and `*count` is how many.
///
/// Async-signal-safe.
///
/// # Safety
/// `addresses` must be writable for `capacity` numbers, `count` writable, or either NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_last_addresses(
    addresses: *mut u64,
    capacity: usize,
    count: *mut usize,
) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().last_addresses)(addresses, capacity, count) }
}

/// Writes how the library stands with the agent, in words, to `buffer` of
/// `size` bytes, cut off if need be and always terminated.
///
/// # Safety
/// `buffer` must be writable for `size` bytes, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_state(buffer: *mut c_char, size: usize) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { (table().state)(buffer, size) }
}

const _: () = assert!(WORDS == 8, "isahp_set is part of the ABI");
