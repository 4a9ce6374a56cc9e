//! Instructions that few CPUs have, against plain references written from the manuals, and against
//! published results.
//!
//! The references share no code with the emulator and are worded differently on purpose: bit by
//! bit or in wide integers where the emulator works on lanes. `ISAHOTPLUG_CASES` sets the number
//! of cases for each code (200 without it).
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "random bits are reinterpreted on purpose"
)]

#[path = "../cases/mod.rs"]
mod cases;
mod convert;
mod covered;
mod dot;
mod fused;
mod hash;
mod lanes;
mod published;
mod tbm;
mod three_d_now;
mod xop;

use cases::random::Random;
use cases::{Case, DATA, Place};
use emulator::{Access, EMULATED, Fault, FaultKind, Memory, MemoryFault, State};
use iced_x86::{Code, CpuidFeature, Mnemonic, OpKind};
use std::io::Write;

/// What a reference is given: the operands as they are in registers and memory.
pub(crate) struct Input {
    pub mnemonic: Mnemonic,
    /// Bytes of every register or memory operand; the first is the destination's old value.
    pub operands: Vec<Vec<u8>>,
    pub immediate: u32,
    pub mxcsr: u32,
}

/// What a reference says.
#[derive(Default)]
pub(crate) struct Output {
    /// The destination; a vector register is zero above.
    pub destination: Vec<u8>,
    /// The status flags, and those of them that are defined.
    pub flags: Option<(u64, u64)>,
    /// Exceptions of the operands, and those of the result.
    pub raised: (u32, u32),
    /// Relative error that singles in the destination may have.
    pub tolerance: f64,
    /// The destination may be anything.
    pub undefined: bool,
}

impl From<Vec<u8>> for Output {
    fn from(destination: Vec<u8>) -> Self {
        Self {
            destination,
            ..Self::default()
        }
    }
}

type Reference = fn(&Input) -> Output;

/// Every family: its CPUID feature, its reference, and where that comes from.
const FAMILIES: [(CpuidFeature, Reference, &str); covered::FEATURES.len()] = [
    (CpuidFeature::XOP, xop::reference, "AMD APM vol. 4"),
    (CpuidFeature::FMA, fused::reference, "IEEE 754"),
    (CpuidFeature::FMA4, fused::reference, "IEEE 754"),
    (CpuidFeature::TBM, tbm::reference, "AMD APM vol. 3"),
    (CpuidFeature::SHA512, hash::sha512, "FIPS 180-4"),
    (CpuidFeature::SM3, hash::sm3, "GB/T 32905"),
    (CpuidFeature::SM4, hash::sm4, "GB/T 32907"),
    (CpuidFeature::AVX_VNNI, dot::reference, "Intel SDM vol. 2"),
    (
        CpuidFeature::AVX_VNNI_INT8,
        dot::reference,
        "Intel SDM vol. 2",
    ),
    (
        CpuidFeature::AVX_VNNI_INT16,
        dot::reference,
        "Intel SDM vol. 2",
    ),
    (CpuidFeature::AVX_IFMA, dot::reference, "Intel SDM vol. 2"),
    (
        CpuidFeature::D3NOW,
        three_d_now::reference,
        "AMD APM vol. 5",
    ),
    (
        CpuidFeature::D3NOWEXT,
        three_d_now::reference,
        "AMD APM vol. 5",
    ),
    (
        CpuidFeature::AVX_NE_CONVERT,
        convert::reference,
        "Intel SDM vol. 2",
    ),
];

const PLACE: Place = Place {
    code: 0x1000,
    data: 0x10_3000,
    mxcsr_mask: State::DEFAULT_MXCSR_MASK,
};

/// The data pages and the instruction.
struct Arena {
    bytes: Vec<u8>,
    code: Vec<u8>,
}

impl Memory for Arena {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault> {
        for (to, at) in buffer.iter_mut().zip(address..) {
            let offset = at.wrapping_sub(PLACE.data) as usize;
            *to = *self.bytes.get(offset).ok_or(MemoryFault {
                address: at,
                access: Access::Read,
                kind: FaultKind::Unmapped,
            })?;
        }
        Ok(())
    }

