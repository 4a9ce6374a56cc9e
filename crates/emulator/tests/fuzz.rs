//! Random bytes on random registers: never a panic, and never a change that a fault forbids.
//!
//! A thousand times `ISAHOTPLUG_CASES` is the number of cases (200 000 without it).
#![expect(
    clippy::cast_possible_truncation,
    reason = "the fake page is filled with truncated numbers on purpose"
)]

mod fake;

use emulator::{EMULATED, Fault, State, Vector, flag};
use fake::{CODE, DATA, Page};
use iced_x86::{Decoder, DecoderOptions, FlowControl};

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Opcode maps that hold nearly everything emulated, so that random bytes often are instructions.
const STARTS: &[&[u8]] = &[
    &[],
    &[0xc5],
    &[0xc4],
    &[0x66, 0x0f],
    &[0x0f],
    &[0xf3, 0x0f],
    &[0xf2, 0x0f],
    &[0x66, 0x0f, 0x38],
    &[0x66, 0x0f, 0x3a],
    &[0x0f, 0x38],
    &[0xf2, 0x0f, 0x38],
    &[0x8f],
    &[0x0f, 0x0f],
    &[0x66, 0x0f, 0x38, 0xf8],
    &[0xdf],
    &[0xf0],
    &[0xf0, 0x0f],
    &[0x48],
];

/// Whether the instruction at the start of `code` may go on elsewhere.
fn branches(code: &[u8]) -> bool {
    let instruction = Decoder::new(64, code, DecoderOptions::NONE).decode();
    instruction.flow_control() != FlowControl::Next
}

#[test]
fn random_bytes_never_panic() {
    emulator::init();
    let cases = std::env::var("ISAHOTPLUG_CASES")
        .ok()
        .and_then(|n| n.parse::<u64>().ok())
        .map_or(200_000, |n| n.saturating_mul(1000));
    let mut memory = Page::new(&[0; 15]);
    let mut data = memory.data.clone();
    let mut completed = 0;
    for case in 0..cases {
        let first = (case + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut seed = first;
        let start = STARTS[next(&mut seed) as usize % STARTS.len()];
        memory.code.resize(15, 0);
        for byte in &mut memory.code {
            *byte = next(&mut seed) as u8;
        }
        memory.code[..start.len()].copy_from_slice(start);
        // Mostly opcode maps that exist, mostly no third register, often registers only.
        if start == [0xc4] {
            memory.code[1] = memory.code[1] & 0xe0 | (1 + next(&mut seed) % 3) as u8;
        }
        if start == [0x8f] {
            memory.code[1] = memory.code[1] & 0xe0 | (8 + next(&mut seed) % 3) as u8;
        }
        if start == [0x0f, 0x0f] {
            // The opcode comes last, right after registers.
            let opcodes = [
                0x0d, 0x1d, 0x8a, 0x8e, 0x90, 0x94, 0x96, 0x97, 0x9a, 0x9e, 0xb4, 0xbb,
            ];
            memory.code[2] |= 0xc0;
            memory.code[3] = opcodes[next(&mut seed) as usize % opcodes.len()];
        }
        if matches!(start, [0xc4 | 0xc5]) && next(&mut seed) & 1 == 0 {
            memory.code[start.len() + usize::from(start == [0xc4])] |= 0x78;
        }
        if next(&mut seed) & 1 == 0 {
            memory.code[2..5].iter_mut().for_each(|byte| *byte |= 0xc0);
        }
        memory.code.truncate(if case % 8 == 0 {
            case as usize / 8 % 16
        } else {
            15
        });
        let mut s = State {
            rip: CODE,
            ..State::default()
        };
        for r in &mut s.gpr {
            // Half of the registers point at or near the data.
            let random = next(&mut seed);
            *r = if random & 1 == 0 {
                DATA + (random >> 8) % 4200
            } else {
                random
            };
        }
        for v in s.vector.iter_mut().take(16) {
            for i in 0..8 {
                v.set_lane(i, next(&mut seed) & next(&mut seed));
            }
        }
        s.mxcsr = next(&mut seed) as u32 & 0xffff;
        s.x87.present = next(&mut seed) & 3 != 0;
        s.x87.status = next(&mut seed) as u16 & 0x7f7f;
        s.x87.tags = next(&mut seed) as u8;
        for (significand, exponent) in s.x87.significand.iter_mut().zip(&mut s.x87.exponent) {
            *significand = next(&mut seed);
            *exponent = next(&mut seed) as u16;
        }
        let before = s;
        data.copy_from_slice(&memory.data);
        let result = emulator::step(&mut s, &mut memory, EMULATED);
        assert!(result.is_ok() || memory.data == data, "seed {first:#x}");
        match result {
            Ok(step) => {
                completed += 1;
                assert!(
                    s.rip == CODE + step.length as u64 || branches(&memory.code),
                    "seed {first:#x}"
                );
                assert_eq!(s.rflags & !flag::STATUS, before.rflags & !flag::STATUS);
                assert!(EMULATED.is_superset(&step.features));
            }
            Err(Fault::Simd { unmasked }) => {
                assert_ne!(unmasked, 0, "seed {first:#x}");
                let mxcsr = s.mxcsr;
                assert_eq!(s, State { mxcsr, ..before }, "seed {first:#x}");
            }
            Err(Fault::Memory(_)) => {
                // Only a gather may have made progress, in vector registers.
                let vector: [Vector; 32] = s.vector;
                assert_eq!(s, State { vector, ..before }, "seed {first:#x}");
            }
            Err(_) => assert_eq!(s, before, "seed {first:#x}"),
        }
    }
    assert!(
        completed > cases / 20,
        "only {completed} of {cases} completed"
    );
}
