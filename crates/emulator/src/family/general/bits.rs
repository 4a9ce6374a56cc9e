//! Tests of single bits, and scans for them.

use super::{effective_address, extended, source, update, update_memory};
use crate::context::{Context, register};
use crate::execution::Execution;
use crate::family::flags::result_flags;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;
use iced_x86::{Instruction, Register};

rows! {
    // CF is the bit as it was. ZF stays; the other flags are undefined, and AMD CPUs leave them
    // alone.
    Bt => Special(|cx| {
        let place = place(cx)?;
        let value = match place.address {
            Some(address) => super::read(cx, address, cx.execution.bits as usize / 8)?,
            None => cx.integer(0)?,
        };
        cx.state.rflags = cx.state.rflags & !flag::CF | value >> place.bit & flag::CF;
        Ok(())
    });
    Bts => Special(|cx| change(cx, |value, bit| value | bit));
    Btr => Special(|cx| change(cx, |value, bit| value & !bit));
    Btc => Special(|cx| change(cx, |value, bit| value ^ bit));

    Bsf => Special(|cx| scan(cx, u64::trailing_zeros));
    Bsr => Special(|cx| scan(cx, |value| 63u32.wrapping_sub(value.leading_zeros())));
}

/// A bit of the first operand.
struct Place {
    /// Of the memory that has it, if it is in memory.
    address: Option<u64>,
    /// Below the size of the operand.
    bit: u32,
}

/// The bit that the second operand chooses. In a register, or with an immediate, its number is
/// taken modulo the size; a register may choose any bit, to both sides of memory's first operand.
fn place(cx: &mut Context<'_>) -> Result<Place, Fault> {
    let bits = cx.execution.bits;
    let number = source(cx, 1)?;
    let bit = number as u32 & bits.wrapping_sub(1) & 63;
    if !cx.is_memory(0) {
        return Ok(Place { address: None, bit });
    }
    if register(cx.instruction, 1) == Register::None {
        let address = Some(cx.address(0));
        return Ok(Place { address, bit });
    }
    let operands = extended(bits, number) >> bits.trailing_zeros();
    let distance = operands.wrapping_mul(i64::from(bits / 8)) as u64;
    let offset = effective_address(cx);
    let base = cx.address(0).wrapping_sub(offset);
    let mut offset = offset.wrapping_add(distance);
    if has_short_address(cx.instruction) {
        offset &= 0xffff_ffff;
    }
    Ok(Place {
        address: Some(base.wrapping_add(offset)),
        bit,
    })
}

/// Whether the address has 32 bits, before the segment's base is added.
fn has_short_address(instruction: &Instruction) -> bool {
    match (instruction.memory_base(), instruction.memory_index()) {
        (Register::None, Register::None) => instruction.memory_displ_size() == 4,
        (base, index) => base == Register::EIP || base.is_gpr32() || index.is_gpr32(),
    }
}

fn change(cx: &mut Context<'_>, f: impl Fn(u64, u64) -> u64) -> Result<(), Fault> {
    let Place { address, bit } = place(cx)?;
    let f = |e: &mut Execution, value: u64| {
        e.rflags = e.rflags & !flag::CF | value >> bit & flag::CF;
        f(value, 1 << bit)
    };
    match address {
        Some(address) => {
            let locked = cx.instruction.has_lock_prefix();
            let size = cx.execution.bits as usize / 8;
            update_memory(cx, address, size, locked, f)?;
        }
        None => {
            update(cx, f)?;
        }
    }
    Ok(())
}

/// The number of the bit found; if there is none the destination stays, upper half and all, and ZF
/// says so. AMD CPUs leave the other flags, undefined, as a logical operation with that result.
fn scan(cx: &mut Context<'_>, find: impl Fn(u64) -> u32) -> Result<(), Fault> {
    let value = cx.integer(1)?;
    if value == 0 {
        result_flags(&mut cx.execution, 0, false);
    } else {
        let found = find(value).into();
        cx.write_integer(0, found)?;
        result_flags(&mut cx.execution, found, false);
        cx.execution.rflags &= !flag::ZF;
    }
    cx.commit();
    Ok(())
}
