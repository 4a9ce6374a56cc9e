//! An instruction, decoded and prepared: all that does not depend on the state.

use crate::context::{kind, register};
use crate::family::general;
use crate::features;
use crate::operation::{self, Operation};
use core::mem::ManuallyDrop;
use iced_x86::{
    Code, Decoder, DecoderError, DecoderOptions, EncodingKind, Instruction, Mnemonic, OpKind,
    Register,
};
use isa::FeatureSet;

/// The longest instruction (Intel SDM vol. 2, 2.3.11).
pub(crate) const MAX_LENGTH: usize = 15;

/// The most operands that an instruction here has (VPERMIL2PS: five).
const MAX_OPERANDS: usize = 5;

/// Where an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// There is none, or it is not one that the emulator reads or writes by itself.
    None,
    /// An XMM or YMM register.
    Vector { number: u8, bytes: u8 },
    /// An MMX register.
    Mmx(u8),
    /// A general-purpose register.
    Gpr(Gpr),
    /// At [`Decoded::address`].
    Memory,
    /// Part of the instruction.
    Immediate,
}

/// A general-purpose register or part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gpr {
    /// Number in the order of the encoding.
    pub number: u8,
    /// Size in bytes.
    pub size: u8,
    /// AH, CH, DH or BH.
    pub high: bool,
}

impl Gpr {
    /// `None` if `register` is no general-purpose register.
    pub(crate) fn new(register: Register) -> Option<Self> {
        let high = matches!(
            register,
            Register::AH | Register::CH | Register::DH | Register::BH
        );
        register.is_gpr().then(|| Self {
            number: register.full_register().number() as u8,
            size: register.size() as u8,
            high,
        })
    }
}

/// How the address of the memory operand is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub base: Option<Gpr>,
    pub index: Option<Gpr>,
    /// Binary logarithm of the factor of the index.
    pub scale: u8,
    /// The address itself where it is relative to RIP.
    pub displacement: u64,
    /// All but the segment's base is cut to 32 bits.
    pub narrow: bool,
    pub segment: Segment,
}

/// A segment with a base that is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Flat,
    Fs,
    Gs,
}

/// What the memory operand's alignment has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Any.
    Any,
    /// Its size.
    Natural,
    /// Its size, unless MXCSR.MM is set.
    Legacy,
}

/// What the instruction does to the x87 stack beside its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mmx {
    /// Nothing.
    Unused,
    /// Makes all registers valid, as each instruction on MMX registers does.
    Enters,
    /// Uses it in its own way (EMMS).
    Leaves,
}

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoded {
    pub instruction: Instruction,
    pub operation: Operation,
    pub operands: [Operand; MAX_OPERANDS],
    /// Number of operands of a vector form that are not immediates; these come first.
    pub count: u8,
    /// An operand is in memory.
    pub in_memory: bool,
    /// Kind of the last operand of all.
    pub last: OpKind,
    pub address: Address,
    /// The index is a vector: there is an address for each of its lanes.
    pub gathers: bool,
    /// Size of the memory operand in bytes.
    pub size: u8,
    pub alignment: Alignment,
    /// Vector length in bytes: 8 (MMX), 16 or 32.
    pub bytes: u8,
    /// The immediate byte, 0 without one.
    pub imm: u8,
    /// Size in bits of the first general-purpose operand, or of the memory operand without one.
    pub bits: u16,
    /// VEX and XOP forms zero the destination above their vector length; legacy forms keep it.
    pub zeroes_upper: bool,
    /// All of AVX and XOP need the YMM state, even their 128-bit forms.
    pub wants_ymm: bool,
    pub mmx: Mmx,
}

impl Decoded {
    /// Decodes the instruction at the start of `code`.
    pub(crate) fn new(code: &[u8], rip: u64) -> Result<Self, DecoderError> {
        let mut decoded = Self::none();
        decoded.decode(code, rip)?;
        Ok(decoded)
    }

