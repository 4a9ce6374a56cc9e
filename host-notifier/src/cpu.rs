//! What a virtual machine can execute, from what its QEMU tells.
//!
//! QEMU describes a virtual CPU by *feature words*: for each register of each
//! CPUID leaf that holds feature bits, the bits that this CPU has. Bits that
//! the host cannot provide are already gone from them.
//!
//! - **TCG** executes what the words say and raises #UD for the rest, so the
//!   words are the available set.
//! - **KVM** executes more than it shows: hiding a CPUID bit does not disable
//!   the instruction. What the host's CPU has comes as a bonus, where the
//!   guest's XCR0 allows the state and the hypervisor has no control of its
//!   own over the instruction.

use isa::{Feature, FeatureSet, Instructions, RemovalClass, features};
use serde::Deserialize;

/// One feature word of QEMU's `feature-words` property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct FeatureWord {
    /// The register that CPUID answers in.
    #[serde(rename = "cpuid-register")]
    pub register: Register,
    /// The leaf.
    #[serde(rename = "cpuid-input-eax")]
    pub leaf: u32,
    /// The subleaf; absent where the leaf does not look at it.
    #[serde(rename = "cpuid-input-ecx", default)]
    pub subleaf: u32,
    /// The bits that the virtual CPU has.
    pub features: u32,
}

/// A register in QEMU's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
    // Never feature words; QEMU's schema has them all the same.
    Esp,
    Ebp,
    Esi,
    Edi,
}

/// Who executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's translator.
    Tcg,
    /// The CPU itself.
    Kvm,
}

