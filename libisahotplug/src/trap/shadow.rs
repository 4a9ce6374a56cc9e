//! The upper halves of the YMM registers where the CPU has none.
//!
//! A frame without the YMM component has no place for them, so each thread has a shadow of them
//! ([`Local::upper`]): zero for a new thread, as the kernel has the registers. Legacy SSE
//! instructions leave upper halves alone by themselves, and between two emulated instructions
//! nothing else can see the shadow but a signal handler of the program: a CPU with the registers
//! gives it fresh ones and takes the old ones back from the frame when it returns. So where the
//! shadow is in use such handlers run through [`isahp_call_fresh`](call_fresh) (see
//! [`handlers`](super::handlers)).
//!
//! A child of `vfork` shares the storage of the thread that waits for it. No compiler keeps a
//! vector register alive over a call, as `vfork` is.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use super::thread::Local;

core::arch::global_asm!(
    ".pushsection .text.isahp_shadow,\"ax\",@progbits",
    // void isahp_call_fresh(int signal, siginfo_t *info, void *context, handler): calls the handler
    // with upper halves of zero and restores them afterwards. At isahp_call_fresh_rax the handler
    // is in RAX. A handler that leaves by longjmp leaves its own upper halves, as on a CPU.
    ".globl isahp_call_fresh",
    ".hidden isahp_call_fresh",
    ".type isahp_call_fresh, @function",
    "isahp_call_fresh:",
    "    mov rax, rcx",
    ".globl isahp_call_fresh_rax",
    ".hidden isahp_call_fresh_rax",
    "isahp_call_fresh_rax:",
    ".cfi_startproc",
    "    push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "    mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "    push rbx",
    ".cfi_offset rbx, -24",
    "    sub rsp, 264",
    "    mov rbx, qword ptr [rip + isahp_thread@GOTTPOFF]",
    "    add rbx, qword ptr fs:[0]",
    "    xorps xmm1, xmm1",
    ".set isahp_at, 0",
    ".rept 16",
    "    movaps xmm0, xmmword ptr [rbx + isahp_at]",
    "    movaps xmmword ptr [rsp + isahp_at], xmm0",
    "    movaps xmmword ptr [rbx + isahp_at], xmm1",
    ".set isahp_at, isahp_at + 16",
    ".endr",
    "    xorps xmm0, xmm0",
    "    call rax",
    ".set isahp_at, 0",
    ".rept 16",
    "    movaps xmm0, xmmword ptr [rsp + isahp_at]",
    "    movaps xmmword ptr [rbx + isahp_at], xmm0",
    ".set isahp_at, isahp_at + 16",
    ".endr",
    "    mov rbx, qword ptr [rbp - 8]",
    "    leave",
    ".cfi_def_cfa rsp, 8",
    "    ret",
    ".cfi_endproc",
    ".size isahp_call_fresh, . - isahp_call_fresh",
    ".popsection",
);

/// A signal handler as the kernel calls it, with `SA_SIGINFO` or without.
pub(super) type Handler = unsafe extern "C-unwind" fn(i32, *mut libc::siginfo_t, *mut c_void);

// SAFETY: the signature of the assembler above.
unsafe extern "C-unwind" {
    fn isahp_call_fresh(
        signal: i32,
        info: *mut libc::siginfo_t,
        context: *mut c_void,
        handler: Handler,
    );
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
            isahp_call_fresh(signal, info, context, handler);
        } else {
            handler(signal, info, context);
        }
    }
}
