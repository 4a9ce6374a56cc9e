//! Detection against what the kernel prints of the same CPU.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeSet;
use std::fs;

use isa::{Feature, FeatureSet, Spelling};

/// Flags that the kernel prints although CPUID does not show the row's bit here.
const SET_BY_THE_KERNEL: &[(Feature, &str)] = &[
    (
        Feature::IbrsAll,
        "an MSR bit, which user space cannot read; printed for AMD's autoibrs too",
    ),
    (
        Feature::SplitLockDetect,
        "an MSR bit, or known by the CPU's model",
    ),
    (
        Feature::Vnmi,
        "printed for VMX as well, from a VMX capability MSR",
    ),
    (
        Feature::IntelPpin,
        "known by the CPU's model before leaf 7.1 had a bit for it",
    ),
    (Feature::AmdPpin, "withdrawn or kept by an MSR"),
    (
        Feature::Arat,
        "forced on AMD families whose APIC timer never stops",
    ),
    (Feature::TscAdjust, "forced by some platforms"),
];

/// Flags that the kernel takes back although CPUID shows them.
const CLEARED_BY_THE_KERNEL: &[(Feature, &str)] = &[
    (
        Feature::Rdseed,
        "off where microcode has the RDSEED failure of Zen 5",
    ),
    (
        Feature::La57,
        "off unless the kernel runs with five-level tables",
    ),
    (Feature::VirtSsbd, "off where the real SSBD is there"),
    (Feature::Umip, "off by configuration"),
    (Feature::Smap, "off by nosmap"),
    (Feature::Smep, "off by nosmep"),
    (Feature::Pku, "off by nopku"),
    (Feature::Ospke, "off by nopku"),
    (
        Feature::Pcid,
        "off by nopcid, or on CPUs whose INVLPG is broken",
    ),
    (Feature::Invpcid, "off by noinvpcid"),
    (Feature::Fsgsbase, "off by nofsgsbase"),
    (
        Feature::Erms,
        "off where firmware has disabled fast strings",
    ),
    (
        Feature::Fsrm,
        "off where firmware has disabled fast strings",
    ),
    (Feature::Rtm, "off by tsx=off"),
    (Feature::Hle, "off by tsx=off"),
    (Feature::Xsaves, "off where errata forbid it (Zen 1 and 2)"),
    (Feature::Mpx, "the kernel knows it no longer"),
    (Feature::Waitpkg, "off by configuration"),
    (
        Feature::Enqcmd,
        "off without an IOMMU that can share address spaces",
    ),
    (Feature::Ibt, "off where the kernel does not use it"),
    (Feature::Fred, "off unless asked for"),
    (Feature::Lam, "off where the mitigation of SLAM is missing"),
    (Feature::Lass, "off by configuration"),
    (Feature::BusLockDetect, "off by configuration"),
    (Feature::Sgx, "off where firmware has not opened it"),
    (Feature::SgxLc, "off where firmware has not opened it"),
    (Feature::Vmx, "off where firmware has locked it"),
    (Feature::Svm, "off where firmware has locked it"),
    (Feature::Sme, "off where firmware has not opened it"),
    (Feature::Sev, "off where firmware has not opened it"),
    (Feature::SevEs, "off where firmware has not opened it"),
    (Feature::SevSnp, "off where firmware has not opened it"),
    (Feature::Monitor, "off where idle=nomwait"),
    (Feature::Mwaitx, "off where MWAIT is broken"),
    (Feature::Psn, "off by default: it identifies the machine"),
    (Feature::X2apic, "off by nox2apic"),
    (Feature::Ht, "off on CPUs with one thread"),
    (Feature::Mtrr, "off under a hypervisor that has none"),
    (Feature::TscDeadline, "off where microcode is too old"),
    (Feature::Clwb, "off on CPUs that evict the line"),
];

fn flags() -> Option<BTreeSet<String>> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("flags"))?;
    Some(
        line.split_once(':')?
            .1
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}

