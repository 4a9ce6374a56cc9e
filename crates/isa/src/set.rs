//! Sets of features.

use core::fmt;
use core::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, BitXor, BitXorAssign, Sub, SubAssign};
use core::str::FromStr;

use crate::class::{Instructions, RemovalClass};
use crate::feature::{Feature, UnknownFeature};
use crate::{CAPACITY, WORDS};

/// A set of features: 512 bits, the bit of a feature being its id.
///
/// Bit `id % 64` of word `id / 64` stands for the feature with that id; this is what goes over the
/// wire and into the shared page (each word little-endian). A set that comes from a newer peer may
/// hold ids that have no row here. They are kept through every operation, and
/// [`unknown_ids`](Self::unknown_ids) lists them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct FeatureSet([u64; WORDS]);

/// Word and bit of an id. Every id that gets here is below [`CAPACITY`].
const fn position(id: u16) -> (usize, u64) {
    (id as usize / 64, 1 << (id % 64))
}

macro_rules! wordwise {
    ($a:expr, $b:expr, |$x:ident, $y:ident| $result:expr) => {{
        let mut words = [0; WORDS];
        let mut at = 0;
        while at < WORDS {
            let ($x, $y) = ($a.0[at], $b.0[at]);
            words[at] = $result;
            at += 1;
        }
        FeatureSet(words)
    }};
}

impl FeatureSet {
    /// No feature.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Every feature that has a row in this version of the table.
    pub const ALL_KNOWN: Self = Self::from_features(Feature::ALL);

    /// The set with these bits.
    #[must_use]
    pub const fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// The bits of the set.
    #[must_use]
    pub const fn words(self) -> [u64; WORDS] {
        self.0
    }

    /// The set of these features.
    #[must_use]
    pub const fn from_features(features: &[Feature]) -> Self {
        let mut set = Self::EMPTY;
        let mut at = 0;
        while at < features.len() {
            set.insert(features[at]);
            at += 1;
        }
        set
    }

    /// Whether the feature is in the set.
    #[must_use]
    pub const fn contains(&self, feature: Feature) -> bool {
        let (word, bit) = position(feature.id());
        self.0[word] & bit != 0
    }

    /// Adds a feature; tells whether it is new.
    pub const fn insert(&mut self, feature: Feature) -> bool {
        let (word, bit) = position(feature.id());
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Takes a feature out; tells whether it was there.
    pub const fn remove(&mut self, feature: Feature) -> bool {
        let (word, bit) = position(feature.id());
        let there = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        there
    }

    /// This set and one feature more.
    #[must_use]
    pub const fn with(mut self, feature: Feature) -> Self {
        self.insert(feature);
        self
    }

    /// This set but for one feature.
    #[must_use]
    pub const fn without(mut self, feature: Feature) -> Self {
        self.remove(feature);
        self
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        wordwise!(self, other, |a, b| a | b)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        wordwise!(self, other, |a, b| a & b)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        wordwise!(self, other, |a, b| a & !b)
    }

    /// What is in one of the two sets only.
    #[must_use]
    pub const fn symmetric_difference(self, other: Self) -> Self {
        wordwise!(self, other, |a, b| a ^ b)
    }

    /// Whether the other set has all of this one.
    #[must_use]
    pub const fn is_subset(&self, other: &Self) -> bool {
        self.difference(*other).is_empty()
    }

    /// Whether this set has all of the other one.
    #[must_use]
    pub const fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }

    /// Whether the sets have nothing in common.
    #[must_use]
    pub const fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(*other).is_empty()
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many features, known and unknown, are in the set.
    #[must_use]
    pub const fn len(&self) -> usize {
        let mut len = 0;
        let mut at = 0;
        while at < WORDS {
            len += self.0[at].count_ones() as usize;
            at += 1;
        }
        len
    }

    /// The features that have a row in this version, in the order of the ids.
    #[must_use]
    pub const fn known(self) -> Self {
        self.intersection(Self::ALL_KNOWN)
    }

    /// The ids without a row: features that a newer peer knows.
    pub fn unknown_ids(self) -> impl Iterator<Item = u16> + Clone {
        Ids(self.difference(Self::ALL_KNOWN).0)
    }

    /// The features of the set, in the order of the ids; without the unknown ones.
    #[must_use]
    pub fn iter(&self) -> Iter {
        Iter(Ids(self.known().0))
    }

    /// The set and all that it needs, to the end: `{avx2}` becomes
    /// `{avx2, avx, sse4_2, …, fpu}`.
    #[must_use]
    pub fn with_dependencies(self) -> Self {
        let mut all = self;
        loop {
            let before = all;
            for feature in before {
                all |= feature.dependencies();
            }
            if all == before {
                return all;
            }
        }
    }

    /// The set without the features whose dependencies are not all in it. What remains is consistent:
    /// this is what a CPU may show after an AND over several hosts. Unknown ids stay.
    #[must_use]
    pub fn closed(self) -> Self {
        let mut rest = self;
        loop {
            let before = rest;
            for feature in before {
                if !feature.dependencies().is_subset(&before) {
                    rest.remove(feature);
                }
            }
            if rest == before {
                return rest;
            }
        }
    }

