//! What CPUID answers a guest that boots with a pool's baseline.

use isa::{Feature, FeatureSet, Instructions, Place, RemovalClass, features};

/// A level of the x86-64 psABI (its table 3.1, "Micro-Architecture Levels"),
/// which glibc, GCC and Rust name `x86-64-v1` to `x86-64-v4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every x86-64 CPU.
    V1,
    /// With SSE4.2, POPCNT and CMPXCHG16B.
    V2,
    /// With AVX2, FMA, BMI and LZCNT.
    V3,
    /// With AVX-512 F, BW, CD, DQ and VL.
    V4,
}

const V1: FeatureSet = features![Fpu, Cx8, Cmov, Mmx, Fxsr, Sse, Sse2, Syscall, Lm];
const V2: FeatureSet = V1.union(features![Cx16, LahfLm, Popcnt, Sse3, Sse41, Sse42, Ssse3]);
const V3: FeatureSet = V2.union(features![
    Avx, Avx2, Bmi1, Bmi2, F16c, Fma, Abm, Movbe, Xsave, OsXsave
]);
const V4: FeatureSet = V3.union(features![Avx512f, Avx512bw, Avx512cd, Avx512dq, Avx512vl]);

/// What manages the XSAVE components. A baseline shows it at every level, for
/// the components themselves stay as the kernel has enabled them: without
/// OSXSAVE no program may ask by XGETBV which they are.
const STATE_MANAGEMENT: FeatureSet = features![Xsave, OsXsave];

impl Level {
    /// All levels, the least first.
    pub const ALL: [Self; 4] = [Self::V1, Self::V2, Self::V3, Self::V4];

    /// The features of the level and of those below it.
    #[must_use]
    pub const fn features(self) -> FeatureSet {
        match self {
            Self::V1 => V1,
            Self::V2 => V2,
            Self::V3 => V3,
            Self::V4 => V4,
        }
    }

    /// Such as `x86-64-v2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "x86-64-v1",
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
            Self::V4 => "x86-64-v4",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// What a guest's CPUID shows of the machine under it.
///
/// Instructions of user mode that can be lost (faulting, silent, or with a
/// state of their own) are shown only if the baseline names them. The rest is
/// the machine's: what only a kernel uses, hints, mitigations, topology,
/// caches, and leaf 0xD, for the XSAVE components stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Baseline {
    shown: FeatureSet,
}

impl Baseline {
    /// A baseline with these instructions, less those whose dependencies are
    /// not among them.
    #[must_use]
    pub fn new(instructions: FeatureSet) -> Self {
        let always = FeatureSet::ALL_KNOWN - can_be_hidden();
        Self {
            shown: (always | instructions).closed(),
        }
    }

    /// The baseline of a pool whose least host has this level and no more.
    #[must_use]
    pub fn of(level: Level) -> Self {
        Self::new(level.features())
    }

    /// What it shows of a machine that has everything.
    #[must_use]
    pub fn shown(&self) -> FeatureSet {
        self.shown
    }

    /// The answer `[eax, ebx, ecx, edx]` to a CPUID, of which the machine's own
    /// answer is `machine`.
    ///
    /// Bits of leaf 7 that have no row in the table of features are cleared:
    /// that is where instructions are announced that are newer than the table.
    #[must_use]
    pub fn answer(&self, leaf: u32, subleaf: u32, machine: [u32; 4]) -> [u32; 4] {
        let subleaf = if is_indexed(leaf) { subleaf } else { 0 };
        let mut answer = machine;
        let mut known = [0; 4];
        for feature in Feature::all() {
            let place = feature.place();
            if place.leaf() != Some((leaf, subleaf)) {
                continue;
            }
            match place {
                Place::Cpuid { register, bit, .. } => {
                    known[register.index()] |= 1 << bit;
                    if !self.shown.contains(feature) {
                        answer[register.index()] &= !(1 << bit);
                    }
                }
                Place::Field {
                    register,
                    shift,
                    width,
                    at_least,
                    ..
                } if !self.shown.contains(feature) && place.is_set_in(&answer) => {
                    let field = ((1 << width) - 1) << shift;
                    let value = &mut answer[register.index()];
                    *value = *value & !field | (at_least - 1) << shift;
                }
                _ => {}
            }
        }
        if leaf == 7 {
            // EAX of subleaf 0 is a number: the highest subleaf.
            let numbers = usize::from(subleaf == 0);
            for (register, known) in answer.iter_mut().zip(known).skip(numbers) {
                *register &= known;
            }
        }
        answer
    }

