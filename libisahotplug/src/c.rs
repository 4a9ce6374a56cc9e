//! The C functions. `include/isahotplug.h` is made from this file.
//!
//! Conventions: results are `int32_t`, 0 is [`ISAHP_OK`], errors are negative;
//! outputs go through pointers and are untouched on error; NULL is an error
//! unless said otherwise; userdata is the first argument of a callback; structs
//! begin with their size and can grow. Every function may be called from any
//! thread; from a signal handler only those that say so. No panic crosses.
#![expect(non_camel_case_types, reason = "these are the C names")]

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use dispatch::Variant;
use isa::{Feature, FeatureSet, WORDS};

use crate::event::{Answer, Event};
use crate::runtime::{self, Error, Options};
use crate::slots::{self, Function, Target};

/// All went well.
pub const ISAHP_OK: i32 = 0;
/// An argument is NULL or makes no sense; isahp_error_text() says which.
pub const ISAHP_ERROR_INVALID: i32 = -1;
/// isahp_init() has not been called.
pub const ISAHP_ERROR_NOT_INITIALISED: i32 = -2;
/// isahp_poll() was called from inside a callback.
pub const ISAHP_ERROR_BUSY: i32 = -3;
/// No variant of the slot fits what is available.
pub const ISAHP_ERROR_NO_VARIANT: i32 = -4;
/// A variant uses a feature whose loss does not fault (lzcnt, tzcnt, ...): a
/// slot cannot protect a call that is already running.
pub const ISAHP_ERROR_SILENT: i32 = -5;
/// A system call failed.
pub const ISAHP_ERROR_SYSTEM: i32 = -6;
/// There is no such handle, slot, or feature name.
pub const ISAHP_ERROR_NOT_FOUND: i32 = -7;
/// A mistake in this library.
pub const ISAHP_ERROR_INTERNAL: i32 = -8;

/// isahp_options.flags: no thread; the program calls isahp_poll().
pub const ISAHP_POLL: u32 = 1;
/// isahp_options.flags: do not install the #UD handler.
pub const ISAHP_NO_TRAP: u32 = 2;

/// isahp_registration.flags: a planned removal waits for this callback.
pub const ISAHP_EAGER: u32 = 1;

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
    /// What the agent calls this process; NULL for the program's name.
    pub name: *const c_char,
    /// The agent's directory; NULL for $ISAHOTPLUG_RUN_DIR or /run/isahotplug.
    pub run_dir: *const c_char,
    /// Called with each of the few lines worth reading, from any thread; NULL
    /// for stderr if $ISAHOTPLUG_LOG is set, nowhere otherwise.
    pub log: Option<unsafe extern "C" fn(userdata: *mut c_void, line: *const c_char)>,
    /// First argument of log.
    pub log_userdata: *mut c_void,
}

/// What changed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct isahp_event {
    /// sizeof(isahp_event) of the library.
    pub size: usize,
    /// ISAHP_CAUSE_...
    pub cause: u32,
    /// 0.
    pub reserved: u32,
    /// The generation that is published now.
    pub generation: u64,
    /// When the news reached the guest, or this process for its own trap:
    /// microseconds on CLOCK_MONOTONIC.
    pub since_us: u64,
    /// For a trap of this process, the instruction emulated last; otherwise 0.
    pub address: u64,
    /// What may be used now and could not before.
    pub added: isahp_set,
    /// What may no longer be used.
    pub removed: isahp_set,
    /// All that may be used now.
    pub available: isahp_set,
}

/// Called when features come or go. Returns ISAHP_OK once the removed features
/// are left: no thread that the callback speaks for uses them any more. Any
/// other value refuses; a planned removal is then called off.
pub type isahp_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, event: *const isahp_event) -> i32>;

/// What isahp_register() takes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct isahp_registration {
    /// sizeof(isahp_registration).
    pub size: usize,
    /// ISAHP_EAGER.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// Linux names of the features to hear of, separated by spaces; NULL or ""
    /// for all.
    pub features: *const c_char,
    /// Called on the library's thread, or inside isahp_poll().
    pub callback: isahp_callback,
    /// First argument of callback.
    pub userdata: *mut c_void,
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
}

