//! The approximations of RCPPS and RSQRTPS.
//!
//! The architecture allows a relative error of 1.5 * 2^-12 and fixes only the special cases; real
//! CPUs differ. This gives the exact result rounded to 12 significant bits. Neither raises
//! exceptions nor obeys MXCSR (Intel SDM vol. 2, RCPPS, RSQRTPS).

use super::environment::Environment;
use super::{
    F32, Format, div, is_denormal, is_infinite, is_nan, is_zero, magnitude, sign, signed, sqrt,
};

/// Bits of the fraction that are cut off.
const CUT: u64 = 1 << 12;

/// 2^126
const TWO_TO_126: u64 = 0x7e80_0000;

fn shortened(bits: u64) -> u64 {
    (bits.wrapping_add(CUT / 2)) & !(CUT - 1)
}

/// About `1 / a`.
pub(crate) fn reciprocal(a: u64) -> u64 {
    if is_nan::<F32>(a) {
        return a | F32::QUIET;
    }
    if is_zero::<F32>(a) || is_denormal::<F32>(a) {
        return signed::<F32>(sign::<F32>(a), F32::INFINITY);
    }
    // From about 2^126 on the reciprocal is tiny, which gives zero; the manual leaves open what
    // exactly 2^126 gives, AMD CPUs give zero.
    if magnitude::<F32>(a) >= TWO_TO_126 {
        return signed::<F32>(sign::<F32>(a), 0);
    }
    let mut env = Environment::new(0x1f80);
    shortened(div::<F32>(&mut env, F32::ONE, a))
}

/// About `1 / sqrt(a)`.
pub(crate) fn reciprocal_sqrt(a: u64) -> u64 {
    if is_nan::<F32>(a) {
        return a | F32::QUIET;
    }
    if is_zero::<F32>(a) || is_denormal::<F32>(a) {
        return signed::<F32>(sign::<F32>(a), F32::INFINITY);
    }
    if sign::<F32>(a) {
        return F32::INDEFINITE;
    }
    if is_infinite::<F32>(a) {
        return 0;
    }
    let mut env = Environment::new(0x1f80);
    let root = sqrt::<F32>(&mut env, a);
    shortened(div::<F32>(&mut env, F32::ONE, root))
}
