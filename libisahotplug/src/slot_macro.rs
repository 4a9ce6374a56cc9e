//! `slot!`.

use crate::runtime::Error;
use crate::slot::{SectionedSlot, Slot, SlotOptions};

/// Declares a [`Slot`](crate::Slot) with its variants, best first.
///
/// ```
/// use isahotplug::Options;
///
/// fn sum_any(values: &[i32]) -> i32 {
///     values.iter().sum()
/// }
///
/// #[target_feature(enable = "avx2")]
/// fn sum_avx2(values: &[i32]) -> i32 {
///     values.iter().sum() // by intrinsics, or by what the compiler makes of it
/// }
///
/// isahotplug::slot! {
///     /// The sum of the values.
///     static SUM: fn(values: &[i32]) -> i32 = {
///         "avx2" => sum_avx2,
///         _ => sum_any,
///     };
/// }
///
/// assert_eq!(SUM.get()(&[1, 2, 3]), 6); // before `init`: `sum_any`
/// isahotplug::init(Options { poll: true, ..Options::default() })?;
/// assert_eq!(SUM.get()(&[1, 2, 3]), 6); // the best that there is now
/// # Ok::<(), isahotplug::Error>(())
/// ```
///
/// In front of `=>` stands what `#[target_feature(enable = "…")]` takes. The variant is called from
/// a function with just these features, so the compiler makes sure that the list is complete:
///
/// ```compile_fail,E0133
/// # fn any() {}
/// #[target_feature(enable = "avx2,bmi2")]
/// fn wide() {}
///
/// isahotplug::slot! {
///     static IT: fn() = { "avx2" => wide, _ => any };
/// }
/// ```
///
/// A variant that is `unsafe` for another reason is refused in the same way; call it from a safe
/// function that upholds what it asks for.
///
/// The slot is declared when the program starts or the object is loaded, and released when it ends
/// or is unloaded; [`Slot::declare`](crate::Slot::declare) says what it holds meanwhile. The names
/// for `$ISAHOTPLUG_FORCE` are those of the static and of the functions, as they are written. The
/// macro expands to unsafe code.
///
/// # Features whose loss does not fault
/// `lzcnt` and `bmi1` (TZCNT) are for slots that are called in [`Section`](crate::Section)s only. A
/// `sectioned` one is a [`SectionedSlot`](crate::SectionedSlot), which sees to that:
///
/// ```
/// # use isahotplug::Options;
/// fn zeros_any(value: u32) -> u32 {
///     value.leading_zeros()
/// }
///
/// #[target_feature(enable = "lzcnt")]
/// fn zeros_lzcnt(value: u32) -> u32 {
///     value.leading_zeros()
/// }
///
/// isahotplug::slot! {
///     static ZEROS: sectioned fn(value: u32) -> u32 = {
///         "lzcnt" => zeros_lzcnt,
///         _ => zeros_any,
///     };
/// }
///
/// # isahotplug::init(Options { poll: true, ..Options::default() })?;
/// let zeros = ZEROS.call(|zeros| zeros(0x400));
/// assert_eq!(zeros, 21);
/// # Ok::<(), isahotplug::Error>(())
/// ```
///
/// In others they do not compile:
///
/// ```compile_fail,E0080
/// # fn zeros_any(value: u32) -> u32 { value.leading_zeros() }
/// # #[target_feature(enable = "lzcnt")]
/// # fn zeros_lzcnt(value: u32) -> u32 { value.leading_zeros() }
/// isahotplug::slot! {
///     static ZEROS: fn(value: u32) -> u32 = { "lzcnt" => zeros_lzcnt, _ => zeros_any };
/// }
/// ```
#[macro_export]
macro_rules! slot {
    () => {};
    (
        $(#[$meta:meta])* $visibility:vis static $name:ident: sectioned fn $arguments:tt -> $result:ty
            = { $($features:literal => $variant:path,)+ _ => $plain:path $(,)? };
        $($rest:tt)*
    ) => {
        $crate::__slot! {
            ($(#[$meta])* $visibility static) $name SectionedSlot $arguments ($result)
            $($features => $variant,)+ _ => $plain
        }
        $crate::slot! { $($rest)* }
    };
    (
        $(#[$meta:meta])* $visibility:vis static $name:ident: sectioned fn $arguments:tt
            = { $($features:literal => $variant:path,)+ _ => $plain:path $(,)? };
        $($rest:tt)*
    ) => {
        $crate::__slot! {
            ($(#[$meta])* $visibility static) $name SectionedSlot $arguments (())
            $($features => $variant,)+ _ => $plain
        }
        $crate::slot! { $($rest)* }
    };
    (
        $(#[$meta:meta])* $visibility:vis static $name:ident: fn $arguments:tt -> $result:ty
            = { $($features:literal => $variant:path,)+ _ => $plain:path $(,)? };
        $($rest:tt)*
    ) => {
        $(const _: () = $crate::__private::must_fault($features);)+
        $crate::__slot! {
            ($(#[$meta])* $visibility static) $name Slot $arguments ($result)
            $($features => $variant,)+ _ => $plain
        }
        $crate::slot! { $($rest)* }
    };
    (
        $(#[$meta:meta])* $visibility:vis static $name:ident: fn $arguments:tt
            = { $($features:literal => $variant:path,)+ _ => $plain:path $(,)? };
        $($rest:tt)*
    ) => {
        $(const _: () = $crate::__private::must_fault($features);)+
        $crate::__slot! {
            ($(#[$meta])* $visibility static) $name Slot $arguments (())
            $($features => $variant,)+ _ => $plain
        }
        $crate::slot! { $($rest)* }
    };
}

/// What all forms of `slot!` have in common.
#[doc(hidden)]
#[macro_export]
macro_rules! __slot {
    (
        ($($static:tt)+) $name:ident $kind:ident $arguments:tt ($result:ty)
        $($features:literal => $variant:path,)+ _ => $plain:path
    ) => {
        $($static)+ $name: $crate::$kind<$crate::__slot_type!($arguments, $result)> =
            $crate::$kind::new(const {
                &[
                    $($crate::Variant {
                        function: $crate::__slot_variant!($features, $variant, $arguments, $result),
                        features: $crate::__private::target_features($features),
                    },)+
                    $crate::Variant {
                        function: $plain as $crate::__slot_type!($arguments, $result),
                        features: $crate::FeatureSet::EMPTY,
                    },
                ]
            });

        const _: () = {
            extern "C" fn declare() {
                const NAMES: &[&str] = &[$(stringify!($variant),)+ stringify!($plain)];
                $crate::__private::declare(&$name, stringify!($name), NAMES);
            }
            extern "C" fn release() {
                $crate::__private::release(&$name);
            }
            #[used]
            #[unsafe(link_section = ".init_array")]
            static DECLARE: extern "C" fn() = declare;
            #[used]
            #[unsafe(link_section = ".fini_array")]
            static RELEASE: extern "C" fn() = release;
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __slot_type {
    (($($argument:ident: $type:ty),* $(,)?), $result:ty) => { fn($($type),*) -> $result };
}

/// A pointer to a function that has the features and calls the variant.
#[doc(hidden)]
#[macro_export]
macro_rules! __slot_variant {
    ($features:literal, $variant:path, ($($argument:ident: $type:ty),* $(,)?), $result:ty) => {{
        #[target_feature(enable = $features)]
        fn variant($($argument: $type),*) -> $result {
            $variant($($argument),*)
        }
        // SAFETY: all that makes calling it unsafe are its features. The slot holds it only while
        // they are available, and what is lost unannounced is finished by the #UD handler.
        unsafe {
            ::core::mem::transmute::<unsafe fn($($type),*) -> $result, fn($($type),*) -> $result>(variant)
        }
    }};
}

/// For the macro.
#[doc(hidden)]
pub mod private {
    use super::{Declarable, SlotOptions};

    pub use crate::target_features::target_features;

    /// # Panics
    /// If the list has a feature whose loss does not fault.
    pub const fn must_fault(list: &str) {
        let silent = target_features(list).intersection(crate::slots::SILENT_FEATURES);
        assert!(
            silent.is_empty(),
            "the loss of one of these features does not fault: write `static NAME: sectioned fn`"
        );
    }

    /// When the program starts or the object is loaded.
    pub fn declare(
        slot: &'static impl Declarable,
        name: &'static str,
        variants: &'static [&'static str],
    ) {
        // What can be wrong about it was found by the compiler, or is logged by `init`.
        let _ = slot.declare(SlotOptions {
            name,
            variants,
            ..SlotOptions::default()
        });
    }

    /// When it ends or is unloaded.
    pub fn release(slot: &'static impl Declarable) {
        // Somebody may have done it already.
        let _ = slot.release();
    }
}

/// Both kinds of slots.
#[doc(hidden)]
pub trait Declarable {
    fn declare(&'static self, options: SlotOptions) -> Result<(), Error>;
    fn release(&'static self) -> Result<(), Error>;
}

impl<F: Copy + Sync> Declarable for Slot<F> {
    fn declare(&'static self, options: SlotOptions) -> Result<(), Error> {
        Slot::declare(self, options)
    }
    fn release(&'static self) -> Result<(), Error> {
        Slot::release(self)
    }
}

impl<F: Copy + Sync> Declarable for SectionedSlot<F> {
    fn declare(&'static self, options: SlotOptions) -> Result<(), Error> {
        SectionedSlot::declare(self, options)
    }
    fn release(&'static self) -> Result<(), Error> {
        SectionedSlot::release(self)
    }
}
