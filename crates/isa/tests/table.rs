//! The table is consistent, and what has been published of it stays.

use std::collections::BTreeMap;

use isa::{CAPACITY, Feature, FeatureSet, Instructions, Place, RemovalClass, Spelling, features};

/// `id name`, one line each: what peers, shared pages and compiled C programs rely on.
const PUBLISHED: &str = include_str!("ids.txt");

/// Lower case, and one sign for `_`, `-` and `.`: names that are equal so are one name.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
}

#[test]
fn published_ids_never_change() {
    let now: Vec<String> = Feature::all()
        .map(|feature| format!("{} {}", feature.id(), feature.name()))
        .collect();
    for (at, line) in PUBLISHED.lines().enumerate() {
        assert_eq!(
            now.get(at).map(String::as_str),
            Some(line),
            "a published id has changed"
        );
    }
    assert_eq!(
        now.len(),
        PUBLISHED.lines().count(),
        "append the new rows to tests/ids.txt: {:?}",
        &now[PUBLISHED.lines().count()..]
    );
}

#[test]
fn ids_count_up_from_zero_and_fit() {
    for (at, feature) in Feature::all().enumerate() {
        assert_eq!(usize::from(feature.id()), at);
        assert_eq!(Feature::from_id(feature.id()), Some(feature));
    }
    assert!(Feature::ALL.len() <= CAPACITY);
    assert_eq!(
        Feature::from_id(u16::try_from(Feature::ALL.len()).unwrap()),
        None
    );
    assert_eq!(Feature::from_id(u16::MAX), None);
    assert_eq!(Feature::Sse3.id(), 0);
}

#[test]
fn names_and_aliases_are_unique() {
    let mut owner = BTreeMap::new();
    for feature in Feature::all() {
        for name in [feature.name()].iter().chain(feature.aliases()) {
            let other = owner.insert(folded(name), feature);
            assert_eq!(other, None, "{name} means both {other:?} and {feature:?}");
        }
    }
}

#[test]
fn names_are_words_that_parse() {
    for feature in Feature::all() {
        let name = feature.name();
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{name:?} is not as Linux spells"
        );
        for name in [name].iter().chain(feature.aliases()) {
            assert_eq!(Feature::from_name(name), Some(feature));
            assert_eq!(Feature::from_name(&name.to_uppercase()), Some(feature));
            assert_eq!(name.parse(), Ok(feature));
            assert_eq!(name.parse(), Ok(FeatureSet::from(feature)));
        }
    }
}

#[test]
fn other_tools_spellings_are_understood() {
    let table = [
        ("sse3", Feature::Sse3),
        ("SSE4.1", Feature::Sse41),
        ("sse4-2", Feature::Sse42),
        ("lzcnt", Feature::Abm),
        ("avx512-vpopcntdq", Feature::Avx512vpopcntdq),
        ("sha-ni", Feature::ShaNi),
        ("tsc-deadline", Feature::TscDeadline),
        ("invtsc", Feature::NonstopTsc),
        ("xd", Feature::Nx),
        ("apxf", Feature::ApxF),
    ];
    for (name, feature) in table {
        assert_eq!(Feature::from_name(name), Some(feature), "{name}");
    }
}