#[test]
fn detection_finds_what_the_kernel_prints() {
    let Some(flags) = flags() else {
        eprintln!("skipped: /proc/cpuinfo has no flags");
        return;
    };
    let detected = isa::detect();
    for feature in Feature::all().filter(|feature| flags.contains(feature.name())) {
        assert!(
            detected.contains(feature)
                || SET_BY_THE_KERNEL.iter().any(|(known, _)| *known == feature),
            "the kernel prints {feature}, but {} is not set",
            feature.place()
        );
    }
}

#[test]
fn the_kernel_prints_what_is_detected() {
    let Some(flags) = flags() else {
        eprintln!("skipped: /proc/cpuinfo has no flags");
        return;
    };
    for feature in isa::detect() {
        // A kernel that is older than the row prints nothing either; on such a machine this list
        // has to be taken from a newer one.
        let printed = flags.contains(feature.name());
        let explained = feature.spelling() != Spelling::Cpuinfo
            || CLEARED_BY_THE_KERNEL
                .iter()
                .any(|(known, _)| *known == feature);
        assert!(
            printed || explained,
            "{feature} ({}) is not printed",
            feature.place()
        );
    }
}

/// The names that the table says Linux does not print, it does not print.
#[test]
fn a_name_that_is_not_linux_s_is_not_in_cpuinfo() {
    let flags = flags().unwrap_or_default();
    for feature in Feature::all().filter(|feature| feature.spelling() != Spelling::Cpuinfo) {
        assert!(
            !flags.contains(feature.name()),
            "Linux does print {feature}"
        );
    }
}

#[test]
fn every_x86_64_cpu_has_the_baseline() {
    let baseline = isa::features![Fpu, Tsc, Cx8, Cmov, Mmx, Fxsr, Sse, Sse2, Lm, Syscall];
    let detected = isa::detect();
    assert!(
        baseline.is_subset(&detected),
        "missing: {}",
        baseline - detected
    );
    assert_eq!(detected, isa::detect(), "on one CPU, two answers");
}

#[test]
fn detection_agrees_with_the_standard_library() {
    let detected = isa::detect();
    macro_rules! compare {
        ($($name:tt $feature:ident)+) => {
            $(assert_eq!(
                std::is_x86_feature_detected!($name),
                detected.contains(Feature::$feature),
                $name
            );)+
        };
    }
    compare! {
        "sse3" Sse3 "ssse3" Ssse3 "sse4.1" Sse41 "sse4.2" Sse42 "sse4a" Sse4a "avx" Avx "avx2" Avx2
        "fma" Fma "f16c" F16c "bmi1" Bmi1 "bmi2" Bmi2 "lzcnt" Abm "popcnt" Popcnt "movbe" Movbe
        "adx" Adx "aes" Aes "pclmulqdq" Pclmulqdq "sha" ShaNi "rdrand" Rdrand "rdseed" Rdseed
        "tbm" Tbm "gfni" Gfni "vaes" Vaes "vpclmulqdq" Vpclmulqdq "avx512f" Avx512f
        "avx512bw" Avx512bw "avx512vl" Avx512vl "avx512vbmi2" Avx512vbmi2 "avxvnni" AvxVnni
        "avx512fp16" Avx512fp16 "xsavec" Xsavec "cmpxchg16b" Cx16 "fxsr" Fxsr
    }
}

#[test]
fn nothing_is_detected_whose_state_is_off() {
    let xcr0 = isa::xcr0().unwrap_or(0);
    for feature in isa::detect() {
        assert_eq!(feature.xcr0() & !xcr0, 0, "{feature}");
    }
    let shown = FeatureSet::from_cpuid(|leaf, subleaf| Some(isa::cpuid(leaf, subleaf)), None);
    assert_eq!(isa::detect(), shown.usable_with_xcr0(xcr0));
}
