//! IEEE 754 arithmetic as SSE and AVX define it, in integers only.
//!
//! Every operation computes enough bits of the infinitely precise result, then [`round`] cuts it
//! once. Only where nothing can differ it leaves the work to the CPU: [`quick`].
//! Generic over the format, [`F16`], [`F32`] or [`F64`]; values travel as their bits in a `u64`.

mod arithmetic;
mod compare;
mod convert;
mod environment;
mod fused;
mod quick;
mod reciprocal;
mod round;

pub(crate) use arithmetic::{add, div, mul, sqrt, sub};
pub(crate) use compare::{Ordering, compare, max, min, predicate};
pub(crate) use convert::{from_i64, half_to_single, integral, resize, single_to_half, to_integer};
pub(crate) use environment::{Environment, Rounding};
pub(crate) use fused::mul_add;
pub(crate) use quick::{Native, Quick};
pub(crate) use reciprocal::{reciprocal, reciprocal_sqrt};

use crate::fault::exception;
use crate::vector::Lane;

/// A binary interchange format.
pub(crate) trait Format {
    /// The lane it occupies.
    type Bits: Lane + Into<u64>;
    /// Size in bits.
    const WIDTH: u32;
    /// Bits of the fraction that are stored.
    const FRACTION: u32;
    /// The lower bits of `bits` as a lane.
    fn lane(bits: u64) -> Self::Bits;

    /// Exponent bias, which is also the largest exponent of a finite number.
    const BIAS: i32 = (1 << (Self::WIDTH - Self::FRACTION - 2)) - 1;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::WIDTH - 1);
    /// Positive infinity; the exponent field.
    const INFINITY: u64 = (1 << (Self::WIDTH - 1)) - (1 << Self::FRACTION);
    /// The bit that tells quiet from signalling NaNs.
    const QUIET: u64 = 1 << (Self::FRACTION - 1);
    /// What an invalid operation gives, "QNaN floating-point indefinite" (Intel SDM vol. 1, 4.8.3.7).
    const INDEFINITE: u64 = Self::SIGN | Self::INFINITY | Self::QUIET;
    /// 1.0
    const ONE: u64 = (Self::BIAS as u64) << Self::FRACTION;
}

/// IEEE 754 binary16.
#[derive(Debug)]
pub(crate) enum F16 {}
/// IEEE 754 binary32.
#[derive(Debug)]
pub(crate) enum F32 {}
/// IEEE 754 binary64.
#[derive(Debug)]
pub(crate) enum F64 {}

impl Format for F16 {
    type Bits = u16;
    const WIDTH: u32 = 16;
    const FRACTION: u32 = 10;
    fn lane(bits: u64) -> u16 {
        bits as u16
    }
}
impl Format for F32 {
    type Bits = u32;
    const WIDTH: u32 = 32;
    const FRACTION: u32 = 23;
    fn lane(bits: u64) -> u32 {
        bits as u32
    }
}
impl Format for F64 {
    type Bits = u64;
    const WIDTH: u32 = 64;
    const FRACTION: u32 = 52;
    fn lane(bits: u64) -> u64 {
        bits
    }
}

/// A finite number other than zero: `significand / 2^63 * 2^exponent`, bit 63 of the significand
/// set.
#[derive(Clone, Copy, Debug)]
struct Number {
    sign: bool,
    exponent: i32,
    significand: u64,
}

fn magnitude<F: Format>(bits: u64) -> u64 {
    bits & !F::SIGN
}

fn sign<F: Format>(bits: u64) -> bool {
    bits & F::SIGN != 0
}

fn is_nan<F: Format>(bits: u64) -> bool {
    magnitude::<F>(bits) > F::INFINITY
}

fn is_signalling<F: Format>(bits: u64) -> bool {
    is_nan::<F>(bits) && bits & F::QUIET == 0
}

fn is_infinite<F: Format>(bits: u64) -> bool {
    magnitude::<F>(bits) == F::INFINITY
}

fn is_zero<F: Format>(bits: u64) -> bool {
    magnitude::<F>(bits) == 0
}

fn is_denormal<F: Format>(bits: u64) -> bool {
    !is_zero::<F>(bits) && bits & F::INFINITY == 0
}

fn signed<F: Format>(negative: bool, bits: u64) -> u64 {
    if negative { bits | F::SIGN } else { bits }
}

/// Takes a finite number other than zero apart.
fn unpack<F: Format>(bits: u64) -> Number {
    let magnitude = magnitude::<F>(bits);
    let field = (magnitude >> F::FRACTION) as i32;
    // A denormal lacks the implicit leading one and has the exponent of the smallest normal.
    let (fraction, exponent) = if field == 0 {
        (magnitude, 1 - F::BIAS)
    } else {
        let implicit = 1 << F::FRACTION;
        (magnitude & (implicit - 1) | implicit, field - F::BIAS)
    };
    let zeros = fraction.leading_zeros();
    Number {
        sign: sign::<F>(bits),
        exponent: exponent.wrapping_sub(zeros.wrapping_sub(63 - F::FRACTION) as i32),
        significand: fraction.wrapping_shl(zeros),
    }
}

/// The NaN that an operation with these operands gives, if any of them is one: the first, made
/// quiet (Intel SDM vol. 1, table 4-7). A signalling one anywhere raises invalid.
fn nan_of<F: Format>(env: &mut Environment, operands: &[u64]) -> Option<u64> {
    let first = *operands.iter().find(|&&x| is_nan::<F>(x))?;
    if operands.iter().any(|&x| is_signalling::<F>(x)) {
        env.raise(exception::INVALID);
    }
    Some(first | F::QUIET)
}

/// Raises invalid and gives the default NaN.
fn invalid<F: Format>(env: &mut Environment) -> u64 {
    env.raise(exception::INVALID);
    F::INDEFINITE
}

/// Replaces a denormal by zero if MXCSR.DAZ says so.
fn flushed<F: Format>(env: &Environment, bits: u64) -> u64 {
    if env.denormals_are_zeros && is_denormal::<F>(bits) {
        bits & F::SIGN
    } else {
        bits
    }
}

/// Raises the denormal exception if `bits`, after [`flushed`], is still a denormal.
fn note_denormal<F: Format>(env: &mut Environment, bits: u64) {
    if is_denormal::<F>(bits) {
        env.raise(exception::DENORMAL);
    }
}
