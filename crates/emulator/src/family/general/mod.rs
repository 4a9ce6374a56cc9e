//! The ordinary integer instructions of every x86-64 CPU.
//!
//! They never trap for want of a feature; they are here because they stand between those that do.
//! What is missing (string instructions, segments, I/O, the system, x87) is not emulated.

pub(crate) mod arithmetic;
pub(crate) mod atomics;
pub(crate) mod bits;
pub(crate) mod branches;
pub(crate) mod conditions;
pub(crate) mod control;
pub(crate) mod logic;
pub(crate) mod moves;
pub(crate) mod multiply;
pub(crate) mod shifts;
pub(crate) mod stack;

use crate::context::{Context, register};
use crate::execution::Execution;
use crate::fault::Fault;
use iced_x86::{Code, OpKind, Register};

/// How often a LOCK-prefixed instruction is tried again when other threads get in between. The
/// CPU would let it wait its turn; here it is refused after that, with nothing changed.
const TRIES: u32 = 16;

/// Whether a code is left to the CPU though its mnemonic stands in a row: far branches, near ones
/// that cut RIP to 16 bits on AMD's CPUs only, MOVSXD of 16 bits, which reads 32 on AMD's, and
/// BSWAP of 16 bits, whose result is undefined.
pub(crate) fn is_left_out(code: Code) -> bool {
    matches!(
        code,
        Code::Jmp_m1616
            | Code::Jmp_m1632
            | Code::Jmp_m1664
            | Code::Call_m1616
            | Code::Call_m1632
            | Code::Call_m1664
            | Code::Jmp_rm16
            | Code::Call_rm16
            | Code::Retnw
            | Code::Retnw_imm16
            | Code::Movsxd_r16_rm16
            | Code::Bswap_r16
    )
}

/// Size of an operand in bytes: of the register, or of the memory operand.
fn size(cx: &Context<'_>, operand: u32) -> usize {
    if cx.is_memory(operand) {
        cx.decoded.size.into()
    } else {
        register(cx.instruction, operand).size()
    }
}

/// An operand of any kind: immediates sign-extended as the instruction has it, registers and
/// memory zero-extended.
fn source(cx: &mut Context<'_>, operand: u32) -> Result<u64, Fault> {
    match cx.kind(operand) {
        OpKind::Register | OpKind::Memory => cx.integer(operand),
        _ => Ok(cx.instruction.try_immediate(operand).unwrap_or(0)),
    }
}

/// `value`, of which `bits` bits count, sign-extended.
fn extended(bits: u32, value: u64) -> i64 {
    let unused = 64u32.wrapping_sub(bits) & 63;
    (value << unused) as i64 >> unused
}

/// AL, AX, EAX or RAX.
fn accumulator(bits: u32) -> Register {
    match bits {
        8 => Register::AL,
        16 => Register::AX,
        32 => Register::EAX,
        _ => Register::RAX,
    }
}

/// The other register of a double-width operand: AH, DX, EDX or RDX.
fn upper_accumulator(bits: u32) -> Register {
    match bits {
        8 => Register::AH,
        16 => Register::DX,
        32 => Register::EDX,
        _ => Register::RDX,
    }
}

/// Reads `size` bytes at `address`, at most eight, zero-extended.
fn read(cx: &mut Context<'_>, address: u64, size: usize) -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    if let Some(buffer) = bytes.get_mut(..size) {
        cx.memory.read(address, buffer)?;
    }
    Ok(u64::from_le_bytes(bytes))
}

/// Writes the lowest `size` bytes of `value`, at most eight.
fn write(cx: &mut Context<'_>, address: u64, size: usize, value: u64) -> Result<(), Fault> {
    if let Some(bytes) = value.to_le_bytes().get(..size) {
        cx.memory.write(address, bytes)?;
    }
    Ok(())
}

/// First operand, flags = f(first operand); gives back what it was before. With a LOCK prefix `f`
/// may be called several times.
fn update(
    cx: &mut Context<'_>,
    mut f: impl FnMut(&mut Execution, u64) -> u64,
) -> Result<u64, Fault> {
    if cx.is_memory(0) {
        let (address, size) = (cx.address(0), size(cx, 0));
        let locked = cx.instruction.has_lock_prefix();
        return update_memory(cx, address, size, locked, f);
    }
    let old = cx.integer(0)?;
    let new = f(&mut cx.execution, old);
    cx.write_integer(0, new)?;
    cx.commit();
    Ok(old)
}

/// As [`update`], of the `size` bytes at `address`; as one atomic step if `locked`.
fn update_memory(
    cx: &mut Context<'_>,
    address: u64,
    size: usize,
    locked: bool,
    mut f: impl FnMut(&mut Execution, u64) -> u64,
) -> Result<u64, Fault> {
    let mut old = read(cx, address, size)?;
    if !locked {
        let new = f(&mut cx.execution, old);
        write(cx, address, size, new)?;
        cx.commit();
        return Ok(old);
    }
    let flags = cx.execution.rflags;
    for _ in 0..TRIES {
        cx.execution.rflags = flags;
        let new = f(&mut cx.execution, old);
        let there = cx
            .memory
            .compare_exchange(address, size, old, new)?
            .ok_or(Fault::Unknown)?;
        if there == old {
            cx.commit();
            return Ok(old);
        }
        old = there;
    }
    Err(Fault::Unknown)
}

/// Address of the memory operand without the base of its segment.
fn effective_address(cx: &mut Context<'_>) -> u64 {
    let bases = (cx.state.fs_base, cx.state.gs_base);
    (cx.state.fs_base, cx.state.gs_base) = (0, 0);
    let address = cx.address(0);
    (cx.state.fs_base, cx.state.gs_base) = bases;
    address
}
