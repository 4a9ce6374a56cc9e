//! Slots that exist before anybody has called isahp_init(): those of C's ISAHP_SLOT, of C++'s
//! `isahotplug::slot`, of Rust's [`slot!`](crate::slot!).
//!
//! They are declared by constructors, which run in whatever order the linker chose. Until this
//! copy of the library is initialised, and again when it has been unloaded, a declared slot holds
//! its last variant, which needs nothing.
//!
//! Locks: [`DECLARED`] is taken before those of the runtime and never while a callback is waited
//! for. All signals but the synchronous ones are blocked meanwhile: a handler may well be the first
//! who calls a slot.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use isa::FeatureSet;

use crate::c::{
    ISAHP_ERROR_BUSY, ISAHP_ERROR_NOT_FOUND, ISAHP_ERROR_NOT_INITIALISED, ISAHP_OK,
    ISAHP_SLOT_SECTIONED, isahp_slot, isahp_slot_init, isahp_slot_options, isahp_variant,
};
use crate::entry;
use crate::fork;
use crate::junction::{owner, table};
use crate::local::Inside;
use crate::runtime::Error;

/// Where a slot is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(*mut isahp_slot);

// SAFETY: its first word is an atomic, which stays where it is until the slot is withdrawn.
unsafe impl Send for Place {}

impl Place {
    fn hold(self, function: *mut ()) {
        // SAFETY: an isahp_slot begins with a pointer that is only touched as an atomic.
        let pointer = unsafe { &*self.0.cast::<AtomicPtr<()>>() };
        pointer.store(function, Ordering::Release);
    }
}

struct Declared {
    place: Place,
    /// The last variant, which needs nothing.
    last: AtomicPtr<()>,
    /// Initialises the slot; the result is that of isahp_slot_init().
    init: Box<dyn Fn() -> i32 + Send>,
    name: String,
}

impl Declared {
    fn rest(&self) {
        self.place.hold(self.last.load(Ordering::Relaxed));
    }
}

static DECLARED: Mutex<Vec<Declared>> = Mutex::new(Vec::new());

/// Held over a fork, so that the child finds the list whole.
pub(crate) fn hold() -> impl Sized {
    lock()
}

fn lock() -> MutexGuard<'static, Vec<Declared>> {
    DECLARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No signal handler runs on this thread as long as it lives, save those for its own faults.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn block() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut old = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both are sets that these functions fill.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            for signal in [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
                libc::sigdelset(all.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), old.as_mut_ptr());
            Self(old.assume_init())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: a set that pthread_sigmask(3) has filled.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

/// Whether the caller is a signal handler that has interrupted this library.
fn is_interrupting() -> bool {
    Inside::enter().is_none()
}

/// Declares a slot: it holds `last` until this library is initialised, and is kept by `init` from
/// then on. Again does nothing.
///
/// # Safety
/// The slot must stay where it is until [`withdraw`] has returned.
pub(crate) unsafe fn declare(
    slot: *mut isahp_slot,
    name: &str,
    last: *mut (),
    init: Box<dyn Fn() -> i32 + Send>,
) -> i32 {
    if is_interrupting() {
        return ISAHP_ERROR_BUSY;
    }
    if let Err(error) = fork::follow() {
        return entry::code(&error.into());
    }
    let _blocked = Blocked::block();
    let mut declared = lock();
    let place = Place(slot);
    if declared.iter().any(|known| known.place == place) {
        return ISAHP_OK;
    }
    let new = Declared {
        place,
        last: AtomicPtr::new(last),
        init,
        name: name.into(),
    };
    new.rest();
    let result = match owner() {
        0 => ISAHP_OK,
        _ => match (new.init)() {
            // An isahp_unload() is under way.
            ISAHP_ERROR_NOT_INITIALISED => ISAHP_OK,
            other => other,
        },
    };
    if result == ISAHP_OK {
        declared.push(new);
    }
    result
}

/// What isahp_slot_release() does: the slot is not kept any more. One that was declared holds its
/// last variant for ever.
///
/// # Safety
/// `slot` must be one that was declared or initialised, or NULL.
pub(crate) unsafe fn withdraw(slot: *mut isahp_slot) -> i32 {
    if is_interrupting() {
        return ISAHP_ERROR_BUSY;
    }
    let found = {
        let _blocked = Blocked::block();
        let mut declared = lock();
        let index = declared.iter().position(|known| known.place == Place(slot));
        index.map(|index| declared.swap_remove(index))
    };
    // It waits for the observer, who may declare slots: without the lock.
    // SAFETY: passed on from the caller.
    let result = unsafe { (table().slot_release)(slot) };
    let Some(declared) = found else {
        return result;
    };
    declared.rest();
    match result {
        // Declared, but not initialised.
        ISAHP_ERROR_NOT_FOUND | ISAHP_ERROR_NOT_INITIALISED => ISAHP_OK,
        other => other,
    }
}

