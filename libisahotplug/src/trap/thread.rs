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
use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use super::{access, segments};

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

/// The block.
#[repr(C, align(64))]
pub(super) struct Local {
    /// The upper halves of YMM0–YMM15, where the CPU has none.
    pub(super) upper: UnsafeCell<[[u8; 16]; 16]>,
    /// The thread pointer, once the kernel has confirmed it.
    pointer: AtomicU64,
    /// Place of the cache of decoded instructions that this thread used last.
    cache: AtomicU64,
    /// Signals that somebody sent while the handler worked, as bits, and what was said with them:
    /// SIGSEGV and SIGBUS.
    deferred: AtomicU64,
    /// The handler has given back what was kept, and returns: what comes now it cannot give back any
    /// more. From one trap to the beginning of the next one's work.
    settled: AtomicU64,
    /// A signal was blocked in the meantime; where, is not known.
    held: AtomicU64,
    said: UnsafeCell<[Said; 2]>,
}

/// Whether FS points to `pointer`, by the word of the kernel. Where a sandbox refuses to ask it, by
/// what is there: the word that FS points to is this address, and so is the word at this address, as
/// in the block that the C library makes for a thread and hardly anywhere else.
fn is_confirmed(pointer: u64) -> bool {
    segments::fs_base().map_or_else(
        || access::load(pointer) == Some(pointer),
        |base| base == pointer,
    )
}

/// A `siginfo_t`.
type Said = [u64; size_of::<libc::siginfo_t>() / 8];

impl Local {
    /// The calling thread's, and the thread pointer. `None` if this is no thread of the C
    /// library's.
    pub(super) fn of_thread() -> Option<(&'static Self, u64)> {
        let (address, pointer, known) = Self::find()?;
        if !known && !is_confirmed(pointer) {
            return None;
        }
        // SAFETY: the C library has laid this block below the thread pointer.
        let local = unsafe { Self::at(address)? };
        local.pointer.store(pointer, Ordering::Relaxed);
        Some((local, pointer))
    }

    /// The calling thread's, if the kernel has confirmed its thread pointer before.
    pub(super) fn known() -> Option<&'static Self> {
        let (address, _, known) = Self::find()?;
        // SAFETY: the C library has laid this block below the thread pointer.
        known.then(|| unsafe { Self::at(address) })?
    }

    /// Where the block would be, the thread pointer, and whether the block says that the kernel has
    /// confirmed it.
    fn find() -> Option<(u64, u64, bool)> {
        let pointer = access::thread_pointer()?;
        let address = pointer.wrapping_add_signed(isahp_thread_offset());
        let noted = address.wrapping_add(core::mem::offset_of!(Self, pointer) as u64);
        Some((address, pointer, access::load(noted)? == pointer))
    }

    /// # Safety
    /// A block must be there. It lives as long as the thread; the reference must only be used while
    /// a handler of that thread runs.
    unsafe fn at(address: u64) -> Option<&'static Self> {
        let address = usize::try_from(address).ok()?;
        // SAFETY: said by the caller.
        Some(unsafe { &*core::ptr::with_exposed_provenance::<Self>(address) })
    }

    /// See the field.
    pub(super) fn cache(&self) -> usize {
        usize::try_from(self.cache.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// See the field.
    pub(super) fn set_cache(&self, place: usize) {
        self.cache.store(place as u64, Ordering::Relaxed);
    }

    /// Keeps a signal, `index` 0 or 1, for later; one that is kept already absorbs it, as it would
    /// in the kernel.
    pub(super) fn defer(&self, index: usize, info: &libc::siginfo_t) {
        let signal = 1 << index;
        if self.deferred.load(Ordering::Relaxed) & signal == 0 {
            // SAFETY: a siginfo_t is plain data of this size, and nobody else writes here: the
            // signal that does is blocked until its handler returns.
            unsafe {
                let said = self.said.get().cast::<Said>().add(index & 1);
                *said = core::ptr::from_ref(info).cast::<Said>().read_unaligned();
            }
            self.deferred.fetch_or(signal, Ordering::Relaxed);
        }
    }

    /// The handler begins its work: signals can be kept. `true` if one was blocked where that may have
    /// been in this very handler, before its work, and not in the one before, after it: then the faults
    /// of the work may be blocked.
    pub(super) fn begin(&self) -> bool {
        self.settled.store(0, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.held.swap(0, Ordering::Relaxed) != 0
    }

    /// Whether signals cannot be kept, and that one is blocked instead if so.
    pub(super) fn hold_if_settled(&self) -> bool {
        let settled = self.settled.load(Ordering::Relaxed) != 0;
        if settled {
            self.held.store(1, Ordering::Relaxed);
        }
        settled
    }

    /// Gives back the signals that are kept, each to `deliver` with what was said. From now on none
    /// can be kept.
    pub(super) fn release(&self, mut deliver: impl FnMut(usize, &libc::siginfo_t)) {
        self.settled.store(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let signals = self.deferred.swap(0, Ordering::Relaxed);
        for index in 0..2 {
            // SAFETY: written by `defer`; see there.
            let said = unsafe { *self.said.get().cast::<Said>().add(index) };
            // SAFETY: plain data, from a siginfo_t.
            let info = unsafe { core::mem::transmute::<Said, libc::siginfo_t>(said) };
            if signals >> index & 1 == 1 {
                deliver(index, &info);
            }
        }
    }
}
