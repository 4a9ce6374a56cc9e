//! Comparison, minimum and maximum.

use super::environment::Environment;
use super::{Format, flushed, is_nan, is_signalling, is_zero, magnitude, note_denormal, sign};
use crate::fault::exception;

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ordering {
    Less,
    Equal,
    Greater,
    /// At least one is a NaN.
    Unordered,
}

/// Compares `a` with `b`. Signalling NaNs raise invalid, quiet ones too if `signalling`.
pub(crate) fn compare<F: Format>(
    env: &mut Environment,
    a: u64,
    b: u64,
    signalling: bool,
) -> Ordering {
    if is_nan::<F>(a) || is_nan::<F>(b) {
        if signalling || is_signalling::<F>(a) || is_signalling::<F>(b) {
            env.raise(exception::INVALID);
        }
        return Ordering::Unordered;
    }
    let (a, b) = (flushed::<F>(env, a), flushed::<F>(env, b));
    note_denormal::<F>(env, a);
    note_denormal::<F>(env, b);
    order::<F>(a, b)
}

/// Compares numbers by making them integers of the same order.
fn order<F: Format>(a: u64, b: u64) -> Ordering {
    let key = |x: u64| {
        let m = magnitude::<F>(x) as i64;
        if sign::<F>(x) { m.wrapping_neg() } else { m }
    };
    match key(a).cmp(&key(b)) {
        core::cmp::Ordering::Less => Ordering::Less,
        core::cmp::Ordering::Equal => Ordering::Equal,
        core::cmp::Ordering::Greater => Ordering::Greater,
    }
}

/// For which orderings each of the first sixteen predicates holds: bit 0 less, 1 equal, 2 greater,
/// 3 unordered (Intel SDM vol. 2, CMPPS, table 3-1).
const HOLDS: [u8; 16] = [
    0b0010, // EQ
    0b0001, // LT
    0b0011, // LE
    0b1000, // UNORD
    0b1101, // NEQ
    0b1110, // NLT
    0b1100, // NLE
    0b0111, // ORD
    0b1010, // EQ, or unordered
    0b1001, // NGE
    0b1011, // NGT
    0b0000, // FALSE
    0b0101, // NEQ, ordered
    0b0110, // GE
    0b0100, // GT
    0b1111, // TRUE
];

/// The first sixteen predicates that raise invalid on quiet NaNs too, as bits; the second sixteen
/// are their mirror image.
const SIGNALLING: u16 = 0b0110_0110_0110_0110;

/// Evaluates predicate `imm` (0–31) of CMPPS and its like.
pub(crate) fn predicate<F: Format>(env: &mut Environment, a: u64, b: u64, imm: u8) -> bool {
    let row = usize::from(imm & 15);
    let signalling = (SIGNALLING >> row & 1 == 1) != (imm & 16 != 0);
    let bit = match compare::<F>(env, a, b, signalling) {
        Ordering::Less => 1,
        Ordering::Equal => 2,
        Ordering::Greater => 4,
        Ordering::Unordered => 8,
    };
    HOLDS.get(row).is_some_and(|holds| holds & bit != 0)
}

/// `a` if `a < b`, else `b`: also for zeros and NaNs (Intel SDM vol. 2, MINPS).
pub(crate) fn min<F: Format>(env: &mut Environment, a: u64, b: u64) -> u64 {
    choose::<F>(env, a, b, Ordering::Less)
}

/// `a` if `a > b`, else `b`: also for zeros and NaNs (Intel SDM vol. 2, MAXPS).
pub(crate) fn max<F: Format>(env: &mut Environment, a: u64, b: u64) -> u64 {
    choose::<F>(env, a, b, Ordering::Greater)
}

fn choose<F: Format>(env: &mut Environment, a: u64, b: u64, wanted: Ordering) -> u64 {
    let ordering = compare::<F>(env, a, b, true);
    let (a, b) = (flushed::<F>(env, a), flushed::<F>(env, b));
    if is_zero::<F>(a) && is_zero::<F>(b) {
        return b;
    }
    if ordering == wanted { a } else { b }
}
