//! What the functions of the C API do, in the copy of the library that serves the process.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use dispatch::Variant;
use isa::{Feature, FeatureSet};
use protocol::local::Urgency;

use crate::c::{
    ISAHP_BY_POLL, ISAHP_EAGER, ISAHP_ERROR_BUSY, ISAHP_ERROR_INTERNAL, ISAHP_ERROR_INVALID,
    ISAHP_ERROR_NO_VARIANT, ISAHP_ERROR_NOT_FOUND, ISAHP_ERROR_NOT_INITIALISED, ISAHP_ERROR_SILENT,
    ISAHP_ERROR_SYSTEM, ISAHP_ERROR_UNSUPPORTED, ISAHP_IN_TRAP, ISAHP_INITIAL, ISAHP_LAZY,
    ISAHP_NO_TRAP, ISAHP_OK, ISAHP_POLL, ISAHP_REFUSE, ISAHP_SLOT_LAZY, ISAHP_SLOT_SECTIONED,
    c_set, isahp_address_count, isahp_counters, isahp_function, isahp_options, isahp_registration,
    isahp_section, isahp_set, isahp_slot, isahp_slot_options, isahp_variant,
};
use crate::event::Seen;
use crate::in_trap::{self, Callback};
use crate::junction;
use crate::local::Inside;
use crate::page;
use crate::registrations::{Registration, Said, Subject, Userdata};
use crate::runtime::{self, Error, Options, Started};
use crate::section;
use crate::slots::{self, Added, Content, Function, Target};
use crate::trap::{TRAPS, tally};
use crate::view;

/// What `init` answers if another copy of the library serves the process, after all.
pub(crate) const ELSEWHERE: i32 = 1;

/// For `set`.
pub(crate) const AVAILABLE: u32 = 0;
pub(crate) const VISIBLE: u32 = 1;
pub(crate) const BONUS: u32 = 2;
pub(crate) const LOST: u32 = 3;

pub(crate) fn code(error: &Error) -> i32 {
    match error {
        Error::Invalid(_) => ISAHP_ERROR_INVALID,
        Error::NotInitialised => ISAHP_ERROR_NOT_INITIALISED,
        Error::Busy => ISAHP_ERROR_BUSY,
        Error::NoVariant => ISAHP_ERROR_NO_VARIANT,
        Error::Silent(_) => ISAHP_ERROR_SILENT,
        Error::System(_) => ISAHP_ERROR_SYSTEM,
        Error::NotFound(_) => ISAHP_ERROR_NOT_FOUND,
        Error::Unsupported => ISAHP_ERROR_UNSUPPORTED,
        Error::Other(code) => *code,
    }
}

thread_local! {
    /// What the last function that failed on this thread had to say. Nothing that is dropped: glibc
    /// keeps an object whose thread-local variables have destructors, for as long as the thread.
    static MESSAGE: Cell<([u8; MESSAGE_LENGTH], usize)> = const { Cell::new(([0; MESSAGE_LENGTH], 0)) };
}

/// What is longer is cut off, in bytes.
const MESSAGE_LENGTH: usize = 512;

/// The one way out of Rust: a panic becomes an error.
fn boundary(body: impl FnOnce() -> Result<i32, Error>) -> i32 {
    let Some(inside) = Inside::enter() else {
        return ISAHP_ERROR_BUSY;
    };
    let result = catch_unwind(AssertUnwindSafe(body));
    drop(inside);
    match result {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => {
            remember(&error.to_string());
            code(&error)
        }
        Err(_) => {
            remember("internal error of libisahotplug");
            ISAHP_ERROR_INTERNAL
        }
    }
}

/// A line for the log, if this copy serves the process.
pub(crate) fn log(line: &str) {
    // Otherwise there is nobody to take it.
    let _ = runtime::with(|state| {
        state.log(line);
        Ok(())
    });
}

