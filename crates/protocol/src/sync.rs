//! The atomics of the shared page: core's, or, in a build with `--cfg loom`, those of loom, which tries
//! the orders in which threads can see them.
//!
//! Of a page's words loom follows those that a model needs: the generations, one word of each set and
//! the deadlines. All words of a slot go through the same loops, and each more would multiply the
//! orders.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, fence};

/// In a loop that waits for another process's store.
#[cfg(not(loom))]
pub(crate) fn again() {}

#[cfg(loom)]
pub(crate) use modelled::{AtomicU64, again, fence};

#[cfg(loom)]
mod modelled {
    use core::sync::atomic::Ordering;

    pub(crate) use loom::sync::atomic::fence;

    /// A word of the page.
    pub(crate) enum AtomicU64 {
        Followed(loom::sync::atomic::AtomicU64),
        /// Always in order.
        Plain(core::sync::atomic::AtomicU64),
    }

    impl AtomicU64 {
        pub(crate) fn new(is_followed: bool) -> Self {
            if is_followed {
                Self::Followed(loom::sync::atomic::AtomicU64::new(0))
            } else {
                Self::Plain(core::sync::atomic::AtomicU64::new(0))
            }
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            match self {
                Self::Followed(word) => word.load(order),
                Self::Plain(word) => word.load(order),
            }
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            match self {
                Self::Followed(word) => word.store(value, order),
                Self::Plain(word) => word.store(value, order),
            }
        }
    }

    pub(crate) fn again() {
        loom::thread::yield_now();
    }
}
