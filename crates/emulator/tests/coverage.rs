//! How much of the decoder's list is emulated, family by family.
//!
//! `cargo test -p isahotplug-emulator --test coverage -- --nocapture` prints the table. A family
//! is what the decoder names as the CPUID features of a code; counted are the codes that can be
//! executed in 64-bit mode at privilege level 3 and are encoded without EVEX.

#[path = "cases/mod.rs"]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "random bits are reinterpreted on purpose"
)]
mod cases;
#[path = "scope/mod.rs"]
mod scope;

use cases::Place;
use cases::random::Random;
use iced_x86::{Code, Decoder, DecoderOptions, EncodingKind};
use std::collections::BTreeMap;

/// Codes of a family: all, and those that are not emulated.
#[derive(Default)]
struct Family {
    codes: usize,
    missing: Vec<Code>,
}

/// The family of a code; `None` if user programs cannot execute it.
fn family(code: Code) -> Option<String> {
    let info = code.op_code();
    let before_evex = !matches!(code.encoding(), EncodingKind::EVEX | EncodingKind::MVEX);
    if !info.is_instruction() || !info.mode64() || !info.cpl3() || !before_evex {
        return None;
    }
    if matches!(code, Code::Lahf | Code::Sahf) {
        return Some("LAHF/SAHF".into());
    }
    let names = code.cpuid_features().iter().map(|f| format!("{f:?}"));
    Some(names.collect::<Vec<_>>().join(" "))
}

fn is_emulated(code: Code) -> bool {
    let place = Place {
        code: 0x1000,
        data: 0x3000,
        mxcsr_mask: 0xffff,
    };
    let mut random = Random(1);
    (0..100)
        .find_map(|_| cases::case(code, &mut random, place))
        // Some codes share their bytes with others that the decoder prefers.
        .filter(|case| {
            Decoder::new(64, &case.bytes, DecoderOptions::NONE)
                .decode()
                .code()
                == code
        })
        .and_then(|case| emulator::attribute(&case.bytes))
        .is_some_and(|attribution| attribution.emulated)
}

fn families() -> BTreeMap<String, Family> {
    emulator::init();
    let mut families = BTreeMap::<String, Family>::new();
    for code in Code::values() {
        if let Some(name) = family(code) {
            let family = families.entry(name).or_default();
            family.codes += 1;
            if !is_emulated(code) {
                family.missing.push(code);
            }
        }
    }
    families
}

/// What a family is tested against on a CPU without it.
#[derive(Clone, Copy, Debug)]
enum Oracle {
    /// Nothing but single cases worked out by hand: `tests/golden.rs`.
    Golden,
    /// The CPU, and nothing where it lacks the family: `tests/native`.
    Cpu,
    /// Another instruction that computes the same: `tests/native/siblings.rs`. AVX-IFMA has a
    /// reference as well.
    Sibling,
    /// A plain reference: `tests/reference`.
    Reference,
    /// A reference and published results.
    Published,
}

