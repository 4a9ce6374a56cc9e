//! Encodings of every `Code`, with random operands.

use crate::oracle::{DATA, GS_BASE};
use crate::random::Random;
use emulator::{State, Vector};
use iced_x86::{
    Code, Encoder, Instruction, MemorySize, OpCodeOperandKind as Kind, OpKind, Register,
};

/// One instruction and the registers to run it on.
pub(crate) struct Case {
    pub bytes: Vec<u8>,
    pub instruction: Instruction,
    pub state: State,
    /// Address of the memory operand, if there is one.
    pub target: Option<u64>,
}

/// Where code and data are.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub code: u64,
    pub data: u64,
}

fn register(first: Register, number: u64) -> Register {
    first + number as u32
}

/// What can stand in one place of an instruction.
#[derive(Clone, Copy)]
enum Operand {
    Immediate,
    /// Memory at RDI or EDI, not encoded.
    Destination,
    Memory,
    /// Memory indexed by a vector register; the first of its kind.
    Gather(Register),
    /// A register; the first of its kind.
    Register(Register),
    Either(Register),
}

/// The operands of `code`, or `None` if one is of a kind that no emulated instruction has.
fn operands(code: Code) -> Option<Vec<Operand>> {
    let info = code.op_code();
    let operand = |i| {
        Some(match info.op_kind(i) {
            Kind::imm8 => Operand::Immediate,
            Kind::seg_rDI => Operand::Destination,
            Kind::mem => Operand::Memory,
            Kind::mem_vsib32x | Kind::mem_vsib64x => Operand::Gather(Register::XMM0),
            Kind::mem_vsib32y | Kind::mem_vsib64y => Operand::Gather(Register::YMM0),
            Kind::r8_or_mem => Operand::Either(Register::AL),
            Kind::r16_or_mem => Operand::Either(Register::AX),
            Kind::r32_or_mem => Operand::Either(Register::EAX),
            Kind::r64_or_mem => Operand::Either(Register::RAX),
            Kind::xmm_or_mem => Operand::Either(Register::XMM0),
            Kind::ymm_or_mem => Operand::Either(Register::YMM0),
            Kind::r16_reg => Operand::Register(Register::AX),
            Kind::r32_reg | Kind::r32_vvvv => Operand::Register(Register::EAX),
            Kind::r64_reg | Kind::r64_vvvv => Operand::Register(Register::RAX),
            Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 => {
                Operand::Register(Register::XMM0)
            }
            Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 => {
                Operand::Register(Register::YMM0)
            }
            _ => return None,
        })
    };
    (0..info.op_count()).map(operand).collect()
}

/// A random address for an operand of `size` bytes: inside the data, across its two pages, or
/// over the edge.
fn target(random: &mut Random, place: Place, size: u64, edges: bool) -> u64 {
    let (data, length) = (place.data, DATA as u64);
    match random.below(if edges { 10 } else { 7 }) {
        0..4 => data + 64 * random.below((length - 64) / 64),
        4..6 => data + random.below(length - 64),
        6 => data + length / 2 - random.below(64),
        7 => data + length - random.below(size + 2),
        8 => data + length + random.below(64),
        _ => data - 1 - random.below(size + 1),
    }
}

/// A random instruction with this code, or `None` if it has operands that cannot be made here or
/// the encoder refuses it.
pub(crate) fn case(code: Code, random: &mut Random, place: Place) -> Option<Case> {
    let operands = operands(code)?;
    let mut state = State {
        rip: place.code,
        rflags: 0x202 | (random.next() & emulator::flag::STATUS),
        gs_base: GS_BASE,
        mxcsr: random.mxcsr(),
        mxcsr_mask: crate::oracle::Oracle::mxcsr_mask(),
        ..State::default()
    };
    if random.chance(10) {
        // AMD's misaligned exception mask, where it exists.
        state.mxcsr |= 1 << 17 & state.mxcsr_mask;
    }
    state.gpr.iter_mut().for_each(|r| *r = random.integer());
    state
        .vector
        .iter_mut()
        .for_each(|v| *v = Vector(random.vector()));
    // Equal lanes and equal registers happen too rarely by chance.
    if random.chance(25) {
        let from = random.below(32) as usize;
        let value = state.vector[from];
        for v in &mut state.vector {
            if random.chance(30) {
                v.0[..].iter_mut().zip(value.0).for_each(|(to, from)| {
                    *to = from;
                });
            }
        }
    }

    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let mut address = None;
    let gathers = operands.iter().any(|o| matches!(o, Operand::Gather(_)));
    // The three registers of a gather must differ.
    let offset = random.below(16);
    for (&operand, i) in operands.iter().zip(0..) {
        let number = if gathers {
            (offset + u64::from(i)) % 16
        } else {
            random.below(16)
        };
        let in_memory = random.chance(50);
        match operand {
            Operand::Immediate => {
                instruction.set_op_kind(i, OpKind::Immediate8);
                instruction.set_immediate8(random.next() as u8);
            }
            Operand::Destination => {
                let narrow = random.chance(20);
                instruction.set_op_kind(
                    i,
                    if narrow {
                        OpKind::MemorySegEDI
                    } else {
                        OpKind::MemorySegRDI
                    },
                );
                let to = target(random, place, 16, true);
                let junk = if narrow { random.next() << 32 } else { 0 };
                state.gpr[7] = to | junk;
                address = Some(to);
            }
            Operand::Gather(first) => {
                instruction.set_op_kind(i, OpKind::Memory);
                let index = register(first, number);
                gather_operand(&mut instruction, &mut state, random, place, index);
            }
            Operand::Register(first) | Operand::Either(first)
                if !(in_memory && matches!(operand, Operand::Either(_))) =>
            {
                instruction.set_op_kind(i, OpKind::Register);
                instruction.set_op_register(i, register(first, number));
            }
            _ => {
                instruction.set_op_kind(i, OpKind::Memory);
                let size = instruction.memory_size().size().max(1) as u64;
                let to = target(random, place, size, true);
                memory_operand(&mut instruction, &mut state, random, to);
                address = Some(to);
            }
        }
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, place.code).ok()?;
    let bytes = encoder.take_buffer();
    Some(Case {
        bytes,
        instruction,
        state,
        target: address,
    })
}

