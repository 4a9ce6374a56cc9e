//! What an instruction may do, from the decoder's knowledge of it and not from the emulator's.

use crate::world::{Kind, Request};
use emulator::{Fault, State, Step, exception, flag};
use iced_x86::{
    EncodingKind, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register, RflagsBits, UsedMemory,
};
use std::ops::Range;

/// Addresses, as an offset from the first so that they may wrap.
type Place = (u64, u64);

pub(crate) struct Rules {
    factory: InstructionInfoFactory,
    /// Where the instruction may read and write.
    reads: Vec<Place>,
    writes: Vec<Place>,
}

/// What may change in registers.
struct Changes {
    gpr: [u64; 16],
    /// Bytes from the lowest on.
    vector: [usize; 32],
    mmx: [bool; 8],
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self {
            factory: InstructionInfoFactory::new(),
            reads: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// What is wrong with `after` and the requests, given that the instruction began with `before`.
    pub(crate) fn check(
        &mut self,
        instruction: &Instruction,
        before: &State,
        after: &State,
        result: Result<Step, Fault>,
        requests: &[Request],
    ) -> Result<(), String> {
        self.places(instruction, before);
        self.check_requests(requests)?;
        let Err(fault) = result else {
            return self.check_completed(instruction, before, after);
        };
        if requests.iter().any(|request| request.kind == Kind::Write) && !is_atomic(instruction) {
            return Err("a write, and then a fault".into());
        }
        match fault {
            Fault::Simd { unmasked } => {
                check_mxcsr(instruction, before, after)?;
                let visible = after.mxcsr & !(after.mxcsr >> 7) & 0x3f;
                let any = exception::INVALID | 0x3e;
                if unmasked == 0 || unmasked & !(visible & any) != 0 {
                    return Err(format!("#XM for {unmasked:#x} that MXCSR masks"));
                }
                let mxcsr = after.mxcsr;
                same(&State { mxcsr, ..*before }, after)
            }
            Fault::Memory(_) if instruction.is_vsib() => check_gather(instruction, before, after),
            _ => same(before, after),
        }
    }

    /// Finds out where the instruction may read and write.
    fn places(&mut self, instruction: &Instruction, before: &State) {
        self.reads.clear();
        self.writes.clear();
        if let Some(elements) = elements(instruction, before) {
            let writes = instruction.op_kind(0) != OpKind::Register;
            let to = if writes {
                &mut self.writes
            } else {
                &mut self.reads
            };
            to.extend(elements);
            return;
        }
        if let Some(place) = bit_string(instruction, before) {
            self.reads.push(place);
            self.writes.push(place);
            return;
        }
        for memory in self.factory.info(instruction).used_memory() {
            let place = (
                address(memory, before, 0),
                memory.memory_size().size() as u64,
            );
            let access = memory.access();
            if access != OpAccess::NoMemAccess && access != OpAccess::None {
                self.reads.push(place);
            }
            if is_write(access) {
                self.writes.push(place);
            }
        }
    }

    fn check_requests(&self, requests: &[Request]) -> Result<(), String> {
        for request in requests {
            let places = match request.kind {
                Kind::Write | Kind::CheckWrite => &self.writes,
                Kind::Read => &self.reads,
                // Hints name their operand as accessed or not.
                Kind::FlushLine => continue,
            };
            let allowed = (0..request.length as u64).all(|i| {
                let at = request.address.wrapping_add(i);
                places
                    .iter()
                    .any(|(start, length)| at.wrapping_sub(*start) < *length)
            });
            if !allowed {
                return Err(format!("{request:x?} is outside of {places:x?}"));
            }
        }
        Ok(())
    }

    fn check_completed(
        &mut self,
        instruction: &Instruction,
        before: &State,
        after: &State,
    ) -> Result<(), String> {
        check_rip(instruction, after)?;
        check_mxcsr(instruction, before, after)?;
        let mut flags = flags(instruction.rflags_modified());
        // The decoder says that nothing changes if the count is a multiple of the size with the
        // carry; by the manuals OF is undefined, and AMD's CPUs do change it.
        let through_carry = matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr);
        if through_carry && instruction.op1_kind() == OpKind::Immediate8 {
            flags |= flag::OF;
        }
        if (before.rflags ^ after.rflags) & !flags != 0 {
            return Err(format!(
                "flags {:#x} became {:#x}, of which only {flags:#x} may change",
                before.rflags, after.rflags
            ));
        }
        let changes = self.changes(instruction);
        let registers = before.gpr.iter().zip(&after.gpr).zip(changes.gpr);
        for (i, ((before, after), may)) in registers.enumerate() {
            if (before ^ after) & !may != 0 {
                return Err(format!("register {i} became {after:#x}, was {before:#x}"));
            }
        }
        let registers = before.vector.iter().zip(&after.vector).zip(changes.vector);
        for (i, ((before, after), may)) in registers.enumerate() {
            if before.0[may..] != after.0[may..] {
                return Err(format!("vector {i} became {after:?}, was {before:?}"));
            }
        }
        check_upper(instruction, &changes, after)?;
        check_x87(instruction, before, after, changes.mmx)?;
        // Everything that has been looked at.
        let rest = State {
            gpr: after.gpr,
            rip: after.rip,
            rflags: after.rflags,
            mxcsr: after.mxcsr,
            vector: after.vector,
            x87: after.x87,
            ..*before
        };
        same(&rest, after)
    }

