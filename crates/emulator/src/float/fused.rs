//! Multiply and add with a single rounding.

use super::arithmetic::{cancelled, exact, sum, term};
use super::environment::Environment;
use super::{
    Format, flushed, invalid, is_infinite, is_zero, nan_of, note_denormal, sign, signed, unpack,
};

/// `±(a * b) ± c`, rounded once. The signs are applied to the product and to the addend, not to
/// NaNs.
pub(crate) fn mul_add<F: Format>(
    env: &mut Environment,
    a: u64,
    b: u64,
    c: u64,
    negate_product: bool,
    negate_addend: bool,
) -> u64 {
    if let Some(nan) = nan_of::<F>(env, &[a, b, c]) {
        return nan;
    }
    let (a, b, c) = (
        flushed::<F>(env, a),
        flushed::<F>(env, b),
        flushed::<F>(env, c),
    );
    let c = if negate_addend { c ^ F::SIGN } else { c };
    let negative = (sign::<F>(a) != sign::<F>(b)) != negate_product;
    let infinite = is_infinite::<F>(a) || is_infinite::<F>(b);
    let zero = is_zero::<F>(a) || is_zero::<F>(b);
    if infinite && (zero || (is_infinite::<F>(c) && sign::<F>(c) != negative)) {
        return invalid::<F>(env);
    }
    for x in [a, b, c] {
        note_denormal::<F>(env, x);
    }
    if infinite {
        return signed::<F>(negative, F::INFINITY);
    }
    if is_infinite::<F>(c) {
        return c;
    }
    if zero {
        return match is_zero::<F>(c) {
            true if sign::<F>(c) == negative => c,
            true => cancelled::<F>(env),
            false => exact::<F>(env, c),
        };
    }
    let (x, y) = (unpack::<F>(a), unpack::<F>(b));
    // Two significands of at most 53 bits leave the lower places of the product empty: moving it
    // down by one, to make room for a carry, loses nothing.
    let product = u128::from(x.significand).wrapping_mul(u128::from(y.significand)) >> 1;
    let exponent = x.exponent.wrapping_add(y.exponent).wrapping_add(2);
    if is_zero::<F>(c) {
        return super::round::round_wide::<F>(env, negative, exponent, product);
    }
    sum::<F>(env, (negative, exponent, product), term::<F>(c))
}
