//! AVX-NE-CONVERT, by arithmetic on the numbers that the formats stand for.

use crate::{Input, Output};
use iced_x86::Mnemonic;

pub(crate) fn reference(input: &Input) -> Output {
    let halves: Vec<u16> = input.operands[1]
        .chunks_exact(2)
        .map(|b| u16::from_le_bytes([b[0], b[1]]))
        .collect();
    let lanes = input.operands[0].len() / 4;
    let every_other = |start: usize, f: fn(u16) -> u32| -> Vec<u32> {
        halves
            .iter()
            .skip(start)
            .step_by(2)
            .map(|&x| f(x))
            .collect()
    };
    let singles = match input.mnemonic {
        Mnemonic::Vbcstnebf162ps => vec![from_bfloat(halves[0]); lanes],
        Mnemonic::Vbcstnesh2ps => vec![from_half(halves[0]); lanes],
        Mnemonic::Vcvtneebf162ps => every_other(0, from_bfloat),
        Mnemonic::Vcvtneobf162ps => every_other(1, from_bfloat),
        Mnemonic::Vcvtneeph2ps => every_other(0, from_half),
        Mnemonic::Vcvtneoph2ps => every_other(1, from_half),
        Mnemonic::Vcvtneps2bf16 => {
            let narrow = input.operands[1].chunks_exact(4).flat_map(|b| {
                to_bfloat(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).to_le_bytes()
            });
            return narrow.collect::<Vec<_>>().into();
        }
        other => panic!("{other:?} is not of AVX-NE-CONVERT"),
    };
    singles
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect::<Vec<_>>()
        .into()
}

/// The same sign, exponent and fraction, with zeros for the bits that a bfloat16 lacks.
fn from_bfloat(x: u16) -> u32 {
    let [low, high] = x.to_le_bytes();
    u32::from_le_bytes([0, 0, low, high])
}

/// The value by its definition: sign, exponent with bias 15, fraction of ten bits.
fn from_half(x: u16) -> u32 {
    let negative = x >= 0x8000;
    let (exponent, fraction) = (i32::from(x / 1024 % 32), x % 1024);
    let magnitude = match exponent {
        31 if fraction == 0 => f32::INFINITY,
        31 => {
            // Quiet, the payload in the upper bits of the longer fraction.
            let payload = u32::from(fraction) * 8192;
            return if negative { 0xffc0_0000 } else { 0x7fc0_0000 } | payload;
        }
        0 => f32::from(fraction) * 2f32.powi(-24),
        _ => (1.0 + f32::from(fraction) / 1024.0) * 2f32.powi(exponent - 15),
    };
    (if negative { -magnitude } else { magnitude }).to_bits()
}

/// The nearest bfloat16, the even one of two; denormals count as zero.
fn to_bfloat(x: f32) -> u16 {
    let truncated = (x.to_bits() >> 16) as u16;
    if x.is_nan() {
        return truncated | 0x40;
    }
    if x.is_infinite() {
        return truncated;
    }
    if x.is_subnormal() || x == 0.0 {
        return if x.is_sign_negative() { 0x8000 } else { 0 };
    }
    // The two neighbours, the farther one beyond the largest as if exponents had no limit.
    let value = |b: u16| {
        if b & 0x7fff == 0x7f80 {
            2f64.powi(128)
        } else {
            f64::from(f32::from_bits(from_bfloat(b)).abs())
        }
    };
    let next = truncated + 1;
    let below = f64::from(x.abs()) - value(truncated);
    let above = value(next) - f64::from(x.abs());
    match below.partial_cmp(&above) {
        Some(std::cmp::Ordering::Less) => truncated,
        Some(std::cmp::Ordering::Greater) => next,
        _ if truncated & 1 == 0 => truncated,
        _ => next,
    }
}
