//! The grace period between whoever takes something away from the trap handler and handlers that may
//! still be looking at it.
//!
//! What is taken away is first marked as dead. A handler counts itself before it looks at any mark, so
//! once every handler that was counted then is over, nobody has the thing in hand.

use core::sync::atomic::Ordering;

use crate::sync::{AtomicU32, AtomicUsize, constant, fence, yield_now};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Grace {
    /// Handlers running now, by the phase in which each began.
    running: [AtomicU32; 2],
    phase: AtomicUsize,
}

impl Grace {
    constant! {
        pub(crate) const fn new() -> Self {
            Self {
                running: [AtomicU32::new(0), AtomicU32::new(0)],
                phase: AtomicUsize::new(0),
            }
        }
    }

    /// A handler begins; what it returns is for [`leave`](Self::leave). Async-signal-safe.
    pub(crate) fn enter(&self) -> usize {
        let phase = self.phase.load(Ordering::Relaxed) & 1;
        self.running[phase].fetch_add(1, Ordering::Relaxed);
        // Either this handler is seen to be running, or it sees what is dead; pairs with `wait`.
        fence(Ordering::SeqCst);
        phase
    }

    /// It is over. Async-signal-safe.
    pub(crate) fn leave(&self, phase: usize) {
        self.running[phase & 1].fetch_sub(1, Ordering::Release);
    }

    /// Waits until no handler runs that may still look at something that was just marked as dead. Not
    /// from a handler.
    ///
    /// Handlers that begin meanwhile count in the other phase, so that threads that trap all the time
    /// cannot hold this up. They are waited for as well, in their turn: one may have begun in that
    /// phase before.
    pub(crate) fn wait(&self) {
        fence(Ordering::SeqCst);
        let first = self.phase.fetch_xor(1, Ordering::Relaxed) & 1;
        self.wait_for(first);
        self.phase.fetch_xor(1, Ordering::Relaxed);
        self.wait_for(first ^ 1);
    }

    fn wait_for(&self, phase: usize) {
        while self.running[phase].load(Ordering::Acquire) != 0 {
            yield_now();
        }
    }

    /// In the child of a fork no other thread is in a handler.
    pub(crate) fn forked(&self) {
        for running in &self.running {
            running.store(0, Ordering::SeqCst);
        }
    }
}
