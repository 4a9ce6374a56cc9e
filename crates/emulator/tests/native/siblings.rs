//! Instructions that this CPU may lack, against others that compute the same and that it may have:
//! FMA4 against FMA, AVX-IFMA and VCVTNEPS2BF16 against their EVEX forms.

use crate::cases::random::Random;
use crate::cases::{self, Case, DATA, Place};
use crate::oracle::{Oracle, Outcome};
use crate::shadow::Shadow;
use crate::{available, cases_a_code};
use emulator::{EMULATED, Fault, Memory, State, Vector};
use iced_x86::{Code, CpuidFeature, Encoder, Instruction, OpKind, Register};
use isa::{Feature, FeatureSet};
use std::io::Write;

/// An instruction that computes the same as another.
struct Sibling {
    code: Code,
    needs: FeatureSet,
    /// Which operand of the other goes where.
    order: &'static [u32],
    /// Bytes of the result that both have; the other one's are zero above.
    bytes: usize,
}

fn named(name: &str) -> Code {
    Code::values()
        .find(|code| format!("{code:?}") == name)
        .unwrap_or_else(|| panic!("{name} is no code"))
}

fn sibling(code: Code) -> Option<Sibling> {
    let full = format!("{code:?}");
    let name = full.strip_prefix("VEX_")?;
    let (mnemonic, operands) = name.split_once('_')?;
    let size = if operands.starts_with("ymm") {
        "ymm"
    } else {
        "xmm"
    };
    let length = if size == "ymm" { 32 } else { 16 };
    let has = |feature| code.cpuid_features().contains(&feature);
    let needs = |features: &[Feature]| FeatureSet::from_features(features);
    if has(CpuidFeature::FMA4) {
        // FMA multiplies the first by the third and adds the second.
        let (stem, kind) = mnemonic.split_at(mnemonic.len() - 2);
        let (bytes, memory) = match kind {
            "ss" => (4, 32),
            "sd" => (8, 64),
            _ => (length, length * 8),
        };
        return Some(Sibling {
            code: named(&format!(
                "VEX_{stem}132{kind}_{size}_{size}_{size}m{memory}"
            )),
            needs: needs(&[Feature::Fma]),
            order: &[1, 3, 2],
            bytes,
        });
    }
    if has(CpuidFeature::AVX_IFMA) {
        let memory = length * 8;
        return Some(Sibling {
            code: named(&format!(
                "EVEX_{mnemonic}_{size}_k1z_{size}_{size}m{memory}b64"
            )),
            needs: needs(&[Feature::Avx512ifma, Feature::Avx512vl]),
            order: &[0, 1, 2],
            bytes: length,
        });
    }
    if mnemonic == "Vcvtneps2bf16" {
        let from = if operands.contains("ymm") {
            ("ymm", 256)
        } else {
            ("xmm", 128)
        };
        return Some(Sibling {
            code: named(&format!(
                "EVEX_Vcvtneps2bf16_xmm_k1z_{}m{}b32",
                from.0, from.1
            )),
            needs: needs(&[Feature::Avx512bf16, Feature::Avx512vl]),
            order: &[0, 1],
            bytes: 16,
        });
    }
    None
}

/// The value of operand `i`; `None` if memory cannot be read.
fn operand(case: &Case, shadow: &mut Shadow, i: u32) -> Option<Vector> {
    let instruction = &case.instruction;
    if instruction.op_kind(i) == OpKind::Register {
        let register = instruction.op_register(i);
        return Some(case.state.vector[register.number()].truncated(register.size()));
    }
    let mut value = Vector::ZERO;
    let size = instruction.memory_size().size();
    shadow.read(case.target?, &mut value.0[..size]).ok()?;
    Some(value)
}

/// Compares one case; what differs, if anything does.
fn compare(
    oracle: &mut Oracle,
    shadow: &mut Shadow,
    case: &Case,
    sibling: &Sibling,
) -> Result<(), String> {
    shadow.code.clone_from(&case.bytes);
    let mut emulated = case.state;
    let result = emulator::step(&mut emulated, shadow, EMULATED);
    let mut native = case.state;
    native.rip = oracle.code();
    let mut instruction = Instruction::default();
    instruction.set_code(sibling.code);
    for (&from, to) in sibling.order.iter().zip(0..) {
        let Some(value) = operand(case, shadow, from) else {
            return match result {
                Err(Fault::Memory(_)) => Ok(()),
                other => Err(format!("{:?}: {other:?}, not a fault", case.bytes)),
            };
        };
        native.vector[to as usize] = value;
        let first = match case.instruction.op_kind(from) {
            OpKind::Register => case.instruction.op_register(from),
            _ if case.instruction.memory_size().size() == 32 => Register::YMM0,
            _ => Register::XMM0,
        };
        let wide = if first.is_ymm() {
            Register::YMM0
        } else {
            Register::XMM0
        };
        instruction.set_op_register(to, wide + to);
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, native.rip).expect("encodes");
    let outcome = oracle.run(&encoder.take_buffer(), &mut native);
    let number = case.instruction.op_register(0).number();
    let agree = match (result, outcome) {
        (Ok(_), Outcome::Completed) => {
            emulated.vector[number] == native.vector[0].truncated(sibling.bytes)
        }
        (Err(Fault::Simd { .. }), Outcome::Signal { number: signal, .. }) => {
            signal == libc::SIGFPE && emulated.vector == case.state.vector
        }
        _ => false,
    };
    if agree && emulated.mxcsr == native.mxcsr {
        return Ok(());
    }
    Err(format!(
        "{:?} {:02x?}: {result:?}, {outcome:?}\n  emulated {:?} mxcsr {:#x}\n  {:?} {:?} mxcsr {:#x}",
        case.instruction.code(),
        case.bytes,
        emulated.vector[number],
        emulated.mxcsr,
        sibling.code,
        native.vector[0],
        native.mxcsr
    ))
}

#[test]
fn siblings_give_the_same() {
    emulator::init();
    let here = available();
    let mut oracle = Oracle::new();
    let place = Place {
        code: oracle.code(),
        data: oracle.data(),
        mxcsr_mask: State::DEFAULT_MXCSR_MASK,
    };
    let mut shadow = Shadow {
        data: place.data,
        bytes: vec![0; DATA],
        code: Vec::new(),
        aux: None,
    };
    let (mut codes, mut run, mut skipped) = (0, 0, 0);
    let mut failures = Vec::new();
    for (code, sibling) in Code::values().filter_map(|c| Some((c, sibling(c)?))) {
        if !here.is_superset(&sibling.needs) {
            skipped += 1;
            continue;
        }
        codes += 1;
        let mut failed = false;
        for number in 0..cases_a_code() {
            let mut random = Random((code as u64) << 32 | number | 1 << 63);
            let Some(case) = cases::case(code, &mut random, place) else {
                continue;
            };
            let start = case
                .target
                .map_or(0, |t| t.wrapping_sub(place.data).min(DATA as u64 - 64))
                as usize;
            shadow.bytes[start..start + 64].copy_from_slice(&random.vector());
            run += 1;
            if let Err(text) = compare(&mut oracle, &mut shadow, &case, &sibling)
                && !std::mem::replace(&mut failed, true)
            {
                failures.push(text);
            }
        }
    }
    // Past the capture of the test harness: the counts are to be seen in every run.
    let line = format!(
        "siblings: {codes} codes of FMA4, AVX-IFMA and VCVTNEPS2BF16 against FMA and EVEX forms, \
         {skipped} skipped; {run} cases\n"
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
    for failure in failures.iter().take(20) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} codes differ", failures.len());
}
