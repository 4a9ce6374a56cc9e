//! What CPUs have done, recorded, against the emulator on any machine.
//!
//! `tests/native` compares with the CPU that it runs on, and so tests less on a lesser one. The
//! files `*.bin` here hold what CPUs with more did; nothing is executed natively to replay them.
//!
//! `ISAHOTPLUG_RECORD=tests/vectors cargo test -p isahotplug-emulator --test vectors` records the
//! file of the present CPU in that folder (relative to the package). The recorder chooses among
//! many random cases those that differ most, see `selection.rs`, and writes nothing if CPU and
//! emulator disagree on any of them.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "random bits are reinterpreted on purpose"
)]

#[path = "../approximate/mod.rs"]
mod approximate;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../cases/mod.rs"]
mod cases;
mod expansion;
mod files;
mod format;
mod image;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../native/oracle.rs"]
#[expect(dead_code, reason = "no instruction that is recorded needs all of it")]
mod oracle;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod recorder;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod selection;
#[path = "../shadow/mod.rs"]
mod shadow;

use approximate::{accept_approximations, is_approximate};
use emulator::{EMULATED, Fault, State, Step};
use files::RECORDINGS;
use format::{End, Malformed, Recording, Vector};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use image::Image;
use shadow::Shadow;
use std::collections::BTreeMap;
use std::io::Write;

fn shadow() -> Shadow {
    Shadow {
        data: image::DATA_ADDRESS,
        bytes: Vec::new(),
        code: Vec::new(),
        aux: None,
    }
}

/// The registers that case `number` of a code begins with, before its own changes.
fn registers(recording: &Recording, name: &str, number: u32) -> State {
    let mut state = expansion::registers(name, number, recording.mxcsr_mask);
    shadow::limit(&mut state, recording.width);
    state
}

/// How a result of the emulator looks to a program.
fn end(result: Result<Step, Fault>, mxcsr: u32) -> Result<End, String> {
    match result {
        Ok(_) => Ok(End::Completed),
        Err(Fault::Memory(fault)) => Ok(End::Memory {
            address: fault.address,
        }),
        Err(Fault::Alignment { .. } | Fault::Protection) => Ok(End::Protection),
        Err(Fault::Simd { unmasked }) => {
            let visible = mxcsr & !(mxcsr >> 7) & 0x3f;
            if unmasked == 0 || unmasked & !visible != 0 {
                return Err(format!("#XM for {unmasked:#x}, but MXCSR is {mxcsr:#x}"));
            }
            Ok(End::FloatingPoint)
        }
        // Nothing that is recorded divides integers or begins with an x87 exception pending.
        Err(fault @ (Fault::Unknown | Fault::Divide | Fault::X87)) => Err(format!("{fault:?}")),
    }
}

/// Emulates a case that begins with `before`, and says what differs.
fn replay(
    vector: &Vector,
    before: &Image,
    recording: &Recording,
    shadow: &mut Shadow,
) -> Result<(), String> {
    let state = before.state(recording.mxcsr_mask, recording.width);
    let mut expected = before.clone();
    if vector.end == End::Completed {
        expected.advance(vector.instruction.len());
    }
    expected.apply(&vector.output);
    shadow.code.clone_from(&vector.instruction);
    shadow.bytes.clear();
    shadow.bytes.extend(before.data());
    let mut got = state;
    let end = end(emulator::step(&mut got, shadow, EMULATED), got.mxcsr);
    if is_approximate(mnemonic(&vector.instruction)) {
        let recorded = expected.state(recording.mxcsr_mask, recording.width);
        accept_approximations(&mut got, &recorded);
    }
    let got = Image::new(&got, &shadow.bytes);
    if end == Ok(vector.end) && got == expected {
        return Ok(());
    }
    let mut text = format!("{:02x?}\n", vector.instruction);
    if end != Ok(vector.end) {
        text += &format!("  end: expected {:x?}, emulated {end:x?}\n", vector.end);
    }
    text += &Image::differences(before, &expected, &got);
    Err(text)
}

fn mnemonic(instruction: &[u8]) -> Mnemonic {
    Decoder::new(64, instruction, DecoderOptions::NONE)
        .decode()
        .mnemonic()
}

/// Replays all cases: the number of them by the features that they need, and what differs.
fn replay_all(recording: &Recording) -> (BTreeMap<String, (usize, usize)>, Vec<String>) {
    let mut shadow = shadow();
    let mut counts = BTreeMap::<String, (usize, usize)>::new();
    let mut failures = Vec::new();
    for code in recording.codes.iter().filter(|code| !code.cases.is_empty()) {
        let data = expansion::data(&code.name);
        let mut failed = Vec::new();
        for (vector, i) in code.cases.iter().zip(0..) {
            let mut before = Image::new(&registers(recording, &code.name, vector.number), &data);
            before.apply(&vector.input);
            if let Err(text) = replay(vector, &before, recording, &mut shadow) {
                failed.push(format!("case {i}: {text}"));
            }
        }
        let features = emulator::attribute(&code.cases[0].instruction)
            .map_or_else(|| "unknown".into(), |a| a.features.to_string());
        let (codes, cases) = counts.entry(features).or_default();
        *codes += 1;
        *cases += code.cases.len();
        if let Some(first) = failed.first() {
            let (wrong, all) = (failed.len(), code.cases.len());
            failures.push(format!(
                "{}: {wrong} of {all} cases differ; the first:\n{first}",
                code.name
            ));
        }
    }
    (counts, failures)
}

