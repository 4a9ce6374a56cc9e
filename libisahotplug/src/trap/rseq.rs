//! Restartable sequences (rseq(2)).
//!
//! A thread begins one by storing the address of its description into an area that it shares with
//! the kernel; the kernel aborts it when it takes the CPU away. The instructions of a sequence must
//! be executed by the CPU, one after the other, so a burst ends before such a store. An instruction
//! in the middle of a sequence never comes here: the signal has aborted it.

use core::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::access;

core::arch::global_asm!(
    ".pushsection .text.isahp_rseq,\"ax\",@progbits",
    // const ptrdiff_t *isahp_rseq_offset(void), const unsigned *isahp_rseq_size(void): of glibc,
    // since 2.35; null elsewhere.
    ".weak __rseq_offset",
    ".weak __rseq_size",
    ".globl isahp_rseq_offset",
    ".hidden isahp_rseq_offset",
    ".type isahp_rseq_offset, @function",
    "isahp_rseq_offset:",
    "    mov rax, qword ptr [rip + __rseq_offset@GOTPCREL]",
    "    ret",
    ".size isahp_rseq_offset, . - isahp_rseq_offset",
    ".globl isahp_rseq_size",
    ".hidden isahp_rseq_size",
    ".type isahp_rseq_size, @function",
    "isahp_rseq_size:",
    "    mov rax, qword ptr [rip + __rseq_size@GOTPCREL]",
    "    ret",
    ".size isahp_rseq_size, . - isahp_rseq_size",
    ".popsection",
);

// SAFETY: the signatures of the assembler above.
unsafe extern "C" {
    safe fn isahp_rseq_offset() -> *const isize;
    safe fn isahp_rseq_size() -> *const u32;
}

/// `struct rseq` of the first version (include/uapi/linux/rseq.h).
pub(super) const SIZE: u64 = 32;
/// Where in it the address of the description is.
const RSEQ_CS: u64 = 8;

/// Whether threads have such an area.
static REGISTERED: AtomicBool = AtomicBool::new(false);
/// Where it is, from the thread pointer.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// Finds the area, registered by glibc or by tcmalloc. Not async-signal-safe.
pub(super) fn init() {
    let offset = of_glibc().or_else(of_tcmalloc);
    if let Some(offset) = offset {
        OFFSET.store(offset, Ordering::Relaxed);
        REGISTERED.store(true, Ordering::Release);
    }
}

fn of_glibc() -> Option<i64> {
    // SAFETY: null, or glibc's variables, which do not change after the start.
    let (offset, size) = unsafe { (isahp_rseq_offset().as_ref()?, isahp_rseq_size().as_ref()?) };
    (*size > 0).then_some(*offset as i64)
}

/// tcmalloc's thread-local variable, in the program or an object that it starts with.
fn of_tcmalloc() -> Option<i64> {
    // SAFETY: the name is a C string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_abi".as_ptr()) };
    let pointer = access::thread_pointer()?;
    let address = address.expose_provenance() as u64;
    (address != 0).then(|| address.wrapping_sub(pointer).cast_signed())
}

/// The area of the thread with this thread pointer.
pub(super) fn area(thread_pointer: u64) -> Option<u64> {
    let registered = REGISTERED.load(Ordering::Acquire);
    registered.then(|| thread_pointer.wrapping_add_signed(OFFSET.load(Ordering::Relaxed)))
}

/// Whether a sequence has been begun.
pub(super) fn is_begun(area: u64) -> bool {
    access::load(area.wrapping_add(RSEQ_CS)) != Some(0)
}
