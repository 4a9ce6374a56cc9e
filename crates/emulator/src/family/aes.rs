//! AES rounds and key schedule (FIPS 197; Intel SDM vol. 2, AESENC and its like).
//!
//! A block is sixteen bytes, column by column: byte `4 * column + row`. Programs rely on these
//! instructions to take the same time whatever key and text are; so there are no tables here, which
//! the caches would tell about, but the arithmetic that the tables come from.

use super::galois::{self, AES_POLYNOMIAL, Bytes};
use crate::execution::Execution;
use crate::operation::Operation::{Binary, Unary};
use crate::operation::rows;
use crate::vector::{Vector, build, zip};

rows! {
    Aesenc, Vaesenc => Binary(|e, a, key| round(e, a, key, &FORWARD, true));
    Aesenclast, Vaesenclast => Binary(|e, a, key| round(e, a, key, &FORWARD, false));
    Aesdec, Vaesdec => Binary(|e, a, key| round(e, a, key, &BACKWARD, true));
    Aesdeclast, Vaesdeclast => Binary(|e, a, key| round(e, a, key, &BACKWARD, false));
    Aesimc, Vaesimc => Unary(|_, a| galois::each_block(16, a, |block| mix(&BACKWARD, block)));
    // Doublewords 1 and 3 substituted, and the same rotated with the round constant.
    Aeskeygenassist, Vaeskeygenassist => Unary(|e, a| {
        let substituted = galois::each_block(16, a, substitute);
        build(16, |i| {
            let word = substituted.lane::<u32>(i / 2 * 2 + 1);
            if i % 2 == 0 { word } else { word.rotate_right(8) ^ u32::from(e.imm) }
        })
    });
}

/// What tells encryption from decryption.
struct Direction {
    substitute: fn(&Bytes) -> Bytes,
    /// By how many columns row 1 moves; row 2 moves by twice that, row 3 by three times.
    shift: usize,
    /// The first row of the matrix that mixes a column; each further row is rotated by one more.
    mix: [u8; 4],
}

const FORWARD: Direction = Direction {
    substitute,
    shift: 1,
    mix: [2, 3, 1, 1],
};

const BACKWARD: Direction = Direction {
    substitute: substitute_back,
    shift: 3,
    mix: [14, 11, 13, 9],
};

/// The inverse in the field, then an affine map.
fn substitute(x: &Bytes) -> Bytes {
    galois::inverse(x, AES_POLYNOMIAL).map(|x| {
        x ^ x.rotate_left(1) ^ x.rotate_left(2) ^ x.rotate_left(3) ^ x.rotate_left(4) ^ 0x63
    })
}

/// The other way round.
fn substitute_back(x: &Bytes) -> Bytes {
    let affine = x.map(|x| x.rotate_left(1) ^ x.rotate_left(3) ^ x.rotate_left(6) ^ 0x05);
    galois::inverse(&affine, AES_POLYNOMIAL)
}

/// Each column of a block times the matrix.
fn mix(direction: &Direction, block: &Bytes) -> Bytes {
    let mut sum = [0; 16];
    for (&factor, k) in direction.mix.iter().zip(0..) {
        // Row r takes row r + k of its column, times this factor.
        let turned = core::array::from_fn(|i| at(block, i / 4 * 4 + (i + k) % 4));
        let products = galois::multiply(&turned, &[factor; 16], AES_POLYNOMIAL);
        sum.iter_mut().zip(products).for_each(|(sum, x)| *sum ^= x);
    }
    sum
}

fn at(block: &Bytes, i: usize) -> u8 {
    block.get(i).copied().unwrap_or(0)
}

/// Shift rows, substitute, mix columns unless it is the last round, add the key.
fn round(e: &Execution, a: &Vector, key: &Vector, direction: &Direction, mixes: bool) -> Vector {
    let unkeyed = galois::each_block(e.bytes, a, |block| {
        let moved = core::array::from_fn(|i| at(block, (i + 4 * direction.shift * (i % 4)) % 16));
        let substituted = (direction.substitute)(&moved);
        if mixes {
            mix(direction, &substituted)
        } else {
            substituted
        }
    });
    zip(e.bytes, &unkeyed, key, |x: u128, key: u128| x ^ key)
}
