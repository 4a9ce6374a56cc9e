//! The libc functions that a program installs handlers and blocks signals with.
//!
//! They have libc's names and take its place in the program. glibc's own calls among them do not
//! come here, so each of those that set a handler or a mask is wrapped, the old ones too. All are
//! async-signal-safe where libc's are, and let a thread that is cancelled unwind through them.

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use isahotplug::seatbelt;

use crate::threads::{CRoutine, Routine};
use libc::{SIG_BLOCK, SIG_ERR, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, sighandler_t, sigset_t};

/// A function of libc, looked up once.
struct Real {
    name: &'static CStr,
    at: AtomicPtr<c_void>,
}

impl Real {
    const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            at: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// The next definition after this object's; null if there is none.
    fn get(&self) -> *mut c_void {
        let known = self.at.load(Ordering::Acquire);
        if !known.is_null() {
            return known;
        }
        // SAFETY: the name is a C string.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.at.store(found, Ordering::Release);
        found
    }
}

/// Declares the libc functions that the wrappers call.
macro_rules! real {
    ($($place:ident, $call:ident = $name:literal ($($argument:ident: $type:ty),*);)*) => {
        $(
            static $place: Real = Real::new($name);

            /// Calls libc's function; ENOSYS if libc has none.
            pub(crate) unsafe extern "C-unwind" fn $call($($argument: $type),*) -> c_int {
                let function = $place.get();
                if function.is_null() {
                    return fail(libc::ENOSYS);
                }
                // SAFETY: libc's function of that name has this signature; the rest is passed on
                // from the caller.
                unsafe {
                    let function = std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C-unwind" fn($($type),*) -> c_int,
                    >(function);
                    function($($argument),*)
                }
            }
        )*

        /// Looks all of them up, which is not async-signal-safe.
        pub fn find() {
            $( $place.get(); )*
        }
    };
}

type Set = *const sigset_t;
type Time = *const libc::timespec;
type Fds = *mut libc::fd_set;
type Action = *const libc::sigaction;
type OldAction = *mut libc::sigaction;
type Events = *mut libc::epoll_event;
type Attributes = *mut libc::pthread_attr_t;
type Thread = *mut libc::pthread_t;

real! {
    SIGACTION, libc_sigaction = c"sigaction" (signal: c_int, new: Action, old: OldAction);
    SIGPROCMASK, libc_sigprocmask = c"sigprocmask" (how: c_int, new: Set, old: *mut sigset_t);
    PTHREAD_SIGMASK, libc_pthread_sigmask = c"pthread_sigmask"
        (how: c_int, new: Set, old: *mut sigset_t);
    SIGSUSPEND, libc_sigsuspend = c"sigsuspend" (mask: Set);
    PSELECT, libc_pselect = c"pselect"
        (n: c_int, read: Fds, write: Fds, except: Fds, timeout: Time, mask: Set);
    PPOLL, libc_ppoll = c"ppoll"
        (fds: *mut libc::pollfd, n: libc::nfds_t, timeout: Time, mask: Set);
    EPOLL_PWAIT, libc_epoll_pwait = c"epoll_pwait"
        (fd: c_int, events: Events, max: c_int, timeout: c_int, mask: Set);
    EPOLL_PWAIT2, libc_epoll_pwait2 = c"epoll_pwait2"
        (fd: c_int, events: Events, max: c_int, timeout: Time, mask: Set);
    ATTR_SETSIGMASK, libc_attr_setsigmask = c"pthread_attr_setsigmask_np"
        (attributes: Attributes, mask: Set);
    PTHREAD_CREATE, libc_pthread_create = c"pthread_create"
        (thread: Thread, attributes: *const libc::pthread_attr_t, routine: Routine,
        argument: *mut c_void);
    THRD_CREATE, libc_thrd_create = c"thrd_create"
        (thread: Thread, routine: CRoutine, argument: *mut c_void);
}

