//! What this library keeps for each thread, besides what the trap handler keeps.
//!
//! It must be there in a signal handler, so it is neither allocated nor found by
//! `__tls_get_addr`: a block at a fixed distance from the thread pointer (the initial-exec model),
//! which the C library zeroes for each thread.

use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, Ordering, compiler_fence};

use crate::section::Record;

core::arch::global_asm!(
    ".pushsection .tbss.isahp_local,\"awT\",@nobits",
    ".globl isahp_local",
    ".hidden isahp_local",
    ".type isahp_local, @object",
    ".p2align 4",
    "isahp_local:",
    "    .zero {size}",
    ".size isahp_local, {size}",
    ".popsection",
    size = const size_of::<Local>(),
);

/// The block.
#[repr(C)]
pub(crate) struct Local {
    /// This thread's record of read-side sections; null before its first one.
    pub(crate) record: AtomicPtr<Record>,
    /// The thread is inside this library, or in a callback in the trap handler: a signal handler
    /// that calls a function that is not async-signal-safe would find things half done.
    inside: Cell<bool>,
    /// The thread changes which copy of the library serves it.
    joining: Cell<bool>,
    /// Forks under way of which [`fork`](crate::fork) has not taken the locks.
    pub(crate) unguarded_forks: Cell<u32>,
}

/// The calling thread's. Only for threads of the C library, which all are that call this library.
#[inline]
pub(crate) fn local() -> &'static Local {
    let address: *const Local;
    // SAFETY: FS points to the thread pointer (System V ABI, AMD64 supplement, 3.4.6), and the
    // block lies at the distance that the dynamic linker has filled in. It lives as long as the
    // thread, and `'static` is not handed to others: the type is not Sync.
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr fs:[0]",
            "add {0}, qword ptr [rip + isahp_local@GOTTPOFF]",
            out(reg) address,
            options(nostack, readonly),
        );
        &*address
    }
}

/// The thread changes which copy of the library serves it, as long as this lives.
#[must_use]
pub(crate) struct Joining(());

impl Joining {
    /// `None` if it does already: it was interrupted by the signal handler that calls; or if the
    /// call comes from the trap handler, which must wait for nobody.
    pub(crate) fn enter() -> Option<Self> {
        let local = local();
        (!local.inside.get() && !local.joining.replace(true)).then(|| {
            compiler_fence(Ordering::SeqCst);
            Self(())
        })
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        local().joining.set(false);
    }
}

/// The thread is inside this library as long as this lives.
#[must_use]
pub(crate) struct Inside {
    before: bool,
}

impl Inside {
    /// `None` if the thread is inside already: it was interrupted by the signal handler that calls.
    pub(crate) fn enter() -> Option<Self> {
        let inside = &local().inside;
        // Not `then_some`: one that is made in vain would leave when it is dropped.
        (!inside.replace(true)).then(|| {
            // A signal handler must find it set before anything is half done.
            compiler_fence(Ordering::SeqCst);
            Self { before: false }
        })
    }

    /// The thread leaves this library as long as this lives: for a callback.
    pub(crate) fn leave() -> Self {
        compiler_fence(Ordering::SeqCst);
        Self {
            before: local().inside.replace(false),
        }
    }

    /// As if inside, for a callback in the trap handler. Async-signal-safe.
    pub(crate) fn forbid() -> Self {
        Self {
            before: local().inside.replace(true),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        local().inside.set(self.before);
        compiler_fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_means_once_until_it_leaves() {
        let inside = Inside::enter().unwrap();
        assert!(Inside::enter().is_none());
        let out = Inside::leave();
        let nested = Inside::enter().unwrap();
        drop((nested, out));
        assert!(Inside::enter().is_none());
        // Each thread for itself.
        std::thread::spawn(|| assert!(Inside::enter().is_some()))
            .join()
            .unwrap();
        drop(inside);
        assert!(Inside::enter().is_some());
    }
}
