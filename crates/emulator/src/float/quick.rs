//! The CPU's own arithmetic, where it cannot but give the same.
//!
//! Where a program computes it has as a rule met an inexact result before, rounds to nearest and
//! works on ordinary numbers. Then an operation changes no flag: the precision flag is set
//! already, and no other is raised as long as operands and result are normal. What remains is the
//! number itself, which Rust's `+` on this machine's registers gives as well, an order of magnitude
//! sooner than integers do. Each function here returns its result and whether all that is the
//! case; if not, the result is void. (QEMU's softfloat goes the same way.)
//!
//! That Rust's operators round to nearest is Rust's own rule for the floating-point environment; a
//! signal handler gets MXCSR in that state from the kernel.

use super::{F32, F64, Format};

/// Formats that Rust computes in.
pub(crate) trait Quick: Format {
    /// `a + b`
    fn add(a: Self::Bits, b: Self::Bits) -> (Self::Bits, bool);
    /// `a - b`
    fn sub(a: Self::Bits, b: Self::Bits) -> (Self::Bits, bool);
    /// `a * b`
    fn mul(a: Self::Bits, b: Self::Bits) -> (Self::Bits, bool);
    /// `a / b`
    fn div(a: Self::Bits, b: Self::Bits) -> (Self::Bits, bool);
    /// The smaller, or `b` if they are equal.
    fn min(a: Self::Bits, b: Self::Bits) -> (Self::Bits, bool);
    /// The larger, or `b` if they are equal.
    fn max(a: Self::Bits, b: Self::Bits) -> (Self::Bits, bool);
    /// `±(a * b) ± c`, rounded once; see [`super::mul_add`].
    fn mul_add(
        a: Self::Bits,
        b: Self::Bits,
        c: Self::Bits,
        negate_product: bool,
        negate_addend: bool,
    ) -> (Self::Bits, bool);
}

macro_rules! basic {
    ($format:ty, $bits:ty, $float:ty) => {
        #[inline]
        fn add(a: $bits, b: $bits) -> ($bits, bool) {
            let result = (<$float>::from_bits(a) + <$float>::from_bits(b)).to_bits();
            // A sum is exact where it would be tiny.
            (result, usable(a) & usable(b) & usable(result))
        }
        #[inline]
        fn sub(a: $bits, b: $bits) -> ($bits, bool) {
            let result = (<$float>::from_bits(a) - <$float>::from_bits(b)).to_bits();
            (result, usable(a) & usable(b) & usable(result))
        }
        #[inline]
        fn mul(a: $bits, b: $bits) -> ($bits, bool) {
            let result = (<$float>::from_bits(a) * <$float>::from_bits(b)).to_bits();
            let exact_zero = is_zero(a) | is_zero(b);
            (
                result,
                usable(a) & usable(b) & (exact_zero | is_above_tiny(result)),
            )
        }
        #[inline]
        fn div(a: $bits, b: $bits) -> ($bits, bool) {
            let result = (<$float>::from_bits(a) / <$float>::from_bits(b)).to_bits();
            (result, is_normal(a) & is_normal(b) & is_above_tiny(result))
        }
        #[inline]
        fn min(a: $bits, b: $bits) -> ($bits, bool) {
            let less = <$float>::from_bits(a) < <$float>::from_bits(b);
            (if less { a } else { b }, usable(a) & usable(b))
        }
        #[inline]
        fn max(a: $bits, b: $bits) -> ($bits, bool) {
            let more = <$float>::from_bits(a) > <$float>::from_bits(b);
            (if more { a } else { b }, usable(a) & usable(b))
        }
    };
}

