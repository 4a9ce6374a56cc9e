//! RCP and RSQRT, whose results are the CPU's choice within a bound.

use emulator::State;
use iced_x86::Mnemonic;

/// Whether the architecture gives only a bound for the result.
pub(crate) fn is_approximate(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Rcpps
            | Mnemonic::Vrcpps
            | Mnemonic::Rcpss
            | Mnemonic::Vrcpss
            | Mnemonic::Rsqrtps
            | Mnemonic::Vrsqrtps
            | Mnemonic::Rsqrtss
            | Mnemonic::Vrsqrtss
    )
}

/// Where both lanes are within twice the architecture's bound of each other, takes the CPU's.
pub(crate) fn accept_approximations(emulated: &mut State, native: &State) {
    for (e, n) in emulated.vector.iter_mut().zip(&native.vector) {
        for i in 0..16 {
            let (x, y) = (f32::from_bits(e.lane(i)), f32::from_bits(n.lane(i)));
            let bound = 3.0 / 4096.0 * f64::from(y).abs();
            let close = (f64::from(x) - f64::from(y)).abs() <= bound;
            // Around 2^-126 the manual leaves open whether a result is tiny, that is, zero.
            let tiny = |x: f32| x.abs() <= f32::MIN_POSITIVE * 1.001;
            if x.is_normal() && y.is_normal() && close || tiny(x) && tiny(y) {
                e.set_lane(i, y.to_bits());
            }
        }
    }
}
