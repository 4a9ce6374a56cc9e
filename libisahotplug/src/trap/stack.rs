//! Stacks for the handler where the thread's alternate one is too small.
//!
//! The handler runs on the alternate signal stack if the thread has one (Go
//! demands it). Many are small: Rust's standard library gives each thread 8 KiB,
//! of which the signal frame takes half, and the emulator needs 5.3 KiB. So where
//! little is left the work is done on a stack of this pool. Meanwhile the thread
//! has no alternate stack at all: the kernel would take it for free, as the stack
//! pointer is elsewhere, and lay the next signal's frame over ours.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::sandbox::{self, Loss};
use super::sys;

/// What the emulator and all below it need (5.3 KiB, measured), with room to spare.
pub(super) const OWN: usize = 8 * 1024;
/// What a signal frame takes where the kernel does not say: 3.7 KiB with AVX-512.
const FRAME: usize = 4 * 1024;
/// Room for the handler, and for the frame of an access that faults.
static ENOUGH: AtomicUsize = AtomicUsize::new(OWN + FRAME);

/// Asks the kernel how large a signal frame can be (11 KiB with AMX). Not async-signal-safe.
pub(super) fn init() {
    // SAFETY: getauxval(3) only reads the process's auxiliary vector.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) };
    let frame = usize::try_from(frame).unwrap_or(0).max(FRAME);
    ENOUGH.store(OWN + frame, Ordering::Relaxed);
}

/// What the handler needs with a fault in the midst of its work, and the frames of both.
pub(super) fn size() -> usize {
    2 * ENOUGH.load(Ordering::Relaxed)
}

const SIZE: usize = 32 * 1024;
/// Handlers that can work on small signal stacks at the same time; a further
/// one waits.
const COUNT: u32 = 32;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u8; SIZE]; COUNT as usize]>);

// SAFETY: a stack is touched only by the handler that has claimed its bit in
// TAKEN.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([[0; SIZE]; COUNT as usize]));
/// Bit n: stack n is in use.
static TAKEN: AtomicU64 = AtomicU64::new(!0 << COUNT);

core::arch::global_asm!(
    ".pushsection .text.isahp_stack,\"ax\",@progbits",
    // void isahp_call_on(void *top, void (*work)(void *argument), void *argument)
    ".globl isahp_call_on",
    ".hidden isahp_call_on",
    ".type isahp_call_on, @function",
    "isahp_call_on:",
    ".cfi_startproc",
    "    push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "    mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "    mov rax, rsi",
    "    mov rsp, rdi",
    "    mov rdi, rdx",
    "    call rax",
    "    mov rsp, rbp",
    "    pop rbp",
    ".cfi_def_cfa rsp, 8",
    "    ret",
    ".cfi_endproc",
    ".size isahp_call_on, . - isahp_call_on",
    ".popsection",
);

type Work = extern "C-unwind" fn(argument: *mut c_void);

// SAFETY: the signature of the assembler above.
unsafe extern "C-unwind" {
    fn isahp_call_on(top: *mut u8, work: Work, argument: *mut c_void);
}

/// Whether the handler of `context`, whose stack pointer is about `here`, has
/// too little room where it is.
pub(super) fn is_scarce(context: &libc::ucontext_t, here: u64) -> bool {
    let bottom = context.uc_stack.ss_sp.expose_provenance() as u64;
    let inside = here.wrapping_sub(bottom);
    inside < context.uc_stack.ss_size as u64 && inside < ENOUGH.load(Ordering::Relaxed) as u64
}

/// Runs `work` on a stack of the pool.
pub(super) fn call(work: Work, argument: *mut c_void) {
    let index = claim();
    let mut task = Task { work, argument };
    // While the stack pointer is in the pool and the alternate stack still there, no signal may
    // come: its frame would lie over ours.
    sys::block_all_of(super::FAULTS);
    // SAFETY: the index is below COUNT and its bit is ours; the top of an array
    // with a size of a multiple of 16 is aligned as a stack must be.
    unsafe {
        let top = POOL.0.get().cast::<u8>().add((index as usize + 1) * SIZE);
        isahp_call_on(top, on_pool, (&raw mut task).cast());
    }
    sys::unblock(super::FAULTS);
    TAKEN.fetch_and(!(1 << index), Ordering::Release);
}

/// What is to be done on a stack of the pool.
struct Task {
    work: Work,
    argument: *mut c_void,
}

extern "C-unwind" fn on_pool(task: *mut c_void) {
    // SAFETY: `call` passes a Task, which is alive until this returns.
    let task = unsafe { &*task.cast::<Task>() };
    let Some(old) = sys::disable_alternate_stack() else {
        // With the signals blocked a fault kills. That is better than a frame over ours.
        sandbox::say(Loss::Stack);
        return (task.work)(task.argument);
    };
    sys::unblock(super::FAULTS);
    (task.work)(task.argument);
    sys::block_all_of(super::FAULTS);
    sys::restore_alternate_stack(&old);
}

/// In the child of a fork no other thread has one.
pub(super) fn forked() {
    TAKEN.store(!0 << COUNT, Ordering::SeqCst);
}

fn claim() -> u32 {
    loop {
        let taken = TAKEN.load(Ordering::Relaxed);
        let free = (!taken).trailing_zeros();
        if free < COUNT {
            let claimed = TAKEN.fetch_or(1 << free, Ordering::Acquire);
            if claimed & 1 << free == 0 {
                return free;
            }
        } else {
            // Whoever has one gives it back after a burst.
            sys::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_scarce_by_the_size_of_the_kernels_frames() {
        init();
        // SAFETY: getauxval(3) only reads the process's auxiliary vector.
        let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) };
        let enough = OWN as u64 + frame.max(FRAME as u64);
        assert_eq!(ENOUGH.load(Ordering::Relaxed) as u64, enough);
        // SAFETY: plain data; all zero is one.
        let mut context = unsafe { core::mem::zeroed::<libc::ucontext_t>() };
        context.uc_stack.ss_sp = core::ptr::without_provenance_mut(0x10000);
        context.uc_stack.ss_size = 0x20000;
        assert!(is_scarce(&context, 0x10000 + enough - 1));
        assert!(!is_scarce(&context, 0x10000 + enough));
        assert!(!is_scarce(&context, 0xffff), "it is not on that stack");
        assert!(!is_scarce(&context, 0x30000), "nor here");
    }
}