    fn changes(&mut self, instruction: &Instruction) -> Changes {
        let mut changes = Changes {
            gpr: [0; 16],
            vector: [0; 32],
            mmx: [false; 8],
        };
        let zeroes = instruction.code().encoding() != EncodingKind::Legacy;
        for used in self.factory.info(instruction).used_registers() {
            let register = used.register();
            if !is_write(used.access()) {
                continue;
            }
            if register.is_gpr() {
                let full = register.full_register().number();
                changes.gpr[full] |= match register.size() {
                    1 if matches!(
                        register,
                        Register::AH | Register::BH | Register::CH | Register::DH
                    ) =>
                    {
                        0xff00
                    }
                    1 => 0xff,
                    2 => 0xffff,
                    _ => u64::MAX,
                };
            } else if register.is_vector_register() {
                let bytes = if zeroes { 64 } else { register.size() };
                let place = &mut changes.vector[register.number()];
                *place = bytes.max(*place);
            } else if register.is_mm() {
                changes.mmx[register.number()] = true;
            }
        }
        changes
    }
}

fn same(wanted: &State, got: &State) -> Result<(), String> {
    if wanted == got {
        return Ok(());
    }
    Err(format!("is {got:x?}\n  not {wanted:x?}"))
}

fn is_write(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// Whether memory is compared and exchanged, which writes nothing if it fails.
fn is_atomic(instruction: &Instruction) -> bool {
    instruction.has_lock_prefix()
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Cmpxchg16b | Mnemonic::Xchg
        )
}

/// The value of a register that an address is made of.
fn value(state: &State, register: Register, element: usize, size: usize) -> u64 {
    match register {
        Register::FS => state.fs_base,
        Register::GS => state.gs_base,
        _ if register.is_vector_register() => {
            let index = &state.vector[register.number()];
            if size == 4 {
                index.lane::<u32>(element).into()
            } else {
                index.lane(element)
            }
        }
        _ if register.is_gpr() => {
            let full = state.gpr[register.full_register().number()];
            match register.size() {
                8 => full,
                4 => full & 0xffff_ffff,
                2 => full & 0xffff,
                _ => full & 0xff,
            }
        }
        _ => 0,
    }
}

fn address(memory: &UsedMemory, state: &State, element: usize) -> u64 {
    memory
        .virtual_address(element, |register, element, size| {
            Some(value(state, register, element, size))
        })
        .expect("all registers have values")
}