/// What [`remember`] was told last.
pub(crate) fn message() -> String {
    let (text, length) = MESSAGE.get();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

pub(crate) fn remember(message: &str) {
    let mut text = [0; MESSAGE_LENGTH];
    let length = message.floor_char_boundary(MESSAGE_LENGTH);
    text[..length].copy_from_slice(&message.as_bytes()[..length]);
    MESSAGE.set((text, length));
}

fn invalid(what: &str) -> Error {
    Error::Invalid(what.into())
}

/// A copy of a struct that begins with its size in bytes: what is not given is zero, and what is
/// given beyond what is known here must be zero.
///
/// # Safety
/// `given` must be NULL or point to such a struct; zeroes must be a valid `T`.
unsafe fn sized<T>(given: *const T, name: &str) -> Result<Option<T>, Error> {
    if given.is_null() {
        return Ok(None);
    }
    if !given.is_aligned() {
        return Err(Error::Invalid(format!("{name} is not aligned")));
    }
    let bytes = given.cast::<u8>();
    // SAFETY: it begins with its size, says the caller.
    let size = unsafe { bytes.cast::<usize>().read() };
    // The first version's structs have all that is known now.
    if size < size_of::<T>() || size > 4096 {
        return Err(Error::Invalid(format!(
            "{name}.size is {size}, and not sizeof({name})"
        )));
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: `size` bytes are readable, says the caller; every T read from C is one, and zeroes too.
    unsafe {
        bytes.copy_to_nonoverlapping(copy.as_mut_ptr().cast(), size_of::<T>());
        if (size_of::<T>()..size).any(|at| *bytes.add(at) != 0) {
            return Err(Error::Invalid(format!(
                "{name} asks for what this version does not know"
            )));
        }
        Ok(Some(copy.assume_init()))
    }
}

/// Whether something can be stored there at all: it is neither NULL nor misaligned.
pub(crate) fn is_writable<T>(to: *mut T) -> bool {
    !to.is_null() && to.is_aligned()
}

/// Most variants of a slot, and most registrations that one builds upon: more is a mistake.
const MOST: usize = 4096;

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

/// Writes `text` with a zero after it, cut off if need be.
///
/// # Safety
/// `buffer` must be NULL or writable for `size` bytes.
pub(crate) unsafe fn write_text(text: &str, buffer: *mut c_char, size: usize) -> i32 {
    if buffer.is_null() || size == 0 {
        return ISAHP_ERROR_INVALID;
    }
    let length = text.len().min(size - 1);
    // SAFETY: `size` bytes are writable, says the caller.
    unsafe {
        text.as_ptr().copy_to_nonoverlapping(buffer.cast(), length);
        buffer.add(length).write(0);
    }
    ISAHP_OK
}

pub(crate) unsafe extern "C" fn init(
    owner: *mut u64,
    _version: u32,
    options: *const isahp_options,
) -> i32 {
    boundary(|| {
        let mut chosen = Options::default();
        // SAFETY: NULL or readable, says the caller.
        if let Some(options) = unsafe { sized(options, "isahp_options") }? {
            if options.flags & !(ISAHP_POLL | ISAHP_NO_TRAP) != 0 || options.reserved != 0 {
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
                    let userdata = userdata;
                    let line: Vec<u8> = line.bytes().filter(|&b| b != 0).chain([0]).collect();
                    // SAFETY: callable from any thread, says the caller; the
                    // line ends with its only zero.
                    unsafe { log(userdata.0, line.as_ptr().cast()) };
                }));
            }
        }
        // SAFETY: `owner` is a local of the copy that calls.
        match runtime::init(unsafe { *owner }, chosen)? {
            Started::Here(number) => {
                // SAFETY: as above.
                unsafe { *owner = number };
                Ok(ISAHP_OK)
            }
            Started::Elsewhere(other) => {
                junction::join(other);
                Ok(ELSEWHERE)
            }
        }
    })
}

pub(crate) unsafe extern "C" fn unload(owner: u64, left: *mut u64) -> i32 {
    boundary(|| {
        let still = runtime::unload(owner, false)?;
        // SAFETY: a local of the copy that calls.
        unsafe { *left = still };
        Ok(ISAHP_OK)
    })
}