/// A slot: holds the best variant. Zero before isahp_slot_init(). Must not move
/// or go away before isahp_slot_release().
#[repr(C)]
#[derive(Debug)]
pub struct isahp_slot {
    /// The variant in force; read it with ISAHP_SLOT_CALL.
    pub function: *mut c_void,
    /// The library's.
    pub reserved: [u64; 3],
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

fn code(error: &Error) -> i32 {
    match error {
        Error::Invalid(_) => ISAHP_ERROR_INVALID,
        Error::NotInitialised => ISAHP_ERROR_NOT_INITIALISED,
        Error::Busy => ISAHP_ERROR_BUSY,
        Error::NoVariant => ISAHP_ERROR_NO_VARIANT,
        Error::Silent(_) => ISAHP_ERROR_SILENT,
        Error::System(_) => ISAHP_ERROR_SYSTEM,
    }
}

/// The one way out of Rust: a panic becomes an error.
fn boundary(body: impl FnOnce() -> Result<i32, Error>) -> i32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => {
            // A log function of the program's may panic, too.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                if let Ok(runtime) = runtime::get() {
                    runtime.log(&error.to_string());
                }
            }));
            code(&error)
        }
        Err(_) => ISAHP_ERROR_INTERNAL,
    }
}

fn invalid(what: &str) -> Error {
    Error::Invalid(what.into())
}

/// # Safety
/// `text` must be NULL or a C string.
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>, Error> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: passed on from the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str()
        .map(Some)
        .map_err(|_| invalid(&format!("{what} is not UTF-8")))
}

/// # Safety
/// `names` must be NULL or a C string.
unsafe fn features(names: *const c_char, what: &str) -> Result<FeatureSet, Error> {
    // SAFETY: passed on from the caller.
    match unsafe { text(names, what) }? {
        None | Some("") => Ok(FeatureSet::EMPTY),
        Some(names) => names.parse().map_err(|e| invalid(&format!("{what}: {e}"))),
    }
}

fn c_set(set: FeatureSet) -> isahp_set {
    isahp_set { words: set.words() }
}

/// A userdata pointer that travels to the library's thread with its callback;
/// that it may is the callback's promise.
#[derive(Clone, Copy)]
struct Userdata(*mut c_void);
// SAFETY: see the type.
unsafe impl Send for Userdata {}
// SAFETY: see the type.
unsafe impl Sync for Userdata {}
impl Userdata {
    fn get(self) -> *mut c_void {
        self.0
    }
}

/// Starts the library; again does nothing. Installs the #UD handler, looks for
/// the agent, starts a thread unless ISAHP_POLL. `options` may be NULL.
///
/// # Safety
/// `options` must be NULL or point to an isahp_options whose strings are C
/// strings; `log` must be callable from any thread until the process ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_init(options: *const isahp_options) -> i32 {
    boundary(|| {
        let mut chosen = Options::default();
        // SAFETY: NULL or readable, says the caller.
        if let Some(options) = unsafe { options.as_ref() } {
            if options.size < size_of::<isahp_options>() {
                return Err(invalid("isahp_options.size is too small"));
            }
            if options.flags & !(ISAHP_POLL | ISAHP_NO_TRAP) != 0 {
                return Err(invalid("isahp_options.flags has unknown bits"));
            }
            chosen.poll = options.flags & ISAHP_POLL != 0;
            chosen.no_trap = options.flags & ISAHP_NO_TRAP != 0;
            // SAFETY: NULL or C strings, says the caller.
            let (name, run_dir) = unsafe {
                (
                    text(options.name, "isahp_options.name")?,
                    text(options.run_dir, "isahp_options.run_dir")?,
                )
            };
            chosen.name = name.unwrap_or_default().into();
            chosen.run_dir = run_dir.map(PathBuf::from);
            if let Some(log) = options.log {
                let userdata = Userdata(options.log_userdata);
                chosen.log = Some(Arc::new(move |line: &str| {
                    let line: Vec<u8> = line.bytes().filter(|&b| b != 0).chain([0]).collect();
                    // SAFETY: callable from any thread, says the caller; the
                    // line ends with its only zero.
                    unsafe { log(userdata.get(), line.as_ptr().cast()) };
                }));
            }
        }
        runtime::init(chosen)?;
        Ok(ISAHP_OK)
    })
}

/// The version of the library: 0x00MMmmpp.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_version() -> u32 {
    const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | number(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}

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
        ISAHP_ERROR_BUSY => c"events are being dispatched",
        ISAHP_ERROR_NO_VARIANT => c"no variant fits the available features",
        ISAHP_ERROR_SILENT => c"a variant uses a feature whose loss does not fault",
        ISAHP_ERROR_SYSTEM => c"a system call failed",
        ISAHP_ERROR_NOT_FOUND => c"not found",
        ISAHP_ERROR_INTERNAL => c"internal error of libisahotplug",
        _ => c"unknown result",
    };
    text.as_ptr()
}

/// The published generation; 0 before isahp_init(). One load.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_generation() -> u64 {
    crate::generation()
}

