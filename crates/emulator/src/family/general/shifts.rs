//! Shifts and rotations.

use super::{extended, size, source, update};
use crate::context::Context;
use crate::execution::Execution;
use crate::family::flags::{carry_and_overflow, mask, shift_flags, sign};
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;

rows! {
    // OF is defined for counts of one only, AF never, CF for counts below the size; they are what
    // AMD CPUs make them.
    Shl, Sal => Special(|cx| shift(cx, |e, a, count| {
        let result = a << count & mask(e.bits);
        let carry = u128::from(a) << count >> e.bits & 1 == 1;
        shift_flags(e, result, carry, carry != sign(e.bits, result))
    }));
    Shr => Special(|cx| shift(cx, |e, a, count| {
        let carry = a >> count.wrapping_sub(1) & 1 == 1;
        let result = a >> count;
        shift_flags(e, result, carry, sign(e.bits, result << 1))
    }));
    Sar => Special(|cx| shift(cx, |e, a, count| {
        let a = extended(e.bits, a);
        let carry = a >> count.wrapping_sub(1) & 1 == 1;
        let result = (a >> count) as u64 & mask(e.bits);
        shift_flags(e, result, carry, false)
    }));
    // OF of the rotations is defined for counts of one; beyond it is as AMD CPUs have it, who see
    // only the result and CF.
    Rol => Special(|cx| shift(cx, |e, a, count| {
        let result = rotate(e.bits, a, count);
        let carry = result & 1 == 1;
        carry_and_overflow(e, carry, carry != sign(e.bits, result));
        result
    }));
    Ror => Special(|cx| shift(cx, |e, a, count| {
        let result = rotate(e.bits, a, e.bits.wrapping_sub(count));
        let carry = sign(e.bits, result);
        carry_and_overflow(e, carry, carry != sign(e.bits, result << 1));
        result
    }));
    Rcl => Special(|cx| shift(cx, |e, a, count| {
        let (result, carry) = rotate_with_carry(e, a, count);
        carry_and_overflow(e, carry, carry != sign(e.bits, result));
        result
    }));
    Rcr => Special(|cx| shift(cx, |e, a, count| {
        let places = e.bits.wrapping_add(1);
        let (result, carry) = rotate_with_carry(e, a, places.wrapping_sub(count % places));
        let overflow = sign(e.bits, result ^ result << 1);
        carry_and_overflow(e, carry, overflow);
        result
    }));
    Shld => Special(|cx| double_shift(cx, |e, a, filler, count| {
        let both = u128::from(a) << e.bits | u128::from(filler);
        let shifted = both << count >> e.bits;
        let result = shifted as u64 & mask(e.bits);
        let carry = u128::from(a) << count >> e.bits & 1 == 1;
        let top = count < e.bits && sign(e.bits, result);
        shift_flags(e, result, carry, carry != top)
    }));
    Shrd => Special(|cx| double_shift(cx, |e, a, filler, count| {
        let both = u128::from(filler) << e.bits | u128::from(a);
        let result = (both >> count) as u64 & mask(e.bits);
        let carry = a >> count.wrapping_sub(1) & 1 == 1;
        shift_flags(e, result, carry, sign(e.bits, result ^ result << 1))
    }));
}

/// The size of the first operand, which the count in CL must not be taken for, and the count in
/// operand `count`: five bits of it, six for 64-bit operands.
fn count(cx: &mut Context<'_>, count: u32) -> Result<u32, Fault> {
    cx.execution.bits = (size(cx, 0) as u32).wrapping_mul(8);
    let places = if cx.execution.bits == 64 { 63 } else { 31 };
    Ok(source(cx, count)? as u32 & places)
}

/// First operand, flags = f(first operand, count); the flags stay if the count is 0.
fn shift(cx: &mut Context<'_>, f: impl Fn(&mut Execution, u64, u32) -> u64) -> Result<(), Fault> {
    let count = count(cx, 1)?;
    update(cx, |e, a| if count == 0 { a } else { f(e, a, count) })?;
    Ok(())
}

/// The same with bits of the second operand moving in, and the count in the third. A count above
/// the size gives what is undefined, and differs from CPU to CPU: left to the CPU.
fn double_shift(
    cx: &mut Context<'_>,
    f: impl Fn(&mut Execution, u64, u64, u32) -> u64,
) -> Result<(), Fault> {
    let filler = cx.integer(1)?;
    let count = count(cx, 2)?;
    if count > cx.execution.bits {
        return Err(Fault::Unknown);
    }
    update(cx, |e, a| {
        if count == 0 {
            a
        } else {
            f(e, a, filler, count)
        }
    })?;
    Ok(())
}

/// Rotates left; of `count` what is more than the size does not matter.
fn rotate(bits: u32, a: u64, count: u32) -> u64 {
    let count = count & bits.wrapping_sub(1) & 63;
    let back = bits.wrapping_sub(count) & 127;
    (a << count | (u128::from(a) >> back) as u64) & mask(bits)
}

/// Rotates left an operand that has CF above it; gives the new operand and CF.
fn rotate_with_carry(e: &Execution, a: u64, count: u32) -> (u64, bool) {
    let places = e.bits.wrapping_add(1);
    let count = count % places.max(1);
    let whole = u128::from(e.rflags & flag::CF) << e.bits | u128::from(a);
    let back = places.wrapping_sub(count) & 127;
    let rotated = whole << count | whole >> back;
    (rotated as u64 & mask(e.bits), rotated >> e.bits & 1 == 1)
}
