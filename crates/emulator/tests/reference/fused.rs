//! FMA and FMA4: the sum as one integer, long enough to hold every bit of any product and any
//! addend at once, so that there is nothing to be clever about. Rounded by looking at the bits.

use crate::{Input, Output};
use std::cmp::Ordering;

const INVALID: u32 = 1;
const DENORMAL: u32 = 2;
const OVERFLOW: u32 = 8;
const UNDERFLOW: u32 = 16;
const PRECISION: u32 = 32;

/// A binary format: size in bytes, length of the fraction, bias of the exponent.
#[derive(Clone, Copy)]
struct Format {
    size: usize,
    fraction: u32,
    bias: i32,
}

const SINGLE: Format = Format {
    size: 4,
    fraction: 23,
    bias: 127,
};

const DOUBLE: Format = Format {
    size: 8,
    fraction: 52,
    bias: 1023,
};

impl Format {
    fn sign(self) -> u64 {
        1 << (8 * self.size - 1)
    }

    fn infinity(self) -> u64 {
        self.sign() - (1 << self.fraction)
    }

    fn is_nan(self, x: u64) -> bool {
        x & !self.sign() > self.infinity()
    }

    fn is_infinite(self, x: u64) -> bool {
        x & !self.sign() == self.infinity()
    }

    fn is_zero(self, x: u64) -> bool {
        x & !self.sign() == 0
    }

    fn is_denormal(self, x: u64) -> bool {
        !self.is_zero(x) && x & self.infinity() == 0
    }

    /// Whole number and exponent of two.
    fn parts(self, x: u64) -> (u64, i32) {
        let implicit = 1 << self.fraction;
        let fraction = x & (implicit - 1);
        let exponent = ((x & self.infinity()) >> self.fraction) as i32;
        let lowest = -self.bias - self.fraction as i32;
        match exponent {
            0 => (fraction, lowest + 1),
            _ => (fraction | implicit, lowest + exponent),
        }
    }
}

/// A magnitude in units of 2^-2200, the lowest word first.
#[derive(Clone, PartialEq, Eq)]
struct Magnitude([u64; 72]);

const UNIT: i32 = -2200;

impl Magnitude {
    fn new(whole: u128, exponent: i32) -> Self {
        let place = (exponent - UNIT) as usize;
        let mut magnitude = Self([0; 72]);
        for bit in (0..128).filter(|bit| whole >> bit & 1 == 1) {
            magnitude.0[(place + bit) / 64] |= 1 << ((place + bit) % 64);
        }
        magnitude
    }

    fn plus(&self, other: &Self) -> Self {
        let mut carry = 0;
        Self(std::array::from_fn(|i| {
            let sum = u128::from(self.0[i]) + u128::from(other.0[i]) + carry;
            carry = sum >> 64;
            sum as u64
        }))
    }

    /// Less a smaller one.
    fn minus(&self, other: &Self) -> Self {
        let mut borrow = 0;
        Self(std::array::from_fn(|i| {
            let difference = i128::from(self.0[i]) - i128::from(other.0[i]) - borrow;
            borrow = i128::from(difference < 0);
            difference as u64
        }))
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }

    /// Place of the highest one.
    fn top(&self) -> Option<usize> {
        (0..64 * 72).rev().find(|&place| self.bit(place))
    }

    fn bit(&self, place: usize) -> bool {
        self.0[place / 64] >> (place % 64) & 1 == 1
    }

    /// In units of 2^`place`, rounded; and whether that changed it.
    fn rounded(&self, place: usize, rounding: u32, negative: bool) -> (u64, bool) {
        let whole = (0..64).rev().fold(0u64, |whole, i| {
            whole << 1 | u64::from(self.0.len() * 64 > place + i && self.bit(place + i))
        });
        let below = (0..place - 1).any(|i| self.bit(i));
        let half = self.bit(place - 1);
        let inexact = half || below;
        let up = match rounding {
            0 => half && (below || whole & 1 == 1),
            1 => negative && inexact,
            2 => !negative && inexact,
            _ => false,
        };
        (whole + u64::from(up), inexact)
    }
}

/// What one lane of one instruction has to obey.
struct Lane<'a> {
    format: Format,
    mxcsr: u32,
    output: &'a mut Output,
}