/// Families that are complete, with the codes that the decoder has of them.
const COMPLETE: &[(&str, usize, Oracle)] = &[
    ("ADX", 4, Oracle::Cpu),
    ("AES", 6, Oracle::Cpu),
    ("AES AVX", 6, Oracle::Cpu),
    ("AVX", 390, Oracle::Cpu),
    ("AVX GFNI", 6, Oracle::Cpu),
    ("AVX SHA512", 3, Oracle::Published),
    ("AVX SM3", 3, Oracle::Published),
    ("AVX SM4", 4, Oracle::Published),
    ("AVX2", 172, Oracle::Cpu),
    ("AVX_IFMA", 4, Oracle::Sibling),
    ("AVX_NE_CONVERT", 14, Oracle::Reference),
    ("AVX_VNNI", 8, Oracle::Cpu),
    ("AVX_VNNI_INT16", 12, Oracle::Reference),
    ("AVX_VNNI_INT8", 12, Oracle::Reference),
    ("BMI1", 13, Oracle::Cpu),
    ("BMI2", 16, Oracle::Cpu),
    ("CLDEMOTE", 1, Oracle::Golden),
    ("CLFLUSHOPT", 1, Oracle::Cpu),
    ("CLWB", 1, Oracle::Cpu),
    ("CMPXCHG16B", 1, Oracle::Cpu),
    ("D3NOW", 20, Oracle::Reference),
    ("D3NOWEXT", 5, Oracle::Reference),
    ("F16C", 4, Oracle::Cpu),
    ("FMA", 96, Oracle::Cpu),
    ("FMA4", 64, Oracle::Sibling),
    ("FPU SSE3", 3, Oracle::Cpu),
    ("GFNI", 3, Oracle::Cpu),
    ("LAHF/SAHF", 2, Oracle::Cpu),
    ("LZCNT", 3, Oracle::Cpu),
    ("MMX", 60, Oracle::Cpu),
    ("MOVBE", 6, Oracle::Cpu),
    ("MOVDIR64B", 2, Oracle::Cpu),
    ("MOVDIRI", 2, Oracle::Cpu),
    ("PCLMULQDQ", 1, Oracle::Cpu),
    ("PCLMULQDQ AVX", 1, Oracle::Cpu),
    ("POPCNT", 3, Oracle::Cpu),
    ("PREFETCHW", 7, Oracle::Cpu),
    ("RDPID", 1, Oracle::Cpu),
    ("RDRAND", 3, Oracle::Golden),
    ("RDSEED", 3, Oracle::Golden),
    ("RDTSCP", 1, Oracle::Golden),
    ("SHA", 7, Oracle::Cpu),
    ("SSE", 84, Oracle::Cpu),
    ("SSE2", 167, Oracle::Cpu),
    ("SSE3", 10, Oracle::Cpu),
    ("SSE4A", 6, Oracle::Cpu),
    ("SSE4_1", 53, Oracle::Cpu),
    ("SSE4_2", 12, Oracle::Cpu),
    ("SSSE3", 32, Oracle::Cpu),
    ("TBM", 20, Oracle::Reference),
    ("VAES", 4, Oracle::Cpu),
    ("VPCLMULQDQ", 1, Oracle::Cpu),
    ("XOP", 83, Oracle::Reference),
];

/// Families of every x86-64 CPU, with the codes that the decoder has of them and how many of those
/// are left to the CPU on purpose. All the others are emulated, and tested against the CPU.
const ORDINARY: &[(&str, usize, usize)] = &[
    ("CET_IBT", 2, 0),
    ("CMOV", 48, 0),
    ("CX8", 1, 0),
    ("INTEL186", 26, 5),
    ("INTEL286", 11, 11),
    ("INTEL386", 201, 58),
    ("INTEL486", 8, 1),
    ("INTEL8086", 214, 58),
    ("MULTIBYTENOP", 30, 27),
    ("PAUSE", 1, 0),
    ("X64", 205, 38),
];

#[test]
fn ordinary_instructions_are_emulated_or_left_out_on_purpose() {
    emulator::init();
    let mut found = BTreeMap::<String, (usize, usize)>::new();
    for code in Code::values().filter(|&code| cases::general::is_general(code)) {
        let Some(name) = family(code) else { continue };
        let (codes, left_out) = found.entry(name).or_default();
        *codes += 1;
        *left_out += usize::from(scope::ends_a_burst(code));
        assert_ne!(is_emulated(code), scope::ends_a_burst(code), "{code:?}");
    }
    let found: Vec<_> = found
        .iter()
        .map(|(name, n)| (name.as_str(), n.0, n.1))
        .collect();
    println!("| family of every CPU | codes | left to it |");
    println!("|---|---:|---:|");
    for (name, codes, left_out) in &found {
        println!("| {name} | {codes} | {left_out} |");
    }
    assert_eq!(found, ORDINARY);
}

#[test]
fn the_table_holds() {
    let families = families();
    println!("| family | codes | emulated | oracle |");
    println!("|---|---:|---:|---|");
    for &(name, codes, oracle) in COMPLETE {
        let family = families.get(name).expect("the decoder has the family");
        let emulated = family.codes - family.missing.len();
        println!("| {name} | {} | {emulated} | {oracle:?} |", family.codes);
        assert_eq!(family.codes, codes, "{name}: the decoder has changed");
        assert!(family.missing.is_empty(), "{name}: {:?}", family.missing);
    }
    // Whatever else is emulated belongs into the table.
    for (name, family) in &families {
        let listed =
            COMPLETE.iter().any(|row| row.0 == name) || ORDINARY.iter().any(|row| row.0 == name);
        let emulated = family.codes - family.missing.len();
        assert!(
            listed || emulated == 0,
            "{name}: {emulated} are not counted"
        );
    }
}
