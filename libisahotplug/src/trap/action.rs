//! What a program wants done with the signals that this library takes: SIGILL, SIGSEGV and SIGBUS.
//!
//! The kernel's action for these stays the library's. What the program asks for is recorded here,
//! and [`pass_on`](super::pass_on) does it for whatever is not the library's business. A handler
//! may look at any time, on any thread, also in the middle of a change: an action is a reference to
//! a record that never changes again once it is complete, and records are never given back.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::sys::{self, KernelAction};

/// The signals, in the order of `WANTED`.
pub(super) const SIGNALS: [i32; 3] = [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS];

/// [`SIGNALS`] as bits of the kernel's `sigset_t`.
pub(super) const MASK: u64 =
    1 << (libc::SIGILL - 1) | 1 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1);

/// Different actions that a program may ask for. Few have more than a handful.
const COUNT: usize = 256;

const FREE: u8 = 0;
const IN_WORK: u8 = 1;
const COMPLETE: u8 = 2;

struct Record {
    stage: AtomicU8,
    action: UnsafeCell<KernelAction>,
}

// SAFETY: `action` is written once, by whoever has made `stage` IN_WORK, and read only when it is
// COMPLETE.
unsafe impl Sync for Record {}

static RECORDS: [Record; COUNT] = [const {
    Record {
        stage: AtomicU8::new(FREE),
        action: UnsafeCell::new(KernelAction::DEFAULT),
    }
}; COUNT];

/// For each of [`SIGNALS`] 1 + the index of the record; 0 for the default action.
static WANTED: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// The place of `signal` in [`SIGNALS`].
pub(super) fn place(signal: i32) -> Option<usize> {
    SIGNALS.iter().position(|&taken| taken == signal)
}

/// What the program wants done with `signal`, if that is one of [`SIGNALS`].
pub(super) fn wanted(signal: i32) -> Option<KernelAction> {
    let index = WANTED.get(place(signal)?)?.load(Ordering::Acquire);
    Some(read(index))
}

/// Records what the program wants done with `signal` and returns what it wanted before. `None`
/// if there are too many different actions.
///
/// Async-signal-safe.
pub(super) fn want(signal: i32, action: &KernelAction) -> Option<KernelAction> {
    let index = intern(action)?;
    let old = WANTED.get(place(signal)?)?.swap(index, Ordering::AcqRel);
    Some(read(old))
}

/// For `SA_RESETHAND`: the default from now on, unless the program has asked for something else
/// since `action` was read.
pub(super) fn reset(signal: i32, action: &KernelAction) {
    let Some(wanted) = place(signal).and_then(|place| WANTED.get(place)) else {
        return;
    };
    let index = wanted.load(Ordering::Acquire);
    if read(index) == *action {
        let _ = wanted.compare_exchange(index, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

fn read(index: usize) -> KernelAction {
    match RECORDS.get(index.wrapping_sub(1)) {
        // SAFETY: complete, for its index has been given away.
        Some(record) => unsafe { *record.action.get() },
        None => KernelAction::DEFAULT,
    }
}

/// 1 + the index of a record with `action`.
fn intern(action: &KernelAction) -> Option<usize> {
    if *action == KernelAction::DEFAULT {
        return Some(0);
    }
    for (index, record) in RECORDS.iter().enumerate() {
        let claimed =
            record
                .stage
                .compare_exchange(FREE, IN_WORK, Ordering::Acquire, Ordering::Acquire);
        match claimed {
            Ok(_) => {
                // SAFETY: claimed just now.
                unsafe { *record.action.get() = *action };
                record.stage.store(COMPLETE, Ordering::Release);
                return Some(index + 1);
            }
            // SAFETY: complete.
            Err(COMPLETE) if unsafe { *record.action.get() } == *action => return Some(index + 1),
            // Another one, or one that a thread is writing at this moment.
            Err(_) => {}
        }
    }
    None
}

/// Records what is installed now as what the program wants. `false` if the kernel refuses.
pub(super) fn remember(signal: i32) -> bool {
    sys::action(signal).is_some_and(|action| want(signal, &action).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_recorded_once_and_reported_back() {
        let first = KernelAction::new(0x1000, 4, 1);
        let second = KernelAction::new(0x1000, 4, 2);
        let (a, b) = (intern(&first).unwrap(), intern(&second).unwrap());
        assert_ne!(a, b);
        assert_eq!(intern(&first), Some(a));
        assert_eq!((read(a), read(b)), (first, second));
        assert_eq!(intern(&KernelAction::DEFAULT), Some(0));
        assert_eq!(wanted(libc::SIGUSR1), None);
    }
}
