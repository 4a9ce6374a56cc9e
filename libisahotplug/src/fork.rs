//! What becomes of the library in the child of a fork.
//!
//! The child keeps the slots, the registrations and the #UD handler. It gets descriptors of its
//! own, and goes on following the agent as soon as it calls a function that needs that.

use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::local::{Inside, local};
use crate::trap::TRAPS;
use crate::{declared, in_trap, junction, runtime, section, slots};

/// The locks held over a fork.
struct Held(UnsafeCell<Option<(runtime::Guard, Box<dyn Any>)>>);

// SAFETY: touched only by the thread that forks, between `before` and one of
// the two others, while it holds the locks.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

/// Runs when the object is loaded: a fork that has begun before the handlers are registered does not
/// call them, and its child may find the locks of another thread's first isahp_init() held.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

extern "C" fn construct() {
    // Whoever needs it tries again, and is told.
    let _ = follow();
}

/// Registers the handlers, once.
///
/// # Errors
/// What pthread_atfork(3) says.
pub(crate) fn follow() -> io::Result<()> {
    // No lock: who holds it over a fork?
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    // SAFETY: three functions that live as long as this object.
    match unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) } {
        0 => Ok(()),
        status => {
            DONE.store(false, Ordering::Release);
            Err(io::Error::from_raw_os_error(status))
        }
    }
}

/// Takes the locks, none of which is held while something of the program's runs, so that the child
/// finds them free and what they guard whole.
///
/// A signal handler that forks may have interrupted this library, and its log function may fork:
/// there the thread has locks already, which the child will find taken.
extern "C" fn before() {
    let Some(inside) = Inside::enter() else {
        let unguarded = &local().unguarded_forks;
        unguarded.set(unguarded.get() + 1);
        return;
    };
    // In the order in which they are taken elsewhere.
    let (changes, declared) = (junction::hold(), declared::hold());
    let held = (
        runtime::lock(),
        Box::new((slots::hold(), in_trap::hold(), declared, changes, inside)) as Box<dyn Any>,
    );
    // SAFETY: see Held.
    unsafe { *HELD.0.get() = Some(held) };
}

extern "C" fn in_parent() {
    if was_unguarded() {
        return;
    }
    // SAFETY: see Held.
    drop(unsafe { (*HELD.0.get()).take() });
}

/// Whether `before` has taken no locks.
fn was_unguarded() -> bool {
    let unguarded = &local().unguarded_forks;
    let count = unguarded.get();
    unguarded.set(count.saturating_sub(1));
    count != 0
}

extern "C" fn in_child() {
    TRAPS.forked();
    section::forked();
    if was_unguarded() {
        return;
    }
    // SAFETY: see Held.
    if let Some((state, _)) = unsafe { &mut *HELD.0.get() } {
        runtime::forked(state);
    }
    // SAFETY: see Held.
    drop(unsafe { (*HELD.0.get()).take() });
}
