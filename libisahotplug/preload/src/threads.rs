//! The libc functions that make threads: each begins with an alternate signal stack.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use isahotplug::seatbelt;

use crate::wrappers::{libc_pthread_create, libc_thrd_create};

/// What a thread of pthread_create(3) runs.
pub(crate) type Routine = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;
/// What a thread of thrd_create(3) runs.
pub(crate) type CRoutine = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

/// What the program asked for.
#[derive(Clone, Copy)]
struct Start<F> {
    routine: F,
    argument: *mut c_void,
}

/// A place for what a thread needs until it begins.
struct Place {
    taken: AtomicBool,
    start: UnsafeCell<MaybeUninit<Start<Routine>>>,
}

// SAFETY: `start` is written by whoever has set `taken`, and read by the thread that it is for.
unsafe impl Sync for Place {}

/// Threads that can be about to begin at the same time before the heap is used. A thread that frees
/// memory gets an arena, 64 MiB of addresses, which it may never need otherwise.
const COUNT: usize = 1024;

static PLACES: [Place; COUNT] = [const {
    Place {
        taken: AtomicBool::new(false),
        start: UnsafeCell::new(MaybeUninit::uninit()),
    }
}; COUNT];

impl<F: Copy> Start<F> {
    /// Both kinds of routine are addresses.
    const FITS: () = assert!(size_of::<Self>() == size_of::<Start<Routine>>());

    /// Keeps it until the thread begins; null if there is no memory.
    fn keep(self) -> *mut c_void {
        let () = Self::FITS;
        let free = PLACES
            .iter()
            .filter(|place| !place.taken.load(Ordering::Relaxed))
            .find(|place| !place.taken.swap(true, Ordering::Acquire));
        let at = match free {
            Some(place) => place.start.get().cast::<Self>(),
            // SAFETY: malloc(3) gives null or memory that is large and aligned enough.
            None => unsafe { libc::malloc(size_of::<Self>()).cast() },
        };
        if !at.is_null() {
            // SAFETY: claimed, or of malloc(3).
            unsafe { at.write(self) };
        }
        at.cast()
    }

    /// # Safety
    /// `kept` must be of `keep`, and is nobody's afterwards.
    unsafe fn take(kept: *mut c_void) -> Self {
        // SAFETY: said by the caller.
        unsafe {
            let start = *kept.cast::<Self>();
            let place = PLACES.iter().find(|place| place.start.get().cast() == kept);
            match place {
                Some(place) => place.taken.store(false, Ordering::Release),
                None => libc::free(kept),
            }
            start
        }
    }
}

/// Where a thread begins. One that is cancelled unwinds through here.
unsafe extern "C-unwind" fn begin(kept: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` passes what it has kept; the rest is passed on from the program.
    unsafe {
        let start = Start::<Routine>::take(kept);
        seatbelt::thread_begins();
        (start.routine)(start.argument)
    }
}

/// As [`begin`].
unsafe extern "C-unwind" fn begin_c(kept: *mut c_void) -> c_int {
    // SAFETY: `thrd_create` passes what it has kept; the rest is passed on from the program.
    unsafe {
        let start = Start::<CRoutine>::take(kept);
        seatbelt::thread_begins();
        (start.routine)(start.argument)
    }
}

/// pthread_create(3).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    let start = Start { routine, argument }.keep();
    if start.is_null() {
        return libc::EAGAIN;
    }
    // SAFETY: passed on from the caller.
    unsafe {
        let status = libc_pthread_create(thread, attributes, begin, start);
        if status != 0 {
            Start::<Routine>::take(start);
        }
        status
    }
}

/// thrd_create(3).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn thrd_create(
    thread: *mut libc::pthread_t,
    routine: CRoutine,
    argument: *mut c_void,
) -> c_int {
    /// `thrd_nomem`
    const NO_MEMORY: c_int = 3;
    let start = Start { routine, argument }.keep();
    if start.is_null() {
        return NO_MEMORY;
    }
    // SAFETY: passed on from the caller.
    unsafe {
        let status = libc_thrd_create(thread, begin_c, start);
        if status != 0 {
            Start::<CRoutine>::take(start);
        }
        status
    }
}
