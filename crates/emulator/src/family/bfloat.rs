//! Conversions of bfloat16 and half precision to and from single precision: AVX-NE-CONVERT.
//!
//! They neither read nor change MXCSR (Intel SDM vol. 2, VCVTNEPS2BF16): round to nearest, no
//! exceptions; denormal singles count as zero, denormal halves do not.

use crate::float::{self, Environment, F32, Format};
use crate::operation::Operation::Unary;
use crate::operation::rows;
use crate::state::State;
use crate::vector::build;

rows! {
    // Lane 0 to all.
    Vbcstnebf162ps => Unary(|e, a| build(e.bytes, |_| bfloat_to_single(a.lane(0))));
    Vbcstnesh2ps => Unary(|e, a| build(e.bytes, |_| half_to_single(a.lane(0))));
    // The even and the odd ones of twice as many lanes.
    Vcvtneebf162ps => Unary(|e, a| build(e.bytes, |i| bfloat_to_single(a.lane(2 * i))));
    Vcvtneobf162ps => Unary(|e, a| build(e.bytes, |i| bfloat_to_single(a.lane(2 * i + 1))));
    Vcvtneeph2ps => Unary(|e, a| build(e.bytes, |i| half_to_single(a.lane(2 * i))));
    Vcvtneoph2ps => Unary(|e, a| build(e.bytes, |i| half_to_single(a.lane(2 * i + 1))));

    Vcvtneps2bf16 => Unary(|e, a| build(e.bytes / 2, |i| single_to_bfloat(a.lane(i))));
}

/// A bfloat16 is the upper half of a single; a signalling NaN stays one.
fn bfloat_to_single(a: u16) -> u32 {
    u32::from(a) << 16
}

fn half_to_single(a: u16) -> u32 {
    let mut quiet = Environment::new(State::INITIAL_MXCSR);
    F32::lane(float::half_to_single(&mut quiet, a.into()))
}

fn single_to_bfloat(a: u32) -> u16 {
    const SIGN: u32 = 1 << 31;
    const INFINITY: u32 = 0x7f80_0000;
    const QUIET: u32 = 0x0040_0000;
    let upper = |a: u32| (a >> 16) as u16;
    match a & !SIGN {
        magnitude if magnitude > INFINITY => upper(a | QUIET),
        magnitude if magnitude & INFINITY == 0 => upper(a & SIGN),
        // Half of the last place, and ties to even; infinity has nothing below to round up.
        _ => upper(a.wrapping_add(0x7fff).wrapping_add(a >> 16 & 1)),
    }
}
