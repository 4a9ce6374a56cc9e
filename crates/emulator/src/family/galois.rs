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
    Gf2p8mulb, Vgf2p8mulb => lanewise!(|a: u128, b: u128| {
        u128::from_le_bytes(multiply(&a.to_le_bytes(), &b.to_le_bytes(), AES_POLYNOMIAL))
    });
    Gf2p8affineqb, Vgf2p8affineqb => Binary(affine);
    Gf2p8affineinvqb, Vgf2p8affineinvqb => Binary(|e, a, b| {
        affine(e, &each_block(e.bytes, a, |x| inverse(x, AES_POLYNOMIAL)), b)
    });
}

/// x^8 + x^4 + x^3 + x + 1
pub(super) const AES_POLYNOMIAL: u16 = 0x11b;

/// Bytes that are computed with side by side.
pub(super) type Bytes = [u8; 16];

/// The products of bytes modulo `polynomial`, in the same time for all: keys go through here.
#[inline]
pub(super) fn multiply(a: &Bytes, b: &Bytes, polynomial: u16) -> Bytes {
    // All ones where the highest bit is set, else zero.
    let mask = |x: u8| (x as i8 >> 7) as u8;
    let (mut product, mut b) = ([0u8; 16], *b);
    for _ in 0..8 {
        for ((p, b), a) in product.iter_mut().zip(&mut b).zip(a) {
            *p = *p << 1 ^ polynomial as u8 & mask(*p) ^ a & mask(*b);
            *b <<= 1;
        }
    }
    product
}

/// The bytes whose products with those of `x` are one, or zero for zero: `x` to the power of 254.
pub(super) fn inverse(x: &Bytes, polynomial: u16) -> Bytes {
    let by = |a: &Bytes, b: &Bytes| multiply(a, b, polynomial);
    let square = |a: Bytes| by(&a, &a);
    let x2 = square(*x);
    let x3 = by(&x2, x);
    let x12 = square(square(x3));
    let x15 = by(&x12, &x3);
    let x240 = square(square(square(square(x15))));
    by(&by(&x240, &x12), &x2)
}

/// The blocks of 16 bytes of `a`, each put through `f`.
pub(super) fn each_block(bytes: usize, a: &Vector, f: impl Fn(&Bytes) -> Bytes) -> Vector {
    build(bytes, |i| {
        let block: u128 = a.lane(i);
        u128::from_le_bytes(f(&block.to_le_bytes()))
    })
}

/// In the same time for all: keys go through here.
fn carryless(a: u64, b: u64) -> u128 {
    let (mut low, mut high) = (0, 0);
    for i in 0..64 {
        let selected = a & 0u64.wrapping_sub(b >> i & 1);
        low ^= selected << i;
        // Twice, for a shift by 64 is none.
        high ^= selected >> 1 >> (63 - i);
    }
    u128::from(high) << 64 | u128::from(low)
}

/// Each byte times the 8×8 bit matrix in the same quadword of `b`, plus the
/// immediate (Intel SDM vol. 2, GF2P8AFFINEQB). Row 0 is the highest byte of the matrix.
fn affine(e: &mut Execution, a: &Vector, b: &Vector) -> Vector {
    build(e.bytes, |i| {
        let x: u8 = a.lane(i);
        let rows = b.lane::<u64>(i / 8).to_be_bytes();
        let product = rows.iter().zip(0..).fold(0, |sum, (row, bit)| {
            sum | ((row & x).count_ones() as u8 & 1) << bit
        });
        product ^ e.imm
    })
}