impl Accelerator {
    /// `tcg` or `kvm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// Instructions that the hypervisor or a control register of the guest's
/// kernel gates: hidden in CPUID they fault, so they are never a bonus. Those
/// whose default class is [`RemovalClass::Kernel`] are gated too, POPCNT apart.
const GATED: FeatureSet = features![
    AmxTile, AmxInt8, AmxBf16, AmxFp16, AmxComplex, AmxFp8, AmxTf32, AmxAvx512,
    AmxMovrs, // XFD
    Pku, Shstk, Ibt, Uintr, KeyLocker, Aeskle, WideKl, // CR4
    Lwp, Mcommit, UserMsr, // MSRs
    Rdpru    // an intercept
];

/// What every one of the virtual CPUs shows under this accelerator. `host` is
/// what the host's own CPU has, XCR0 taken into account
/// ([`isa::detect`]); TCG does not look at it.
pub fn executable(
    accelerator: Accelerator,
    cpus: &[Vec<FeatureWord>],
    host: FeatureSet,
) -> FeatureSet {
    let each = cpus.iter().map(|words| match accelerator {
        Accelerator::Tcg => shown(words),
        Accelerator::Kvm => shown(words) | bonus(words, host),
    });
    let all = each.reduce(FeatureSet::intersection).unwrap_or_default();
    with_what_the_guest_enables(all)
}

fn shown(words: &[FeatureWord]) -> FeatureSet {
    // QEMU keeps the words of leaf 0xD where XSAVE is off; CPUID shows zeros.
    let xsave = answer(words, 1, 0).is_some_and(|word| Feature::Xsave.place().is_set_in(&word));
    let shown = |leaf, subleaf| {
        let answer = answer(words, leaf, subleaf);
        answer.filter(|_| leaf != 0xD || xsave)
    };
    FeatureSet::from_cpuid(shown, xcr0(words))
}

fn bonus(words: &[FeatureWord], host: FeatureSet) -> FeatureSet {
    let ungated = |feature: &Feature| {
        feature.instructions() == Instructions::User
            && (feature.class() != RemovalClass::Kernel || *feature == Feature::Popcnt)
    };
    let candidates: FeatureSet = host.iter().filter(ungated).collect();
    (candidates - GATED).usable_with_xcr0(xcr0(words).unwrap_or(0))
}

/// CPUID's answer as far as the words know it.
fn answer(words: &[FeatureWord], leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    let mut answer = None;
    for word in words
        .iter()
        .filter(|word| word.leaf == leaf && word.subleaf == subleaf)
    {
        let register = match word.register {
            Register::Eax => 0,
            Register::Ebx => 1,
            Register::Ecx => 2,
            Register::Edx => 3,
            Register::Esp | Register::Ebp | Register::Esi | Register::Edi => continue,
        };
        answer.get_or_insert([0; 4])[register] |= word.features;
    }
    answer
}

/// What the guest can set in XCR0: leaf 0xD, EAX and EDX. `None` if no word
/// tells.
fn xcr0(words: &[FeatureWord]) -> Option<u64> {
    answer(words, 0xD, 0).map(|[low, _, _, high]| u64::from(high) << 32 | u64::from(low))
}

/// OSXSAVE and OSPKE tell what the guest's kernel has enabled, so no feature
/// word has them; where the instructions are, so are they.
fn with_what_the_guest_enables(mut set: FeatureSet) -> FeatureSet {
    for (cause, effect) in [
        (Feature::Xsave, Feature::OsXsave),
        (Feature::Pku, Feature::Ospke),
    ] {
        if set.contains(cause) {
            set.insert(effect);
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSE_ONLY: u32 = 0b11;
    const WITH_YMM: u32 = 0b111;

    /// The words of a CPU with these features and this XCR0.
    fn words(set: FeatureSet, xcr0: u32) -> Vec<FeatureWord> {
        let mut words = vec![FeatureWord {
            register: Register::Eax,
            leaf: 0xD,
            subleaf: 0,
            features: xcr0,
        }];
        for feature in set {
            let isa::Place::Cpuid {
                leaf,
                subleaf,
                register,
                bit,
            } = feature.place()
            else {
                panic!("{feature} is no CPUID bit")
            };
            let register = match register {
                isa::Register::Eax => Register::Eax,
                isa::Register::Ebx => Register::Ebx,
                isa::Register::Ecx => Register::Ecx,
                isa::Register::Edx => Register::Edx,
            };
            words.push(FeatureWord {
                register,
                leaf,
                subleaf,
                features: 1 << bit,
            });
        }
        words
    }

    const BASE: FeatureSet = features![Sse2, Sse3, Ssse3];

    #[test]
    fn tcg_executes_what_the_words_say_and_nothing_else() {
        let host = BASE | features![Avx, Avx2, Avx512f];
        let cpu = words(BASE | features![Avx, Avx2, Abm, Bmi1], WITH_YMM);
        assert_eq!(
            executable(Accelerator::Tcg, &[cpu], host),
            BASE | features![Avx, Avx2, Abm, Bmi1]
        );
    }

    #[test]
    fn what_one_virtual_cpu_lacks_none_can_execute() {
        let full = words(BASE | features![Abm, Movbe], SSE_ONLY);
        let less = words(BASE | features![Movbe], SSE_ONLY);
        for cpus in [[full.clone(), less.clone()], [less, full]] {
            let both = executable(Accelerator::Tcg, &cpus, FeatureSet::EMPTY);
            assert_eq!(both, BASE | features![Movbe]);
        }
    }

    #[test]
    fn no_virtual_cpu_executes_nothing() {
        assert_eq!(
            executable(Accelerator::Kvm, &[], FeatureSet::ALL_KNOWN),
            FeatureSet::EMPTY
        );
    }

    #[test]
    fn kvm_gives_the_hosts_instructions_as_a_bonus_where_xcr0_allows_the_state() {
        let host = BASE | features![Popcnt, Bmi1, Avx, Avx2, Avx512f];
        let narrow = executable(Accelerator::Kvm, &[words(BASE, SSE_ONLY)], host);
        assert_eq!(narrow, BASE | features![Popcnt, Bmi1]);
        let wide = executable(Accelerator::Kvm, &[words(BASE, WITH_YMM)], host);
        assert_eq!(wide, BASE | features![Popcnt, Bmi1, Avx, Avx2]);
    }

    #[test]
    fn kvm_gives_no_bonus_of_what_the_hypervisor_gates() {
        let gated = features![
            Rdtscp, Rdpid, Invpcid, Xsaves, Waitpkg, AmxTile, AmxInt8, Rdrand, Rdseed, Smap, Vmx,
            Pku, Shstk, Rdpru, Fsgsbase, Xsavec, Enqcmd
        ];
        let xcr0 = u32::try_from(isa::xcr0::AMX | isa::xcr0::PKRU).unwrap() | WITH_YMM;
        let hidden = executable(Accelerator::Kvm, &[words(BASE, xcr0)], BASE | gated);
        assert_eq!(hidden, BASE);
        let all = BASE | gated | features![Xsave];
        let shown = executable(Accelerator::Kvm, &[words(all, xcr0)], all);
        assert_eq!(shown, all | features![OsXsave, Ospke]);
    }

    #[test]
    fn kvm_without_a_word_for_xcr0_gives_only_what_needs_no_state() {
        let cpu = words(BASE, 0)[1..].to_vec();
        let host = BASE | features![Bmi1, Avx, Avx2];
        assert_eq!(
            executable(Accelerator::Kvm, &[cpu], host),
            BASE | features![Bmi1]
        );
    }

    #[test]
    fn kvm_keeps_what_qemu_emulates_although_the_host_lacks_it() {
        let cpu = words(BASE | features![Hypervisor], SSE_ONLY);
        let set = executable(Accelerator::Kvm, &[cpu], BASE);
        assert_eq!(set, BASE | features![Hypervisor]);
    }

    #[test]
    fn where_xsave_is_the_kernel_may_have_enabled_it() {
        let cpu = words(BASE | features![Xsave], SSE_ONLY);
        let set = executable(Accelerator::Tcg, &[cpu], FeatureSet::EMPTY);
        assert_eq!(set, BASE | features![Xsave, OsXsave]);
    }

    #[test]
    fn without_xsave_nothing_of_its_leaf_is_shown() {
        let cpu = words(BASE | features![Xsaveopt, Xgetbv1], 0);
        assert_eq!(
            executable(Accelerator::Tcg, &[cpu], FeatureSet::EMPTY),
            BASE
        );
        let with = BASE | features![Xsave, Xsaveopt];
        let cpu = words(with, SSE_ONLY);
        let set = executable(Accelerator::Tcg, &[cpu], FeatureSet::EMPTY);
        assert_eq!(set, with | features![OsXsave]);
    }

    #[test]
    fn words_are_read_as_qemu_writes_them() {
        let json = r#"[
            {"cpuid-register":"EBX","cpuid-input-ecx":0,"cpuid-input-eax":7,"features":32},
            {"cpuid-register":"ECX","cpuid-input-eax":1,"features":4096}]"#;
        let words: Vec<FeatureWord> = serde_json::from_str(json).unwrap();
        assert_eq!(answer(&words, 7, 0), Some([0, 32, 0, 0]));
        assert_eq!(answer(&words, 1, 0), Some([0, 0, 4096, 0]));
        assert_eq!(answer(&words, 0, 0), None);
        assert_eq!(shown(&words), features![Fma, Avx2]);
    }
}