pub(crate) extern "C" fn forget(owner: u64) -> i32 {
    boundary(|| runtime::unload(owner, true).map(|_| ISAHP_OK))
}

pub(crate) unsafe extern "C" fn error_message(buffer: *mut c_char, size: usize) -> i32 {
    let (text, length) = MESSAGE.get();
    let message = str::from_utf8(&text[..length]).unwrap_or_default();
    // SAFETY: passed on from the caller.
    unsafe { write_text(message, buffer, size) }
}

pub(crate) extern "C" fn generation() -> u64 {
    page::current().generation()
}

pub(crate) extern "C" fn has(id: u32) -> i32 {
    if let Some(known) = view::VIEW.has(id) {
        return i32::from(known);
    }
    let feature = u16::try_from(id).ok().and_then(Feature::from_id);
    // The next one is quicker.
    view::renew();
    i32::from(feature.is_some_and(page::has))
}

pub(crate) unsafe extern "C" fn set(which: u32, out: *mut isahp_set) -> i32 {
    if !is_writable(out) {
        return ISAHP_ERROR_INVALID;
    }
    let (available, visible) = (page::available(), page::visible());
    let set = match which {
        AVAILABLE => available,
        VISIBLE => visible,
        BONUS => available.difference(visible),
        LOST => visible.difference(available),
        _ => return ISAHP_ERROR_UNSUPPORTED,
    };
    // SAFETY: not NULL, writable, says the caller.
    unsafe { out.write(c_set(set)) };
    ISAHP_OK
}

pub(crate) unsafe extern "C" fn register(
    owner: u64,
    registration: *const isahp_registration,
    handle: *mut u64,
) -> i32 {
    const FLAGS: u32 = ISAHP_EAGER | ISAHP_LAZY | ISAHP_BY_POLL | ISAHP_IN_TRAP | ISAHP_INITIAL;
    boundary(|| {
        // SAFETY: NULL or readable, says the caller.
        let given = unsafe { sized(registration, "isahp_registration") }?;
        let given = given.ok_or_else(|| invalid("registration is NULL"))?;
        if given.flags & !FLAGS != 0 {
            return Err(invalid("isahp_registration.flags has unknown bits"));
        }
        let function = given
            .callback
            .ok_or_else(|| invalid("isahp_registration.callback is NULL"))?;
        if !handle.is_aligned() || !given.after.is_aligned() {
            return Err(invalid("handle or isahp_registration.after is not aligned"));
        }
        // SAFETY: NULL or a C string, says the caller.
        let interest = unsafe { features(given.features, "isahp_registration.features") }?;
        let after = match (given.after.is_null(), given.after_count) {
            (_, 0) => Vec::new(),
            (true, _) => return Err(invalid("isahp_registration.after is NULL")),
            (_, MOST..) => return Err(invalid("isahp_registration.after_count is too large")),
            // SAFETY: `after_count` handles, says the caller.
            (false, count) => unsafe { std::slice::from_raw_parts(given.after, count) }.to_vec(),
        };
        let has = |flag: u32| given.flags & flag != 0;
        let urgency = match (has(ISAHP_EAGER), has(ISAHP_LAZY)) {
            (true, true) => {
                return Err(invalid(
                    "isahp_registration.flags: eager and lazy exclude each other",
                ));
            }
            (true, false) => Urgency::Eager,
            (false, true) => Urgency::Lazy,
            (false, false) => Urgency::Woken,
        };
        let callback = Callback {
            function,
            userdata: given.userdata,
        };
        if owner == 0 {
            return Err(Error::NotInitialised);
        }
        let id = runtime::with(|state| {
            let in_trap = has(ISAHP_IN_TRAP).then(|| in_trap::add(callback, interest));
            let seen = if has(ISAHP_INITIAL) {
                Seen::default()
            } else {
                state.seen()
            };
            let id = state.list.add(|id| Registration {
                id,
                owner,
                by_poll: has(ISAHP_BY_POLL),
                urgency,
                priority: given.priority,
                after,
                subject: Subject::Events {
                    callback,
                    interest,
                    in_trap,
                },
                seen,
                pending: None,
                said: Said::Left,
                running: None,
                ended: false,
                release: given.release,
                userdata: Userdata(given.userdata),
            });
            state.interest_changed();
            Ok(id)
        })?;
        if !handle.is_null() {
            // SAFETY: not NULL, writable, says the caller.
            unsafe { handle.write(id) };
        }
        Ok(ISAHP_OK)
    })
}

