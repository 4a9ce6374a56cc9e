//! What becomes of the library in the child of a fork.
//!
//! The child keeps its slots and the #UD handler. The connection with the agent
//! is its parent's: the child closes its copy, so that the agent sees the parent
//! go when it goes, and gets no events.

use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::sync::Once;

use crate::trap::TRAPS;
use crate::{runtime, slots};

/// The locks held over a fork.
struct Held(UnsafeCell<Option<Box<dyn Any>>>);

// SAFETY: touched only by the thread that forks, between `before` and one of
// the two others, while it holds the locks.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

/// Registers the handlers, once.
///
/// # Errors
/// What pthread_atfork(3) says.
pub(crate) fn follow() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut status = 0;
    ONCE.call_once(|| {
        // SAFETY: three functions that live as long as this object.
        status = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    });
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(status))
    }
}

/// Takes the locks that other threads hold only for a moment, so that the child
/// finds them free. (Not the dispatcher's: a callback may fork, and the child
/// does not dispatch.)
extern "C" fn before() {
    let Ok(runtime) = runtime::get() else { return };
    let held: Box<dyn Any> = Box::new((runtime.hold(), slots::hold()));
    // SAFETY: see Held.
    unsafe { *HELD.0.get() = Some(held) };
}

extern "C" fn in_parent() {
    // SAFETY: see Held.
    drop(unsafe { (*HELD.0.get()).take() });
}

extern "C" fn in_child() {
    if let Ok(runtime) = runtime::get() {
        runtime.forget_connection();
    }
    TRAPS.forked();
    in_parent();
}
