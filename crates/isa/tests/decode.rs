//! Decoding of CPUID answers from other sources than the instruction.

use isa::{Feature, FeatureSet, features};

/// One entry of the QOM property `feature-words` that QEMU's QMP gives of a vCPU:
/// `cpuid-input-eax`, `cpuid-input-ecx`, `cpuid-register` (0 = EAX … 3 = EDX), `features`.
type FeatureWord = (u32, Option<u32>, usize, u32);

/// What `qom-get` answered for a vCPU of `-cpu Haswell-v4` under TCG, QEMU 10.0.2, without the words
/// that were zero.
const HASWELL_UNDER_TCG: [FeatureWord; 9] = [
    (0xD, Some(0), 0, 7),
    (6, None, 0, 4),
    (0xD, Some(1), 0, 1),
    (0x8000_0001, None, 2, 33),
    (0x8000_0001, None, 3, 672_139_264),
    (7, Some(0), 1, 937),
    (7, Some(0), 3, 0),
    (1, None, 2, 4_143_460_867),
    (1, None, 3, 126_614_525),
];

/// The features that QEMU's `query-cpu-model-expansion` lists as on for the same CPU, in Linux's names,
/// less those that TCG filters out of the vCPU: `invpcid`, `pcid`, `spec-ctrl`, `tsc-deadline`.
const HASWELL_BY_NAME: &str = "abm aes apic arat avx avx2 bmi1 bmi2 clflush cmov cx16 cx8 de erms \
    f16c fma fpu fsgsbase fxsr hypervisor lahf_lm lm mca mce mmx movbe msr mtrr nx pae pat \
    pclmulqdq pge pni popcnt pse pse36 rdrand rdtscp sep smep sse sse2 ssse3 sse4_1 sse4_2 \
    syscall tsc x2apic xsave xsaveopt";

fn answers(words: &[FeatureWord], leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    let mut answer = None;
    for &(eax, ecx, register, features) in words {
        if eax == leaf && ecx.unwrap_or(0) == subleaf {
            answer.get_or_insert([0; 4])[register] |= features;
        }
    }
    answer
}

#[test]
fn qemu_feature_words_give_the_model_s_features() {
    let set = FeatureSet::from_cpuid(|l, s| answers(&HASWELL_UNDER_TCG, l, s), None);
    let named: FeatureSet = HASWELL_BY_NAME.parse().unwrap();
    assert_eq!(
        set ^ named,
        FeatureSet::EMPTY,
        "decoded {set}, named {named}"
    );
    assert_eq!(set.closed(), set, "a CPU model is consistent");
}

/// A CPU whose every leaf has every bit set, with these maxima.
fn full(maxima: &'static [(u32, u32)]) -> impl FnMut(u32, u32) -> Option<[u32; 4]> {
    |leaf, _| match maxima.iter().find(|(range, _)| *range == leaf) {
        Some(&(_, maximum)) => Some([maximum, 0, 0, 0]),
        None => Some([u32::MAX; 4]),
    }
}

#[test]
fn leaves_above_the_maximum_are_not_looked_at() {
    // An Intel CPU answers them with its highest basic leaf: here, all ones.
    let old = full(&[(0, 1), (0x8000_0000, 0x8000_0001), (0xC000_0000, u32::MAX)]);
    let set = FeatureSet::from_cpuid(old, None);
    assert!(set.is_superset(&features![Sse3, Avx, Lm, Abm, Fpu]));
    assert!(set.is_disjoint(&features![
        Avx2, Sha512, Xsaveopt, Clzero, Svsm, Arat, Avx10V2
    ]));
    assert!(set.is_disjoint(&features![PadlockRng]), "no Centaur range");

    let new = full(&[
        (0, 0x29),
        (0x8000_0000, 0x8000_0022),
        (0xC000_0000, 0xC000_0004),
    ]);
    let everything = FeatureSet::from_cpuid(new, None);
    let in_msrs: FeatureSet = Feature::all()
        .filter(|feature| feature.place().leaf().is_none())
        .collect();
    assert!(!in_msrs.is_empty());
    assert_eq!(everything, FeatureSet::ALL_KNOWN - in_msrs);
}

#[test]
fn without_leaf_0_no_maximum_is_assumed() {
    let set = FeatureSet::from_cpuid(
        |leaf, sub| (leaf == 7 && sub == 1).then_some([16, 0, 0, 0]),
        None,
    );
    assert_eq!(set, features![AvxVnni]);
    assert_eq!(FeatureSet::from_cpuid(|_, _| None, None), FeatureSet::EMPTY);
}

#[test]
fn each_leaf_is_asked_once() {
    let mut asked = Vec::new();
    FeatureSet::from_cpuid(
        |leaf, subleaf| {
            asked.push((leaf, subleaf));
            Some(if leaf & 0xFFFF == 0 {
                [leaf | 0xFF; 4]
            } else {
                [0; 4]
            })
        },
        None,
    );
    let mut distinct = asked.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), asked.len(), "{asked:x?}");
}

#[test]
fn state_that_xcr0_lacks_masks_its_features() {
    let cpu = || full(&[(0, 0x29), (0x8000_0000, 0x8000_0022), (0xC000_0000, 0)]);
    let with = |xcr0| FeatureSet::from_cpuid(cpu(), Some(xcr0));

    let sse = with(isa::xcr0::X87 | isa::xcr0::SSE);
    assert!(sse.is_superset(&features![
        Sse42, Aes, Bmi1, Bmi2, Abm, Gfni, Adx, Xsave, Tbm
    ]));
    assert!(sse.is_disjoint(&features![
        Avx, Avx2, Fma, F16c, Vaes, Avx512f, Pku, AmxTile, ApxF
    ]));

    let avx = with(0b111);
    assert!(avx.is_superset(&features![Avx, Avx2, Fma, AvxVnni, Sm3, Xop]));
    assert!(avx.is_disjoint(&features![Avx512f, Avx512vl, Avx10, AmxTile, Mpx, Pku]));

    let amx = with(0b111 | isa::xcr0::AMX);
    assert!(amx.is_superset(&features![AmxTile, AmxInt8]));
    assert!(amx.is_disjoint(&features![AmxAvx512, Avx512f]));
}

#[test]
fn a_version_counts_from_the_row_s_number_on() {
    let version = |version: u32| {
        FeatureSet::from_cpuid(
            |leaf, subleaf| match (leaf, subleaf) {
                // Bits 8 and up are another field.
                (0x24, 0) => Some([0, version | 0x100, 0, 0]),
                _ => None,
            },
            None,
        )
    };
    assert_eq!(version(1), FeatureSet::EMPTY);
    assert_eq!(version(2), features![Avx10V2]);
    assert_eq!(version(3), features![Avx10V2]);
}