pub(crate) extern "C" fn unregister(handle: u64) -> i32 {
    boundary(|| runtime::unregister(handle).map(|()| ISAHP_OK))
}

pub(crate) extern "C" fn left(handle: u64, generation: u64) -> i32 {
    boundary(|| {
        runtime::with(|state| {
            if !state.list.left(handle, generation) {
                return Err(Error::NotFound("registration that has asked for time"));
            }
            state.interest_changed();
            Ok(ISAHP_OK)
        })
    })
}

pub(crate) unsafe extern "C" fn refuse(reason: *const c_char) -> i32 {
    boundary(|| {
        // SAFETY: NULL or a C string, says the caller.
        if let Some(reason) = unsafe { text(reason, "reason") }? {
            runtime::reason::set(reason.into());
        }
        Ok(ISAHP_REFUSE)
    });
    ISAHP_REFUSE
}

pub(crate) unsafe extern "C" fn fd(owner: u64, fd: *mut i32) -> i32 {
    boundary(|| {
        if !is_writable(fd) {
            return Err(invalid("fd is NULL or not aligned"));
        }
        if owner == 0 {
            return Err(Error::NotInitialised);
        }
        let number = runtime::with(|state| Ok(state.fd()))?;
        // SAFETY: not NULL, writable, says the caller.
        unsafe { fd.write(number) };
        Ok(ISAHP_OK)
    })
}

pub(crate) unsafe extern "C" fn poll(owner: u64, calls: *mut u32) -> i32 {
    boundary(|| {
        if owner == 0 {
            return Err(Error::NotInitialised);
        }
        if !calls.is_aligned() {
            return Err(invalid("calls is not aligned"));
        }
        let ran = runtime::poll(owner)?;
        if !calls.is_null() {
            // SAFETY: not NULL, writable, says the caller.
            unsafe { calls.write(ran) };
        }
        Ok(ISAHP_OK)
    })
}

/// The first word of a slot, where the function in force is.
fn target(slot: *mut isahp_slot) -> Target {
    Target(slot.cast_const().cast::<AtomicPtr<()>>())
}

const _: () = assert!(std::mem::offset_of!(isahp_slot, function) == 0);

