//! Going on after the instruction that trapped, within bounds.
//!
//! How long a burst may be is a matter of signals: all but the synchronous ones are blocked while
//! the handler runs. [`INSTRUCTIONS`] take 0.1 to 0.3 ms where an instruction takes 20 to 80 ns, as
//! measured, and 1 ms where it is always one of the slowest (AES and GFNI: 220 ns). Page faults that
//! the program's own accesses cost come on top.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::io::Write as _;

use emulator::{Budget, Cache};

use super::thread::Local;

/// Instructions of a burst, unless the environment says otherwise. A trap costs as much as a
/// hundred or two, so that with more than a few thousand its share is no longer seen.
const INSTRUCTIONS: u32 = 4096;

/// Instructions in a row that the CPU has itself, after which a burst ends: a loop body or a call
/// of a short function is overlooked, and what is wasted in the end is less than what a trap costs.
const PATIENCE: u32 = 64;

static LIMIT: AtomicU32 = AtomicU32::new(INSTRUCTIONS);

/// The variable that limits bursts: a number of instructions, 0 for none beyond the one that
/// trapped.
pub(crate) const VARIABLE: &str = "ISAHOTPLUG_BURST";

/// Takes over what the environment says. Not for the environment of a user with fewer rights than
/// the process.
pub(crate) fn configure(value: &[u8]) {
    let number = str::from_utf8(value)
        .ok()
        .and_then(|value| value.parse().ok());
    match number {
        Some(number) => LIMIT.store(number, Ordering::Relaxed),
        None => {
            // A closed stderr is no reason to fail.
            let _ = writeln!(
                std::io::stderr(),
                "isahotplug: {VARIABLE}={} is not a number of instructions; going by {INSTRUCTIONS}",
                String::from_utf8_lossy(value)
            );
        }
    }
}

/// What may follow the instruction that trapped.
pub(super) fn budget() -> Option<Budget> {
    let instructions = LIMIT.load(Ordering::Relaxed);
    (instructions > 0).then_some(Budget {
        instructions,
        patience: PATIENCE,
    })
}

/// Threads that can be in a burst at the same time; a further one makes none.
const COUNT: usize = 16;

struct Place {
    taken: AtomicBool,
    /// `cache` is one; read and written by whoever has set `taken`.
    ready: AtomicBool,
    cache: UnsafeCell<MaybeUninit<Cache>>,
}

// SAFETY: the cache is touched only by whoever has set `taken`.
unsafe impl Sync for Place {}

/// No memory as long as nothing traps.
static POOL: [Place; COUNT] = [const {
    Place {
        taken: AtomicBool::new(false),
        ready: AtomicBool::new(false),
        cache: UnsafeCell::new(MaybeUninit::uninit()),
    }
}; COUNT];

/// What a cache begins as; copied, for it is too large to be made on the stack.
static EMPTY: Cache = Cache::new();

/// A cache that nobody else uses meanwhile.
pub(super) struct Claimed(&'static Place);

impl Claimed {
    /// The one that this thread had last, which knows its code, or any; `None` if all are in use.
    pub(super) fn new(thread: Option<&Local>) -> Option<Self> {
        let last = thread.map_or(0, Local::cache);
        let (before, from) = POOL.split_at_checked(last).unwrap_or((&POOL, &[]));
        let mut places = from.iter().chain(before).enumerate();
        let (distance, place) =
            places.find(|(_, place)| !place.taken.swap(true, Ordering::Acquire))?;
        if let Some(thread) = thread {
            thread.set_cache((last + distance) % COUNT);
        }
        if !place.ready.load(Ordering::Relaxed) {
            // SAFETY: claimed; a Cache has nothing that must not be copied.
            unsafe {
                (*place.cache.get())
                    .as_mut_ptr()
                    .copy_from_nonoverlapping(&raw const EMPTY, 1);
            };
            place.ready.store(true, Ordering::Relaxed);
        }
        Some(Self(place))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

impl Deref for Claimed {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        // SAFETY: claimed, and ready since.
        unsafe { (*self.0.cache.get()).assume_init_ref() }
    }
}

impl DerefMut for Claimed {
    fn deref_mut(&mut self) -> &mut Cache {
        // SAFETY: claimed, and ready since.
        unsafe { (*self.0.cache.get()).assume_init_mut() }
    }
}

/// In the child of a fork no other thread has one. One that a thread of the parent was changing is
/// not a cache any more.
pub(super) fn forked() {
    for place in &POOL {
        if place.taken.load(Ordering::SeqCst) {
            place.ready.store(false, Ordering::SeqCst);
            place.taken.store(false, Ordering::SeqCst);
        }
    }
}