/// Chooses a way to address `to` and sets the registers for it.
fn memory_operand(instruction: &mut Instruction, state: &mut State, random: &mut Random, to: u64) {
    let segment = random.chance(10);
    let to = if segment {
        instruction.set_segment_prefix(Register::GS);
        to.wrapping_sub(GS_BASE)
    } else {
        to
    };
    let form = random.below(8);
    if form == 0 && !segment {
        instruction.set_memory_base(Register::RIP);
        instruction.set_memory_displ_size(8);
        instruction.set_memory_displacement64(to);
        return;
    }
    if form == 1 {
        // An absolute 32-bit displacement.
        instruction.set_memory_displ_size(if random.chance(50) { 8 } else { 4 });
        instruction.set_memory_displacement64(to);
        return;
    }
    let narrow = form == 2;
    let first = if narrow { Register::EAX } else { Register::RAX };
    let base = random.below(16);
    let displacement = match random.below(3) {
        0 => 0,
        1 => random.below(256) as i64 - 128,
        _ => random.below(1 << 20) as i64 - (1 << 19),
    };
    let mut rest = to.wrapping_sub(displacement as u64);
    instruction.set_memory_base(register(first, base));
    instruction.set_memory_displacement64(if narrow {
        displacement as u32 as u64
    } else {
        displacement as u64
    });
    instruction.set_memory_displ_size(match displacement {
        0 => 0,
        -128..=127 => 1,
        _ if narrow => 4,
        _ => 8,
    });
    let index = random.below(16);
    if random.chance(50) && index != 4 && index != base {
        let scale = 1 << random.below(4);
        instruction.set_memory_index(register(first, index));
        instruction.set_memory_index_scale(scale);
        rest = rest.wrapping_sub(state.gpr[index as usize].wrapping_mul(scale.into()));
    }
    // A 32-bit address ignores the upper half of its registers.
    state.gpr[base as usize] = if narrow {
        rest & 0xffff_ffff | random.next() << 32
    } else {
        rest
    };
}

/// Makes a base and an index vector for a gather from the data pages.
fn gather_operand(
    instruction: &mut Instruction,
    state: &mut State,
    random: &mut Random,
    place: Place,
    index: Register,
) {
    let wide = matches!(instruction.memory_size(), MemorySize::Unknown)
        || instruction.vsib().unwrap_or(false);
    let scale = 1u64 << random.below(4);
    let base = random.below(16);
    let anchor = place.data + random.below(DATA as u64);
    let displacement = random.below(512) as i64 - 256;
    instruction.set_memory_base(register(Register::RAX, base));
    instruction.set_memory_index(index);
    instruction.set_memory_index_scale(scale as u32);
    instruction.set_memory_displacement64(displacement as u64);
    instruction.set_memory_displ_size(8);
    state.gpr[base as usize] = anchor.wrapping_sub(displacement as u64);
    let edges = random.chance(30);
    let lanes = &mut state.vector[index.number()];
    for i in 0..8 {
        let to = target(random, place, 8, edges).wrapping_sub(anchor) as i64;
        let value = to / scale as i64;
        // Rounding the index may leave the data by a few bytes; that only makes a fault.
        if wide {
            lanes.set_lane(i, value);
        } else {
            lanes.set_lane(2 * i, value as i32);
            let to = target(random, place, 8, edges).wrapping_sub(anchor) as i64;
            lanes.set_lane(2 * i + 1, (to / scale as i64) as i32);
        }
    }
}
