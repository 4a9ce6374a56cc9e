//! Exchange-and-add and compare-and-exchange; atomic where they have a LOCK prefix.

use super::{accumulator, size, update, update_memory};
use crate::context::{Context, register};
use crate::family::flags::{difference, sum, when};
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;
use iced_x86::Register;

rows! {
    Xadd => Special(exchange_and_add);
    Cmpxchg => Special(compare_exchange);
    Cmpxchg8b => Special(compare_exchange_pair);
}

/// If both operands are the same register it receives the sum.
fn exchange_and_add(cx: &mut Context<'_>) -> Result<(), Fault> {
    let b = cx.integer(1)?;
    if cx.is_memory(0) {
        let old = update(cx, |e, a| sum(e, a, b, 0))?;
        return cx.write_integer(1, old);
    }
    let a = cx.integer(0)?;
    let result = sum(&mut cx.execution, a, b, 0);
    cx.write_integer(1, a)?;
    cx.write_integer(0, result)?;
    cx.commit();
    Ok(())
}

/// Compares the accumulator with the destination, with flags as of CMP. If they are equal the
/// source goes to the destination, else the destination to the accumulator. Memory is written
/// either way.
fn compare_exchange(cx: &mut Context<'_>) -> Result<(), Fault> {
    let accumulator = accumulator(cx.execution.bits);
    let (expected, new) = (cx.gpr(accumulator), cx.integer(1)?);
    let old = if cx.is_memory(0) {
        update(cx, |e, old| {
            difference(e, expected, old, 0);
            if old == expected { new } else { old }
        })?
    } else {
        let to = register(cx.instruction, 0);
        let old = cx.gpr(to);
        difference(&mut cx.execution, expected, old, 0);
        if old == expected {
            cx.write_gpr(to, new);
        }
        cx.commit();
        old
    };
    if old != expected {
        cx.write_gpr(accumulator, old);
    }
    Ok(())
}

/// Replaces eight bytes of memory by ECX:EBX if they equal EDX:EAX, else loads them there; only ZF
/// changes.
fn compare_exchange_pair(cx: &mut Context<'_>) -> Result<(), Fault> {
    let pair = |high, low| cx.gpr(high) << 32 | cx.gpr(low);
    let expected = pair(Register::EDX, Register::EAX);
    let new = pair(Register::ECX, Register::EBX);
    let (address, size) = (cx.address(0), size(cx, 0));
    let locked = cx.instruction.has_lock_prefix();
    let old = update_memory(cx, address, size, locked, |e, old| {
        e.rflags = e.rflags & !flag::ZF | when(old == expected, flag::ZF);
        if old == expected { new } else { old }
    })?;
    if old != expected {
        cx.write_gpr(Register::EAX, old);
        cx.write_gpr(Register::EDX, old >> 32);
    }
    Ok(())
}
