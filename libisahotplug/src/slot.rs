//! The dispatch slot for Rust.

use std::ffi::CString;
use std::fmt;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use dispatch::Variant;

use crate::api::{Section, c_text, check};
use crate::c::{
    ISAHP_OK, ISAHP_SLOT_SECTIONED, isahp_function, isahp_slot, isahp_slot_force, isahp_slot_init,
    isahp_slot_options, isahp_slot_release, isahp_variant,
};
use crate::runtime::Error;
use crate::{declared, entry};

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
#[repr(C)]
pub struct Slot<F: 'static> {
    /// Holds 1 + the index of the variant in force instead of its address: F can be anything.
    number: AtomicPtr<()>,
    /// The rest of an isahp_slot.
    _reserved: [AtomicU64; 3],
    variants: &'static [Variant<F>],
}

const _: () = {
    assert!(size_of::<isahp_slot>() == size_of::<[u64; 4]>());
    assert!(std::mem::offset_of!(isahp_slot, function) == 0);
};

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
            number: AtomicPtr::new(std::ptr::without_provenance_mut(variants.len())),
            _reserved: [const { AtomicU64::new(0) }; 3],
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
                self.c_slot(),
                &raw const options,
                variants.as_ptr(),
                variants.len(),
            )
        })
    }

    /// [`start_with`](Self::start_with) as soon as the library is initialised, and again whenever
    /// it is initialised anew; the last variant, which must need nothing, is in force before and
    /// after. What [`slot!`](crate::slot!) does when the program starts.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the last variant needs something; if the library is initialised
    /// already, as for [`start`](Self::start).
    pub fn declare(&'static self, options: SlotOptions) -> Result<(), Error>
    where
        F: Sync,
    {
        if self
            .variants
            .last()
            .is_none_or(|last| !last.features.is_empty())
        {
            return Err(Error::Invalid(format!(
                "the last variant of slot {} must need nothing",
                options.name
            )));
        }
        let last = std::ptr::without_provenance_mut(self.variants.len());
        let init = move || match self.start_with(options) {
            Ok(()) => ISAHP_OK,
            Err(error) => entry::code(&error),
        };
        // SAFETY: it is static; an object that is unloaded withdraws it.
        check(unsafe { declared::declare(self.c_slot(), options.name, last, Box::new(init)) })
    }

    /// Gives the slot back: it is not kept right any more. One that was declared holds its last
    /// variant for ever. An object that is unloaded must have done it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was neither started nor declared; [`Error::Busy`].
    pub fn release(&'static self) -> Result<(), Error> {
        // SAFETY: a slot that lives for ever.
        check(unsafe { isahp_slot_release(self.c_slot()) })
    }

    /// Forces the variant of this name as long as its features are available; `None` for the best
    /// one again.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; [`Error::NoVariant`] if its features are not available
    /// now. Nothing changes then.
    pub fn force(&'static self, variant: Option<&str>) -> Result<(), Error> {
        let name = variant.map(c_text).transpose()?;
        let name = name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr());
        // SAFETY: a slot that lives for ever, and NULL or a C string.
        check(unsafe { isahp_slot_force(self.c_slot(), name) })
    }

    /// The variant in force. Async-signal-safe.
    #[inline]
    pub fn get(&self) -> F {
        self.variants[self.index()].function
    }

    /// The index of the variant in force, as declared. Async-signal-safe.
    #[inline]
    pub fn index(&self) -> usize {
        let number = self.number.load(Ordering::Acquire);
        number.addr().wrapping_sub(1).min(self.variants.len() - 1)
    }

    /// The slot as C sees it: its atomics are all that the library touches.
    fn c_slot(&self) -> *mut isahp_slot {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// A [`Slot`] that is called only inside [`Section`]s, so that its variants may use features whose
/// loss does not fault, such as LZCNT: a planned removal waits for the sections' ends. (An unplanned
/// one cannot be noticed.) [`slot!`](crate::slot!) declares one.
#[derive(Debug)]
pub struct SectionedSlot<F: Copy + 'static>(Slot<F>);

impl<F: Copy> SectionedSlot<F> {
    /// As [`Slot::new`].
    ///
    /// # Panics
    /// As that.
    pub const fn new(variants: &'static [Variant<F>]) -> Self {
        Self(Slot::new(variants))
    }

    /// Calls `body` with the variant in force, inside a section. Keep it short: planned removals
    /// wait for it.
    #[inline]
    pub fn call<R>(&self, body: impl FnOnce(F) -> R) -> R {
        let section = Section::enter();
        body(self.get(&section))
    }

    /// The variant in force, to be called until the end of the section only. Async-signal-safe.
    #[inline]
    pub fn get(&self, section: &Section) -> F {
        let _ = section;
        self.0.get()
    }

    /// The index of the variant in force, as declared. Async-signal-safe.
    #[inline]
    pub fn index(&self) -> usize {
        self.0.index()
    }

    /// As [`Slot::start_with`]; it is sectioned whatever the options say.
    ///
    /// # Errors
    /// As for that.
    pub fn start_with(&'static self, options: SlotOptions) -> Result<(), Error> {
        self.0.start_with(Self::sectioned(options))
    }

    /// As [`Slot::declare`].
    ///
    /// # Errors
    /// As for that.
    pub fn declare(&'static self, options: SlotOptions) -> Result<(), Error>
    where
        F: Sync,
    {
        self.0.declare(Self::sectioned(options))
    }

    /// As [`Slot::release`].
    ///
    /// # Errors
    /// As for that.
    pub fn release(&'static self) -> Result<(), Error> {
        self.0.release()
    }

    /// As [`Slot::force`].
    ///
    /// # Errors
    /// As for that.
    pub fn force(&'static self, variant: Option<&str>) -> Result<(), Error> {
        self.0.force(variant)
    }

    fn sectioned(options: SlotOptions) -> SlotOptions {
        SlotOptions {
            sectioned: true,
            ..options
        }
    }
}

/// A number in the place of a function; nobody calls it.
fn number(number: usize) -> isahp_function {
    // SAFETY: Option of a function pointer is one word; it is not 0, and only stored and compared.
    unsafe {
        std::mem::transmute::<*const (), isahp_function>(std::ptr::without_provenance(number))
    }
}
