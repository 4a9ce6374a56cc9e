//! The dispatch slot for Rust.

use std::cell::UnsafeCell;
use std::ffi::CString;
use std::fmt;
use std::sync::atomic::{AtomicPtr, Ordering};

use dispatch::Variant;

use crate::api::{c_text, check};
use crate::c::{
    ISAHP_SLOT_SECTIONED, isahp_function, isahp_slot, isahp_slot_init, isahp_slot_options,
    isahp_variant,
};
use crate::runtime::Error;

/// A function with variants, of which the library keeps the best in force.
///
/// ```
/// use isahotplug::{FeatureSet, Options, Slot, Variant};
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
    /// Holds 1 + the index of the variant in force instead of its address: F can be anything. None
    /// before the start.
    slot: UnsafeCell<isahp_slot>,
}

// SAFETY: the slot's words are only touched as atomics once it is shared.
unsafe impl<F: Sync> Sync for Slot<F> {}

impl<F: Copy> fmt::Debug for Slot<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("index", &self.index())
            .finish_non_exhaustive()
    }
}

/// How a slot is to be kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotOptions {
    /// For `$ISAHOTPLUG_FORCE`; empty for none.
    pub name: &'static str,
    /// The names of the variants, in their order; fewer or none will do.
    pub variants: &'static [&'static str],
    /// The slot is called only inside a [`Section`](crate::Section). Its
    /// variants may use features whose loss does not fault.
    pub sectioned: bool,
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
            slot: UnsafeCell::new(isahp_slot {
                function: None,
                reserved: [0; 3],
            }),
        }
    }

    /// Takes the best variant into force and has the library keep it so. Again
    /// does nothing.
    ///
    /// # Errors
    /// [`Error::NotInitialised`]; [`Error::NoVariant`]; [`Error::Other`] with
    /// [`ISAHP_ERROR_SILENT`](crate::c::ISAHP_ERROR_SILENT) if a variant uses
    /// a feature whose loss does not fault: a call that is already running
    /// could not be protected.
    pub fn start(&'static self) -> Result<(), Error> {
        self.start_with(SlotOptions::default())
    }

    /// [`start`](Self::start) with options.
    ///
    /// # Errors
    /// As for that.
    pub fn start_with(&'static self, options: SlotOptions) -> Result<(), Error> {
        let name = c_text(options.name)?;
        let mut texts: Vec<(CString, CString)> = Vec::with_capacity(self.variants.len());
        for (index, variant) in self.variants.iter().enumerate() {
            let name = options.variants.get(index).copied().unwrap_or_default();
            texts.push((c_text(&variant.features.to_string())?, c_text(name)?));
        }
        let numbered = texts.iter().enumerate();
        let variants: Vec<isahp_variant> = numbered
            .map(|(index, (features, name))| isahp_variant {
                function: number(index + 1),
                features: features.as_ptr(),
                name: name.as_ptr(),
            })
            .collect();
        let options = isahp_slot_options {
            size: size_of::<isahp_slot_options>(),
            flags: if options.sectioned {
                ISAHP_SLOT_SECTIONED
            } else {
                0
            },
            reserved: 0,
            name: name.as_ptr(),
            observer: None,
            userdata: std::ptr::null_mut(),
            release: None,
        };
        // SAFETY: `self` is static, and everything else is read before it returns.
        check(unsafe {
            isahp_slot_init(
                self.slot.get(),
                &raw const options,
                variants.as_ptr(),
                variants.len(),
            )
        })
    }

    /// The variant in force. Async-signal-safe.
    #[inline]
    pub fn get(&self) -> F {
        self.variants[self.index()].function
    }

    /// The index of the variant in force, as declared. Async-signal-safe.
    #[inline]
    pub fn index(&self) -> usize {
        let function = self.slot.get().cast::<AtomicPtr<()>>();
        // SAFETY: an isahp_slot begins with a pointer that is only touched atomically.
        let number = unsafe { &*function }.load(Ordering::Acquire);
        number.addr().wrapping_sub(1).min(self.variants.len() - 1)
    }
}

/// A number in the place of a function; nobody calls it.
fn number(number: usize) -> isahp_function {
    // SAFETY: Option of a function pointer is one word; it is not 0, and only stored and compared.
    unsafe {
        std::mem::transmute::<*const (), isahp_function>(std::ptr::without_provenance(number))
    }
}
