//! What the ordinary integer instructions need beyond random operands: a stack, places to branch
//! to, divisions that fit, and comparisons that come out equal.

use super::{Case, DATA, GS_BASE, Place, Random, target};
use emulator::State;
use iced_x86::{Code, CpuidFeature, Instruction, Mnemonic, OpKind, Register};

/// Whether every x86-64 CPU has the code.
pub(crate) fn is_general(code: Code) -> bool {
    code.cpuid_features().iter().all(|feature| {
        matches!(
            feature,
            CpuidFeature::INTEL8086
                | CpuidFeature::INTEL186
                | CpuidFeature::INTEL286
                | CpuidFeature::INTEL386
                | CpuidFeature::INTEL486
                | CpuidFeature::X64
                | CpuidFeature::CMOV
                | CpuidFeature::CX8
                | CpuidFeature::MULTIBYTENOP
                | CpuidFeature::PAUSE
                | CpuidFeature::CET_IBT
        )
    }) && !matches!(code, Code::Lahf | Code::Sahf)
}

/// Whether the instruction pushes or pops.
fn uses_stack(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Push | Mnemonic::Pop | Mnemonic::Call | Mnemonic::Ret | Mnemonic::Leave
    )
}

/// Registers that mean something to the instruction without being its operands.
pub(super) fn prepare(code: Code, state: &mut State, random: &mut Random, place: Place) {
    if !is_general(code) {
        return;
    }
    let mnemonic = code.mnemonic();
    if uses_stack(mnemonic) {
        state.gpr[4] = target(random, place, 8, true);
        state.gpr[5] = target(random, place, 8, true);
    }
    match mnemonic {
        Mnemonic::Div | Mnemonic::Idiv if random.chance(75) => {
            // A dividend whose upper half is small, so that the quotient fits.
            if matches!(code, Code::Div_rm8 | Code::Idiv_rm8) {
                let bits = random.below(16);
                state.gpr[0] = random.next() & !0xffff | random.below(1 << bits);
                if random.chance(30) {
                    state.gpr[0] |= 0xff00;
                }
            } else {
                let sign = match code {
                    Code::Idiv_rm16 => state.gpr[0] as i16 >> 15 != 0,
                    Code::Idiv_rm32 => state.gpr[0] as i32 >> 31 != 0,
                    _ => state.gpr[0] as i64 >> 63 != 0,
                };
                let bits = random.below(48);
                let small = random.below(1 << bits);
                let extension = if sign { u64::MAX } else { 0 };
                state.gpr[2] = random.pick(&[0, extension, extension, small, !small]);
            }
        }
        Mnemonic::Jecxz | Mnemonic::Jrcxz | Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne
            if random.chance(60) =>
        {
            let edge = 1 << 32;
            state.gpr[1] = random.pick(&[0, 1, 2, edge, edge | 1, edge - 1]);
        }
        _ => {}
    }
}

/// An immediate of a kind.
pub(super) fn constant(kind: OpKind, random: &mut Random) -> u64 {
    let value = random.integer();
    match kind {
        OpKind::Immediate8to16 | OpKind::Immediate8to32 | OpKind::Immediate8to64 => {
            value as i8 as u64
        }
        OpKind::Immediate16 => value & 0xffff,
        OpKind::Immediate32 => value & 0xffff_ffff,
        OpKind::Immediate32to64 => value as i32 as u64,
        _ => value,
    }
}

/// Memory at `to`, whose address is part of the instruction.
pub(super) fn offset_operand(instruction: &mut Instruction, i: u32, random: &mut Random, to: u64) {
    instruction.set_op_kind(i, OpKind::Memory);
    let narrow = random.chance(20);
    let mut displacement = to;
    if random.chance(20) {
        instruction.set_segment_prefix(Register::GS);
        displacement = to.wrapping_sub(GS_BASE);
    }
    instruction.set_memory_displ_size(if narrow { 4 } else { 8 });
    instruction.set_memory_displacement64(displacement);
}

/// An address to branch to, with room for a jump there beside the instruction and the jump behind
/// it.
pub(super) fn landing(random: &mut Random, place: Place, near: bool) -> u64 {
    match random.below(if near { 2 } else { 3 }) {
        0 => place.code - 14 - random.below(48),
        1 => place.code + 32 + random.below(88),
        _ => place.code + 32 + random.below(3900),
    }
}

/// An address to branch to, rarely one that RIP cannot have.
fn far_target(random: &mut Random, place: Place) -> u64 {
    if random.chance(10) {
        random.next() & !(1 << 63) | 1 << (57 + random.below(6))
    } else {
        landing(random, place, false)
    }
}