#[test]
fn an_unknown_name_is_named_in_the_error() {
    let error = "avx3".parse::<Feature>().unwrap_err();
    assert_eq!(error.to_string(), r#"unknown CPU feature "avx3""#);
    assert_eq!("".parse::<Feature>().unwrap_err().word(), "");

    // Cut between characters, and the cut is shown.
    let long = format!("x{}", "é".repeat(100));
    let error = long.parse::<Feature>().unwrap_err();
    assert_eq!(error.word(), format!("x{}", "é".repeat(23)));
    assert!(error.to_string().ends_with("\"…"));
}

#[test]
fn places_are_unique() {
    let mut owner = BTreeMap::new();
    for feature in Feature::all() {
        let place = feature.place();
        let other = owner.insert(place, feature);
        assert_eq!(
            other, None,
            "{place} announces both {other:?} and {feature:?}"
        );
    }
}

#[test]
fn places_print_as_manuals_write_them() {
    assert_eq!(Feature::Avx2.place().to_string(), "CPUID 0x7 ebx[5]");
    assert_eq!(Feature::AvxVnni.place().to_string(), "CPUID 0x7.1 eax[4]");
    assert_eq!(
        Feature::Avx10V2.place().to_string(),
        "CPUID 0x24 ebx[7:0] >= 2"
    );
    assert_eq!(Feature::RdclNo.place().to_string(), "MSR 0x10a[0]");
    assert_eq!(
        Feature::RdclNo.place(),
        Place::Msr {
            index: 0x10A,
            bit: 0
        }
    );
}

#[test]
fn dependencies_have_no_circle() {
    for feature in Feature::all() {
        let needs = feature.dependencies().with_dependencies();
        assert!(
            !needs.contains(feature),
            "{feature} depends on itself through {needs}"
        );
    }
}

/// A feature cannot be used where what it depends on cannot be.
#[test]
fn a_feature_needs_the_state_of_its_dependencies() {
    for feature in Feature::all() {
        for needed in feature.dependencies() {
            // The bits that describe a mode of processor trace, Key Locker and the like have no
            // state of their own; whoever has instructions does.
            if feature.instructions() == Instructions::User {
                assert_eq!(
                    needed.xcr0() & !feature.xcr0(),
                    0,
                    "{feature} needs {needed}, but not its state"
                );
            }
        }
    }
}

/// VEX and EVEX arithmetic reaches an XSAVE component by way of the feature that brings it.
#[test]
fn a_feature_with_state_depends_on_the_owner_of_the_state() {
    let owners = [
        (isa::xcr0::AVX, Feature::Avx),
        (isa::xcr0::AVX512, Feature::Avx512f),
        (isa::xcr0::AMX, Feature::AmxTile),
        (isa::xcr0::APX, Feature::ApxF),
        (isa::xcr0::PKRU, Feature::Pku),
        (isa::xcr0::MPX, Feature::Mpx),
        (isa::xcr0::LWP, Feature::Lwp),
    ];
    for feature in Feature::all() {
        let needs = FeatureSet::from(feature).with_dependencies();
        for (state, owner) in owners {
            assert_eq!(
                feature.xcr0() & state != 0,
                needs.contains(owner),
                "{feature} and {owner} disagree on the state {state:#x}"
            );
        }
        if feature.xcr0() != 0 {
            assert!(
                needs.contains(Feature::Xsave),
                "{feature} has state without xsave"
            );
        }
    }
}

#[test]
fn classes_are_those_that_experiments_showed() {
    let silent = features![Abm, Bmi1, Wbnoinvd, Mpx, Shstk, Ibt];
    assert_eq!(FeatureSet::ALL_KNOWN.silent(), silent);

    let state = features![Avx, Avx512f, AmxTile, ApxF, Pku, Lwp];
    assert_eq!(FeatureSet::ALL_KNOWN.of_class(RemovalClass::State), state);

    let faulting = features![
        Avx2, Fma, F16c, Bmi2, Movbe, Aes, ShaNi, Vaes, Avx512vl, Xop, Sse4a
    ];
    assert!(faulting.is_subset(&FeatureSet::ALL_KNOWN.faulting()));

    let kernel = features![
        Rdtscp, Rdrand, Smap, Fsgsbase, Invpcid, Xsaves, Pcid, Popcnt, Sse2, Lm, X2apic
    ];
    assert!(kernel.is_subset(&FeatureSet::ALL_KNOWN.of_class(RemovalClass::Kernel)));

    let hints = features![Fsrm, Erms, Cldemote, ThreeDnowPrefetch];
    assert!(hints.is_subset(&FeatureSet::ALL_KNOWN.of_class(RemovalClass::Hint)));

    let security = features![MdClear, SpecCtrl, AmdSsbd, SrsoNo, RdclNo];
    assert!(security.is_subset(&FeatureSet::ALL_KNOWN.of_class(RemovalClass::Security)));
}

/// A bit that brings no user instruction cannot be emulated for a user program.
#[test]
fn what_faults_has_user_instructions() {
    for feature in FeatureSet::ALL_KNOWN.faulting() {
        // A mode or an enable bit of instructions that another row brings.
        let belongs_to_another = !feature.dependencies().is_empty();
        assert!(
            feature.instructions() == Instructions::User || belongs_to_another,
            "{feature} faults without instructions"
        );
    }
}

#[test]
fn every_row_says_what_it_is() {
    for feature in Feature::all() {
        let text = feature.description();
        assert!(text.ends_with('.') && text.len() > 8, "{feature}: {text:?}");
        assert_eq!(text, text.trim());
    }
}

#[test]
fn every_column_is_in_use() {
    for class in RemovalClass::ALL {
        assert!(!FeatureSet::ALL_KNOWN.of_class(class).is_empty(), "{class}");
    }
    for spelling in [
        Spelling::Cpuinfo,
        Spelling::LinuxMacro,
        Spelling::Qemu,
        Spelling::Xen,
        Spelling::Manual,
    ] {
        assert!(
            Feature::all().any(|feature| feature.spelling() == spelling),
            "{spelling:?}"
        );
    }
}

/// The places, from a second source: what QEMU itself answered.
#[test]
fn places_are_where_qemu_has_them() {
    const ANSWERED: &str = include_str!("qemu-10.0.2-places.txt");
    let mut agreed = 0;
    for line in ANSWERED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [leaf, subleaf, register, bit, property] = words[..] else {
            panic!("not a place: {line}");
        };
        // Enclaves do not migrate: the leaf of SGX has no rows.
        if leaf == "0x12" {
            continue;
        }
        let subleaf = if subleaf == "0" {
            String::new()
        } else {
            format!(".{subleaf}")
        };
        let feature: Feature = property.parse().unwrap();
        assert_eq!(
            feature.place().to_string(),
            format!("CPUID {leaf}{subleaf} {register}[{bit}]"),
            "{property}"
        );
        agreed += 1;
    }
    assert_eq!(agreed, 243);
}