macro_rules! classes {
    ($format:ty, $bits:ty) => {
        const FIRST_NORMAL: $bits = 1 << <$format>::FRACTION;
        const INFINITY: $bits = <$format>::INFINITY as $bits;

        #[inline]
        fn magnitude(x: $bits) -> $bits {
            x & !(1 << (<$bits>::BITS - 1))
        }
        #[inline]
        fn is_zero(x: $bits) -> bool {
            magnitude(x) == 0
        }
        #[inline]
        fn is_normal(x: $bits) -> bool {
            magnitude(x).wrapping_sub(FIRST_NORMAL) < INFINITY - FIRST_NORMAL
        }
        /// Normal or zero: nothing that raises a flag as an operand.
        #[inline]
        fn usable(x: $bits) -> bool {
            is_normal(x) | is_zero(x)
        }
        /// Normal, and not the smallest, which may have been rounded from something tiny.
        #[inline]
        fn is_above_tiny(x: $bits) -> bool {
            magnitude(x).wrapping_sub(FIRST_NORMAL + 1) < INFINITY - (FIRST_NORMAL + 1)
        }
    };
}

/// A sum and what rounding took from it (Knuth's TwoSum).
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

/// `a + b` rounded to odd: towards zero, with the last bit set if anything was lost. Rounded once
/// more to a shorter number that gives what the exact sum would (Boldo and Melquiond, *Emulation
/// of FMA and correctly rounded sums*, 2008).
#[inline]
fn sum_to_odd(a: f64, b: f64) -> f64 {
    let (sum, error) = two_sum(a, b);
    let bits = sum.to_bits();
    // The neighbour on the side of the error is odd if the sum is even.
    let inwards = (error > 0.0) != (sum > 0.0);
    let step = if inwards { u64::MAX } else { 1 };
    let uneven = error != 0.0 && bits & 1 == 0;
    f64::from_bits(bits.wrapping_add(if uneven { step } else { 0 }))
}

mod single {
    use super::{F32, Format, Quick, sum_to_odd};

    classes!(F32, u32);

    impl Quick for F32 {
        basic!(F32, u32, f32);

        #[inline]
        fn mul_add(
            a: u32,
            b: u32,
            c: u32,
            negate_product: bool,
            negate_addend: bool,
        ) -> (u32, bool) {
            let double = |bits, negate| {
                let x = f64::from(f32::from_bits(bits));
                if negate { -x } else { x }
            };
            // A product of two 24-bit significands is exact in 53 bits.
            let product = double(a, negate_product) * double(b, false);
            let sum = sum_to_odd(product, double(c, negate_addend));
            let result = (sum as f32).to_bits();
            (
                result,
                usable(a) & usable(b) & usable(c) & (is_above_tiny(result) | (sum == 0.0)),
            )
        }
    }
}

mod double {
    use super::{F64, Format, Quick, sum_to_odd, two_sum};

    classes!(F64, u64);

    /// Whether the exponent is between −`bound` and `bound`.
    #[inline]
    fn is_within(x: u64, bound: u64) -> bool {
        let field = magnitude(x) >> F64::FRACTION;
        field.wrapping_sub(1023 - bound) <= 2 * bound
    }

    /// A product and what rounding took from it (Dekker's, with Veltkamp's splitting).
    #[inline]
    fn two_product(a: f64, b: f64) -> (f64, f64) {
        let halves = |x: f64| {
            let shifted = x * 134_217_729.0; // 2^27 + 1
            let high = shifted - (shifted - x);
            (high, x - high)
        };
        let product = a * b;
        let ((a_high, a_low), (b_high, b_low)) = (halves(a), halves(b));
        let error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
        (product, error)
    }

    impl Quick for F64 {
        basic!(F64, u64, f64);

        /// The algorithm of Boldo and Melquiond; nothing in it overflows or becomes tiny within
        /// these bounds.
        #[inline]
        fn mul_add(
            a: u64,
            b: u64,
            c: u64,
            negate_product: bool,
            negate_addend: bool,
        ) -> (u64, bool) {
            let of = |bits, negate| {
                let x = f64::from_bits(bits);
                if negate { -x } else { x }
            };
            let (product, low) = two_product(of(a, negate_product), of(b, false));
            let (middle, lowest) = two_sum(of(c, negate_addend), low);
            let (high, rest) = two_sum(product, middle);
            let result = (high + sum_to_odd(lowest, rest)).to_bits();
            let ok = is_within(a, 300) & is_within(b, 300) & (is_within(c, 600) | is_zero(c));
            (result, ok & usable(result))
        }
    }
}

