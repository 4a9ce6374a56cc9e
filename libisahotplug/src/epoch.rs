//! How a thread in a section and whoever waits for it agree; see [`section`](crate::section).

use core::sync::atomic::Ordering;

use crate::sync::{AtomicBool, AtomicU32, AtomicU64, compiler_fence, constant, fence};

/// One thread's. Its first words are part of the ABI: the header's code does what
/// [`enter`](Clock::enter) and [`exit`](Word::exit) do.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Word {
    /// The epoch in which its outermost section began in the upper half, and how deep sections are
    /// nested in the lower; 0 outside. Only the thread itself writes it, in one store each time, so
    /// that its signal handlers may have sections too.
    word: AtomicU64,
    /// What the word is in an outermost section that begins now.
    outermost: AtomicU64,
    /// The header's code must call: a fence is needed, or this copy of the library serves nobody.
    slow: AtomicU32,
}

const DEPTH: u64 = 0xffff_ffff;

const fn outermost(epoch: u64) -> u64 {
    epoch << 32 | 1
}

/// Counts epochs.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: AtomicU64,
    /// The fast side needs a fence of its own.
    fenced: AtomicBool,
}

/// Sections that began before this moment; see [`Clock::begin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl Clock {
    constant! {
        pub(crate) const fn new() -> Self {
            Self {
                epoch: AtomicU64::new(1),
                fenced: AtomicBool::new(true),
            }
        }
    }

    /// The slow side has a barrier that reaches every thread. Sections that began before had a fence.
    #[cfg(not(loom))]
    pub(crate) fn rely_on_barrier<'a>(&self, words: impl Iterator<Item = &'a Word>) {
        self.fenced.store(false, Ordering::SeqCst);
        for word in words {
            word.slow.store(0, Ordering::SeqCst);
        }
    }

    /// The fast side has a fence of its own from now on.
    pub(crate) fn rely_on_fences<'a>(&self, words: impl Iterator<Item = &'a Word>) -> bool {
        let before = self.fenced.swap(true, Ordering::SeqCst);
        for word in words {
            word.slow.store(1, Ordering::SeqCst);
        }
        !before
    }

    /// Makes the word that of a thread that has none yet.
    pub(crate) fn start(&self, word: &Word) {
        let epoch = self.epoch.load(Ordering::Acquire);
        word.outermost.store(outermost(epoch), Ordering::Release);
        let slow = self.fenced.load(Ordering::SeqCst);
        word.slow.store(slow.into(), Ordering::SeqCst);
    }

    pub(crate) fn relies_on_barrier(&self) -> bool {
        !self.fenced.load(Ordering::Relaxed)
    }

    /// Begins a section of the thread that `word` is of. Async-signal-safe.
    #[inline]
    pub(crate) fn enter(&self, word: &Word) {
        let before = word.word.load(Ordering::Relaxed);
        let inside = if before == 0 {
            // Acquire: who sees the new epoch sees what it is about.
            word.outermost.load(Ordering::Acquire)
        } else {
            before + 1
        };
        // Release: who sees a section of the new epoch sees the end of all that came before.
        word.word.store(inside, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        if self.fenced.load(Ordering::Relaxed) {
            full_fence();
        }
    }

    /// Whoever enters a section from now on sees what the caller has stored before. `words` are all
    /// there are. `barrier` makes every thread execute one, or returns `false`; `settle` gives the
    /// stores of those that rely on it the time to be seen.
    pub(crate) fn begin<'a>(
        &self,
        words: impl Iterator<Item = &'a Word> + Clone,
        barrier: impl FnOnce() -> bool,
        settle: impl FnOnce(),
    ) -> Epoch {
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        for word in words.clone() {
            word.hear(Epoch(epoch));
        }
        if self.fenced.load(Ordering::Relaxed) || !barrier() {
            // Refused from now on: who enters later has a fence.
            if self.rely_on_fences(words) {
                settle();
            }
            fence(Ordering::SeqCst);
        }
        Epoch(epoch)
    }
}

/// Out of the way of those who need none; `extern "C"` because that cannot unwind, so that the
/// caller need not prepare for it.
#[cold]
#[inline(never)]
extern "C" fn full_fence() {
    fence(Ordering::SeqCst);
}

impl Word {
    /// Ends the innermost section; outside it does nothing.
    #[inline]
    pub(crate) fn exit(&self) {
        let before = self.word.load(Ordering::Relaxed);
        let left = match before & DEPTH {
            0 | 1 => 0,
            _ => before - 1,
        };
        self.word.store(left, Ordering::Release);
    }

    /// Its thread's next outermost section is of this epoch, if it is not of a later one.
    fn hear(&self, epoch: Epoch) {
        self.outermost
            .fetch_max(outermost(epoch.0), Ordering::AcqRel);
    }

    /// Whether its thread is in a section that began before.
    pub(crate) fn is_inside_since_before(&self, epoch: Epoch) -> bool {
        // Once more: the word may have been given to its thread while the epoch began.
        self.hear(epoch);
        let word = self.word.load(Ordering::Acquire);
        word & DEPTH != 0 && word >> 32 < epoch.0
    }

    /// There is no such thread any more.
    pub(crate) fn clear(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            outermost: AtomicU64::new(outermost(1)),
            slow: AtomicU32::new(0),
        }
    }
}
