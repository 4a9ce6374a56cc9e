//! The one x87 instruction that not every CPU has: FISTTP, of SSE3.

use crate::context::Context;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::X87;
use crate::vector::Vector;

rows! {
    Fisttp => Special(store_truncated);
}

/// FSW: invalid operation; FCW: its mask.
const INVALID: u16 = 1 << 0;
/// FSW: precision; FCW: its mask.
const PRECISION: u16 = 1 << 5;
/// FSW: the invalid operation was on the stack itself.
const STACK_FAULT: u16 = 1 << 6;
/// FSW: an exception is pending; the busy flag always equals it.
const PENDING: u16 = 1 << 7 | 1 << 15;
/// FSW: condition code 1, the direction of rounding or of a stack fault.
const C1: u16 = 1 << 9;

/// Stores the top of the stack as an integer, rounded towards zero, and pops it. The operand and
/// instruction pointers, which the state does not have, are not updated.
fn store_truncated(cx: &mut Context<'_>) -> Result<(), Fault> {
    let x87 = cx.state.x87;
    x87.check()?;
    let bits = (cx.instruction.memory_size().size() as u32).wrapping_mul(8);
    let raised;
    let value;
    if !x87.top_is_in_use() {
        raised = INVALID | STACK_FAULT;
        value = indefinite(bits);
    } else if let Some((integer, inexact)) = truncated(&x87, bits) {
        raised = if inexact { PRECISION } else { 0 };
        value = integer;
    } else {
        raised = INVALID;
        value = indefinite(bits);
    }
    let unmasked = raised & (INVALID | PRECISION) & !x87.control;
    // An unmasked invalid operation leaves destination and stack alone, an inexact one does not.
    let stores = unmasked & INVALID == 0;
    let address = cx.address(0);
    if stores {
        cx.store(&Vector::from_lane(value))?;
    } else {
        cx.memory.check_write(address, bits as usize / 8)?;
    }
    let x87 = &mut cx.state.x87;
    x87.status = x87.status & !C1 | raised;
    if unmasked != 0 {
        x87.status |= PENDING;
    }
    if stores {
        x87.pop();
    }
    Ok(())
}

/// The smallest integer, which stands for none.
fn indefinite(bits: u32) -> i64 {
    i64::MIN >> 64u32.wrapping_sub(bits).min(63)
}

/// The top of the stack without its fraction, and whether it had one; `None` if it is no number or
/// does not fit.
fn truncated(x87: &X87, bits: u32) -> Option<(i64, bool)> {
    const BIAS: i32 = 0x3fff;
    let (sign_exponent, significand) = x87.top_of_stack();
    let negative = sign_exponent & 0x8000 != 0;
    let field = i32::from(sign_exponent & 0x7fff);
    if significand == 0 && field == 0 {
        return Some((0, false));
    }
    // Without the integer bit it is a denormal, or no valid encoding at all.
    if field != 0 && significand >> 63 == 0 {
        return None;
    }
    let exponent = field.wrapping_sub(BIAS);
    let (magnitude, inexact) = match exponent {
        ..0 => (0, true),
        0..64 => {
            let drop = 63u32.wrapping_sub(exponent as u32);
            let whole = significand.checked_shr(drop).unwrap_or(0);
            (whole, whole.checked_shl(drop) != Some(significand))
        }
        _ => return None,
    };
    let limit = indefinite(bits).unsigned_abs();
    if magnitude > limit || magnitude == limit && !negative {
        return None;
    }
    let value = if negative {
        magnitude.wrapping_neg()
    } else {
        magnitude
    };
    Some((value as i64, inexact))
}
