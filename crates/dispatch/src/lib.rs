//! The dispatch slot: one atomic pointer to the best function for the
//! features that are available now.
//!
//! A library declares the [`Variant`]s of a function, best first, the last one
//! needing nothing beyond the architecture, and calls through a [`Slot`].
//! Whoever learns that features came or went calls [`Slot::update`]; callers
//! pay one load.
//!
//! ```
//! use dispatch::{Slot, Variant};
//! use isa::{FeatureSet, features};
//!
//! fn sum_avx2() -> &'static str { "avx2" }
//! fn sum_any() -> &'static str { "any" }
//! static VARIANTS: [Variant<fn() -> &'static str>; 2] = [
//!     Variant { function: sum_avx2, features: features![Avx2] },
//!     Variant { function: sum_any, features: FeatureSet::EMPTY },
//! ];
//! let slot = Slot::new();
//! assert_eq!(slot.update(&VARIANTS, features![Avx2, Fma]), Some(0));
//! assert_eq!(VARIANTS[slot.index()].name(), "avx2");
//! # trait Name { fn name(&self) -> &'static str; }
//! # impl Name for Variant<fn() -> &'static str> { fn name(&self) -> &'static str { (self.function)() } }
//! ```
//!
//! The slot holds an index and not the pointer itself, so that this crate
//! needs no unsafe code; a C-ABI slot stores the pointer beside it.
#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

use isa::FeatureSet;

/// One way to compute something, and what the CPU must have for it.
#[derive(Clone, Copy, Debug)]
pub struct Variant<F> {
    /// The function, or whatever stands for it.
    pub function: F,
    /// The features that it uses.
    pub features: FeatureSet,
}

/// The index of the first variant whose features are all in `available`.
///
/// Bounded by the length of `variants`; allocates nothing; async-signal-safe.
pub fn choose<F>(variants: &[Variant<F>], available: FeatureSet) -> Option<usize> {
    variants
        .iter()
        .position(|variant| variant.features.is_subset(&available))
}

/// Holds the index of the variant in force. Starts at 0 before the first
/// [`update`](Self::update).
#[derive(Debug, Default)]
pub struct Slot(AtomicUsize);

impl Slot {
    /// A slot at variant 0.
    pub const fn new() -> Self {
        Self::at(0)
    }

    /// A slot at the variant with this index.
    pub const fn at(index: usize) -> Self {
        Self(AtomicUsize::new(index))
    }

    /// The variant in force: one load. Async-signal-safe.
    pub fn index(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Takes the best variant for `available` into force and returns its
    /// index; `None`, and nothing changes, if none fits. Async-signal-safe.
    pub fn update<F>(&self, variants: &[Variant<F>], available: FeatureSet) -> Option<usize> {
        let best = choose(variants, available)?;
        self.0.store(best, Ordering::Release);
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use isa::features;

    use super::*;

    const VARIANTS: [Variant<u8>; 3] = [
        Variant {
            function: 3,
            features: features![Avx512f, Avx2],
        },
        Variant {
            function: 2,
            features: features![Avx2],
        },
        Variant {
            function: 1,
            features: features![Sse2],
        },
    ];

    #[test]
    fn the_first_variant_whose_features_are_all_there_is_chosen() {
        let cases = [
            (features![Sse2, Avx2, Avx512f], Some(0)),
            (features![Sse2, Avx2], Some(1)),
            (features![Sse2, Avx512f], Some(2)),
            (features![Avx], None),
        ];
        for (available, best) in cases {
            assert_eq!(choose(&VARIANTS, available), best, "{available}");
        }
    }

    #[test]
    fn a_slot_keeps_its_variant_when_nothing_fits() {
        let slot = Slot::new();
        assert_eq!(slot.update(&VARIANTS, features![Sse2]), Some(2));
        assert_eq!(slot.update(&VARIANTS, FeatureSet::EMPTY), None);
        assert_eq!(slot.index(), 2);
    }
}
