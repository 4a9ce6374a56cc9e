//! Moves, extensions and addresses.

use super::{effective_address, extended, size, source, update_memory};
use crate::context::Context;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use iced_x86::Register;

rows! {
    // Those with segment, control and debug registers are no general-purpose operands and refused.
    Mov => Special(|cx| {
        let value = source(cx, 1)?;
        cx.write_integer(0, value)
    });
    Movzx => Special(|cx| {
        let value = cx.integer(1)?;
        cx.write_integer(0, value)
    });
    Movsx, Movsxd => Special(|cx| {
        let bits = (size(cx, 1) as u32).wrapping_mul(8);
        let value = extended(bits, cx.integer(1)?);
        cx.write_integer(0, value as u64)
    });
    // An address within its segment: bases do not count.
    Lea => Special(|cx| {
        let address = effective_address(cx);
        cx.write_integer(0, address)
    });
    Xchg => Special(exchange);
    Bswap => Special(|cx| {
        let unused = 64u32.wrapping_sub(cx.execution.bits) & 63;
        let value = cx.integer(0)?.swap_bytes() >> unused;
        cx.write_integer(0, value)
    });

    Cbw => Special(|cx| convert(cx, Register::AL, Register::AX));
    Cwde => Special(|cx| convert(cx, Register::AX, Register::EAX));
    Cdqe => Special(|cx| convert(cx, Register::EAX, Register::RAX));
    Cwd => Special(|cx| spread_sign(cx, Register::AX, Register::DX));
    Cdq => Special(|cx| spread_sign(cx, Register::EAX, Register::EDX));
    Cqo => Special(|cx| spread_sign(cx, Register::RAX, Register::RDX));
}

/// Exchanges two registers, or, always as if with a LOCK prefix, a register and memory.
fn exchange(cx: &mut Context<'_>) -> Result<(), Fault> {
    let second = cx.integer(1)?;
    let first = if cx.is_memory(0) {
        let (address, size) = (cx.address(0), size(cx, 0));
        update_memory(cx, address, size, true, |_, _| second)?
    } else {
        let first = cx.integer(0)?;
        cx.write_integer(0, second)?;
        first
    };
    cx.write_integer(1, first)
}

fn signed(cx: &Context<'_>, register: Register) -> i64 {
    extended((register.size() as u32).wrapping_mul(8), cx.gpr(register))
}

/// Sign-extends one part of RAX to a longer one.
fn convert(cx: &mut Context<'_>, from: Register, to: Register) -> Result<(), Fault> {
    let value = signed(cx, from);
    cx.write_gpr(to, value as u64);
    Ok(())
}

/// Fills one register with the sign of another.
fn spread_sign(cx: &mut Context<'_>, from: Register, to: Register) -> Result<(), Fault> {
    let sign = signed(cx, from) >> 63;
    cx.write_gpr(to, sign as u64);
    Ok(())
}