    /// The answer of a machine like the one that runs this.
    ///
    /// What differs from CPU to CPU, such as the local APIC's number, is that
    /// of the calling thread's.
    #[must_use]
    pub fn answer_here(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        self.answer(leaf, subleaf, isa::cpuid(leaf, subleaf))
    }
}

/// What a level names, and every other instruction of user mode whose loss
/// would be felt. What a kernel uses too is never a bonus, and stays.
fn can_be_hidden() -> FeatureSet {
    let losable = |feature: &Feature| {
        let class = feature.class();
        feature.instructions() == Instructions::User
            && matches!(
                class,
                RemovalClass::Faulting | RemovalClass::Silent | RemovalClass::State
            )
    };
    let instructions: FeatureSet = Feature::all().filter(losable).collect();
    (instructions | V4) - V1 - STATE_MANAGEMENT
}

/// Whether CPUID looks at ECX for this leaf (Intel SDM volume 2A, "CPUID";
/// AMD64 APM volume 3, appendix E). Elsewhere ECX holds anything.
const fn is_indexed(leaf: u32) -> bool {
    matches!(
        leaf,
        0x4 | 0x7
            | 0xB
            | 0xD
            | 0xF
            | 0x10
            | 0x12
            | 0x14
            | 0x17
            | 0x18
            | 0x1A..=0x24
            | 0x27..=0x29
            | 0x8000_001D
            | 0x8000_0020
            | 0x8000_0026
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a machine with every bit of every leaf would show under it.
    fn seen_under(baseline: Baseline) -> FeatureSet {
        let everything = |leaf: u32, subleaf| {
            let range = leaf & 0xFFFF_0000;
            let machine = if leaf == range {
                [range | 0xFFFF, 0, 0, 0]
            } else {
                [u32::MAX; 4]
            };
            Some(baseline.answer(leaf, subleaf, machine))
        };
        FeatureSet::from_cpuid(everything, None)
    }

    #[test]
    fn a_level_shows_its_instructions_and_none_above() {
        for level in Level::ALL {
            let seen = seen_under(Baseline::of(level));
            assert!(level.features().is_subset(&seen), "{}", level.name());
            let losable = seen & can_be_hidden();
            assert_eq!(losable - level.features(), FeatureSet::EMPTY, "{level:?}");
        }
        let bonus = features![
            Avx, Avx2, Fma, Bmi1, Abm, Avx512f, Avx512fp16, Aes, AmxTile, ApxF, Avx10V2
        ];
        assert!(seen_under(Baseline::of(Level::V2)).is_disjoint(&bonus));
        assert_eq!(Level::named("x86-64-v3"), Some(Level::V3));
        assert_eq!(Level::named("x86-64-v5"), None);
    }

    #[test]
    fn the_state_components_and_how_they_are_managed_stay() {
        let baseline = Baseline::of(Level::V1);
        for subleaf in 0..20 {
            let machine = [u32::MAX; 4];
            assert_eq!(baseline.answer(0xD, subleaf, machine), machine);
        }
        assert!(STATE_MANAGEMENT.is_subset(&seen_under(baseline)));
    }

    #[test]
    fn what_lacks_its_dependencies_is_not_shown() {
        let half = Baseline::new(features![Avx2]);
        assert!(!half.shown().contains(Feature::Avx2), "without AVX");
        let whole = Baseline::new(features![Avx2].with_dependencies());
        assert!(seen_under(whole).contains(Feature::Avx2));
    }

    #[test]
    fn ecx_matters_only_to_leaves_that_look_at_it() {
        let baseline = Baseline::of(Level::V2);
        let machine = [u32::MAX; 4];
        let asked_with = |ecx| baseline.answer(1, ecx, machine);
        assert_eq!(asked_with(0), asked_with(0xDEAD));
        assert_ne!(asked_with(0), machine);
        assert_eq!(baseline.answer(4, 1, machine), machine);
    }

    #[test]
    fn leaf_7_hides_what_the_table_does_not_know() {
        let everything = Baseline::new(FeatureSet::ALL_KNOWN);
        let [highest, ebx, ..] = everything.answer(7, 0, [u32::MAX; 4]);
        assert_eq!(highest, u32::MAX, "a number");
        assert!(ebx >> 5 & 1 == 1, "AVX2");
        assert_eq!(everything.answer(7, 77, [u32::MAX; 4]), [0; 4]);
    }
}