#[cfg(test)]
mod tests {
    //! Against the integers of this crate, which are compared with the CPU.

    use super::Quick;
    use crate::float::{self, Environment, F32, F64, Format};

    /// Round to nearest, everything masked, the precision flag set.
    const EASY: u32 = 0x1fa0;

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        /// A number whose exponent is near one, near the edges, or anywhere, and whose fraction
        /// has few or many bits.
        fn number<F: Format>(&mut self) -> u64 {
            let field = F::INFINITY >> F::FRACTION;
            let exponent = match self.next() % 8 {
                0..4 => F::BIAS as u64 - 30 + self.next() % 60,
                4 => self.next() % 4,
                5 => field - self.next() % 3,
                6 => field / 4 + self.next() % 8,
                _ => self.next() % (field + 1),
            };
            let mut fraction = self.next();
            match self.next() % 6 {
                0 => fraction = 0,
                1 => fraction = 1,
                2 => fraction = u64::MAX,
                3 => fraction <<= self.next() % 64,
                _ => {}
            }
            let mask = (1 << F::FRACTION) - 1;
            self.next() & F::SIGN | exponent << F::FRACTION | fraction & mask
        }
    }

    /// What the integers give, and whether it raises nothing but inexactness.
    fn slow(f: impl FnOnce(&mut Environment) -> u64) -> (u64, bool) {
        let mut env = Environment::new(EASY);
        let result = f(&mut env);
        (
            result,
            env.detected() & !crate::fault::exception::PRECISION == 0,
        )
    }

    fn agree<F: Quick>(cases: u64) {
        let mut random = Random(F::WIDTH.into());
        let mut quick = 0u64;
        let mut check = |name, operands: [u64; 3], got: (F::Bits, bool), want: (u64, bool)| {
            if got.1 {
                quick += 1;
                let got: u64 = got.0.into();
                assert!(
                    got == want.0 && want.1,
                    "{name} {operands:x?}: {got:x}, but {:x}, raising no flag: {}",
                    want.0,
                    want.1
                );
            }
        };
        for _ in 0..cases {
            let [a, b, mut c] = [(); 3].map(|()| random.number::<F>());
            let o = [a, b, c];
            let [x, y] = [a, b].map(F::lane);
            check("add", o, F::add(x, y), slow(|e| float::add::<F>(e, a, b)));
            check("sub", o, F::sub(x, y), slow(|e| float::sub::<F>(e, a, b)));
            check("mul", o, F::mul(x, y), slow(|e| float::mul::<F>(e, a, b)));
            check("div", o, F::div(x, y), slow(|e| float::div::<F>(e, a, b)));
            check("min", o, F::min(x, y), slow(|e| float::min::<F>(e, a, b)));
            check("max", o, F::max(x, y), slow(|e| float::max::<F>(e, a, b)));
            // An addend that cancels the product, or nearly, or is half a bit of it.
            let product = slow(|e| float::mul::<F>(e, a, b)).0;
            match random.next() % 4 {
                0 => c = product.wrapping_add(random.next() % 3).wrapping_sub(1),
                1 => {
                    let down = u64::from(F::FRACTION) + random.next() % 4;
                    c = product.wrapping_sub(down << F::FRACTION) & (F::SIGN | F::INFINITY);
                }
                _ => {}
            }
            for (product, addend) in [(false, false), (false, true), (true, false), (true, true)] {
                let got = F::mul_add(x, y, F::lane(c), product, addend);
                let want = slow(|e| float::mul_add::<F>(e, a, b, c, product, addend));
                check("mul_add", [a, b, c], got, want);
            }
        }
        // Most cases are ordinary ones; otherwise this test would test little.
        assert!(quick > cases * 4, "{quick} of {} were quick", cases * 10);
    }

    #[test]
    fn quick_results_are_those_of_the_integers() {
        let cases = 200_000;
        agree::<F32>(cases);
        agree::<F64>(cases);
    }
}
