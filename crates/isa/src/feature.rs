//! The enumeration of features and what a row tells of each.

use core::fmt;
use core::str::FromStr;

use crate::class::{Instructions, RemovalClass, Spelling, Vendor};
use crate::place::{Place, Register, field, leaf, msr};
use crate::set::FeatureSet;
use crate::table::with_table;
use crate::xcr0::{BOUNDS, EGPRS, LWP_STATE, NO_STATE, PKRU, TILES, TILES_ZMM, YMM, ZMM};

/// What the table says of one feature.
#[derive(Debug)]
struct Row {
    feature: Feature,
    name: &'static str,
    place: Place,
    xcr0: u64,
    class: RemovalClass,
    vendor: Vendor,
    instructions: Instructions,
    spelling: Spelling,
    aliases: &'static [&'static str],
    dependencies: FeatureSet,
    description: &'static str,
}

macro_rules! define_features {
    ($(
        #[doc = $description:literal]
        $id:literal $variant:ident $name:literal $place:ident($($argument:expr),+) $state:ident
        $class:ident $vendor:ident $instructions:ident $spelling:ident
        [$($alias:literal)*] [$($dependency:ident)*];
    )+) => {
        /// One instruction-set extension or CPU property.
        ///
        /// The number of a feature is part of the protocol, the shared page and the C header: it never
        /// changes. More features will come, hence `non_exhaustive`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum Feature {
            $(
                #[doc = concat!("`", $name, "`:", $description)]
                $variant = $id,
            )+
        }

        impl Feature {
            /// Every feature, in the order of the ids.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }

        static ROWS: [Row; Feature::ALL.len()] = {
            use Register::{Eax, Ebx, Ecx, Edx};
            [$(
                Row {
                    feature: Feature::$variant,
                    name: $name,
                    place: $place($($argument),+),
                    xcr0: $state,
                    class: RemovalClass::$class,
                    vendor: Vendor::$vendor,
                    instructions: Instructions::$instructions,
                    spelling: Spelling::$spelling,
                    aliases: &[$($alias),*],
                    dependencies: FeatureSet::from_features(&[$(Feature::$dependency),*]),
                    description: $description.trim_ascii(),
                },
            )+]
        };
    };
}

with_table!(define_features);

// A row stands at its id, and every id has a row: `row` and `from_id` index by it.
const _: () = {
    let mut at = 0;
    while at < Feature::ALL.len() {
        assert!(
            Feature::ALL[at] as usize == at,
            "a row is missing or out of order"
        );
        at += 1;
    }
    assert!(Feature::ALL.len() <= crate::CAPACITY);
};

impl Feature {
    const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The name that Linux prints in `/proc/cpuinfo` (`pni` for SSE3, `abm` for LZCNT), or, where it
    /// prints none, the one that [`spelling`](Self::spelling) tells of.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Where [`name`](Self::name) is from.
    #[must_use]
    pub const fn spelling(self) -> Spelling {
        self.row().spelling
    }

    /// Other names of it: QEMU's, libvirt's, Xen's, the compilers'. Spellings that differ by case or
    /// by `_`, `-` and `.` are not listed: [`from_name`](Self::from_name) sees no difference.
    #[must_use]
    pub const fn aliases(self) -> &'static [&'static str] {
        self.row().aliases
    }

    /// The stable number of the feature.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The feature with this number, or `None` if this version of the table has no such row.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        if (id as usize) < Self::ALL.len() {
            Some(Self::ALL[id as usize])
        } else {
            None
        }
    }

    /// The feature with this name or alias. Case is ignored, and `_`, `-` and `.` are the same, so
    /// that `sse4_2`, `SSE4.2` and `sse4-2` all work.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ROWS.iter()
            .find(|row| same_name(row.name, name) || row.aliases.iter().any(|a| same_name(a, name)))
            .map(|row| row.feature)
    }

    /// Where a CPU announces it.
    #[must_use]
    pub const fn place(self) -> Place {
        self.row().place
    }

    /// The features that must be there for this one to make sense, directly: see
    /// [`FeatureSet::with_dependencies`] for all.
    #[must_use]
    pub const fn dependencies(self) -> FeatureSet {
        self.row().dependencies
    }

    /// The bits of XCR0 without which its instructions fault (or, for `pku`, without which its state
    /// is not saved). See [`xcr0`](mod@crate::xcr0) for the bits' names.
    #[must_use]
    pub const fn xcr0(self) -> u64 {
        self.row().xcr0
    }

    /// What its loss means by default.
    #[must_use]
    pub const fn class(self) -> RemovalClass {
        self.row().class
    }

    /// Whose CPUs have it.
    #[must_use]
    pub const fn vendor(self) -> Vendor {
        self.row().vendor
    }

    /// Whether it brings instructions, and for whom.
    #[must_use]
    pub const fn instructions(self) -> Instructions {
        self.row().instructions
    }

    /// What it is, in one line.
    #[must_use]
    pub const fn description(self) -> &'static str {
        self.row().description
    }

    /// Every feature, in the order of the ids.
    pub fn all() -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator + Clone {
        Self::ALL.iter().copied()
    }
}

/// Equal but for case and the choice of `_`, `-` and `.`.
fn same_name(a: &str, b: &str) -> bool {
    let fold = |byte: u8| match byte {
        b'-' | b'.' => b'_',
        _ => byte.to_ascii_lowercase(),
    };
    a.len() == b.len() && a.bytes().map(fold).eq(b.bytes().map(fold))
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(name: &str) -> Result<Self, UnknownFeature> {
        Self::from_name(name).ok_or_else(|| UnknownFeature::new(name))
    }
}

/// A word that is no feature's name, with the word.
///
/// It needs no allocation: it keeps the first [`SHOWN`](Self::SHOWN) bytes of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownFeature {
    text: [u8; Self::SHOWN],
    length: usize,
    whole: bool,
}

impl UnknownFeature {
    /// How many bytes of the word are kept.
    pub const SHOWN: usize = 48;

    pub(crate) fn new(word: &str) -> Self {
        let mut length = word.len().min(Self::SHOWN);
        while !word.is_char_boundary(length) {
            length -= 1;
        }
        let mut text = [0; Self::SHOWN];
        text[..length].copy_from_slice(&word.as_bytes()[..length]);
        Self {
            text,
            length,
            whole: length == word.len(),
        }
    }

    /// The word, or its beginning if it is very long.
    #[must_use]
    pub fn word(&self) -> &str {
        core::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.whole { "" } else { "…" };
        write!(f, "unknown CPU feature {:?}{more}", self.word())
    }
}

impl core::error::Error for UnknownFeature {}
