//! Bitwise operations and tests of bits.

use crate::execution::Execution;
use crate::operation::Operation::Test;
use crate::operation::{lanewise, rows};
use crate::state::flag;
use crate::vector::{Lane, Vector};

rows! {
    Pand, Vpand, Andps, Vandps, Andpd, Vandpd => lanewise!(|a: u64, b: u64| a & b);
    Pandn, Vpandn, Andnps, Vandnps, Andnpd, Vandnpd => lanewise!(|a: u64, b: u64| !a & b);
    Por, Vpor, Orps, Vorps, Orpd, Vorpd => lanewise!(|a: u64, b: u64| a | b);
    Pxor, Vpxor, Xorps, Vxorps, Xorpd, Vxorpd => lanewise!(|a: u64, b: u64| a ^ b);

    Ptest, Vptest => Test(|e, a, b| test(e, a, b, u64::MAX));
    Vtestps => Test(|e, a, b| test(e, a, b, 1u32 << 31));
    Vtestpd => Test(|e, a, b| test(e, a, b, 1u64 << 63));
}

/// ZF: no bit of `mask` is set in both; CF: none is set in `b` but not in `a`.
fn test<T: Lane + Into<u64>>(e: &mut Execution, a: &Vector, b: &Vector, mask: T) {
    let mask = mask.into();
    let (mut both, mut only_b) = (0, 0);
    for i in 0..e.bytes / T::BYTES {
        let (x, y): (u64, u64) = (a.lane::<T>(i).into(), b.lane::<T>(i).into());
        both |= x & y & mask;
        only_b |= !x & y & mask;
    }
    e.rflags &= !flag::STATUS;
    if both == 0 {
        e.rflags |= flag::ZF;
    }
    if only_b == 0 {
        e.rflags |= flag::CF;
    }
}
