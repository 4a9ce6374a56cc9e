//! The upper halves of the YMM registers where the CPU has none.
//!
//! A frame without the YMM component has no place for them, so each thread has a shadow of them
//! ([`Local::upper`]): zero for a new thread, as the kernel has the registers. Legacy SSE
//! instructions leave upper halves alone by themselves, and between two emulated instructions
//! nothing else can see the shadow but a signal handler of the program: a CPU with the registers
//! gives it fresh ones and takes the old ones back from the frame when it returns. So where the
//! shadow is in use such handlers run through [`call_fresh`] (see
//! [`handlers`](super::handlers)).
//!
//! A child of `vfork` shares the storage of the thread that waits for it. No compiler keeps a
//! vector register alive over a call, as `vfork` is.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use super::thread::Local;

core::arch::global_asm!(
    ".pushsection .text.isahp_shadow,\"ax\",@progbits",
    // As call_fresh_here, with the handler in RAX: where the thunks go.
    ".globl isahp_call_fresh_rax",
    ".hidden isahp_call_fresh_rax",
    ".type isahp_call_fresh_rax, @function",
    "isahp_call_fresh_rax:",
    "    mov rcx, rax",
    "    jmp {call_fresh}",
    ".size isahp_call_fresh_rax, . - isahp_call_fresh_rax",
    ".popsection",
    call_fresh = sym call_fresh_here,
);

/// A signal handler as the kernel calls it, with `SA_SIGINFO` or without.
pub(super) type Handler = unsafe extern "C-unwind" fn(i32, *mut libc::siginfo_t, *mut c_void);

/// Calls a signal handler of the program with upper halves of zero, and puts the old ones back
/// afterwards. A handler that leaves by longjmp leaves its own, as on a CPU.
///
/// # Safety
/// As to call `handler` with these.
unsafe extern "C-unwind" fn call_fresh_here(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    handler: Handler,
) {
    // A thread that is not known yet has not come to have anything but zeros there.
    let old = Local::known().map(|thread| {
        // SAFETY: of this thread; whoever interrupts leaves it as it was.
        unsafe { thread.upper.get().replace([[0; 16]; 16]) }
    });
    // SAFETY: passed on from the caller.
    unsafe { handler(signal, info, context) };
    if let Some(thread) = Local::known() {
        thread.set_upper_halves(old.unwrap_or([[0; 16]; 16]).into_iter());
    }
}

/// Whether the shadow is in use.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Takes the shadow into use. The program's signal handlers must be wrapped from now on.
pub(super) fn take_into_use() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// Whether the upper halves of YMM registers are here.
pub(super) fn is_in_use() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

impl Local {
    /// The upper halves of YMM0–YMM15, if they are here.
    pub(super) fn upper_halves(&self) -> Option<&[[u8; 16]; 16]> {
        // SAFETY: of this thread; whoever interrupts leaves it as it was.
        is_in_use().then(|| unsafe { &*self.upper.get() })
    }

    /// Sets the upper halves of YMM0–YMM15.
    pub(super) fn set_upper_halves(&self, halves: impl Iterator<Item = [u8; 16]>) {
        // SAFETY: of this thread, and no reference to it is alive.
        let upper = unsafe { &mut *self.upper.get() };
        upper
            .iter_mut()
            .zip(halves)
            .for_each(|(to, from)| *to = from);
    }
}

/// Calls a signal handler of the program, with upper halves of its own if they are here.
///
/// # Safety
/// As to call `handler` with these.
pub(super) unsafe fn call_fresh(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    handler: Handler,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        if is_in_use() {
            call_fresh_here(signal, info, context, handler);
        } else {
            handler(signal, info, context);
        }
    }
}
