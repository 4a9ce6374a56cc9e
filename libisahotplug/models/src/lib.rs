//! Models of what threads and trap handlers do to each other in libisahotplug, tried in every order
//! that the memory model allows (with at most so many preemptions).
//!
//! The files under test are the library's own, taken in by their paths; `sync.rs` among them gives them
//! loom's atomics and locks. What they call besides is played here: what is available is one number,
//! and the trap handlers have nothing but their grace period. Without `--cfg loom` there is nothing:
//!
//!     RUSTFLAGS="--cfg loom" cargo test --release -p isahotplug-models
//!
//! `cargo xtask test library` does so.
//!
//! loom takes SeqCst loads and stores for AcqRel ones, so that the code says by fences what it needs.
#![cfg(all(loom, test))]
#![expect(dead_code, reason = "a model runs a part of each file")]

#[path = "../../src/ending.rs"]
mod ending;
#[path = "../../src/epoch.rs"]
mod epoch;
#[path = "../../src/grace.rs"]
mod grace;
#[path = "../../src/slots.rs"]
mod slots;
#[path = "../../src/sync.rs"]
mod sync;

mod endings;
mod handlers;
mod sections;
mod switching;

/// What `slots.rs` asks the page.
mod page {
    use core::sync::atomic::Ordering;

    use isa::{FeatureSet, WORDS};
    use loom::sync::atomic::AtomicU64;

    loom::lazy_static! {
        /// The first word of what may be used.
        pub(crate) static ref AVAILABLE: AtomicU64 = AtomicU64::new(0);
    }

    pub(crate) fn set(word: u64) -> FeatureSet {
        let mut words = [0; WORDS];
        words[0] = word;
        FeatureSet::from_words(words)
    }

    pub(crate) fn available() -> FeatureSet {
        set(AVAILABLE.load(Ordering::Acquire))
    }
}

/// What `slots.rs` asks the trap handlers.
mod trap {
    use crate::grace::Grace;

    pub(crate) struct Traps {
        pub(crate) grace: Grace,
    }

    loom::lazy_static! {
        pub(crate) static ref TRAPS: Traps = Traps { grace: Grace::new() };
    }
}

/// What `slots.rs` answers.
mod runtime {
    #[derive(Debug)]
    pub(crate) enum Error {
        NoVariant,
        NotFound(&'static str),
    }
}

/// Tries every order with at most so many preemptions.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