impl Lane<'_> {
    fn masks(&self, exception: u32) -> bool {
        self.mxcsr >> 7 & exception != 0
    }

    /// `a * b + c`, the product or the addend negated.
    fn fused(&mut self, mut operands: [u64; 3], product: bool, addend: bool) -> u64 {
        let f = self.format;
        let quiet = 1 << (f.fraction - 1);
        if operands.iter().any(|&x| f.is_nan(x) && x & quiet == 0) {
            self.output.raised.0 |= INVALID;
        }
        if let Some(nan) = operands.iter().find(|&&x| f.is_nan(x)) {
            return nan | quiet;
        }
        let mut denormal = false;
        for x in operands.iter_mut().filter(|x| f.is_denormal(**x)) {
            if self.mxcsr & 1 << 6 != 0 {
                *x &= f.sign();
            } else {
                denormal = true;
            }
        }
        let [a, b, c] = operands;
        let negative = ((a ^ b) & f.sign() != 0) != product;
        let c_negative = (c & f.sign() != 0) != addend;
        let infinite = f.is_infinite(a) || f.is_infinite(b);
        let zero = f.is_zero(a) || f.is_zero(b);
        if infinite && (zero || f.is_infinite(c) && negative != c_negative) {
            self.output.raised.0 |= INVALID;
            return f.sign() | f.infinity() | quiet;
        }
        if denormal {
            self.output.raised.0 |= DENORMAL;
        }
        let signed = |negative: bool, x: u64| if negative { f.sign() | x } else { x };
        if infinite {
            return signed(negative, f.infinity());
        }
        if f.is_infinite(c) {
            return signed(c_negative, f.infinity());
        }
        let (x, y, z) = (f.parts(a), f.parts(b), f.parts(c));
        let first = Magnitude::new(u128::from(x.0) * u128::from(y.0), x.1 + y.1);
        let second = Magnitude::new(z.0.into(), z.1);
        let (negative, sum) = match (negative == c_negative, first.compare(&second)) {
            (true, _) => (negative, first.plus(&second)),
            (false, Ordering::Greater) => (negative, first.minus(&second)),
            (false, Ordering::Less) => (c_negative, second.minus(&first)),
            // Towards minus infinity nothing is minus nothing.
            (false, Ordering::Equal) => return signed(self.mxcsr >> 13 & 3 == 1, 0),
        };
        match sum.top() {
            None => signed(negative, 0),
            Some(top) => signed(negative, self.finish(&sum, top, negative)),
        }
    }

    /// The magnitude in the format.
    fn finish(&mut self, sum: &Magnitude, top: usize, negative: bool) -> u64 {
        let f = self.format;
        let rounding = self.mxcsr >> 13 & 3;
        let fraction = f.fraction as usize;
        // As if exponents had no limits.
        let (whole, inexact) = sum.rounded(top - fraction, rounding, negative);
        let carried = whole >> f.fraction == 2;
        let exponent = top as i32 + UNIT + i32::from(carried);
        if exponent > f.bias {
            let masked = self.masks(OVERFLOW);
            self.output.raised.1 |= OVERFLOW;
            if inexact || masked {
                self.output.raised.1 |= PRECISION;
            }
            let away = [true, negative, !negative, false][rounding as usize];
            return f.infinity() - u64::from(!away);
        }
        if exponent < 1 - f.bias {
            if !self.masks(UNDERFLOW) {
                self.output.raised.1 |= UNDERFLOW | if inexact { PRECISION } else { 0 };
                return 0;
            }
            if self.mxcsr & 1 << 15 != 0 {
                self.output.raised.1 |= UNDERFLOW | PRECISION;
                return 0;
            }
        }
        // The lowest place that a denormal has.
        let lowest = (1 - f.bias - f.fraction as i32 - UNIT) as usize;
        let (whole, inexact) = sum.rounded(lowest.max(top - fraction), rounding, negative);
        if inexact {
            let tiny = exponent < 1 - f.bias;
            self.output.raised.1 |= PRECISION | if tiny { UNDERFLOW } else { 0 };
        }
        // One more in the exponent field doubles the unit; the implicit bit is the first step.
        let steps = (top - fraction).saturating_sub(lowest) as u64;
        whole + (steps << f.fraction)
    }
}

pub(crate) fn reference(input: &Input) -> Output {
    let name = format!("{:?}", input.mnemonic).to_lowercase();
    let (negated, rest) = match name.strip_prefix("vfn") {
        Some(rest) => (true, rest),
        None => (false, &name[2..]),
    };
    let kind = rest.trim_end_matches(|c: char| !c.is_ascii_digit());
    let order = kind.trim_start_matches(|c: char| !c.is_ascii_digit());
    let operation = rest[..rest.len() - 2].trim_end_matches(|c: char| c.is_ascii_digit());
    let format = if rest.ends_with('s') { SINGLE } else { DOUBLE };
    let scalar = rest[..rest.len() - 1].ends_with('s');
    // Which operands are multiplied, and which is added; FMA4 has a destination before them.
    let places = match order {
        "132" => [0, 2, 1],
        "213" => [1, 0, 2],
        "231" => [1, 2, 0],
        _ => [1, 2, 3],
    };
    let lanes = if scalar {
        1
    } else {
        input.operands[0].len() / format.size
    };
    let mut output = Output::default();
    for i in 0..lanes {
        let operands = places.map(|place| {
            let lane = &input.operands[place][i * format.size..(i + 1) * format.size];
            lane.iter()
                .rev()
                .fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        });
        let subtracts = match operation {
            "madd" => false,
            "msub" => true,
            "maddsub" => i % 2 == 0,
            "msubadd" => i % 2 == 1,
            other => panic!("{name}: {other} is no operation"),
        };
        let mut lane = Lane {
            format,
            mxcsr: input.mxcsr,
            output: &mut output,
        };
        let result = lane.fused(operands, negated, subtracts);
        output
            .destination
            .extend(&result.to_le_bytes()[..format.size]);
    }
    if scalar && !order.is_empty() {
        // FMA keeps the rest of its destination, FMA4 zeroes it.
        output
            .destination
            .extend(&input.operands[0][format.size..16]);
    }
    output
}