#[test]
fn the_emulator_gives_what_cpus_have_given() {
    emulator::init();
    let mut failures = Vec::new();
    for &(file, bytes) in RECORDINGS {
        let recording = Recording::from_bytes(bytes).unwrap_or_else(|e| panic!("{file}: {e}"));
        let (counts, failed) = replay_all(&recording);
        failures.extend(failed);
        let codes: usize = counts.values().map(|count| count.0).sum();
        let cases: usize = counts.values().map(|count| count.1).sum();
        let mut report = format!(
            "vectors: {codes} codes, {cases} cases recorded on {} ({file})\n",
            recording.cpu
        );
        for (features, (codes, cases)) in &counts {
            report += &format!("  {features}: {codes} codes, {cases} cases\n");
        }
        // Past the capture of the test harness: the counts are to be seen in every run.
        let _ = std::io::stderr().write_all(report.as_bytes());
    }
    for failure in failures.iter().take(60) {
        println!("{failure}");
    }
    let count = failures.len();
    assert!(failures.is_empty(), "{count} codes differ from a recording");
}

/// A recording of a few cases.
fn small() -> Recording {
    let bytes = RECORDINGS[0].1;
    let mut recording = Recording::from_bytes(bytes).expect("a good file");
    recording.codes.retain(|code| code.cases.len() > 1);
    recording.codes.truncate(2);
    recording
}

#[test]
fn a_file_says_the_same_after_reading_and_writing() {
    for &(file, bytes) in RECORDINGS {
        let recording = Recording::from_bytes(bytes).expect("a good file");
        assert!(recording.to_bytes() == bytes, "{file}");
        for code in &recording.codes {
            let count = code.cases.len();
            assert!(count == 0 || count >= 32, "{}: {count} cases", code.name);
        }
    }
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let bytes = small().to_bytes();
    for length in 0..bytes.len() {
        let error = Recording::from_bytes(&bytes[..length]).expect_err("too short");
        assert!(
            matches!(error, Malformed::Truncated | Malformed::Checksum { .. }),
            "{length}: {error}"
        );
    }
    assert!(Recording::from_bytes(&bytes).is_ok());
}

#[test]
fn a_garbled_file_is_refused_whichever_byte_it_is() {
    let bytes = small().to_bytes();
    for at in 0..bytes.len() {
        let mut garbled = bytes.clone();
        garbled[at] ^= 0x10;
        let error = Recording::from_bytes(&garbled).expect_err("garbled");
        let expected = match at {
            0..8 => matches!(error, Malformed::NoVectors),
            8 => matches!(error, Malformed::Version(0x11)),
            _ => matches!(error, Malformed::Checksum { .. }),
        };
        assert!(expected, "{at}: {error}");
    }
    let error = Recording::from_bytes(b"#!/bin/sh\n").expect_err("a script");
    assert_eq!(error.to_string(), "not a file of recorded vectors");
}

/// Even with a right checksum: the reader must not trust it.
#[test]
fn a_file_that_was_written_wrongly_is_an_error_and_not_a_panic() {
    let bytes = small().to_bytes();
    let body = &bytes[..bytes.len() - 4];
    for at in 9..body.len() {
        for bits in [0x01, 0x10, 0x80, 0xff] {
            let mut garbled = body.to_vec();
            garbled[at] ^= bits;
            garbled.extend(format::crc32(&garbled).to_le_bytes());
            // Often enough it is another recording.
            let _ = Recording::from_bytes(&garbled);
        }
    }
}

#[test]
fn a_wrong_result_is_named_with_code_and_case() {
    emulator::init();
    let mut recording = small();
    let code = &mut recording.codes[1];
    let name = code.name.clone();
    let case = code
        .cases
        .iter()
        .position(|case| case.end == End::Completed && !case.output.is_empty())
        .expect("one completes");
    code.cases[case].output[0].bytes[0] ^= 1;
    let (_, failures) = replay_all(&recording);
    let [failure] = &failures[..] else {
        panic!("{failures:?}");
    };
    assert!(failure.starts_with(&format!("{name}: 1 of ")), "{failure}");
    for part in [&format!("case {case}"), "before", "expected", "emulated"] {
        assert!(failure.contains(part), "{failure}");
    }
}