/// Sets errno and returns −1.
fn fail(error: c_int) -> c_int {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// Calls `f` with what of the mask may really be blocked.
///
/// # Safety
/// `mask` must be null or point to a `sigset_t`.
unsafe fn with_blockable<T>(mask: Set, f: impl FnOnce(Set) -> T) -> T {
    // SAFETY: said by the caller.
    let blockable = unsafe { mask.as_ref() }.map(|mask| seatbelt::blockable(*mask));
    f(blockable.as_ref().map_or(mask, std::ptr::from_ref))
}

fn action(handler: sighandler_t, flags: c_int) -> libc::sigaction {
    libc::sigaction {
        sa_sigaction: handler,
        sa_mask: empty(),
        sa_flags: flags,
        sa_restorer: None,
    }
}

fn empty() -> sigset_t {
    // SAFETY: plain data, and all zero is the empty set.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn only(signal: c_int) -> sigset_t {
    let mut set = empty();
    // SAFETY: a set of this function; a number that is no signal changes nothing.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    set
}

/// Installs `new` and returns the handler that was there, or SIG_ERR.
fn exchange(signal: c_int, new: &libc::sigaction) -> sighandler_t {
    let mut old = action(SIG_ERR, 0);
    // SAFETY: both are sigactions of this call or its caller.
    match unsafe { sigaction(signal, new, &raw mut old) } {
        0 => old.sa_sigaction,
        _ => SIG_ERR,
    }
}

/// sigaction(2).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sigaction(signal: c_int, new: Action, old: OldAction) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { seatbelt::sigaction(signal, new, old, libc_sigaction) }.unwrap_or_else(fail)
}

/// Another name that glibc has for sigaction(2).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __sigaction(signal: c_int, new: Action, old: OldAction) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { sigaction(signal, new, old) }
}

/// Signals for which siginterrupt(3) was asked: bit n − 1 is signal n.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

fn bit(signal: c_int) -> u64 {
    u32::try_from(signal - 1).map_or(0, |shift| 1u64.checked_shl(shift).unwrap_or(0))
}

/// signal(2), with BSD semantics.
///
/// # Safety
/// `handler` must be a handler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    let interrupts = INTERRUPTS.load(Ordering::Relaxed) & bit(signal) != 0;
    let mut new = action(handler, if interrupts { 0 } else { libc::SA_RESTART });
    new.sa_mask = only(signal);
    exchange(signal, &new)
}

/// signal(2) by its older name.
///
/// # Safety
/// `handler` must be a handler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bsd_signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: passed on from the caller.
    unsafe { signal(number, handler) }
}

/// signal(2) by another name of glibc's.
///
/// # Safety
/// `handler` must be a handler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ssignal(number: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: passed on from the caller.
    unsafe { signal(number, handler) }
}

/// sysv_signal(3): the handler runs once, and nothing is blocked meanwhile.
///
/// # Safety
/// `handler` must be a handler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sysv_signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    let flags = libc::SA_RESETHAND | libc::SA_NODEFER;
    exchange(signal, &action(handler, flags))
}

/// What signal(2) is for programs that ask for System V.
///
/// # Safety
/// `handler` must be a handler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __sysv_signal(
    signal: c_int,
    handler: sighandler_t,
) -> sighandler_t {
    // SAFETY: passed on from the caller.
    unsafe { sysv_signal(signal, handler) }
}

/// siginterrupt(3).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn siginterrupt(signal: c_int, interrupt: c_int) -> c_int {
    let mut now = action(SIG_ERR, 0);
    // SAFETY: reads into a local.
    if unsafe { sigaction(signal, std::ptr::null(), &raw mut now) } != 0 {
        return -1;
    }
    if interrupt != 0 {
        INTERRUPTS.fetch_or(bit(signal), Ordering::Relaxed);
        now.sa_flags &= !libc::SA_RESTART;
    } else {
        INTERRUPTS.fetch_and(!bit(signal), Ordering::Relaxed);
        now.sa_flags |= libc::SA_RESTART;
    }
    // SAFETY: what is installed already, but for the flag.
    unsafe { sigaction(signal, &raw const now, std::ptr::null_mut()) }
}

/// `SIG_HOLD` of sigset(3).
const SIG_HOLD: sighandler_t = 2;

/// sigset(3).
///
/// # Safety
/// `handler` must be a handler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sigset(signal: c_int, handler: sighandler_t) -> sighandler_t {
    let (set, mut mask) = (only(signal), empty());
    let how = if handler == SIG_HOLD {
        SIG_BLOCK
    } else {
        SIG_UNBLOCK
    };
    let old = if handler == SIG_HOLD {
        let mut now = action(SIG_ERR, 0);
        // SAFETY: reads into a local.
        match unsafe { sigaction(signal, std::ptr::null(), &raw mut now) } {
            0 => now.sa_sigaction,
            _ => SIG_ERR,
        }
    } else {
        exchange(signal, &action(handler, 0))
    };
    // SAFETY: two sets of this function.
    if old == SIG_ERR || unsafe { sigprocmask(how, &raw const set, &raw mut mask) } != 0 {
        return SIG_ERR;
    }
    // SAFETY: a set of this function.
    match unsafe { libc::sigismember(&raw const mask, signal) } {
        1 => SIG_HOLD,
        _ => old,
    }
}

