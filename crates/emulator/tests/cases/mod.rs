//! Encodings of every `Code`, with random operands.

pub(crate) mod general;
pub(crate) mod random;

use emulator::{State, Vector, X87};
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, EncodingKind, Instruction, MemorySize, Mnemonic,
    OpCodeOperandKind as Kind, OpKind, Register,
};
use random::Random;

/// Size of the two data pages.
pub(crate) const DATA: usize = 2 * 4096;

/// Value of the GS base while instructions run.
pub(crate) const GS_BASE: u64 = 0x1_2340;

/// One instruction and the registers to run it on.
pub(crate) struct Case {
    pub bytes: Vec<u8>,
    pub instruction: Instruction,
    pub state: State,
    /// Address of the memory operand, if there is one.
    pub target: Option<u64>,
    /// Where the instruction may branch to.
    pub landing: Option<u64>,
    /// What memory has to hold, and from which address on.
    pub data: Vec<(u64, Vec<u8>)>,
}

/// Where code and data are.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub code: u64,
    pub data: u64,
    /// Bits of MXCSR that may be set.
    pub mxcsr_mask: u32,
}

fn register(first: Register, number: u64) -> Register {
    first + number as u32
}

/// What can stand in one place of an instruction.
#[derive(Clone, Copy)]
enum Operand {
    Immediate,
    Immediate32,
    /// An immediate of any other kind.
    Constant(OpKind),
    /// The count of one that some shifts have in their opcode.
    One,
    /// Memory at an address that is part of the instruction.
    Offset,
    /// The target of a branch, eight bits away at most or any distance.
    Near,
    Far,
    /// The one register that it can be.
    Fixed(Register),
    /// Memory at RDI or EDI, not encoded.
    Destination,
    Memory,
    /// A register with the address of 64 bytes; the first of its kind.
    Address(Register),
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
            Kind::imm8 | Kind::imm4_m2z => Operand::Immediate,
            Kind::imm32 if code.mnemonic() == Mnemonic::Bextr => Operand::Immediate32,
            Kind::imm32 => Operand::Constant(OpKind::Immediate32),
            Kind::imm8sex16 => Operand::Constant(OpKind::Immediate8to16),
            Kind::imm8sex32 => Operand::Constant(OpKind::Immediate8to32),
            Kind::imm8sex64 => Operand::Constant(OpKind::Immediate8to64),
            Kind::imm16 => Operand::Constant(OpKind::Immediate16),
            Kind::imm32sex64 => Operand::Constant(OpKind::Immediate32to64),
            Kind::imm64 => Operand::Constant(OpKind::Immediate64),
            Kind::imm8_const_1 => Operand::One,
            Kind::mem_offs => Operand::Offset,
            Kind::br64_1 => Operand::Near,
            Kind::br64_4 => Operand::Far,
            Kind::al => Operand::Fixed(Register::AL),
            Kind::cl => Operand::Fixed(Register::CL),
            Kind::ax => Operand::Fixed(Register::AX),
            Kind::eax => Operand::Fixed(Register::EAX),
            Kind::rax => Operand::Fixed(Register::RAX),
            Kind::seg_rDI => Operand::Destination,
            Kind::mem => Operand::Memory,
            Kind::mm_reg | Kind::mm_rm => Operand::Register(Register::MM0),
            Kind::mm_or_mem => Operand::Either(Register::MM0),
            Kind::mem_vsib32x | Kind::mem_vsib64x => Operand::Gather(Register::XMM0),
            Kind::mem_vsib32y | Kind::mem_vsib64y => Operand::Gather(Register::YMM0),
            Kind::r8_or_mem => Operand::Either(Register::AL),
            Kind::r16_or_mem => Operand::Either(Register::AX),
            Kind::r32_or_mem => Operand::Either(Register::EAX),
            Kind::r64_or_mem => Operand::Either(Register::RAX),
            Kind::xmm_or_mem => Operand::Either(Register::XMM0),
            Kind::ymm_or_mem => Operand::Either(Register::YMM0),
            Kind::r8_reg | Kind::r8_opcode => Operand::Register(Register::AL),
            Kind::r16_reg | Kind::r16_opcode => Operand::Register(Register::AX),
            Kind::r32_reg | Kind::r32_vvvv | Kind::r32_opcode => Operand::Register(Register::EAX),
            Kind::r64_reg | Kind::r64_rm | Kind::r64_vvvv | Kind::r64_opcode => {
                Operand::Register(Register::RAX)
            }
            Kind::r16_rm => Operand::Register(Register::AX),
            Kind::r32_rm => Operand::Register(Register::EAX),
            Kind::r32_reg_mem => Operand::Address(Register::EAX),
            Kind::r64_reg_mem => Operand::Address(Register::RAX),
            Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 | Kind::xmm_is5 => {
                Operand::Register(Register::XMM0)
            }
            Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 | Kind::ymm_is5 => {
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

/// A random instruction with this code on random registers, or `None` if it has operands that
/// cannot be made here or the encoder refuses it.
pub(crate) fn case(code: Code, random: &mut Random, place: Place) -> Option<Case> {
    let state = registers(random, place);
    case_on(state, code, random, place)
}

/// Random registers.
fn registers(random: &mut Random, place: Place) -> State {
    let mut state = State {
        rip: place.code,
        rflags: 0x202 | (random.next() & emulator::flag::STATUS),
        gs_base: GS_BASE,
        mxcsr: random.mxcsr(),
        mxcsr_mask: place.mxcsr_mask,
        ..State::default()
    };
    if random.chance(10) {
        // AMD's misaligned exception mask, where it exists.
        state.mxcsr |= 1 << 17 & state.mxcsr_mask;
    }
    state.gpr.iter_mut().for_each(|r| *r = random.integer());
    state.x87 = x87(random);
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
    state
}

/// A random instruction with this code on these registers, of which those that the address of a
/// memory operand is made of are changed.
pub(crate) fn case_on(
    mut state: State,
    code: Code,
    random: &mut Random,
    place: Place,
) -> Option<Case> {
    let operands = operands(code)?;
    let general = general::is_general(code);
    general::prepare(code, &mut state, random, place);
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let mut address = None;
    let mut landing = None;
    let gathers = operands.iter().any(|o| matches!(o, Operand::Gather(_)));
    // The three registers of a gather must differ.
    let offset = random.below(16);
    for (&operand, i) in operands.iter().zip(0..) {
        let number = match operand {
            _ if gathers => (offset + u64::from(i)) % 16,
            Operand::Register(Register::MM0) | Operand::Either(Register::MM0) => random.below(8),
            // SPL to DIL stand between BH and R8L.
            Operand::Register(Register::AL) | Operand::Either(Register::AL) if general => {
                random.below(20)
            }
            _ => random.below(16),
        };
        let in_memory = random.chance(50);
        match operand {
            Operand::Immediate if i > 0 && instruction.op_kind(i - 1) == OpKind::Immediate8 => {
                instruction.set_op_kind(i, OpKind::Immediate8_2nd);
                instruction.set_immediate8_2nd(random.next() as u8);
            }
            Operand::Immediate => {
                let four_bits = code.op_code().op_kind(i) == Kind::imm4_m2z;
                instruction.set_op_kind(i, OpKind::Immediate8);
                instruction.set_immediate8(random.next() as u8 & if four_bits { 15 } else { 255 });
            }
            Operand::Immediate32 => {
                instruction.set_op_kind(i, OpKind::Immediate32);
                // Start and length of a bit field, and bits that do not count.
                let value = random.below(70) | random.below(70) << 8 | random.next() << 16;
                instruction.set_immediate32(value as u32);
            }
            Operand::Constant(kind) => {
                instruction.set_op_kind(i, kind);
                instruction.set_immediate_u64(i, general::constant(kind, random));
            }
            Operand::One => {
                instruction.set_op_kind(i, OpKind::Immediate8);
                instruction.set_immediate8(1);
            }
            Operand::Offset => {
                let size = instruction.memory_size().size() as u64;
                let to = target(random, place, size, true);
                general::offset_operand(&mut instruction, i, random, to);
                address = Some(to);
            }
            Operand::Near | Operand::Far => {
                let to = general::landing(random, place, matches!(operand, Operand::Near));
                instruction.set_op_kind(i, OpKind::NearBranch64);
                instruction.set_near_branch64(to);
                landing = Some(to);
            }
            Operand::Fixed(register) => {
                instruction.set_op_kind(i, OpKind::Register);
                instruction.set_op_register(i, register);
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
            Operand::Address(first) => {
                instruction.set_op_kind(i, OpKind::Register);
                instruction.set_op_register(i, register(first, number));
                let to = target(random, place, 64, true);
                let low = random.pick(&[63, 63, 63, 31, 0]);
                let junk = if first == Register::EAX {
                    random.next() << 32
                } else {
                    0
                };
                state.gpr[number as usize] = to & !low | junk;
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
    // An address that the memory operand has displaced could be anywhere.
    let displaced = |register: Register| {
        matches!(operands[..], [Operand::Address(_), ..])
            && register.full_register() == instruction.op_register(0).full_register()
    };
    if displaced(instruction.memory_base()) || displaced(instruction.memory_index()) {
        return None;
    }
    let mut case = Case {
        bytes: Vec::new(),
        instruction,
        state,
        target: address,
        landing,
        data: Vec::new(),
    };
    if general && !general::finish(&mut case, random, place) {
        return None;
    }
    let instruction = case.instruction;
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, place.code).ok()?;
    let bytes = encoder.take_buffer();
    // The encoder forgets the REX prefix of 3DNow! instructions, and with it R8–R15.
    let decoded = Decoder::with_ip(64, &bytes, place.code, DecoderOptions::NONE).decode();
    if code.encoding() == EncodingKind::D3NOW
        && (decoded.memory_base(), decoded.memory_index())
            != (instruction.memory_base(), instruction.memory_index())
    {
        return None;
    }
    Some(Case { bytes, ..case })
}

/// Any x87 registers, with no exception pending.
fn x87(random: &mut Random) -> X87 {
    let lanes = random.vector();
    let mut x87 = X87 {
        present: true,
        tags: random.next() as u8,
        // Condition codes, TOP and sticky flags; all exceptions are masked.
        status: random.next() as u16 & 0x7f7f,
        ..X87::INITIAL
    };
    for (register, lane) in x87.significand.iter_mut().zip(lanes.chunks_exact(8)) {
        *register = u64::from_le_bytes(lane.try_into().expect("eight bytes"));
    }
    for (exponent, significand) in x87.exponent.iter_mut().zip(&mut x87.significand) {
        *exponent = random.next() as u16;
        if random.chance(60) {
            // A number around the size of an integer.
            *exponent = *exponent & 0x8000 | (0x3ffc + random.below(70) as u16);
            *significand |= 1 << 63;
            if random.chance(50) {
                *significand &= !0 << random.below(64);
            }
        }
        if random.chance(5) {
            *exponent &= 0x8000;
        }
        if random.chance(15) {
            // Exactly the smallest integer of 16, 32 or 64 bits, or the negative of it.
            *exponent = random.pick(&[0, 0x8000]) | (0x3fff + random.pick(&[15, 31, 63]));
            *significand = 1 << 63;
        }
    }
    if random.chance(15) {
        x87.control ^= random.next() as u16 & 0x3f;
        x87.status &= !0x3f;
    }
    x87
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
    // The address of this one's destination has 32 bits, so that of its source has too.
    let form = if instruction.code() == Code::Movdir64b_r32_m512 {
        2
    } else {
        random.below(8)
    };
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