/// After an isahp_init(): initialises what has been declared.
pub(crate) fn begin() {
    let _blocked = Blocked::block();
    for declared in lock().iter() {
        let result = (declared.init)();
        if result != ISAHP_OK {
            declared.rest();
            entry::log(&format!(
                "slot {}: {}; it keeps its last variant",
                declared.name,
                entry::message(),
            ));
        }
    }
}

/// After the last isahp_unload() of this copy: nobody keeps the slots any more.
pub(crate) fn end() {
    let _blocked = Blocked::block();
    let declared = lock();
    // Unless somebody has initialised it again.
    if owner() == 0 {
        declared.iter().for_each(Declared::rest);
    }
}

/// isahp_slot_declare().
///
/// # Safety
/// As for that.
pub(crate) unsafe fn declare_c(
    slot: *mut isahp_slot,
    options: *const isahp_slot_options,
    variants: *const isahp_variant,
    count: usize,
) -> i32 {
    // SAFETY: passed on from the caller.
    let (name, last) = match unsafe { examine(slot, options, variants, count) } {
        Ok(found) => found,
        Err(error) => {
            entry::remember(&error.to_string());
            return entry::code(&error);
        }
    };
    let given = Given {
        slot,
        options,
        variants,
    };
    // SAFETY: they stay where they are, says the caller.
    let init = move || unsafe { given.init(count) };
    // SAFETY: as above.
    unsafe { declare(slot, name, last, Box::new(init)) }
}

/// What isahp_slot_declare() was given.
struct Given {
    slot: *mut isahp_slot,
    options: *const isahp_slot_options,
    variants: *const isahp_variant,
}

// SAFETY: they stay where they are until the slot is withdrawn, says who declares it.
unsafe impl Send for Given {}

impl Given {
    /// # Safety
    /// There must be so many variants.
    unsafe fn init(&self, count: usize) -> i32 {
        // SAFETY: passed on from the caller.
        unsafe { isahp_slot_init(self.slot, self.options, self.variants, count) }
    }
}

/// The slot's name and its last variant, if isahp_slot_init() will be able to take it.
///
/// # Safety
/// As for isahp_slot_declare().
unsafe fn examine<'a>(
    slot: *mut isahp_slot,
    options: *const isahp_slot_options,
    variants: *const isahp_variant,
    count: usize,
) -> Result<(&'a str, *mut ()), Error> {
    let invalid = |what: &str| Err(Error::Invalid(what.into()));
    if slot.is_null() || variants.is_null() || count == 0 {
        return invalid("slot or variants is NULL, or count is 0");
    }
    if !slot.is_aligned() || !variants.is_aligned() || !options.is_aligned() {
        return invalid("slot, options or variants is not aligned");
    }
    // SAFETY: NULL or readable, says the caller.
    let options = unsafe { options.as_ref() };
    if options.is_some_and(|options| options.size < size_of::<isahp_slot_options>()) {
        return invalid("isahp_slot_options.size is not sizeof(isahp_slot_options)");
    }
    if options.is_some_and(|options| options.release.is_some()) {
        return invalid("a declared slot may be initialised many times: release must be NULL");
    }
    let name = options.map_or(std::ptr::null(), |options| options.name);
    let name = if name.is_null() {
        ""
    } else {
        // SAFETY: a C string, says the caller, which stays.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("?")
    };
    // SAFETY: `count` variants, says the caller.
    let variants = unsafe { std::slice::from_raw_parts(variants, count) };
    let mut silent = FeatureSet::EMPTY;
    let mut needed = FeatureSet::EMPTY;
    let mut last = None;
    for variant in variants {
        let text = if variant.features.is_null() {
            ""
        } else {
            // SAFETY: a C string, says the caller.
            let text = unsafe { CStr::from_ptr(variant.features) };
            match text.to_str() {
                Ok(text) => text,
                Err(_) => return invalid("isahp_variant.features is not UTF-8"),
            }
        };
        needed = text
            .parse::<FeatureSet>()
            .map_err(|error| Error::Invalid(format!("isahp_variant.features: {error}")))?;
        silent = silent.union(needed.silent());
        last = variant.function;
    }
    let sectioned = options.is_some_and(|options| options.flags & ISAHP_SLOT_SECTIONED != 0);
    if !silent.is_empty() && !sectioned {
        return Err(Error::Silent(silent));
    }
    match last {
        Some(last) if needed.is_empty() => Ok((name, (last as *const ()).cast_mut())),
        Some(_) => invalid("the last variant of a declared slot must need nothing"),
        None => invalid("isahp_variant.function is NULL"),
    }
}
