//! Addition, subtraction, multiplication, division, square root.

use super::environment::{Environment, Rounding};
use super::round::{round_wide, shift_sticky};
use super::{
    Format, flushed, invalid, is_infinite, is_zero, nan_of, note_denormal, sign, signed, unpack,
};
use crate::fault::exception;

/// The zero that an exact cancellation gives: negative only when rounding down.
pub(super) fn cancelled<F: Format>(env: &Environment) -> u64 {
    signed::<F>(env.rounding == Rounding::Down, 0)
}

/// Adds two magnitudes with signs, each `significand / 2^127 * 2^exponent` with bit 127 clear.
pub(super) fn sum<F: Format>(
    env: &mut Environment,
    (a_sign, a_exponent, a): (bool, i32, u128),
    (b_sign, b_exponent, b): (bool, i32, u128),
) -> u64 {
    let exponent = a_exponent.max(b_exponent);
    let a = shift_sticky(a, exponent.wrapping_sub(a_exponent) as u32);
    let b = shift_sticky(b, exponent.wrapping_sub(b_exponent) as u32);
    if a_sign == b_sign {
        round_wide::<F>(env, a_sign, exponent, a.wrapping_add(b))
    } else if a == b {
        cancelled::<F>(env)
    } else if a > b {
        round_wide::<F>(env, a_sign, exponent, a.wrapping_sub(b))
    } else {
        round_wide::<F>(env, b_sign, exponent, b.wrapping_sub(a))
    }
}

/// The operand of a sum, as [`sum`] wants it.
pub(super) fn term<F: Format>(bits: u64) -> (bool, i32, u128) {
    let number = unpack::<F>(bits);
    (
        number.sign,
        number.exponent.wrapping_add(1),
        u128::from(number.significand) << 63,
    )
}

/// `a + b`
pub(crate) fn add<F: Format>(env: &mut Environment, a: u64, b: u64) -> u64 {
    if let Some(nan) = nan_of::<F>(env, &[a, b]) {
        return nan;
    }
    add_numbers::<F>(env, a, b)
}

/// `a - b`. A NaN in `b` keeps its sign.
pub(crate) fn sub<F: Format>(env: &mut Environment, a: u64, b: u64) -> u64 {
    if let Some(nan) = nan_of::<F>(env, &[a, b]) {
        return nan;
    }
    add_numbers::<F>(env, a, b ^ F::SIGN)
}

fn add_numbers<F: Format>(env: &mut Environment, a: u64, b: u64) -> u64 {
    let (a, b) = (flushed::<F>(env, a), flushed::<F>(env, b));
    if is_infinite::<F>(a) && is_infinite::<F>(b) && a != b {
        return invalid::<F>(env);
    }
    note_denormal::<F>(env, a);
    note_denormal::<F>(env, b);
    if is_infinite::<F>(a) {
        return a;
    }
    if is_infinite::<F>(b) {
        return b;
    }
    match (is_zero::<F>(a), is_zero::<F>(b)) {
        (true, true) if a == b => a,
        (true, true) => cancelled::<F>(env),
        (true, false) => exact::<F>(env, b),
        (false, true) => exact::<F>(env, a),
        (false, false) => sum::<F>(env, term::<F>(a), term::<F>(b)),
    }
}

/// A result that needs no rounding, though it may be tiny and flushed.
pub(super) fn exact<F: Format>(env: &mut Environment, bits: u64) -> u64 {
    let (sign, exponent, significand) = term::<F>(bits);
    round_wide::<F>(env, sign, exponent, significand)
}

