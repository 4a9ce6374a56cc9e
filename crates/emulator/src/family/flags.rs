//! Status flags, as results determine them.

use crate::execution::Execution;
use crate::state::flag::{AF, CF, OF, PF, SF, STATUS, ZF};

/// Sets `flags` or clears them.
pub(crate) fn set(e: &mut Execution, flags: u64, on: bool) {
    if on {
        e.rflags |= flags;
    } else {
        e.rflags &= !flags;
    }
}

/// Ones in all the bits of an operand.
#[inline]
pub(crate) fn mask(bits: u32) -> u64 {
    u64::MAX >> (64u32.wrapping_sub(bits) & 63)
}

/// Whether the highest bit of an operand is set.
#[inline]
pub(crate) fn sign(bits: u32, value: u64) -> bool {
    value >> (bits.wrapping_sub(1) & 63) & 1 == 1
}

/// `flag` if it is on.
#[inline]
pub(crate) fn when(on: bool, flag: u64) -> u64 {
    if on { flag } else { 0 }
}

/// ZF, SF and PF of a result that has no bits above the operand.
#[inline]
fn of_result(bits: u32, result: u64) -> u64 {
    let even = (result as u8).count_ones() & 1 == 0;
    when(result == 0, ZF) | when(sign(bits, result), SF) | when(even, PF)
}

/// ZF, SF and PF from the result, OF and AF clear, CF as told: what AND, OR and XOR do, and what
/// AMD CPUs do where BMI leaves AF and PF undefined. Gives the result back.
#[inline]
pub(crate) fn result_flags(e: &mut Execution, result: u64, carry: bool) -> u64 {
    let result = result & mask(e.bits);
    e.rflags = e.rflags & !STATUS | of_result(e.bits, result) | when(carry, CF);
    result
}

/// a + b + carry, with all six flags.
#[inline]
pub(crate) fn sum(e: &mut Execution, a: u64, b: u64, carry: u64) -> u64 {
    let b = b & mask(e.bits);
    let result = a.wrapping_add(b).wrapping_add(carry) & mask(e.bits);
    let carries = a & b | (a | b) & !result;
    arithmetic_flags(e, result, a ^ b, carries, (a ^ result) & (b ^ result))
}

/// a - b - borrow, with all six flags.
#[inline]
pub(crate) fn difference(e: &mut Execution, a: u64, b: u64, borrow: u64) -> u64 {
    let b = b & mask(e.bits);
    let result = a.wrapping_sub(b).wrapping_sub(borrow) & mask(e.bits);
    let borrows = !a & b | (!a | b) & result;
    arithmetic_flags(e, result, a ^ b, borrows, (a ^ b) & (a ^ result))
}

/// `carries` has in each bit the carry out of it, `overflow` in the highest the overflow.
#[inline]
fn arithmetic_flags(
    e: &mut Execution,
    result: u64,
    carryless: u64,
    carries: u64,
    overflow: u64,
) -> u64 {
    // What the carry into bit 4 has changed is in the place of AF.
    let adjust = (carryless ^ result) & AF;
    e.rflags = e.rflags & !STATUS
        | of_result(e.bits, result)
        | adjust
        | when(sign(e.bits, carries), CF)
        | when(sign(e.bits, overflow), OF);
    result
}

/// ZF, SF and PF from the result of a shift, CF and OF as told; AF, undefined, is set by AMD CPUs.
#[inline]
pub(crate) fn shift_flags(e: &mut Execution, result: u64, carry: bool, overflow: bool) -> u64 {
    let result = result_flags(e, result, carry);
    e.rflags |= when(overflow, OF) | AF;
    result
}

/// CF and OF as told, the others stay.
#[inline]
pub(crate) fn carry_and_overflow(e: &mut Execution, carry: bool, overflow: bool) {
    e.rflags = e.rflags & !(CF | OF) | when(carry, CF) | when(overflow, OF);
}
