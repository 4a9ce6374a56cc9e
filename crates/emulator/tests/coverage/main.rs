//! How much of the decoder's list is emulated and how it is tested, family by family:
//! `docs/COVERAGE.md`.
//!
//! `ISAHOTPLUG_COVERAGE=write`, which `cargo xtask coverage` sets, writes the document; without it
//! the document in the repository has to be the same.

#[path = "../cases/mod.rs"]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "random bits are reinterpreted on purpose"
)]
mod cases;
#[path = "../reference/covered.rs"]
mod covered;
mod document;
mod families;
#[path = "../vectors/files.rs"]
mod files;
#[path = "../vectors/format.rs"]
#[expect(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "only names are read here"
)]
mod format;
#[path = "../vectors/image.rs"]
#[expect(dead_code, reason = "only names are read here")]
mod image;
#[path = "../scope/mod.rs"]
mod scope;

use cases::Place;
use cases::random::Random;
use iced_x86::{Code, Decoder, DecoderOptions};
use std::path::Path;

/// Whether a program in 64-bit mode can execute the code and the decoder, without options, has it.
fn is_user(code: Code) -> bool {
    let info = code.op_code();
    info.is_instruction()
        && info.mode64()
        && info.cpl3()
        && info.decoder_option() == DecoderOptions::NONE
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

#[test]
fn every_family_is_complete_and_the_document_says_so() {
    emulator::init();
    let (text, wrong) = document::document();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/COVERAGE.md");
    if std::env::var("ISAHOTPLUG_COVERAGE").is_ok_and(|value| value == "write") {
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(
        committed == text,
        "docs/COVERAGE.md is out of date (`cargo xtask coverage` makes it); first line that differs, \
         and what it should be: {differs:?}"
    );
}
