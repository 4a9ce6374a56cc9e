//! Multiplication and division.

use super::{accumulator, extended, source, upper_accumulator};
use crate::context::Context;
use crate::family::flags::{carry_and_overflow, mask};
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;

rows! {
    // CF and OF say whether the upper half matters; the other flags are undefined, and AMD CPUs
    // leave them alone.
    Mul => Special(|cx| {
        let bits = cx.execution.bits;
        let (a, b) = (cx.gpr(accumulator(bits)), cx.integer(0)?);
        let product = u128::from(a).wrapping_mul(b.into());
        finish(cx, product, product >> (bits & 127) != 0)
    });
    Imul => Special(|cx| {
        let bits = cx.execution.bits;
        let signed = |value| i128::from(extended(bits, value));
        match cx.instruction.op_count() {
            1 => {
                let (a, b) = (cx.gpr(accumulator(bits)), cx.integer(0)?);
                let product = signed(a).wrapping_mul(signed(b));
                finish(cx, product as u128, product != signed(product as u64))
            }
            operands => {
                let first = u32::from(operands > 2);
                let (a, b) = (cx.integer(first)?, source(cx, first.wrapping_add(1))?);
                let product = signed(a).wrapping_mul(signed(b));
                let lost = product != signed(product as u64);
                cx.write_integer(0, product as u64)?;
                carry_and_overflow(&mut cx.execution, lost, lost);
                cx.commit();
                Ok(())
            }
        }
    });
    Div => Special(|cx| {
        let bits = cx.execution.bits;
        let divisor = cx.integer(0)?;
        let dividend = dividend(cx);
        let quotient = dividend.checked_div(divisor.into()).ok_or(Fault::Divide)?;
        let remainder = dividend.wrapping_sub(quotient.wrapping_mul(divisor.into()));
        if quotient > mask(bits).into() {
            return Err(Fault::Divide);
        }
        divided(cx, quotient as u64, remainder as u64)
    });
    Idiv => Special(|cx| {
        let bits = cx.execution.bits;
        let divisor = i128::from(extended(bits, cx.integer(0)?));
        let unused = 128u32.wrapping_sub(bits.wrapping_mul(2)) & 127;
        let dividend = (dividend(cx) << unused) as i128 >> unused;
        let quotient = dividend.checked_div(divisor).ok_or(Fault::Divide)?;
        let remainder = dividend.wrapping_sub(quotient.wrapping_mul(divisor));
        if quotient != extended(bits, quotient as u64).into() {
            return Err(Fault::Divide);
        }
        divided(cx, quotient as u64, remainder as u64)
    });
}

/// Both accumulators together.
fn dividend(cx: &Context<'_>) -> u128 {
    let bits = cx.execution.bits;
    let high = u128::from(cx.gpr(upper_accumulator(bits)));
    high << (bits & 127) | u128::from(cx.gpr(accumulator(bits)))
}

/// Writes the two halves of a result.
fn store(cx: &mut Context<'_>, low: u64, high: u64) {
    let bits = cx.execution.bits;
    cx.write_gpr(accumulator(bits), low);
    cx.write_gpr(upper_accumulator(bits), high);
}

/// Writes quotient and remainder. All flags are undefined; AMD CPUs keep CF and OF, set AF and
/// clear the others.
fn divided(cx: &mut Context<'_>, quotient: u64, remainder: u64) -> Result<(), Fault> {
    store(cx, quotient, remainder);
    cx.state.rflags = cx.state.rflags & !(flag::ZF | flag::SF | flag::PF) | flag::AF;
    Ok(())
}

/// Writes a product; CF and OF say whether its upper half matters.
fn finish(cx: &mut Context<'_>, product: u128, matters: bool) -> Result<(), Fault> {
    store(
        cx,
        product as u64,
        (product >> (cx.execution.bits & 127)) as u64,
    );
    carry_and_overflow(&mut cx.execution, matters, matters);
    cx.commit();
    Ok(())
}