pub(crate) unsafe extern "C" fn slot_init(
    owner: u64,
    slot: *mut isahp_slot,
    options: *const isahp_slot_options,
    variants: *const isahp_variant,
    count: usize,
) -> i32 {
    boundary(|| {
        if slot.is_null() || variants.is_null() || count == 0 {
            return Err(invalid("slot or variants is NULL, or count is 0"));
        }
        if count > MOST {
            return Err(invalid("count is too large"));
        }
        if !slot.is_aligned() || !variants.is_aligned() {
            return Err(invalid("slot or variants is not aligned"));
        }
        // SAFETY: NULL or readable, says the caller.
        let options = unsafe { sized(options, "isahp_slot_options") }?;
        let flags = options.as_ref().map_or(0, |options| options.flags);
        if flags & !(ISAHP_SLOT_SECTIONED | ISAHP_SLOT_LAZY) != 0
            || options.as_ref().is_some_and(|o| o.reserved != 0)
        {
            return Err(invalid("isahp_slot_options.flags has unknown bits"));
        }
        let name = options
            .as_ref()
            .map_or(std::ptr::null(), |options| options.name);
        // SAFETY: NULL or a C string, says the caller.
        let name = unsafe { text(name, "isahp_slot_options.name") }?.unwrap_or_default();
        // SAFETY: `count` variants, says the caller.
        let given = unsafe { std::slice::from_raw_parts(variants, count) };
        let mut table = Vec::with_capacity(count);
        let mut names = Vec::with_capacity(count);
        for variant in given {
            let Some(function) = variant.function else {
                return Err(invalid("isahp_variant.function is NULL"));
            };
            // SAFETY: NULL or C strings, says the caller.
            let (features, name) = unsafe {
                (
                    features(variant.features, "isahp_variant.features")?,
                    text(variant.name, "isahp_variant.name")?,
                )
            };
            let function = Function((function as *const ()).cast_mut());
            table.push(Variant { function, features });
            names.push(name.unwrap_or_default().to_owned());
        }
        let sectioned = flags & ISAHP_SLOT_SECTIONED != 0;
        let silent = table
            .iter()
            .fold(FeatureSet::EMPTY, |all, v| all | v.features.silent());
        if !silent.is_empty() && !sectioned {
            return Err(Error::Silent(silent));
        }
        if table
            .last()
            .is_some_and(|last| !last.features.silent().is_empty())
        {
            return Err(invalid(
                "the last variant must use no feature whose loss does not fault: there would be no \
                 way to leave it",
            ));
        }
        let content = Content {
            owner,
            target: target(slot),
            sectioned,
            lazy: flags & ISAHP_SLOT_LAZY != 0,
            variants: table.into(),
            names: names.into(),
        };
        if owner == 0 {
            return Err(Error::NotInitialised);
        }
        runtime::with(|state| {
            let forced = state.forced_variant(name, &content.names);
            // SAFETY: an isahp_slot begins with a pointer, which from now on is
            // only touched atomically; it stays, says the caller.
            let added = unsafe { slots::add(content, forced) }?;
            let node = match added {
                Added::New(node) => node,
                Added::Known => return Ok(ISAHP_OK),
                Added::Other => {
                    return Err(invalid("the slot has been initialised with other variants"));
                }
            };
            state.say_if_not_forced(name, forced, node);
            if let Some(options) = options.filter(|o| o.observer.is_some() || o.release.is_some()) {
                state.list.add(|id| Registration {
                    id,
                    owner,
                    by_poll: false,
                    urgency: Urgency::Lazy,
                    priority: 0,
                    after: Vec::new(),
                    subject: Subject::Slot {
                        slot,
                        node,
                        last: node.index(),
                        observer: options.observer,
                        userdata: Userdata(options.userdata),
                    },
                    // Observers look at their slot, not at the page.
                    seen: Seen::default(),
                    pending: None,
                    said: Said::Left,
                    running: None,
                    ended: false,
                    release: options.release,
                    userdata: Userdata(options.userdata),
                });
            }
            state.interest_changed();
            Ok(ISAHP_OK)
        })
    })
}

pub(crate) unsafe extern "C" fn slot_release(slot: *mut isahp_slot) -> i32 {
    boundary(|| {
        // A child of a fork that ends releases what its constructors have declared.
        let observer = runtime::without_waking(|state| {
            if !slots::remove(target(slot)) {
                return Err(Error::NotFound("slot"));
            }
            state.interest_changed();
            let observer = state.observer_of(slot);
            if let Some(id) = observer {
                state.end(id);
            }
            Ok(observer)
        })?;
        match observer {
            Some(id) => runtime::await_end(id).map(|()| ISAHP_OK),
            None => Ok(ISAHP_OK),
        }
    })
}

pub(crate) unsafe extern "C" fn slot_force(slot: *mut isahp_slot, variant: *const c_char) -> i32 {
    boundary(|| {
        // SAFETY: NULL or a C string, says the caller.
        let variant = unsafe { text(variant, "variant") }?;
        runtime::with(|state| {
            slots::force(target(slot), variant)?;
            state.interest_changed();
            Ok(ISAHP_OK)
        })
    })
}

