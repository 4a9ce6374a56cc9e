//! 3DNow! and its extensions (AMD APM vol. 5): pairs of single-precision numbers in MMX registers.
//!
//! There are no exceptions, no NaNs, no infinities and no denormals: a result too large becomes
//! the largest number, one too small zero, and a denormal operand counts as zero. Rounding is to
//! nearest, or towards zero between integers and numbers. What infinities and NaNs as operands
//! give is undefined.

use crate::execution::Execution;
use crate::float::{self, Environment, F32, Format, Ordering, Rounding};
use crate::operation::Operation::{Binary, Unary};
use crate::operation::{lanewise, rows};
use crate::state::State;
use crate::vector::{Vector, build, map, zip};

/// `$f` of each pair of numbers.
macro_rules! numbers {
    ($f:expr) => {
        Binary(|e, a, b| zip(e.bytes, a, b, $f))
    };
}

/// All ones where the comparison of two numbers gives one of `$orderings`.
macro_rules! compare {
    ($orderings:pat) => {
        numbers!(|a: u32, b: u32| {
            if matches!(order(a, b), $orderings) {
                u32::MAX
            } else {
                0
            }
        })
    };
}

rows! {
    Pfadd => numbers!(add);
    Pfsub => numbers!(sub);
    Pfsubr => numbers!(|a, b| sub(b, a));
    Pfmul => numbers!(mul);
    // One result from each source.
    Pfacc => Binary(|e, a, b| neighbours(e, a, b, add, add));
    Pfnacc => Binary(|e, a, b| neighbours(e, a, b, sub, sub));
    Pfpnacc => Binary(|e, a, b| neighbours(e, a, b, sub, add));

    Pfmin => numbers!(|a, b| if order(a, b) == Ordering::Less { plain(a) } else { plain(b) });
    Pfmax => numbers!(|a, b| if order(a, b) == Ordering::Greater { plain(a) } else { plain(b) });
    Pfcmpeq => compare!(Ordering::Equal);
    Pfcmpge => compare!(Ordering::Equal | Ordering::Greater);
    Pfcmpgt => compare!(Ordering::Greater);

    // The manual asks for 14 and 15 bits of the result; these have all.
    Pfrcp => Unary(|e, a| build(e.bytes, |_| divide(ONE, a.lane(0))));
    Pfrsqrt => Unary(|e, a| build(e.bytes, |_| reciprocal_sqrt(a.lane(0))));
    // Steps of Newton and Raphson: 2 - a * b and (3 - a * b) / 2, and the product with the guess.
    Pfrcpit1 => numbers!(|a, b| mul_sub_from(TWO, a, b));
    Pfrsqit1 => numbers!(|a, b| mul(HALF, mul_sub_from(THREE, a, b)));
    Pfrcpit2 => numbers!(mul);

    Pi2fd => Unary(|e, a| map(e.bytes, a, |x: i32| from_integer(x)));
    Pi2fw => Unary(|e, a| map(e.bytes, a, |x: i32| from_integer(i32::from(x as i16))));
    Pf2id => Unary(|e, a| map(e.bytes, a, |x: u32| to_integer(x)));
    Pf2iw => Unary(|e, a| map(e.bytes, a, |x: u32| {
        to_integer(x).clamp(i16::MIN.into(), i16::MAX.into())
    }));

    Pavgusb => lanewise!(|a: u8, b: u8| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8);
    Pmulhrw => lanewise!(|a: i16, b: i16| {
        ((i32::from(a) * i32::from(b) + 0x8000) >> 16) as i16
    });
    Pswapd => Unary(|e, a| build(e.bytes, |i| a.lane::<u32>(1 - i % 2)));
}

const SIGN: u32 = 1 << 31;
const HALF: u32 = 0x3f00_0000;
const ONE: u32 = 0x3f80_0000;
const TWO: u32 = 0x4000_0000;
const THREE: u32 = 0x4040_0000;
const LARGEST: u32 = 0x7f7f_ffff;

/// Denormals are zero as operands and as results.
fn environment() -> Environment {
    const DENORMALS_ARE_ZEROS: u32 = 1 << 6;
    const FLUSH_TO_ZERO: u32 = 1 << 15;
    Environment::new(State::INITIAL_MXCSR | DENORMALS_ARE_ZEROS | FLUSH_TO_ZERO)
}

/// A result of IEEE arithmetic with infinity made the largest number.
fn saturated(bits: u64) -> u32 {
    let bits = F32::lane(bits);
    if u64::from(bits & !SIGN) == F32::INFINITY {
        bits & SIGN | LARGEST
    } else {
        bits
    }
}

fn is_zero(a: u32) -> bool {
    u64::from(a) & F32::INFINITY == 0
}

fn add(a: u32, b: u32) -> u32 {
    // Equal magnitudes leave a zero with the sign of the first operand.
    if a == b ^ SIGN && !is_zero(a) {
        return a & SIGN;
    }
    saturated(float::add::<F32>(&mut environment(), a.into(), b.into()))
}

fn sub(a: u32, b: u32) -> u32 {
    add(a, b ^ SIGN)
}

fn mul(a: u32, b: u32) -> u32 {
    saturated(float::mul::<F32>(&mut environment(), a.into(), b.into()))
}

/// `from - a * b`
fn mul_sub_from(from: u32, a: u32, b: u32) -> u32 {
    let env = &mut environment();
    saturated(float::mul_add::<F32>(
        env,
        a.into(),
        b.into(),
        from.into(),
        true,
        false,
    ))
}

fn divide(a: u32, b: u32) -> u32 {
    saturated(float::div::<F32>(&mut environment(), a.into(), b.into()))
}

/// Of the magnitude, with the sign of the operand.
fn reciprocal_sqrt(a: u32) -> u32 {
    let root = float::sqrt::<F32>(&mut environment(), u64::from(a & !SIGN));
    divide(ONE, F32::lane(root)) | a & SIGN
}

fn neighbours(
    e: &Execution,
    a: &Vector,
    b: &Vector,
    first: fn(u32, u32) -> u32,
    second: fn(u32, u32) -> u32,
) -> Vector {
    build(e.bytes, |i| {
        if i % 2 == 0 {
            first(a.lane(0), a.lane(1))
        } else {
            second(b.lane(0), b.lane(1))
        }
    })
}

/// Zeros of either sign are equal.
fn order(a: u32, b: u32) -> Ordering {
    float::compare::<F32>(&mut environment(), a.into(), b.into(), false)
}

/// The minimum and the maximum give every zero as a positive one.
fn plain(a: u32) -> u32 {
    if is_zero(a) { 0 } else { a }
}

fn from_integer(x: i32) -> u32 {
    let mut env = environment();
    env.rounding = Rounding::Zero;
    F32::lane(float::from_i64::<F32>(&mut env, x.into()))
}

/// Towards zero; what does not fit becomes the nearest integer that does.
fn to_integer(a: u32) -> i32 {
    let wide = float::to_integer::<F32>(&mut environment(), a.into(), 64, Rounding::Zero);
    match wide {
        // Too large even for 64 bits.
        i64::MIN if a & SIGN == 0 => i32::MAX,
        _ => wide.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
    }
}
