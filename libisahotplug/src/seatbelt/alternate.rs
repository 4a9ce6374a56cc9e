//! An alternate signal stack for each thread that has none.
//!
//! The handler and the signal frame need some 12 KiB. Without an alternate stack they lie below what
//! the thread has in use of its own, and a thread or a coroutine with a small one is overrun. So each
//! thread gets one. A program that sets one itself (sigaltstack(2)) keeps its own.
//!
//! What is not touched costs address space alone: a thread that never traps has a mapping and no page
//! of it. Below it lies a page that cannot be touched, so that a handler that needs more dies and
//! overwrites nothing.

use core::ffi::c_void;
use std::sync::OnceLock;

use crate::trap;

/// A program's handlers with `SA_ONSTACK` run here as well, and so do all of SIGSEGV and SIGBUS; Go
/// reckons with 32 KiB.
const FOR_PROGRAM: usize = 40 * 1024;

const PAGE: usize = 4096;

/// Size of a stack in bytes, without the page below it.
fn size() -> usize {
    // The handler, a fault in it, and the program's handler of that.
    (FOR_PROGRAM + trap::stack_size()).next_multiple_of(PAGE)
}

/// The key of the thread's stack, whose destructor gives it back.
static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();

/// Makes the key, before any thread ends.
pub(super) fn init() {
    KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: writes a key to a local; the destructor lives as long as this object.
        let status = unsafe { libc::pthread_key_create(&raw mut key, Some(end)) };
        (status == 0).then_some(key)
    });
}

/// Gives the calling thread an alternate stack until it ends, if it has none. Where that cannot be the
/// handler does without.
pub(super) fn provide() {
    let Some(&Some(key)) = KEY.get() else { return };
    if current().is_none_or(|stack| stack.ss_flags & libc::SS_DISABLE == 0) {
        return;
    }
    let (size, length) = (size(), PAGE + size());
    // SAFETY: a fresh mapping at an address of the kernel's choice, whose parts are within it.
    unsafe {
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let start = libc::mmap(core::ptr::null_mut(), length, access, kind, -1, 0);
        if start == libc::MAP_FAILED {
            return;
        }
        let stack = libc::stack_t {
            ss_sp: start.byte_add(PAGE),
            ss_flags: 0,
            ss_size: size,
        };
        let ready = libc::mprotect(start, PAGE, libc::PROT_NONE) == 0
            && libc::pthread_setspecific(key, start) == 0;
        if !ready || libc::sigaltstack(&raw const stack, core::ptr::null_mut()) != 0 {
            libc::pthread_setspecific(key, core::ptr::null());
            libc::munmap(start, length);
        }
    }
}

/// The calling thread's alternate stack.
fn current() -> Option<libc::stack_t> {
    // SAFETY: plain data; all zero is one.
    let mut stack = unsafe { core::mem::zeroed::<libc::stack_t>() };
    // SAFETY: writes to a local.
    let status = unsafe { libc::sigaltstack(core::ptr::null(), &raw mut stack) };
    (status == 0).then_some(stack)
}

/// The destructor of the key. Other destructors may trap, so the stack goes when they have all had
/// their turns: glibc comes by four times as long as there is a value (pthread_key_create(3)). How
/// often it has is kept in the value's lowest bits, where the address of a page has none: in the
/// mapping it would cost memory.
extern "C" fn end(value: *mut c_void) {
    /// `PTHREAD_DESTRUCTOR_ITERATIONS`
    const ROUNDS: usize = 4;
    let Some(&Some(key)) = KEY.get() else { return };
    let rounds = value.addr() % PAGE + 1;
    // SAFETY: a key of this file.
    if rounds < ROUNDS && unsafe { libc::pthread_setspecific(key, value.wrapping_byte_add(1)) } == 0
    {
        return;
    }
    let start = value.map_addr(|address| address & !(PAGE - 1));
    let stack = start.wrapping_byte_add(PAGE);
    if current().is_none_or(|current| current.ss_sp == stack) && !disable() {
        return;
    }
    // SAFETY: the mapping of `provide`, on which nothing runs and no signal comes any more.
    unsafe { libc::munmap(start, PAGE + size()) };
}

/// Takes the calling thread's alternate stack away. `false` if the kernel refuses.
fn disable() -> bool {
    let none = libc::stack_t {
        ss_sp: core::ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    // SAFETY: reads a local; nothing runs on the stack.
    unsafe { libc::sigaltstack(&raw const none, core::ptr::null_mut()) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(f).join().unwrap())
    }

    #[test]
    fn a_thread_without_a_stack_gets_one_that_goes_with_it() {
        init();
        let address = in_a_thread(|| {
            assert!(disable());
            provide();
            let stack = current().unwrap();
            assert_eq!(stack.ss_flags & libc::SS_DISABLE, 0);
            assert_eq!(stack.ss_size, size());
            stack.ss_sp.expose_provenance()
        });
        let mut resident = 0u8;
        let page = core::ptr::without_provenance_mut(address & !(PAGE - 1));
        // SAFETY: mincore(2) writes one byte for one page, or says that there is none.
        let there = unsafe { libc::mincore(page, PAGE, &raw mut resident) } == 0;
        assert!(!there, "the mapping is gone");
    }

    #[test]
    fn a_stack_of_the_programs_own_stays() {
        init();
        in_a_thread(|| {
            let before = current().unwrap();
            assert_eq!(before.ss_flags & libc::SS_DISABLE, 0, "Rust gives one");
            provide();
            assert_eq!(current().unwrap().ss_sp, before.ss_sp);
        });
    }
}
