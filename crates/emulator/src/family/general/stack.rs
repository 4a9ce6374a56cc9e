//! The stack.

use super::{read, size, source, write};
use crate::context::Context;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use iced_x86::{Code, Register};

rows! {
    // The operand is read before RSP changes.
    Push => Special(|cx| {
        let value = source(cx, 0)?;
        let size = match cx.instruction.code() {
            Code::Pushq_imm8 | Code::Pushq_imm32 => 8,
            Code::Pushw_imm8 | Code::Push_imm16 => 2,
            _ => size(cx, 0),
        };
        push(cx, size, value)
    });
    // The operand is found and written after RSP has changed.
    Pop => Special(|cx| {
        let (value, above) = pop(cx, size(cx, 0))?;
        let below = cx.gpr(Register::RSP);
        cx.write_gpr(Register::RSP, above);
        let written = cx.write_integer(0, value);
        if written.is_err() {
            cx.write_gpr(Register::RSP, below);
        }
        written
    });
    Leave => Special(|cx| {
        let frame = cx.gpr(Register::RBP);
        let (size, to) = match cx.instruction.code() {
            Code::Leavew => (2, Register::BP),
            _ => (8, Register::RBP),
        };
        let value = read(cx, frame, size)?;
        cx.write_gpr(Register::RSP, frame.wrapping_add(size as u64));
        cx.write_gpr(to, value);
        Ok(())
    });
}

/// Stores `size` bytes below RSP, then moves RSP there.
pub(super) fn push(cx: &mut Context<'_>, size: usize, value: u64) -> Result<(), Fault> {
    let to = cx.gpr(Register::RSP).wrapping_sub(size as u64);
    write(cx, to, size, value)?;
    cx.write_gpr(Register::RSP, to);
    Ok(())
}

/// The `size` bytes at RSP, and what RSP will be without them.
pub(super) fn pop(cx: &mut Context<'_>, size: usize) -> Result<(u64, u64), Fault> {
    let from = cx.gpr(Register::RSP);
    let value = read(cx, from, size)?;
    Ok((value, from.wrapping_add(size as u64)))
}