    /// No instruction.
    pub(crate) fn none() -> Self {
        Self {
            instruction: Instruction::new(),
            operation: Operation::Unknown,
            operands: [Operand::None; MAX_OPERANDS],
            count: 0,
            in_memory: false,
            last: OpKind::Register,
            address: Address {
                base: None,
                index: None,
                scale: 0,
                displacement: 0,
                narrow: false,
                segment: Segment::Flat,
            },
            gathers: false,
            size: 0,
            alignment: Alignment::Any,
            bytes: 0,
            imm: 0,
            bits: 0,
            zeroes_upper: false,
            wants_ymm: false,
            mmx: Mmx::Unused,
        }
    }

    /// As [`new`](Self::new), in place.
    pub(crate) fn decode(&mut self, code: &[u8], rip: u64) -> Result<(), DecoderError> {
        // Near branches with an operand-size prefix cut RIP to 16 bits on AMD's CPUs, and ignore
        // the prefix on Intel's. The option gives them codes of their own, so that they can be
        // refused.
        let mut decoder =
            Decoder::try_with_ip(64, code, rip, DecoderOptions::AMD).map_err(|error| {
                // Never for 64 bits; and to drop it could free memory, in a signal handler.
                let _ = ManuallyDrop::new(error);
                DecoderError::InvalidInstruction
            })?;
        decoder.decode_out(&mut self.instruction);
        match decoder.last_error() {
            DecoderError::None => {}
            error => return Err(error),
        }
        self.prepare();
        Ok(())
    }

    fn prepare(&mut self) {
        let instruction = &self.instruction;
        let all = 0..instruction.op_count();
        self.operands = [Operand::None; MAX_OPERANDS];
        for (place, i) in self.operands.iter_mut().zip(all.clone()) {
            *place = operand(instruction, i);
        }
        self.in_memory = self.operands.contains(&Operand::Memory);
        self.operation = meaning(instruction);
        self.count = all
            .clone()
            .filter(|&i| !is_immediate(kind(instruction, i)))
            .count() as u8;
        self.last = kind(instruction, instruction.op_count().saturating_sub(1));
        let size = instruction.memory_size().size();
        self.size = size as u8;
        self.address = address(instruction);
        self.gathers = instruction.memory_index().is_vector_register();
        self.zeroes_upper = instruction.code().encoding() != EncodingKind::Legacy;
        self.alignment = alignment(instruction.mnemonic(), self.zeroes_upper, size);
        let any = |is: fn(Register) -> bool| all.clone().any(|i| is(register(instruction, i)));
        let wide = any(Register::is_ymm) || instruction.memory_index().is_ymm() || size == 32;
        // The forms between MMX and XMM registers compute as the longer one.
        let mmx = any(Register::is_mm);
        self.bytes = match (wide, mmx && !any(Register::is_xmm)) {
            (true, _) => 32,
            (false, true) => 8,
            (false, false) => 16,
        };
        self.imm = if self.last == OpKind::Immediate8 {
            instruction.immediate8()
        } else {
            0
        };
        let integer = all
            .clone()
            .map(|i| register(instruction, i))
            .find(|r| r.is_gpr())
            .map_or(size, Register::size);
        self.bits = (integer as u16).wrapping_mul(8);
        // VEX forms without any register (VZEROUPPER, VLDMXCSR) count too; those of BMI and TBM
        // do not.
        self.wants_ymm = matches!(
            instruction.code().encoding(),
            EncodingKind::VEX | EncodingKind::XOP
        ) && (any(Register::is_vector_register) || !any(Register::is_gpr));
        self.mmx = match instruction.mnemonic() {
            Mnemonic::Emms | Mnemonic::Femms => Mmx::Leaves,
            _ if mmx => Mmx::Enters,
            _ => Mmx::Unused,
        };
    }

    /// The features a CPU needs to execute it; `None` if one has no name here.
    pub(crate) fn features(&self) -> Option<FeatureSet> {
        features::required(self.instruction.code())
    }
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8 | OpKind::Immediate8_2nd | OpKind::Immediate32
    )
}

