//! The one place where results are rounded, overflow and underflow.

use super::environment::{Environment, Rounding};
use super::{Format, Number, signed};
use crate::fault::exception;

/// `significand >> shift`, rounded; and whether bits were lost.
///
/// `significand` may carry a sticky bit in its lowest place if `shift` is at least 2.
pub(super) fn shift_rounding(
    rounding: Rounding,
    negative: bool,
    significand: u64,
    shift: u32,
) -> (u64, bool) {
    // From 66 on the value is less than half a unit whatever it is.
    let shift = shift.min(66);
    let wide = u128::from(significand);
    let quotient = wide >> shift;
    let lost = wide & ((1 << shift) - 1);
    let half = 1u128 << shift >> 1;
    let up = match rounding {
        Rounding::Nearest => lost > half || (lost == half && lost != 0 && quotient & 1 == 1),
        Rounding::Down => negative && lost != 0,
        Rounding::Up => !negative && lost != 0,
        Rounding::Zero => false,
    };
    (quotient.wrapping_add(u128::from(up)) as u64, lost != 0)
}

/// Rounds `number`, whose significand may carry a sticky bit in its lowest place, to the format.
pub(super) fn round<F: Format>(env: &mut Environment, number: Number) -> u64 {
    let Number {
        sign,
        exponent,
        significand,
    } = number;
    let drop = 63 - F::FRACTION;
    let (rounded, inexact) = shift_rounding(env.rounding, sign, significand, drop);
    let carried = rounded >> F::FRACTION > 1;
    let exponent_after = exponent.wrapping_add(i32::from(carried));

    // Tiny means below the smallest normal number even after rounding as if the exponent had no
    // limit (Intel SDM vol. 1, 4.9.1.5: x86 detects tininess after rounding).
    if exponent_after < 1 - F::BIAS {
        if !env.masks(exception::UNDERFLOW) {
            // No result is delivered, so the bits that denormalizing would lose do not count.
            env.raise(exception::UNDERFLOW);
            if inexact {
                env.raise(exception::PRECISION);
            }
            return signed::<F>(sign, 0);
        } else if env.flush_to_zero {
            env.raise(exception::UNDERFLOW | exception::PRECISION);
            return signed::<F>(sign, 0);
        }
    }
    if exponent < 1 - F::BIAS {
        let more = (1 - F::BIAS).wrapping_sub(exponent) as u32;
        let (rounded, inexact) =
            shift_rounding(env.rounding, sign, significand, drop.saturating_add(more));
        if inexact {
            env.raise(exception::PRECISION);
            if exponent_after < 1 - F::BIAS {
                env.raise(exception::UNDERFLOW);
            }
        }
        return signed::<F>(sign, rounded);
    }
    if exponent_after > F::BIAS {
        env.raise(exception::OVERFLOW);
        if inexact || env.masks(exception::OVERFLOW) {
            env.raise(exception::PRECISION);
        }
        let to_infinity = match env.rounding {
            Rounding::Nearest => true,
            Rounding::Down => sign,
            Rounding::Up => !sign,
            Rounding::Zero => false,
        };
        return signed::<F>(sign, F::INFINITY - u64::from(!to_infinity));
    }
    if inexact {
        env.raise(exception::PRECISION);
    }
    // The implicit bit, or the carry beyond it, adds one or two to the exponent field.
    let field = exponent.wrapping_add(F::BIAS).wrapping_sub(1) as u64;
    signed::<F>(sign, rounded.wrapping_add(field << F::FRACTION))
}

/// Rounds `significand / 2^127 * 2^exponent`, the significand not zero; its lowest place may be a
/// sticky bit.
pub(super) fn round_wide<F: Format>(
    env: &mut Environment,
    sign: bool,
    exponent: i32,
    significand: u128,
) -> u64 {
    let zeros = significand.leading_zeros();
    let normal = significand.wrapping_shl(zeros);
    let number = Number {
        sign,
        exponent: exponent.wrapping_sub(zeros as i32),
        significand: (normal >> 64) as u64 | u64::from(normal as u64 != 0),
    };
    round::<F>(env, number)
}

/// `value >> shift` with a one in the lowest place if a one was shifted out.
pub(super) fn shift_sticky(value: u128, shift: u32) -> u128 {
    if shift == 0 {
        value
    } else if shift < 128 {
        value >> shift | u128::from(value << (128 - shift) != 0)
    } else {
        u128::from(value != 0)
    }
}
