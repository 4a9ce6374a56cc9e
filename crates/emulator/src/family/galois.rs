//! Products of polynomials over the field of two elements: PCLMULQDQ and GFNI.

use crate::execution::Execution;
use crate::operation::Operation::Binary;
use crate::operation::{lanewise, rows};
use crate::vector::{Vector, build};

rows! {
    // Bits 0 and 4 of the immediate choose the quadwords of each 128-bit block.
    Pclmulqdq, Vpclmulqdq => Binary(|e, a, b| build(e.bytes, |i| {
        let x = a.lane(2 * i + usize::from(e.imm & 1));
        let y = b.lane(2 * i + usize::from(e.imm >> 4 & 1));
        carryless(x, y)
    }));
    Gf2p8mulb, Vgf2p8mulb => lanewise!(|a: u8, b: u8| multiply(a, b, AES_POLYNOMIAL));
    Gf2p8affineqb, Vgf2p8affineqb => Binary(|e, a, b| affine(e, a, b, |x| x));
    Gf2p8affineinvqb, Vgf2p8affineinvqb => Binary(|e, a, b| affine(e, a, b, inverse));
}

/// x^8 + x^4 + x^3 + x + 1
pub(super) const AES_POLYNOMIAL: u16 = 0x11b;

/// The product of two bytes modulo `polynomial`.
pub(super) const fn multiply(a: u8, b: u8, polynomial: u16) -> u8 {
    let mut product = 0;
    let mut a = a as u16;
    let mut bit = 0;
    while bit < 8 {
        if b >> bit & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a & 0x100 != 0 {
            a ^= polynomial;
        }
        bit += 1;
    }
    product as u8
}

/// The byte whose product with `x` is one, or zero for zero: `x` to the power of 254, which is
/// 2 + 4 + … + 128.
pub(super) const fn inverse(x: u8) -> u8 {
    let (mut result, mut power) = (1, x);
    let mut i = 0;
    while i < 7 {
        power = multiply(power, power, AES_POLYNOMIAL);
        result = multiply(result, power, AES_POLYNOMIAL);
        i += 1;
    }
    result
}

fn carryless(a: u64, b: u64) -> u128 {
    (0..64)
        .filter(|i| b >> i & 1 == 1)
        .fold(0, |product, i| product ^ u128::from(a) << i)
}

/// Each byte, after `first`, times the 8×8 bit matrix in the same quadword of `b`, plus the
/// immediate (Intel SDM vol. 2, GF2P8AFFINEQB). Row 0 is the highest byte of the matrix.
fn affine(e: &Execution, a: &Vector, b: &Vector, first: fn(u8) -> u8) -> Vector {
    build(e.bytes, |i| {
        let x = first(a.lane(i));
        let rows = b.lane::<u64>(i / 8).to_be_bytes();
        let product = rows.iter().zip(0..).fold(0, |sum, (row, bit)| {
            sum | ((row & x).count_ones() as u8 & 1) << bit
        });
        product ^ e.imm
    })
}