fn operand(instruction: &Instruction, i: u32) -> Operand {
    match kind(instruction, i) {
        OpKind::Register => {
            let register = register(instruction, i);
            let number = register.number() as u8;
            if register.is_xmm() || register.is_ymm() {
                Operand::Vector {
                    number,
                    bytes: register.size() as u8,
                }
            } else if register.is_mm() {
                Operand::Mmx(number)
            } else {
                Gpr::new(register).map_or(Operand::None, Operand::Gpr)
            }
        }
        OpKind::Memory => Operand::Memory,
        kind if is_immediate(kind) => Operand::Immediate,
        _ => Operand::None,
    }
}

fn address(instruction: &Instruction) -> Address {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    // A displacement relative to RIP is the address itself in this decoder.
    let narrow = [base, index]
        .into_iter()
        .any(|r| r.is_gpr32() || r == Register::EIP);
    Address {
        base: Gpr::new(base),
        index: Gpr::new(index),
        scale: instruction.memory_index_scale().trailing_zeros() as u8,
        displacement: instruction.memory_displacement64(),
        // Without registers the decoder has cut the displacement already.
        narrow,
        segment: match instruction.memory_segment() {
            Register::FS => Segment::Fs,
            Register::GS => Segment::Gs,
            _ => Segment::Flat,
        },
    }
}

fn alignment(mnemonic: Mnemonic, zeroes_upper: bool, size: usize) -> Alignment {
    match mnemonic {
        Mnemonic::Vmovaps
        | Mnemonic::Vmovapd
        | Mnemonic::Vmovdqa
        | Mnemonic::Vmovntps
        | Mnemonic::Vmovntpd
        | Mnemonic::Vmovntdq
        | Mnemonic::Vmovntdqa
        | Mnemonic::Movaps
        | Mnemonic::Movapd
        | Mnemonic::Movdqa
        | Mnemonic::Movntps
        | Mnemonic::Movntpd
        | Mnemonic::Movntdq
        | Mnemonic::Movntdqa => Alignment::Natural,
        Mnemonic::Movups
        | Mnemonic::Movupd
        | Mnemonic::Movdqu
        | Mnemonic::Lddqu
        | Mnemonic::Pcmpestri
        | Mnemonic::Pcmpestri64
        | Mnemonic::Pcmpestrm
        | Mnemonic::Pcmpestrm64
        | Mnemonic::Pcmpistri
        | Mnemonic::Pcmpistrm => Alignment::Any,
        // Aligned by Intel's manual; AMD CPUs take any address, and no program can mind.
        Mnemonic::Sha1rnds4
        | Mnemonic::Sha1nexte
        | Mnemonic::Sha1msg1
        | Mnemonic::Sha1msg2
        | Mnemonic::Sha256rnds2
        | Mnemonic::Sha256msg1
        | Mnemonic::Sha256msg2 => Alignment::Any,
        // Legacy SSE demands alignment of 16-byte operands, VEX none (Intel SDM vol. 1, 14.9);
        // AMD's MXCSR.MM lifts the demand (AMD APM vol. 1, 4.2.2).
        _ if !zeroes_upper && size == 16 => Alignment::Legacy,
        _ => Alignment::Any,
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
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate32to64
            | OpKind::Immediate64
            | OpKind::NearBranch64
            | OpKind::MemorySegRDI
            | OpKind::MemorySegEDI,
        ) => true,
        _ => false,
    });
    let before_evex = matches!(
        instruction.code().encoding(),
        EncodingKind::Legacy | EncodingKind::VEX | EncodingKind::XOP | EncodingKind::D3NOW
    );
    // With more prefixes than its own it may be XCHG with R8, which the decoder does not see.
    let doubtful = instruction.code() == Code::Pause && instruction.len() != 2;
    if understood && before_evex && !doubtful && !general::is_left_out(instruction.code()) {
        operation::lookup(instruction.mnemonic())
    } else {
        Operation::Unknown
    }
}