/// The id of the feature that Linux calls `name`, such as "avx2".
///
/// # Safety
/// `name` must be a C string and `id` writable, or either NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_feature(name: *const c_char, id: *mut u32) -> i32 {
    boundary(|| {
        // SAFETY: NULL or a C string, says the caller.
        let name = unsafe { text(name, "name") }?.ok_or_else(|| invalid("name is NULL"))?;
        if id.is_null() {
            return Err(invalid("id is NULL"));
        }
        let Some(feature) = Feature::from_name(name) else {
            return Ok(ISAHP_ERROR_NOT_FOUND);
        };
        // SAFETY: not NULL, writable, says the caller.
        unsafe { id.write(feature.id().into()) };
        Ok(ISAHP_OK)
    })
}

/// 1 if the feature with this id may be used now, 0 if not (or if there is no
/// such feature, or before isahp_init()). Lock-free.
///
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_has(id: u32) -> i32 {
    let feature = u16::try_from(id).ok().and_then(Feature::from_id);
    i32::from(feature.is_some_and(crate::has))
}

/// All that may be used now. Lock-free.
///
/// Async-signal-safe.
///
/// # Safety
/// `set` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_available(set: *mut isahp_set) -> i32 {
    if set.is_null() {
        return ISAHP_ERROR_INVALID;
    }
    // SAFETY: not NULL, writable, says the caller.
    unsafe { set.write(c_set(crate::available())) };
    ISAHP_OK
}

/// Calls back whenever one of the features comes or goes. `*handle` names the
/// registration for isahp_unregister(); `handle` may be NULL.
///
/// # Safety
/// `registration` must point to an isahp_registration whose features are a C
/// string or NULL, and whose callback may be called with userdata, from the
/// library's thread or isahp_poll(), until isahp_unregister() has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_register(
    registration: *const isahp_registration,
    handle: *mut u64,
) -> i32 {
    boundary(|| {
        // SAFETY: NULL or readable, says the caller.
        let Some(registration) = (unsafe { registration.as_ref() }) else {
            return Err(invalid("registration is NULL"));
        };
        if registration.size < size_of::<isahp_registration>() {
            return Err(invalid("isahp_registration.size is too small"));
        }
        if registration.flags & !ISAHP_EAGER != 0 {
            return Err(invalid("isahp_registration.flags has unknown bits"));
        }
        let Some(callback) = registration.callback else {
            return Err(invalid("isahp_registration.callback is NULL"));
        };
        // SAFETY: NULL or a C string, says the caller.
        let interest = unsafe { features(registration.features, "isahp_registration.features") }?;
        let userdata = Userdata(registration.userdata);
        let eager = registration.flags & ISAHP_EAGER != 0;
        let forward = move |event: &Event| {
            let event = isahp_event {
                size: size_of::<isahp_event>(),
                cause: event.cause as u32,
                reserved: 0,
                generation: event.generation,
                since_us: event.since_us,
                address: event.address,
                added: c_set(event.added),
                removed: c_set(event.removed),
                available: c_set(event.available),
            };
            // SAFETY: callable with userdata, says the caller.
            match unsafe { callback(userdata.get(), &raw const event) } {
                ISAHP_OK => Answer::Left,
                other => Answer::Refuse(format!("its callback returned {other}")),
            }
        };
        let id = runtime::get()?.register(interest, eager, Box::new(forward));
        if !handle.is_null() {
            // SAFETY: not NULL, writable, says the caller.
            unsafe { handle.write(id) };
        }
        Ok(ISAHP_OK)
    })
}

/// Ends a registration. Returns when its callback is not running any more; from
/// inside the callback, at once.
#[unsafe(no_mangle)]
pub extern "C" fn isahp_unregister(handle: u64) -> i32 {
    boundary(|| {
        let found = runtime::get()?.unregister(handle);
        Ok(if found {
            ISAHP_OK
        } else {
            ISAHP_ERROR_NOT_FOUND
        })
    })
}

/// A descriptor that becomes readable when isahp_poll() has something to do;
/// for poll(2) and the like, not to be read or closed.
///
/// # Safety
/// `fd` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_fd(fd: *mut i32) -> i32 {
    boundary(|| {
        if fd.is_null() {
            return Err(invalid("fd is NULL"));
        }
        // SAFETY: not NULL, writable, says the caller.
        unsafe { fd.write(runtime::get()?.fd()) };
        Ok(ISAHP_OK)
    })
}

/// Takes in what is new and calls back from here. A few nanoseconds when there
/// is no news. Call it where none of your threads uses a feature that may go.
/// `*calls` is how many callbacks ran; `calls` may be NULL.
///
/// # Safety
/// `calls` must be writable or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_poll(calls: *mut u32) -> i32 {
    boundary(|| {
        let ran = crate::poll()?;
        if !calls.is_null() {
            // SAFETY: not NULL, writable, says the caller.
            unsafe { calls.write(ran) };
        }
        Ok(ISAHP_OK)
    })
}

