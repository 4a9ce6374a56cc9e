//! The CPU's own arithmetic, where it cannot but give the same.
//!
//! Mostly a program rounds to nearest, masks all exceptions and works on ordinary numbers. Then an
//! operation changes no flag but that of precision, as long as operands and result are normal. What
//! remains is the number itself, which Rust's `+` on this machine's registers gives as well, an
//! order of magnitude sooner than integers do, and whether it is exact, which matters only until
//! the first that is not has set the flag. (QEMU's softfloat goes a similar way.)
//!
//! That Rust's operators round to nearest is Rust's own rule for the floating-point environment; a
//! signal handler gets MXCSR in that state from the kernel.

use super::{F32, F64, Format};

/// What the CPU's own arithmetic gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quick<T> {
    pub value: T,
    /// The value is right, and no flag but that of precision is raised. Otherwise all else is void.
    pub is_it: bool,
    /// `inexact` is right.
    pub is_known: bool,
    /// The flag of precision is raised.
    pub inexact: bool,
}

/// Formats that Rust computes in.
pub(crate) trait Native: Format {
    /// `a + b`
    fn add(a: Self::Bits, b: Self::Bits) -> Quick<Self::Bits>;
    /// `a - b`
    fn sub(a: Self::Bits, b: Self::Bits) -> Quick<Self::Bits>;
    /// `a * b`
    fn mul(a: Self::Bits, b: Self::Bits) -> Quick<Self::Bits>;
    /// `a / b`
    fn div(a: Self::Bits, b: Self::Bits) -> Quick<Self::Bits>;
    /// The smaller, or `b` if they are equal.
    fn min(a: Self::Bits, b: Self::Bits) -> Quick<Self::Bits>;
    /// The larger, or `b` if they are equal.
    fn max(a: Self::Bits, b: Self::Bits) -> Quick<Self::Bits>;
    /// `a * b + c`, rounded once.
    fn mul_add(a: Self::Bits, b: Self::Bits, c: Self::Bits) -> Quick<Self::Bits>;
}

/// What both formats have in common. `product(a, b, p)` says whether the exact product of `a` and
/// `b` is `p`, and whether it can say so.
macro_rules! basic {
    ($bits:ty, $float:ty, $product:path) => {
        #[inline]
        fn add(a: $bits, b: $bits) -> Quick<$bits> {
            let (x, y) = (<$float>::from_bits(a), <$float>::from_bits(b));
            let sum = x + y;
            // What rounding took from it (Knuth's TwoSum).
            let part = sum - x;
            let error = (x - (sum - part)) + (y - part);
            let value = sum.to_bits();
            Quick {
                value,
                // A sum is exact where it would be tiny.
                is_it: usable(a) & usable(b) & usable(value),
                is_known: true,
                inexact: error != 0.0,
            }
        }
        #[inline]
        fn sub(a: $bits, b: $bits) -> Quick<$bits> {
            Self::add(a, b ^ (1 << (<$bits>::BITS - 1)))
        }
        #[inline]
        fn mul(a: $bits, b: $bits) -> Quick<$bits> {
            let (x, y) = (<$float>::from_bits(a), <$float>::from_bits(b));
            let value = (x * y).to_bits();
            let exact_zero = is_zero(a) | is_zero(b);
            let (is_exact, is_known) = $product(x, y, x * y);
            Quick {
                value,
                is_it: usable(a) & usable(b) & (exact_zero | is_above_tiny(value)),
                is_known: is_known | exact_zero,
                inexact: !is_exact & !exact_zero,
            }
        }
        #[inline]
        fn div(a: $bits, b: $bits) -> Quick<$bits> {
            let (x, y) = (<$float>::from_bits(a), <$float>::from_bits(b));
            let value = (x / y).to_bits();
            let (is_exact, is_known) = $product(x / y, y, x);
            Quick {
                value,
                is_it: is_normal(a) & is_normal(b) & is_above_tiny(value),
                is_known,
                inexact: !is_exact,
            }
        }
        #[inline]
        fn min(a: $bits, b: $bits) -> Quick<$bits> {
            let less = <$float>::from_bits(a) < <$float>::from_bits(b);
            chosen(if less { a } else { b }, usable(a) & usable(b))
        }
        #[inline]
        fn max(a: $bits, b: $bits) -> Quick<$bits> {
            let more = <$float>::from_bits(a) > <$float>::from_bits(b);
            chosen(if more { a } else { b }, usable(a) & usable(b))
        }
    };
}