/// sigignore(3).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sigignore(signal: c_int) -> c_int {
    // SAFETY: an action of this function.
    unsafe { sigaction(signal, &action(SIG_IGN, 0), std::ptr::null_mut()) }
}

/// sighold(3).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sighold(signal: c_int) -> c_int {
    // SAFETY: a set of this function.
    unsafe { sigprocmask(SIG_BLOCK, &only(signal), std::ptr::null_mut()) }
}

/// The mask of a thread as BSD's functions have it: signals 1 to 32.
fn old_mask(how: c_int, mask: c_int) -> c_int {
    let member = |signal: &c_int| mask.cast_unsigned() >> (signal - 1) & 1 == 1;
    let (mut set, mut old) = (empty(), empty());
    // SAFETY: sets of this function.
    unsafe {
        for signal in (1..=32).filter(member) {
            libc::sigaddset(&raw mut set, signal);
        }
        if sigprocmask(how, &raw const set, &raw mut old) != 0 {
            return -1;
        }
        (1..=32)
            .filter(|&signal| libc::sigismember(&raw const old, signal) == 1)
            .fold(0, |mask, signal| mask | 1 << (signal - 1))
    }
}

/// sigblock(3).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sigblock(mask: c_int) -> c_int {
    old_mask(SIG_BLOCK, mask)
}

/// sigsetmask(3).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sigsetmask(mask: c_int) -> c_int {
    old_mask(SIG_SETMASK, mask)
}

/// sigprocmask(2).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sigprocmask(how: c_int, new: Set, old: *mut sigset_t) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { with_blockable(new, |new| libc_sigprocmask(how, new, old)) }
}

/// pthread_sigmask(3).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_sigmask(how: c_int, new: Set, old: *mut sigset_t) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { with_blockable(new, |new| libc_pthread_sigmask(how, new, old)) }
}

/// pthread_attr_setsigmask_np(3).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_attr_setsigmask_np(
    attributes: Attributes,
    mask: Set,
) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { with_blockable(mask, |mask| libc_attr_setsigmask(attributes, mask)) }
}

/// sigsuspend(2): a handler that ends it runs with this mask.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sigsuspend(mask: Set) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { with_blockable(mask, |mask| libc_sigsuspend(mask)) }
}

/// pselect(2).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pselect(
    n: c_int,
    read: Fds,
    write: Fds,
    except: Fds,
    timeout: Time,
    mask: Set,
) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe {
        with_blockable(mask, |mask| {
            libc_pselect(n, read, write, except, timeout, mask)
        })
    }
}

/// ppoll(2).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ppoll(
    fds: *mut libc::pollfd,
    n: libc::nfds_t,
    timeout: Time,
    mask: Set,
) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { with_blockable(mask, |mask| libc_ppoll(fds, n, timeout, mask)) }
}

/// ppoll(2) of programs that are compiled with _FORTIFY_SOURCE.
///
/// # Safety
/// As there; `size` is that of the object that `fds` points to.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __ppoll_chk(
    fds: *mut libc::pollfd,
    n: libc::nfds_t,
    timeout: Time,
    mask: Set,
    size: usize,
) -> c_int {
    let fits = usize::try_from(n).is_ok_and(|n| n <= size / size_of::<libc::pollfd>());
    if !fits {
        // As glibc's own check ends.
        std::process::abort();
    }
    // SAFETY: passed on from the caller.
    unsafe { ppoll(fds, n, timeout, mask) }
}

/// epoll_pwait(2).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_pwait(
    fd: c_int,
    events: Events,
    max: c_int,
    timeout: c_int,
    mask: Set,
) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe {
        with_blockable(mask, |mask| {
            libc_epoll_pwait(fd, events, max, timeout, mask)
        })
    }
}

/// epoll_pwait2(2).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_pwait2(
    fd: c_int,
    events: Events,
    max: c_int,
    timeout: Time,
    mask: Set,
) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe {
        with_blockable(mask, |mask| {
            libc_epoll_pwait2(fd, events, max, timeout, mask)
        })
    }
}
