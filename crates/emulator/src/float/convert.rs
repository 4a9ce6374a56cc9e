//! Conversions between formats and to and from integers.

use super::environment::{Environment, Rounding};
use super::round::{round, shift_rounding};
use super::{
    F16, F32, Format, Number, flushed, is_infinite, is_nan, is_signalling, is_zero, magnitude,
    note_denormal, sign, signed, unpack,
};
use crate::fault::exception;

/// From one format to another.
pub(crate) fn resize<F: Format, T: Format>(env: &mut Environment, a: u64) -> u64 {
    let a = flushed::<F>(env, a);
    if is_nan::<F>(a) {
        if is_signalling::<F>(a) {
            env.raise(exception::INVALID);
        }
        // The payload keeps its place below the quiet bit.
        let payload = (a & (F::QUIET - 1)) << (64 - F::FRACTION) >> (64 - T::FRACTION);
        return signed::<T>(sign::<F>(a), T::INFINITY | T::QUIET | payload);
    }
    if is_infinite::<F>(a) {
        return signed::<T>(sign::<F>(a), T::INFINITY);
    }
    if is_zero::<F>(a) {
        return signed::<T>(sign::<F>(a), 0);
    }
    note_denormal::<F>(env, a);
    round::<T>(env, unpack::<F>(a))
}

/// Half to single precision: never inexact, and neither DAZ nor the denormal exception apply
/// (Intel SDM vol. 2, VCVTPH2PS).
pub(crate) fn half_to_single(env: &mut Environment, a: u64) -> u64 {
    let mut quiet = Environment::new(0x1f80);
    let result = resize::<F16, F32>(&mut quiet, a);
    env.raise(quiet.detected() & exception::INVALID);
    result
}

/// Single to half precision with its own rounding; FTZ does not apply (Intel SDM vol. 2,
/// VCVTPS2PH).
pub(crate) fn single_to_half(env: &mut Environment, a: u64, imm: u8) -> u64 {
    let (rounding, flush) = (env.rounding, env.flush_to_zero);
    if imm & 4 == 0 {
        env.rounding = Rounding::from_bits(u32::from(imm));
    }
    env.flush_to_zero = false;
    let result = resize::<F32, F16>(env, a);
    (env.rounding, env.flush_to_zero) = (rounding, flush);
    result
}

/// From a signed integer.
pub(crate) fn from_i64<F: Format>(env: &mut Environment, value: i64) -> u64 {
    if value == 0 {
        return 0;
    }
    let zeros = value.unsigned_abs().leading_zeros();
    round::<F>(
        env,
        Number {
            sign: value < 0,
            exponent: 63i32.wrapping_sub(zeros as i32),
            significand: value.unsigned_abs().wrapping_shl(zeros),
        },
    )
}

/// The value rounded to a whole number: magnitude, and whether it was inexact; `None` from 2^64 on.
fn whole<F: Format>(rounding: Rounding, a: u64) -> Option<(u64, bool)> {
    if is_zero::<F>(a) {
        return Some((0, false));
    }
    let number = unpack::<F>(a);
    if number.exponent > 63 {
        return None;
    }
    let shift = 63i32.wrapping_sub(number.exponent) as u32;
    Some(shift_rounding(
        rounding,
        number.sign,
        number.significand,
        shift,
    ))
}

/// To a signed integer of `bits` bits (32 or 64), sign-extended. What does not fit gives the
/// smallest integer and raises invalid.
pub(crate) fn to_integer<F: Format>(
    env: &mut Environment,
    a: u64,
    bits: u32,
    rounding: Rounding,
) -> i64 {
    let indefinite = i64::MIN >> 64u32.wrapping_sub(bits).min(63);
    let a = flushed::<F>(env, a);
    let whole = if is_nan::<F>(a) || is_infinite::<F>(a) {
        None
    } else {
        whole::<F>(rounding, a)
    };
    let limit = indefinite.unsigned_abs();
    match whole {
        Some((value, inexact)) if value < limit || (value == limit && sign::<F>(a)) => {
            if inexact {
                env.raise(exception::PRECISION);
            }
            if sign::<F>(a) {
                value.wrapping_neg() as i64
            } else {
                value as i64
            }
        }
        _ => {
            env.raise(exception::INVALID);
            indefinite
        }
    }
}

/// Rounded to a whole number in the same format, as ROUNDPS does with `imm` (Intel SDM vol. 2,
/// figure 4-24).
pub(crate) fn integral<F: Format>(env: &mut Environment, a: u64, imm: u8) -> u64 {
    let rounding = if imm & 4 == 0 {
        Rounding::from_bits(u32::from(imm))
    } else {
        env.rounding
    };
    if is_nan::<F>(a) {
        if is_signalling::<F>(a) {
            env.raise(exception::INVALID);
        }
        return a | F::QUIET;
    }
    let a = flushed::<F>(env, a);
    let exponent_field = (magnitude::<F>(a) >> F::FRACTION) as i32;
    if exponent_field.wrapping_sub(F::BIAS) >= F::FRACTION as i32 {
        return a;
    }
    let Some((value, inexact)) = whole::<F>(rounding, a) else {
        return a;
    };
    if inexact && imm & 8 == 0 {
        env.raise(exception::PRECISION);
    }
    // A whole number this small is exact in the format: no exception can come of it.
    let mut exact = Environment::new(0x1f80);
    signed::<F>(sign::<F>(a), from_i64::<F>(&mut exact, value as i64))
}