/// One of the operands.
#[inline]
fn chosen<T>(value: T, is_it: bool) -> Quick<T> {
    Quick {
        value,
        is_it,
        is_known: true,
        inexact: false,
    }
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
/// more to a shorter number that gives what the exact sum would, and is inexact if that was (Boldo
/// and Melquiond, *Emulation of FMA and correctly rounded sums*, 2008).
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
    use super::{F32, Format, Native, Quick, chosen, sum_to_odd};

    classes!(F32, u32);

    /// A product of two 24-bit significands is exact in 53 bits.
    #[inline]
    fn is_product(a: f32, b: f32, product: f32) -> (bool, bool) {
        (f64::from(a) * f64::from(b) == f64::from(product), true)
    }

    impl Native for F32 {
        basic!(u32, f32, is_product);

        #[inline]
        fn mul_add(a: u32, b: u32, c: u32) -> Quick<u32> {
            let [x, y, z] = [a, b, c].map(|bits| f64::from(f32::from_bits(bits)));
            let sum = sum_to_odd(x * y, z);
            let value = (sum as f32).to_bits();
            let ends_well = is_above_tiny(value) | (sum == 0.0);
            Quick {
                value,
                is_it: usable(a) & usable(b) & usable(c) & ends_well,
                is_known: true,
                inexact: f64::from(sum as f32) != sum,
            }
        }
    }
}

mod double {
    use super::{F64, Format, Native, Quick, chosen, sum_to_odd, two_sum};

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

    /// Nothing in [`two_product`] overflows or becomes tiny within these bounds.
    #[inline]
    fn is_product(a: f64, b: f64, product: f64) -> (bool, bool) {
        let (rounded, error) = two_product(a, b);
        let bounded = is_within(a.to_bits(), 300) & is_within(b.to_bits(), 300);
        ((rounded == product) & (error == 0.0), bounded)
    }

    impl Native for F64 {
        basic!(u64, f64, is_product);

        /// The algorithm of Boldo and Melquiond, within the same bounds.
        #[inline]
        fn mul_add(a: u64, b: u64, c: u64) -> Quick<u64> {
            let [x, y, z] = [a, b, c].map(f64::from_bits);
            let (product, low) = two_product(x, y);
            let (middle, lowest) = two_sum(z, low);
            let (high, rest) = two_sum(product, middle);
            let (sum, error) = two_sum(high, sum_to_odd(lowest, rest));
            let value = sum.to_bits();
            let bounded = is_within(a, 300) & is_within(b, 300) & (is_within(c, 600) | is_zero(c));
            Quick {
                value,
                is_it: bounded & usable(value),
                is_known: true,
                inexact: error != 0.0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Against the integers of this crate, which are compared with the CPU.

    use super::{Native, Quick};
    use crate::fault::exception::PRECISION;
    use crate::float::{self, Environment, F32, F64, Format};

    /// Round to nearest, everything masked, no flag set.
    const MXCSR: u32 = 0x1f80;

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

    /// What the integers give, and the exceptions raised.
    fn slow(f: impl FnOnce(&mut Environment) -> u64) -> (u64, u32) {
        let mut env = Environment::new(MXCSR);
        let result = f(&mut env);
        (result, env.detected())
    }

    fn agree<F: Native>(cases: u64) {
        let mut random = Random(F::WIDTH.into());
        let (mut quick, mut known) = (0u64, 0u64);
        let mut check = |name, operands: [u64; 3], got: Quick<F::Bits>, want: (u64, u32)| {
            if got.is_it {
                quick += 1;
                let value: u64 = got.value.into();
                let flags = match (got.is_known, got.inexact) {
                    (false, _) => want.1 & PRECISION,
                    (true, inexact) => {
                        if inexact {
                            PRECISION
                        } else {
                            0
                        }
                    }
                };
                assert!(
                    (value, flags) == want,
                    "{name} {operands:x?}: {value:x} raising {flags:#x}, but {:x} raising {:#x}",
                    want.0,
                    want.1
                );
                known += u64::from(got.is_known);
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
            let got = F::mul_add(x, y, F::lane(c));
            let want = slow(|e| float::mul_add::<F>(e, a, b, c, false, false));
            check("mul_add", [a, b, c], got, want);
        }
        let all = cases * 7;
        assert!(quick > all * 2 / 5, "{quick} of {all} were quick");
        assert!(
            known > all / 3,
            "{known} of {all} were known to be exact or not"
        );
    }

    #[test]
    fn quick_results_are_those_of_the_integers() {
        let cases = 200_000;
        agree::<F32>(cases);
        agree::<F64>(cases);
    }
}
