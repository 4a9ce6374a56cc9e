//! Decoding and executing the instruction at RIP.

use crate::context::{Context, register};
use crate::fault::Fault;
use crate::features;
use crate::memory::{Access, FaultKind, Memory, MemoryFault};
use crate::operation::{self, Operation};
use crate::state::{State, Width};
use iced_x86::{
    Decoder, DecoderError, DecoderOptions, EncodingKind, Instruction, Mnemonic, OpKind,
};
use isa::FeatureSet;

/// The longest instruction (Intel SDM vol. 2, 2.3.11).
const MAX_LENGTH: usize = 15;

/// An instruction that completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The features a CPU needs to execute it.
    pub features: FeatureSet,
    /// Its length in bytes.
    pub length: usize,
}

/// What an instruction needs, found without executing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The features a CPU needs to execute it.
    pub features: FeatureSet,
    /// Its length in bytes.
    pub length: usize,
    /// Whether [`step`] knows it.
    pub emulated: bool,
}

/// Builds the decoder's tables.
///
/// The decoder builds them on first use, with allocation and under a lock. Call this from ordinary
/// code before [`step`] or [`attribute`] can be reached from a signal handler. Not
/// async-signal-safe; calling it again does nothing.
pub fn init() {
    let mut instruction = Instruction::default();
    // A NOP: any instruction will do.
    decode_into(&[0x90], 0, &mut instruction);
}

/// Says which features the instruction in `code` needs, without executing it; `None` if the bytes
/// are not an instruction or its features have no name here.
///
/// Async-signal-safe after [`init`].
#[must_use]
pub fn attribute(code: &[u8]) -> Option<Attribution> {
    let mut instruction = Instruction::default();
    if decode_into(code, 0, &mut instruction) != DecoderError::None {
        return None;
    }
    Some(Attribution {
        features: features::required(instruction.code())?,
        length: instruction.len(),
        emulated: !matches!(meaning(&instruction), Operation::Unknown),
    })
}

/// Executes the one instruction at RIP and advances RIP.
///
/// `permitted` restricts what is carried out: an instruction that needs any feature outside it is
/// refused. [`EMULATED`](crate::EMULATED) permits all. Async-signal-safe after [`init`] if
/// `memory` is.
///
/// # Errors
/// See [`Fault`] for each, and for what the state is then.
pub fn step(
    state: &mut State,
    memory: &mut dyn Memory,
    permitted: FeatureSet,
) -> Result<Step, Fault> {
    let mut code = [0; MAX_LENGTH];
    let readable = memory.fetch(state.rip, &mut code).min(MAX_LENGTH);
    let mut instruction = Instruction::default();
    match decode_into(
        code.get(..readable).unwrap_or_default(),
        state.rip,
        &mut instruction,
    ) {
        DecoderError::None => {}
        DecoderError::NoMoreBytes if readable < MAX_LENGTH => {
            return Err(Fault::Memory(MemoryFault {
                address: state.rip.wrapping_add(readable as u64),
                access: Access::Execute,
                kind: FaultKind::Unmapped,
            }));
        }
        _ => return Err(Fault::Unknown),
    }
    let features = features::required(instruction.code()).ok_or(Fault::Unknown)?;
    if !permitted.is_superset(&features) {
        return Err(Fault::Unknown);
    }
    let operation = meaning(&instruction);
    if wants_ymm(&instruction) && state.width < Width::Ymm {
        return Err(Fault::Unknown);
    }
    let mmx = wants_mmx(&instruction);
    // A pending x87 exception would be #MF, for which `Fault` has no name.
    if mmx && (!state.x87.present || state.x87.is_pending()) {
        return Err(Fault::Unknown);
    }
    operation::execute(operation, &mut Context::new(state, memory, &instruction))?;
    if mmx && !is_emms(&instruction) {
        state.x87.enter_mmx();
    }
    state.rip = instruction.next_ip();
    Ok(Step {
        features,
        length: instruction.len(),
    })
}

fn decode_into(code: &[u8], rip: u64, instruction: &mut Instruction) -> DecoderError {
    match Decoder::try_with_ip(64, code, rip, DecoderOptions::NONE) {
        Ok(mut decoder) => {
            decoder.decode_out(instruction);
            decoder.last_error()
        }
        Err(_) => DecoderError::InvalidInstruction,
    }
}

/// The operation of an instruction all of whose operands the emulator understands.
fn meaning(instruction: &Instruction) -> Operation {
    let understood = (0..instruction.op_count()).all(|i| match instruction.try_op_kind(i) {
        Ok(OpKind::Register) => {
            let r = register(instruction, i);
            r.is_gpr() || r.is_mm() || r.is_xmm() || r.is_ymm()
        }
        Ok(
            OpKind::Memory
            | OpKind::Immediate8
            | OpKind::Immediate8_2nd
            | OpKind::Immediate32
            | OpKind::MemorySegRDI
            | OpKind::MemorySegEDI,
        ) => true,
        _ => false,
    });
    let before_evex = matches!(
        instruction.code().encoding(),
        EncodingKind::Legacy | EncodingKind::VEX | EncodingKind::XOP | EncodingKind::D3NOW
    );
    if understood && before_evex {
        operation::lookup(instruction.mnemonic())
    } else {
        Operation::Unknown
    }
}

/// Whether the instruction uses the x87 registers as MMX registers.
fn wants_mmx(instruction: &Instruction) -> bool {
    is_emms(instruction) || (0..instruction.op_count()).any(|i| register(instruction, i).is_mm())
}

fn is_emms(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Emms | Mnemonic::Femms)
}

/// Whether the instruction needs the YMM state: all of AVX and XOP do, even their 128-bit forms.
fn wants_ymm(instruction: &Instruction) -> bool {
    let mut operands = (0..instruction.op_count()).map(|i| register(instruction, i));
    let any_vector = operands.clone().any(iced_x86::Register::is_vector_register);
    // VEX forms without any register (VZEROUPPER, VLDMXCSR) count too; those of BMI and TBM do not.
    matches!(
        instruction.code().encoding(),
        EncodingKind::VEX | EncodingKind::XOP
    ) && (any_vector || !operands.any(iced_x86::Register::is_gpr))
}