pub(crate) unsafe extern "C" fn slot_checked(slot: *mut isahp_slot) -> isahp_function {
    if slot.is_null() {
        return None;
    }
    // SAFETY: a slot, says the caller; its words are only touched as atomics.
    let (pointer, stamp) = unsafe {
        (
            &*target(slot).0,
            &*(&raw const (*slot).reserved).cast::<AtomicU64>(),
        )
    };
    let generation = page::current().generation();
    if stamp.load(Ordering::Relaxed) != generation {
        // In a signal handler that has interrupted this library: the next call will do it.
        if let Some(_inside) = Inside::enter() {
            slots::update_all();
            stamp.store(generation, Ordering::Relaxed);
        }
    }
    let function = pointer.load(Ordering::Acquire);
    // SAFETY: NULL, or a function that isahp_slot_init() was given; Option of
    // a function pointer is one word.
    unsafe { std::mem::transmute::<*mut (), isahp_function>(function) }
}

pub(crate) extern "C" fn enter() {
    section::enter();
}

pub(crate) extern "C" fn enter_section() -> *mut isahp_section {
    section::enter_record()
}

pub(crate) extern "C" fn exit() {
    section::exit();
}

pub(crate) unsafe extern "C" fn counters(counters: *mut isahp_counters) -> i32 {
    if !is_writable(counters) {
        return ISAHP_ERROR_INVALID;
    }
    // SAFETY: not NULL, aligned; it begins with its size, says the caller.
    if unsafe { counters.cast::<usize>().read() } < size_of::<isahp_counters>() {
        return ISAHP_ERROR_INVALID;
    }
    // SAFETY: as above, and as long as it says.
    let counters = unsafe { &mut *counters };
    counters.emulated = TRAPS.emulated();
    counters.passed_on = TRAPS.passed_on();
    counters.address = TRAPS.address();
    ISAHP_OK
}

pub(crate) unsafe extern "C" fn count_feature(id: u32, count: *mut u64) -> i32 {
    let Some(feature) = u16::try_from(id).ok().and_then(Feature::from_id) else {
        return ISAHP_ERROR_NOT_FOUND;
    };
    if !is_writable(count) {
        return ISAHP_ERROR_INVALID;
    }
    // SAFETY: not NULL, writable, says the caller.
    unsafe { count.write(tally::per_feature(feature)) };
    ISAHP_OK
}

/// Fills what C has given, and says how much of it.
///
/// # Safety
/// `to` must be NULL or writable for `capacity` entries of which all bytes are valid, `count` NULL
/// or writable.
unsafe fn fill<T: Copy + Default>(
    to: *mut T,
    capacity: usize,
    count: *mut usize,
    fill: impl FnOnce(&mut [T]) -> usize,
) -> i32 {
    if !is_writable(to) || !is_writable(count) {
        return ISAHP_ERROR_INVALID;
    }
    // More than there can be is not looked at: it may not even be initialised.
    let capacity = capacity.min(tally::PLACES);
    // SAFETY: not NULL, aligned, writable, says the caller; filled before it is read.
    unsafe {
        for at in 0..capacity {
            to.add(at).write(T::default());
        }
        count.write(fill(std::slice::from_raw_parts_mut(to, capacity)));
    }
    ISAHP_OK
}

pub(crate) unsafe extern "C" fn count_addresses(
    counts: *mut isahp_address_count,
    capacity: usize,
    count: *mut usize,
) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { fill(counts, capacity, count, tally::addresses) }
}

pub(crate) unsafe extern "C" fn last_addresses(
    addresses: *mut u64,
    capacity: usize,
    count: *mut usize,
) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { fill(addresses, capacity, count, tally::last) }
}

pub(crate) unsafe extern "C" fn state(buffer: *mut c_char, size: usize) -> i32 {
    boundary(|| {
        let text = runtime::with(|state| Ok(state.text()))?;
        // SAFETY: passed on from the caller.
        match unsafe { write_text(&text, buffer, size) } {
            ISAHP_OK => Ok(ISAHP_OK),
            _ => Err(invalid("buffer is NULL or size is 0")),
        }
    })
}