/// The operand's address, element `element` of a gather's.
fn operand_address(instruction: &Instruction, state: &State, operand: u32, element: usize) -> u64 {
    instruction
        .virtual_address(operand, element, |register, element, size| {
            Some(value(state, register, element, size))
        })
        .expect("all registers have values")
}

/// The lane's highest bit.
fn selects(state: &State, register: Register, size: usize, i: usize) -> bool {
    let last = (i + 1) * size - 1;
    let byte = if register.is_mm() {
        state.x87.significand[register.number()].to_le_bytes()[last]
    } else {
        state.vector[register.number()].0[last]
    };
    byte >= 0x80
}

/// Number and size of a gather's elements.
fn gathered(instruction: &Instruction) -> (usize, usize) {
    let size = instruction.memory_size().element_size();
    let index = if instruction.is_vsib64() { 8 } else { 4 };
    let count =
        (instruction.op0_register().size() / size).min(instruction.memory_index().size() / index);
    (count, size)
}

/// The selected elements of an instruction that has a mask.
fn elements(instruction: &Instruction, state: &State) -> Option<Vec<Place>> {
    let mnemonic = instruction.mnemonic();
    let places = |count: usize, size: usize, mask: Register, operand: u32| {
        (0..count)
            .filter(|&i| selects(state, mask, size, i))
            .map(|i| {
                let at = operand_address(instruction, state, operand, 0);
                (at.wrapping_add((i * size) as u64), size as u64)
            })
            .collect()
    };
    let lanes = |size: usize| {
        let memory = u32::from(instruction.op_kind(0) == OpKind::Register) * 2;
        let mask = instruction.op1_register();
        places(mask.size() / size, size, mask, memory)
    };
    match mnemonic {
        Mnemonic::Vmaskmovps | Mnemonic::Vpmaskmovd => Some(lanes(4)),
        Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovq => Some(lanes(8)),
        Mnemonic::Maskmovq | Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu => {
            let mask = instruction.op2_register();
            Some(places(mask.size(), 1, mask, 0))
        }
        _ if instruction.is_vsib() => {
            let (count, size) = gathered(instruction);
            let mask = instruction.op2_register();
            let selected = (0..count).filter(|&i| selects(state, mask, size, i));
            let place = |i| (operand_address(instruction, state, 1, i), size as u64);
            Some(selected.map(place).collect())
        }
        _ => None,
    }
}

/// Where a bit beyond the operand itself is.
fn bit_string(instruction: &Instruction, state: &State) -> Option<Place> {
    if !matches!(
        instruction.mnemonic(),
        Mnemonic::Bt | Mnemonic::Btc | Mnemonic::Btr | Mnemonic::Bts
    ) || instruction.op0_kind() != OpKind::Memory
        || instruction.op1_kind() != OpKind::Register
    {
        return None;
    }
    let register = instruction.op1_register();
    let index = value(state, register, 0, 0);
    let (index, size) = match register.size() {
        8 => (index as i64, 8),
        4 => ((index as i32).into(), 4),
        _ => ((index as i16).into(), 2),
    };
    let base = instruction.memory_base();
    let narrow = base.is_gpr32()
        || instruction.memory_index().is_gpr32()
        || base == Register::EIP
        || base == Register::None
            && instruction.memory_index() == Register::None
            && instruction.memory_displ_size() == 4;
    let segment = value(state, instruction.memory_segment(), 0, 0);
    let offset = operand_address(instruction, state, 0, 0)
        .wrapping_sub(segment)
        .wrapping_add((index.div_euclid(8 * size) * size) as u64);
    // An address of 32 bits wraps.
    let offset = if narrow { offset & 0xffff_ffff } else { offset };
    Some((segment.wrapping_add(offset), size as u64))
}

fn check_rip(instruction: &Instruction, after: &State) -> Result<(), String> {
    let next = after.rip == instruction.next_ip();
    let target = after.rip == instruction.near_branch_target();
    let right = match instruction.flow_control() {
        FlowControl::Next => next,
        FlowControl::ConditionalBranch => next || target,
        FlowControl::UnconditionalBranch | FlowControl::Call => target,
        FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return => true,
        _ => false,
    };
    if right {
        Ok(())
    } else {
        Err(format!("RIP is {:#x}", after.rip))
    }
}