    /// The set without the removed features and without those that, directly or not, need one of
    /// them. Unlike [`closed`](Self::closed) it does not mind dependencies that were never in the set.
    #[must_use]
    pub fn without_dependents_of(self, removed: Self) -> Self {
        self.iter()
            .filter(|&feature| {
                !FeatureSet::EMPTY
                    .with(feature)
                    .with_dependencies()
                    .is_disjoint(&removed)
            })
            .fold(self - removed, Self::without)
    }

    /// The features of the set that are of this class by default.
    #[must_use]
    pub fn of_class(self, class: RemovalClass) -> Self {
        self.iter()
            .filter(|feature| feature.class() == class)
            .collect()
    }

    /// The features of the set whose loss raises #UD.
    #[must_use]
    pub fn faulting(self) -> Self {
        self.of_class(RemovalClass::Faulting)
    }

    /// The features of the set whose loss computes something else without a fault.
    #[must_use]
    pub fn silent(self) -> Self {
        self.of_class(RemovalClass::Silent)
    }

    /// The features of the set that have instructions of user mode: those that matter to a program.
    #[must_use]
    pub fn user(self) -> Self {
        self.iter()
            .filter(|feature| feature.instructions() == Instructions::User)
            .collect()
    }

    /// The features of the set that work where XCR0 has this value: without those that need a state
    /// component that is not enabled.
    #[must_use]
    pub fn usable_with_xcr0(self, xcr0: u64) -> Self {
        self.iter()
            .filter(|feature| feature.xcr0() & !xcr0 != 0)
            .fold(self, Self::without)
    }
}

/// The ids of set bits, in rising order.
#[derive(Debug, Clone)]
struct Ids([u64; WORDS]);

impl Iterator for Ids {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (at, word) = self
            .0
            .iter_mut()
            .enumerate()
            .find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        u16::try_from(at * 64 + bit as usize).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = FeatureSet(self.0).len();
        (len, Some(len))
    }
}

/// The features of a set, in the order of their ids. Made by [`FeatureSet::iter`].
#[derive(Debug, Clone)]
pub struct Iter(Ids);

impl Iterator for Iter {
    type Item = Feature;

    fn next(&mut self) -> Option<Feature> {
        self.0.next().and_then(Feature::from_id)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter {}
impl core::iter::FusedIterator for Iter {}

impl IntoIterator for FeatureSet {
    type Item = Feature;
    type IntoIter = Iter;

    fn into_iter(self) -> Iter {
        self.iter()
    }
}

impl IntoIterator for &FeatureSet {
    type Item = Feature;
    type IntoIter = Iter;

    fn into_iter(self) -> Iter {
        self.iter()
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        features.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl Extend<Feature> for FeatureSet {
    fn extend<I: IntoIterator<Item = Feature>>(&mut self, features: I) {
        for feature in features {
            self.insert(feature);
        }
    }
}

impl From<Feature> for FeatureSet {
    fn from(feature: Feature) -> Self {
        Self::EMPTY.with(feature)
    }
}

macro_rules! operator {
    ($operator:ident $method:ident, $assign:ident $assign_method:ident, $function:ident) => {
        impl $operator for FeatureSet {
            type Output = Self;

            fn $method(self, other: Self) -> Self {
                self.$function(other)
            }
        }

        impl $assign for FeatureSet {
            fn $assign_method(&mut self, other: Self) {
                *self = self.$function(other);
            }
        }
    };
}

operator!(BitOr bitor, BitOrAssign bitor_assign, union);
operator!(BitAnd bitand, BitAndAssign bitand_assign, intersection);
operator!(Sub sub, SubAssign sub_assign, difference);
operator!(BitXor bitxor, BitXorAssign bitxor_assign, symmetric_difference);

/// The names, separated by spaces, in the order of the ids; unknown ids as `#417`.
impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in Ids(self.0).enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            match Feature::from_id(id) {
                Some(feature) => f.write_str(feature.name())?,
                None => write!(f, "#{id}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// Names, aliases and `#id`, separated by white space or commas.
impl FromStr for FeatureSet {
    type Err = UnknownFeature;

    fn from_str(text: &str) -> Result<Self, UnknownFeature> {
        let mut set = Self::EMPTY;
        let words = text.split(|c: char| c.is_ascii_whitespace() || c == ',');
        for word in words.filter(|word| !word.is_empty()) {
            let id = match word.strip_prefix('#') {
                Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                    digits.parse().ok().filter(|&id| usize::from(id) < CAPACITY)
                }
                Some(_) => None,
                None => Feature::from_name(word).map(Feature::id),
            };
            let (word, bit) = position(id.ok_or_else(|| UnknownFeature::new(word))?);
            set.0[word] |= bit;
        }
        Ok(set)
    }
}

/// A [`FeatureSet`] of the named variants of [`Feature`]; works in constants.
///
/// ```
/// use isa::{FeatureSet, features};
///
/// const NEEDED: FeatureSet = features![Avx2, Fma];
/// assert_eq!(NEEDED.to_string(), "fma avx2");
/// ```
#[macro_export]
macro_rules! features {
    ($($feature:ident),* $(,)?) => {
        $crate::FeatureSet::from_features(&[$($crate::Feature::$feature),*])
    };
}