    fn write(&mut self, address: u64, _: &[u8]) -> Result<(), MemoryFault> {
        panic!("a write at {address:#x}, but no instruction here stores");
    }

    fn check_write(&mut self, address: u64, _: usize) -> Result<(), MemoryFault> {
        panic!("a write at {address:#x}, but no instruction here stores");
    }

    fn fetch(&mut self, _: u64, buffer: &mut [u8]) -> usize {
        let length = self.code.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.code[..length]);
        length
    }
}

/// The operands of a case; the first byte of memory that cannot be read if there is one.
fn input(case: &Case, arena: &mut Arena) -> Result<Input, MemoryFault> {
    let instruction = &case.instruction;
    let mut operands = Vec::new();
    for i in 0..instruction.op_count() {
        match instruction.op_kind(i) {
            OpKind::Register => {
                let register = instruction.op_register(i);
                let size = register.size();
                operands.push(if register.is_mm() {
                    case.state.x87.significand[register.number()]
                        .to_le_bytes()
                        .to_vec()
                } else if register.is_vector_register() {
                    case.state.vector[register.number()].0[..size].to_vec()
                } else {
                    case.state.gpr[register.full_register().number()].to_le_bytes()[..size].to_vec()
                });
            }
            OpKind::Memory => {
                let mut bytes = vec![0; instruction.memory_size().size()];
                arena.read(
                    case.target.expect("a memory operand has a target"),
                    &mut bytes,
                )?;
                operands.push(bytes);
            }
            _ => {}
        }
    }
    let last = instruction.op_count() - 1;
    let immediate = match instruction.op_kind(last) {
        OpKind::Immediate8 => instruction.immediate8().into(),
        OpKind::Immediate32 => instruction.immediate32(),
        _ => 0,
    };
    Ok(Input {
        mnemonic: instruction.mnemonic(),
        operands,
        immediate,
        mxcsr: case.state.mxcsr,
    })
}

/// The state and result that `output` means for `case`, and the flags that may be anything.
fn expected(case: &Case, output: &Output) -> (State, Option<Fault>, u64) {
    let mut state = case.state;
    let masked = state.mxcsr >> 7;
    let (early, late) = output.raised;
    let raised = if early & !masked == 0 {
        early | late
    } else {
        early
    };
    state.mxcsr |= raised;
    if raised & !masked != 0 {
        let unmasked = raised & !masked & 0x3f;
        return (state, Some(Fault::Simd { unmasked }), 0);
    }
    let register = case.instruction.op_register(0);
    if register.is_mm() {
        let bytes = output.destination[..].try_into().expect("eight bytes");
        let x87 = &mut state.x87;
        x87.significand[register.number()] = u64::from_le_bytes(bytes);
        // Sign and exponent all ones, top of stack 0, no register empty.
        x87.exponent[register.number()] = 0xffff;
        x87.status &= 0xc7ff;
        x87.tags = 0xff;
    } else if register.is_vector_register() {
        let place = &mut state.vector[register.number()].0;
        *place = [0; 64];
        place[..output.destination.len()].copy_from_slice(&output.destination);
    } else {
        let mut full = [0; 8];
        full[..output.destination.len()].copy_from_slice(&output.destination);
        state.gpr[register.full_register().number()] = u64::from_le_bytes(full);
    }
    let mut undefined = 0;
    if let Some((flags, defined)) = output.flags {
        state.rflags = state.rflags & !emulator::flag::STATUS | flags;
        undefined = emulator::flag::STATUS & !defined;
    }
    state.rip += case.bytes.len() as u64;
    (state, None, undefined)
}

