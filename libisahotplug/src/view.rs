//! What the header's inline functions look at: the available features as they were at a generation,
//! and where to see whether that is still the present one.
//!
//! The words are a copy, which is right as long as `seen` is what the page says; whoever finds that
//! it is not asks the page, and leaves a new copy behind. Whatever takes something away without a
//! new generation (a trap) voids the copy.
//!
//! A copy of the library that serves no process has a void view, for ever or until it serves: who
//! has kept its address finds out by calling.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use isa::WORDS;

use crate::page;
use crate::trap::TRAPS;

/// `isahp_view` of the header.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct View {
    /// The page's generation.
    generation: AtomicPtr<AtomicU64>,
    /// The generation of `words`; 0 if they are void.
    seen: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// Never a generation.
static NOTHING: AtomicU64 = AtomicU64::new(0);

pub(crate) static VIEW: View = View {
    generation: AtomicPtr::new((&raw const NOTHING).cast_mut()),
    seen: AtomicU64::new(0),
    words: [const { AtomicU64::new(0) }; WORDS],
};

/// Serialises those who write; nobody waits for it.
static WRITING: AtomicBool = AtomicBool::new(false);

/// Voids the copy. Async-signal-safe.
pub(crate) fn void() {
    VIEW.seen.store(0, Ordering::SeqCst);
}

/// Another page is in force. Async-signal-safe.
pub(crate) fn turn() {
    void();
    VIEW.generation.store(present(), Ordering::SeqCst);
}

fn present() -> *mut AtomicU64 {
    let word = core::ptr::from_ref(page::current().generation_word());
    if page::is_any() {
        word.cast_mut()
    } else {
        (&raw const NOTHING).cast_mut()
    }
}

/// Leaves a copy of what is available now, unless there is one. Async-signal-safe, lock-free: gives
/// way to others.
pub(crate) fn renew() {
    let seen = VIEW.seen.load(Ordering::Acquire);
    if seen != 0 && seen == page::current().generation() {
        return;
    }
    if !page::is_any() || WRITING.swap(true, Ordering::Acquire) {
        return;
    }
    let generation = page::current().generation();
    let page = present();
    let lost = TRAPS.lost();
    let available = page::available();
    void();
    for (word, value) in VIEW.words.iter().zip(available.words()) {
        word.store(value, Ordering::Relaxed);
    }
    VIEW.generation.store(page, Ordering::SeqCst);
    VIEW.seen.store(generation, Ordering::SeqCst);
    // What came in between has voided the copy, maybe before it was there.
    if generation != page::current().generation() || page != present() || lost != TRAPS.lost() {
        void();
        VIEW.generation.store(present(), Ordering::SeqCst);
    }
    WRITING.store(false, Ordering::Release);
}

impl View {
    /// Whether the feature with this id is available; `None` if the copy is void, or there can be
    /// no such id. What the header's `isahp_has_inline` does. Async-signal-safe.
    #[inline]
    pub(crate) fn has(&self, id: u32) -> Option<bool> {
        // SAFETY: the generation of a page that is never unmapped, or NOTHING.
        let generation = unsafe { &*self.generation.load(Ordering::Acquire) };
        let seen = self.seen.load(Ordering::Acquire);
        if seen == 0 || generation.load(Ordering::Acquire) != seen {
            return None;
        }
        let word = self.words.get(usize::try_from(id / 64).ok()?)?;
        Some(word.load(Ordering::Relaxed) >> (id % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use isa::Feature;

    use super::*;

    fn has(feature: Feature) -> Option<bool> {
        VIEW.has(feature.id().into())
    }

    #[test]
    fn a_copy_is_right_until_it_is_void() {
        page::start();
        turn();
        assert_eq!(has(Feature::Sse2), None);
        renew();
        assert_eq!(has(Feature::Sse2), Some(true));
        assert_eq!(
            has(Feature::Xop),
            Some(isa::detect().contains(Feature::Xop))
        );
        void();
        assert_eq!(has(Feature::Sse2), None);
        // Somebody else is at it, this very thread perhaps.
        WRITING.store(true, Ordering::SeqCst);
        renew();
        assert_eq!(has(Feature::Sse2), None);
        WRITING.store(false, Ordering::SeqCst);
        renew();
        assert_eq!(has(Feature::Sse2), Some(true));
    }
}