/// `a * b`
pub(crate) fn mul<F: Format>(env: &mut Environment, a: u64, b: u64) -> u64 {
    if let Some(nan) = nan_of::<F>(env, &[a, b]) {
        return nan;
    }
    let (a, b) = (flushed::<F>(env, a), flushed::<F>(env, b));
    let negative = sign::<F>(a) != sign::<F>(b);
    let infinite = is_infinite::<F>(a) || is_infinite::<F>(b);
    let zero = is_zero::<F>(a) || is_zero::<F>(b);
    if infinite && zero {
        return invalid::<F>(env);
    }
    note_denormal::<F>(env, a);
    note_denormal::<F>(env, b);
    if infinite {
        return signed::<F>(negative, F::INFINITY);
    }
    if zero {
        return signed::<F>(negative, 0);
    }
    let (x, y) = (unpack::<F>(a), unpack::<F>(b));
    let product = u128::from(x.significand).wrapping_mul(u128::from(y.significand));
    let exponent = x.exponent.wrapping_add(y.exponent).wrapping_add(1);
    round_wide::<F>(env, negative, exponent, product)
}

/// `a / b`
pub(crate) fn div<F: Format>(env: &mut Environment, a: u64, b: u64) -> u64 {
    if let Some(nan) = nan_of::<F>(env, &[a, b]) {
        return nan;
    }
    let (a, b) = (flushed::<F>(env, a), flushed::<F>(env, b));
    let negative = sign::<F>(a) != sign::<F>(b);
    match (is_infinite::<F>(a), is_infinite::<F>(b)) {
        (true, true) => return invalid::<F>(env),
        (true, false) => {
            note_denormal::<F>(env, b);
            return signed::<F>(negative, F::INFINITY);
        }
        (false, true) => {
            note_denormal::<F>(env, a);
            return signed::<F>(negative, 0);
        }
        (false, false) => {}
    }
    match (is_zero::<F>(a), is_zero::<F>(b)) {
        (true, true) => return invalid::<F>(env),
        (false, true) => {
            // Division by zero is reported instead of a denormal dividend.
            env.raise(exception::ZERO_DIVIDE);
            return signed::<F>(negative, F::INFINITY);
        }
        (true, false) => {
            note_denormal::<F>(env, b);
            return signed::<F>(negative, 0);
        }
        (false, false) => {}
    }
    note_denormal::<F>(env, a);
    note_denormal::<F>(env, b);
    let (x, y) = (unpack::<F>(a), unpack::<F>(b));
    // Both significands have bit 63 set, so the quotient has 63 or 64 bits; the remainder only
    // says whether anything follows.
    let dividend = u128::from(x.significand) << 63;
    let divisor = u128::from(y.significand).max(1);
    let quotient = dividend.wrapping_div(divisor);
    let sticky = quotient.wrapping_mul(divisor) != dividend;
    let exponent = x.exponent.wrapping_sub(y.exponent).wrapping_add(1);
    round_wide::<F>(env, negative, exponent, quotient << 63 | u128::from(sticky))
}

/// Square root.
pub(crate) fn sqrt<F: Format>(env: &mut Environment, a: u64) -> u64 {
    if let Some(nan) = nan_of::<F>(env, &[a]) {
        return nan;
    }
    let a = flushed::<F>(env, a);
    if is_zero::<F>(a) {
        return a;
    }
    if sign::<F>(a) {
        return invalid::<F>(env);
    }
    note_denormal::<F>(env, a);
    if is_infinite::<F>(a) {
        return a;
    }
    let number = unpack::<F>(a);
    let exponent = (number.exponent >> 1).wrapping_add(1);
    if F::FRACTION < 30 {
        // As below with half the digits, of which there are plenty.
        let radicand = number.significand >> (!number.exponent & 1);
        let root = radicand.isqrt();
        let sticky = root.wrapping_mul(root) != radicand;
        let root = u128::from(root) << 95 | u128::from(sticky);
        return round_wide::<F>(env, false, exponent, root);
    }
    // An odd exponent moves one place into the radicand, so that the other half is a whole number.
    let radicand = u128::from(number.significand) << (63 + (number.exponent & 1));
    let root = radicand.isqrt();
    let sticky = root.wrapping_mul(root) != radicand;
    round_wide::<F>(env, false, exponent, root << 63 | u128::from(sticky))
}