/// Takes over the destination where it may be anything or is near enough.
fn accept(case: &Case, output: &Output, got: &State, wanted: &mut State) {
    let register = case.instruction.op_register(0);
    if !register.is_mm() || !(output.undefined || output.tolerance > 0.0) {
        return;
    }
    let number = register.number();
    let (got, place) = (
        got.x87.significand[number],
        &mut wanted.x87.significand[number],
    );
    let near = [0, 32].into_iter().all(|shift| {
        let x = f64::from(f32::from_bits((got >> shift) as u32));
        let y = f64::from(f32::from_bits((*place >> shift) as u32));
        (x - y).abs() <= output.tolerance * y.abs()
    });
    if output.undefined || near {
        *place = got;
    }
}

fn compare(case: &Case, arena: &mut Arena, reference: Reference) -> Result<(), String> {
    arena.code.clone_from(&case.bytes);
    let mut state = case.state;
    let result = emulator::step(&mut state, arena, EMULATED);
    let (mut wanted, fault, undefined) = match input(case, arena) {
        Ok(input) => {
            let output = reference(&input);
            let (mut wanted, fault, undefined) = expected(case, &output);
            accept(case, &output, &state, &mut wanted);
            (wanted, fault, undefined)
        }
        Err(fault) => (case.state, Some(Fault::Memory(fault)), 0),
    };
    let full = state;
    state.rflags &= !undefined;
    wanted.rflags &= !undefined;
    if result.err() == fault && state == wanted {
        return Ok(());
    }
    let mut text = format!("{:?} {:02x?}\n", case.instruction.code(), case.bytes);
    text += &format!("  result {result:?}, wanted {fault:?}\n");
    for i in 0..16 {
        let pairs = [
            (
                format!("{:?}", full.vector[i]),
                format!("{:?}", wanted.vector[i]),
            ),
            (
                format!("{:#x}", full.gpr[i]),
                format!("{:#x}", wanted.gpr[i]),
            ),
            (
                format!("{:#x}", full.x87.significand[i % 8]),
                format!("{:#x}", wanted.x87.significand[i % 8]),
            ),
        ];
        for (got, wanted) in pairs {
            if got != wanted {
                text += &format!("  register {i}: {got}\n      wanted: {wanted}\n");
            }
        }
    }
    text += &format!("  rflags {:#x} wanted {:#x}\n", full.rflags, wanted.rflags);
    text += &format!("  mxcsr {:#x} wanted {:#x}\n", full.mxcsr, wanted.mxcsr);
    Err(text)
}

fn cases_a_code() -> u64 {
    std::env::var("ISAHOTPLUG_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200)
}

#[test]
fn every_instruction_gives_what_its_reference_gives() {
    emulator::init();
    let mut arena = Arena {
        bytes: vec![0; DATA],
        code: Vec::new(),
    };
    let mut failures = Vec::new();
    for (feature, reference, source) in FAMILIES {
        let (mut codes, mut run) = (0, 0);
        for code in Code::values() {
            if !code.cpuid_features().contains(&feature) || !covered::is_covered(code) {
                continue;
            }
            codes += 1;
            let mut done = 0;
            for seed in 0.. {
                if done == cases_a_code() || seed > 100 * cases_a_code() {
                    break;
                }
                let mut random = Random((code as u64) << 32 | seed);
                let Some(case) = cases::case(code, &mut random, PLACE) else {
                    continue;
                };
                let start = case.target.map_or(0, |target| {
                    target.wrapping_sub(PLACE.data).min(DATA as u64 - 64)
                }) as usize;
                arena.bytes[start..start + 64].copy_from_slice(&random.vector());
                done += 1;
                if let Err(text) = compare(&case, &mut arena, reference) {
                    failures.push(format!("seed {seed}: {text}"));
                    break;
                }
            }
            if failures.is_empty() {
                assert_eq!(done, cases_a_code(), "{code:?} has too few cases");
            }
            run += done;
        }
        assert!(codes > 0, "{feature:?} has no codes");
        // Past the capture of the test harness: the counts are to be seen in every run.
        let line =
            format!("  {feature:?}: {codes} codes, {run} cases against a reference of {source}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    let features = FAMILIES.map(|family| family.0);
    assert!(covered::FEATURES.iter().all(|f| features.contains(f)));
    for failure in &failures {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} codes differ", failures.len());
}
