//! The dispatch slot for Rust.

use std::fmt;

use dispatch::Variant;

use crate::runtime::{self, Error};
use crate::slots::{self, Function, Target};

/// A function with variants, of which the library keeps the best in force.
///
/// ```
/// use isahotplug::{FeatureSet, Options, Slot, Variant, features};
///
/// fn sum_any(values: &[i32]) -> i32 { values.iter().sum() }
/// static SUM: Slot<fn(&[i32]) -> i32> =
///     Slot::new(&[Variant { function: sum_any, features: FeatureSet::EMPTY }]);
///
/// isahotplug::init(Options { poll: true, ..Options::default() })?;
/// SUM.start()?;
/// assert_eq!(SUM.get()(&[1, 2, 3]), 6);
/// # Ok::<(), isahotplug::Error>(())
/// ```
///
/// Until [`start`](Self::start) the last variant is in force.
pub struct Slot<F: 'static> {
    variants: &'static [Variant<F>],
    slot: dispatch::Slot,
}

impl<F: Copy> fmt::Debug for Slot<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("index", &self.index())
            .finish_non_exhaustive()
    }
}

impl<F: Copy> Slot<F> {
    /// A slot with `variants`, best first; the last should need nothing.
    ///
    /// # Panics
    /// If there is no variant; in a `static`, at compile time.
    pub const fn new(variants: &'static [Variant<F>]) -> Self {
        assert!(!variants.is_empty(), "a slot needs a variant");
        Self {
            variants,
            slot: dispatch::Slot::at(variants.len() - 1),
        }
    }

    /// Takes the best variant into force and has the library keep it so. Again
    /// does nothing.
    ///
    /// # Errors
    /// [`Error::NotInitialised`]; [`Error::NoVariant`]; [`Error::Silent`] if a
    /// variant uses a feature whose loss does not fault: a call that is
    /// already running could not be protected.
    pub fn start(&'static self) -> Result<(), Error> {
        let variants = self.variants.iter().map(|variant| Variant {
            function: Function(std::ptr::null_mut()),
            features: variant.features,
        });
        // SAFETY: `self` is static.
        unsafe { add(Target::Slot(&raw const self.slot), variants.collect()) }
    }

    /// The variant in force. Async-signal-safe.
    pub fn get(&self) -> F {
        let last = self.variants.len() - 1;
        self.variants[self.index().min(last)].function
    }

    /// The index of the variant in force, as declared. Async-signal-safe.
    pub fn index(&self) -> usize {
        self.slot.index()
    }
}

/// Adds a slot to those that the library keeps right.
///
/// # Safety
/// What `target` points to must live until the slot is removed.
pub(crate) unsafe fn add(target: Target, variants: Box<[Variant<Function>]>) -> Result<(), Error> {
    let runtime = runtime::get()?;
    let silent = variants
        .iter()
        .fold(isa::FeatureSet::EMPTY, |all, v| all | v.features.silent());
    if !silent.is_empty() {
        return Err(Error::Silent(silent));
    }
    // SAFETY: passed on from the caller.
    match unsafe { slots::add(target, variants) } {
        slots::Added::New => runtime.interest_changed(),
        slots::Added::Known => {}
        slots::Added::NothingFits => return Err(Error::NoVariant),
    }
    Ok(())
}