fn check_mxcsr(instruction: &Instruction, before: &State, after: &State) -> Result<(), String> {
    let (old, new) = (before.mxcsr, after.mxcsr);
    let right = match instruction.mnemonic() {
        Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr => new & !before.mxcsr_mask == 0,
        _ => new & !0x3f == old & !0x3f && old & !new == 0,
    };
    if right {
        Ok(())
    } else {
        Err(format!("MXCSR became {new:#x}, was {old:#x}"))
    }
}

/// The bits of RFLAGS.
fn flags(bits: u32) -> u64 {
    [
        (RflagsBits::CF, flag::CF),
        (RflagsBits::PF, flag::PF),
        (RflagsBits::AF, flag::AF),
        (RflagsBits::ZF, flag::ZF),
        (RflagsBits::SF, flag::SF),
        (RflagsBits::OF, flag::OF),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// VEX and XOP forms leave zeros above their vector length.
fn check_upper(instruction: &Instruction, changes: &Changes, after: &State) -> Result<(), String> {
    let vex = matches!(
        instruction.code().encoding(),
        EncodingKind::VEX | EncodingKind::XOP
    );
    if !vex || instruction.mnemonic() == Mnemonic::Vzeroupper {
        return Ok(());
    }
    let size = |number: usize| {
        (0..instruction.op_count())
            .filter(|&i| instruction.op_kind(i) == OpKind::Register)
            .map(|i| instruction.op_register(i))
            .find(|register| register.is_vector_register() && register.number() == number)
            // VPCMPESTRM and its like write XMM0.
            .map_or(16, Register::size)
    };
    for (number, _) in changes
        .vector
        .iter()
        .enumerate()
        .filter(|(_, may)| **may > 0)
    {
        let range: Range<usize> = size(number)..64;
        if after.vector[number].0[range].iter().any(|&byte| byte != 0) {
            return Err(format!(
                "vector {number} is {:?}, not zero above its length",
                after.vector[number]
            ));
        }
    }
    Ok(())
}

fn check_x87(
    instruction: &Instruction,
    before: &State,
    after: &State,
    mmx: [bool; 8],
) -> Result<(), String> {
    let mut expected = after.x87;
    for (i, may) in mmx.into_iter().enumerate().filter(|(_, may)| !may) {
        let _ = may;
        expected.significand[i] = before.x87.significand[i];
        expected.exponent[i] = before.x87.exponent[i];
    }
    let uses = (0..instruction.op_count())
        .any(|i| instruction.op_kind(i) == OpKind::Register && instruction.op_register(i).is_mm())
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Emms | Mnemonic::Femms | Mnemonic::Fisttp
        );
    if !uses {
        (expected.status, expected.tags) = (before.x87.status, before.x87.tags);
    }
    (expected.control, expected.present) = (before.x87.control, before.x87.present);
    if expected == after.x87 {
        Ok(())
    } else {
        Err(format!("x87 is {:x?}, not {expected:x?}", after.x87))
    }
}

/// What a gather may have done when an element faults: some elements loaded, and those no longer in
/// the mask.
fn check_gather(instruction: &Instruction, before: &State, after: &State) -> Result<(), String> {
    let (count, size) = gathered(instruction);
    let numbers = [instruction.op0_register(), instruction.op2_register()].map(Register::number);
    let mut expected = *before;
    for i in 0..count {
        let range = i * size..(i + 1) * size;
        let mask = &after.vector[numbers[1]].0[range.clone()];
        if mask.iter().any(|&byte| byte != 0) {
            continue;
        }
        let selected = selects(before, instruction.op2_register(), size, i);
        for (number, may) in numbers.into_iter().zip([selected, true]) {
            if may {
                expected.vector[number].0[range.clone()]
                    .copy_from_slice(&after.vector[number].0[range.clone()]);
            }
        }
    }
    same(&expected, after)
}
