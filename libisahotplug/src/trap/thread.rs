//! What is kept for each thread.
//!
//! Ordinary thread-local access from a shared object calls `__tls_get_addr`, which may allocate.
//! Here it is an offset from the thread pointer that the dynamic linker has filled in (the
//! initial-exec model), and the thread pointer is the first word that FS points to (System V ABI,
//! AMD64 supplement, 3.4.6). The C library zeroes the block for a new thread, and a fork copies it.
//!
//! Nobody promises a trap handler that FS is the C library's: a thread can have been made without
//! it, or have set another base. So the thread pointer is read as anything foreign is, and believed
//! if the kernel says the same; that it has said so is noted in the block.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{access, sys};

core::arch::global_asm!(
    ".pushsection .tbss.isahp_thread,\"awT\",@nobits",
    ".globl isahp_thread",
    ".hidden isahp_thread",
    ".type isahp_thread, @object",
    ".p2align 6",
    "isahp_thread:",
    "    .zero {size}",
    ".size isahp_thread, {size}",
    ".popsection",
    //
    ".pushsection .text.isahp_thread,\"ax\",@progbits",
    // int64_t isahp_thread_offset(void)
    ".globl isahp_thread_offset",
    ".hidden isahp_thread_offset",
    ".type isahp_thread_offset, @function",
    "isahp_thread_offset:",
    "    mov rax, qword ptr [rip + isahp_thread@GOTTPOFF]",
    "    ret",
    ".size isahp_thread_offset, . - isahp_thread_offset",
    ".popsection",
    size = const size_of::<Local>(),
);

// SAFETY: the signature of the assembler above.
unsafe extern "C" {
    safe fn isahp_thread_offset() -> i64;
}

/// The block. [`shadow`](super::shadow)'s assembler knows that it begins with the upper halves.
#[repr(C, align(64))]
pub(super) struct Local {
    /// The upper halves of YMM0–YMM15, where the CPU has none.
    pub(super) upper: UnsafeCell<[[u8; 16]; 16]>,
    /// The thread pointer, once the kernel has confirmed it.
    pointer: AtomicU64,
    /// Place of the cache of decoded instructions that this thread used last.
    cache: AtomicU64,
}

impl Local {
    /// The calling thread's, and the thread pointer. `None` if this is no thread of the C
    /// library's. `home` as in [`OwnMemory`](access::OwnMemory).
    pub(super) fn of_thread(home: u64) -> Option<(&'static Self, u64)> {
        let pointer = access::thread_pointer(home)?;
        let address = pointer.wrapping_add_signed(isahp_thread_offset());
        let noted = address.wrapping_add(core::mem::offset_of!(Self, pointer) as u64);
        let known = access::load(noted, home)? == pointer;
        if !known && sys::fs_base() != pointer {
            return None;
        }
        let address = usize::try_from(address).ok()?;
        // SAFETY: the C library has laid this block below the thread pointer. It lives as long as
        // the thread, and the reference is used only while its handler runs.
        let local = unsafe { &*core::ptr::with_exposed_provenance::<Self>(address) };
        local.pointer.store(pointer, Ordering::Relaxed);
        Some((local, pointer))
    }

    /// See the field.
    pub(super) fn cache(&self) -> usize {
        usize::try_from(self.cache.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// See the field.
    pub(super) fn set_cache(&self, place: usize) {
        self.cache.store(place as u64, Ordering::Relaxed);
    }
}