/// Takes the best of `count` variants, best first, into the slot and keeps it
/// so. The last should need nothing.
///
/// # Safety
/// `slot` must stay where it is until isahp_slot_release() has returned;
/// `variants` must point to `count` variants whose features are C strings or
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_slot_init(
    slot: *mut isahp_slot,
    variants: *const isahp_variant,
    count: usize,
) -> i32 {
    boundary(|| {
        if slot.is_null() || variants.is_null() || count == 0 {
            return Err(invalid("slot or variants is NULL, or count is 0"));
        }
        // SAFETY: `count` variants, says the caller.
        let given = unsafe { std::slice::from_raw_parts(variants, count) };
        let mut table = Vec::with_capacity(count);
        for variant in given {
            let Some(function) = variant.function else {
                return Err(invalid("isahp_variant.function is NULL"));
            };
            // SAFETY: NULL or a C string, says the caller.
            let features = unsafe { features(variant.features, "isahp_variant.features") }?;
            let function = Function((function as *const ()).cast_mut());
            table.push(Variant { function, features });
        }
        // SAFETY: an isahp_slot begins with a pointer, which from now on is
        // only touched atomically; it stays, says the caller.
        unsafe {
            let pointer = (&raw const (*slot).function).cast::<AtomicPtr<()>>();
            crate::slot::add(Target::Pointer(pointer), table.into())?;
        }
        Ok(ISAHP_OK)
    })
}

/// Gives a slot back; it keeps its last variant. Not from a signal handler or
/// from code that a trap may interrupt.
///
/// # Safety
/// `slot` must be one that isahp_slot_init() took, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_slot_release(slot: *mut isahp_slot) -> i32 {
    boundary(|| {
        let found = slots::remove(slot.cast_const().cast());
        Ok(if found {
            ISAHP_OK
        } else {
            ISAHP_ERROR_NOT_FOUND
        })
    })
}

/// The variant in force, after a look at the generation: follows by itself in a
/// program that neither polls nor has the library's thread.
///
/// # Safety
/// `slot` must be one that isahp_slot_init() took, or NULL (which gives NULL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_slot_checked(slot: *mut isahp_slot) -> isahp_function {
    if slot.is_null() {
        return None;
    }
    // SAFETY: a slot, says the caller; its words are only touched as atomics.
    let (pointer, stamp) = unsafe {
        (
            &*(&raw const (*slot).function).cast::<AtomicPtr<()>>(),
            &*(&raw const (*slot).reserved).cast::<AtomicU64>(),
        )
    };
    let generation = crate::generation();
    if stamp.load(Ordering::Relaxed) != generation {
        slots::update_all();
        stamp.store(generation, Ordering::Relaxed);
    }
    let function = pointer.load(Ordering::Acquire);
    // SAFETY: NULL, or a function that isahp_slot_init() was given; Option of
    // a function pointer is one word.
    unsafe { std::mem::transmute::<*mut (), isahp_function>(function) }
}

/// What the #UD handler did so far.
///
/// Async-signal-safe.
///
/// # Safety
/// `counters` must point to an isahp_counters whose size is set, or be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_count(counters: *mut isahp_counters) -> i32 {
    // SAFETY: NULL or readable and writable, says the caller.
    let Some(counters) = (unsafe { counters.as_mut() }) else {
        return ISAHP_ERROR_INVALID;
    };
    if counters.size < size_of::<isahp_counters>() {
        return ISAHP_ERROR_INVALID;
    }
    let now = crate::counters();
    counters.emulated = now.emulated;
    counters.passed_on = now.passed_on;
    counters.address = now.address;
    ISAHP_OK
}

/// Writes how the library stands with the agent, in words, to `buffer` of
/// `size` bytes, cut off if need be and always terminated.
///
/// # Safety
/// `buffer` must be writable for `size` bytes, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn isahp_state(buffer: *mut c_char, size: usize) -> i32 {
    boundary(|| {
        if buffer.is_null() || size == 0 {
            return Err(invalid("buffer is NULL or size is 0"));
        }
        let state = runtime::get()?.state();
        let length = state.len().min(size - 1);
        // SAFETY: `size` bytes are writable, says the caller.
        unsafe {
            state.as_ptr().copy_to_nonoverlapping(buffer.cast(), length);
            buffer.add(length).write(0);
        }
        Ok(ISAHP_OK)
    })
}

const _: () = assert!(WORDS == 8, "isahp_set is part of the ABI");