/// Finishes a case whose operands are all there; `false` if it must not be run.
pub(super) fn finish(case: &mut Case, random: &mut Random, place: Place) -> bool {
    let code = case.instruction.code();
    let in_memory =
        case.instruction.op_count() > 0 && case.instruction.op0_kind() == OpKind::Memory;
    match code.mnemonic() {
        Mnemonic::Jmp | Mnemonic::Call if case.landing.is_none() => {
            let to = far_target(random, place);
            case.landing = Some(to);
            if let Some(target) = case.target {
                case.data.push((target, to.to_le_bytes().into()));
            } else {
                let register = case.instruction.op0_register();
                case.state.gpr[register.number()] = to;
            }
        }
        Mnemonic::Ret => {
            let to = far_target(random, place);
            case.landing = Some(to);
            case.data.push((case.state.gpr[4], to.to_le_bytes().into()));
        }
        Mnemonic::Pop | Mnemonic::Leave => {
            let register = if code.mnemonic() == Mnemonic::Pop {
                4
            } else {
                5
            };
            let value = random.integer().to_le_bytes();
            case.data.push((case.state.gpr[register], value.into()));
        }
        Mnemonic::Cmpxchg if random.chance(60) => {
            let expected = case.state.gpr[0];
            if let Some(target) = case.target {
                let size = case.instruction.memory_size().size();
                let bytes = expected.to_le_bytes()[..size].to_vec();
                case.data.push((target, bytes));
            } else {
                let register = case.instruction.op0_register();
                let number = register.full_register().number();
                case.state.gpr[number] = match register.size() {
                    4 => expected & 0xffff_ffff | random.next() << 32,
                    _ => expected,
                };
            }
        }
        Mnemonic::Cmpxchg8b if random.chance(60) => {
            if let Some(target) = case.target {
                let expected = [case.state.gpr[0], case.state.gpr[2]].map(|r| r as u32);
                let bytes = expected.map(u32::to_le_bytes).concat();
                case.data.push((target, bytes));
            }
        }
        _ => {}
    }
    let selects_bit = matches!(
        code.mnemonic(),
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
    ) && in_memory
        && case.instruction.op1_kind() == OpKind::Register;
    if selects_bit && !choose_bit(case, random, place) {
        return false;
    }
    let near_data =
        |address: u64| address.wrapping_sub(place.data).wrapping_add(256) < DATA as u64 + 512;
    // What is pushed elsewhere would be something of the test's own.
    if uses_stack(code.mnemonic()) && !near_data(case.state.gpr[4]) {
        return false;
    }
    if code.mnemonic() == Mnemonic::Leave && !near_data(case.state.gpr[5]) {
        return false;
    }
    if in_memory && code.op_code().can_use_lock_prefix() {
        // Locked accesses that cross a cache line are slow, and not every system lets them be.
        let size = case.instruction.memory_size().size() as u64;
        let crosses = case.target.is_some_and(|to| to % 64 + size > 64);
        if crosses && code.mnemonic() == Mnemonic::Xchg {
            return false;
        }
        if !crosses && random.chance(30) {
            case.instruction.set_has_lock_prefix(true);
        }
    }
    true
}

/// Chooses the bit that a register selects relative to the memory operand, and moves the operand's
/// base so that the bit lies where the operand was.
fn choose_bit(case: &mut Case, random: &mut Random, place: Place) -> bool {
    let instruction = &case.instruction;
    let chosen = instruction.op1_register();
    let bits = 8 * chosen.size() as u32;
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let number = chosen.full_register().number();
    let same = |r: Register| r.is_gpr() && r.full_register() == chosen.full_register();
    if same(base) || same(index) {
        return false;
    }
    let movable = base.is_gpr();
    let reach = if movable {
        1 << random.below(62)
    } else {
        1 << random.below(12)
    };
    let mut bit = (random.below(2 * reach) as i64).wrapping_sub(reach as i64);
    let junk = random.next();
    (bit, case.state.gpr[number]) = match bits {
        16 => (bit as i16 as i64, junk & !0xffff | bit as u16 as u64),
        32 => (bit as i32 as i64, junk & !0xffff_ffff | bit as u32 as u64),
        _ => (bit, bit as u64),
    };
    let distance = (bit >> bits.trailing_zeros()) * i64::from(bits / 8);
    if movable {
        let register = &mut case.state.gpr[base.full_register().number()];
        let moved = register.wrapping_sub(distance as u64);
        *register = if base.size() == 4 {
            moved & 0xffff_ffff | *register & !0xffff_ffff
        } else {
            moved
        };
    } else if let Some(target) = &mut case.target {
        *target = target.wrapping_add(distance as u64);
        return target.wrapping_sub(place.data).wrapping_add(2048) < DATA as u64 + 4000;
    }
    true
}
