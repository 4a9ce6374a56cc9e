//! AES rounds and key schedule (FIPS 197; Intel SDM vol. 2, AESENC and its like).
//!
//! A block is sixteen bytes, column by column: byte `4 * column + row`.

use super::galois::{self, AES_POLYNOMIAL};
use crate::execution::Execution;
use crate::operation::Operation::{Binary, Unary};
use crate::operation::rows;
use crate::vector::{Vector, build};

rows! {
    Aesenc, Vaesenc => Binary(|e, a, key| round(e, a, key, &FORWARD, true));
    Aesenclast, Vaesenclast => Binary(|e, a, key| round(e, a, key, &FORWARD, false));
    Aesdec, Vaesdec => Binary(|e, a, key| round(e, a, key, &BACKWARD, true));
    Aesdeclast, Vaesdeclast => Binary(|e, a, key| round(e, a, key, &BACKWARD, false));
    Aesimc, Vaesimc => Unary(|_, a| build(16, |i| mix(&BACKWARD, i, |j| a.lane(j))));
    // Doublewords 1 and 3 substituted, and the same rotated with the round constant.
    Aeskeygenassist, Vaeskeygenassist => Unary(|e, a| build(16, |i| {
        let word = a.lane::<u32>(i / 2 * 2 + 1).to_le_bytes().map(|b| substitute(&S_BOX, b));
        let word = u32::from_le_bytes(word);
        if i % 2 == 0 { word } else { word.rotate_right(8) ^ u32::from(e.imm) }
    })
    .truncated(16));
}

/// What tells encryption from decryption.
struct Direction {
    substitution: &'static [u8; 256],
    /// By how many columns row 1 moves; row 2 moves by twice that, row 3 by three times.
    shift: usize,
    /// The first row of the matrix that mixes a column; each further row is rotated by one more.
    mix: [u8; 4],
}

const FORWARD: Direction = Direction {
    substitution: &S_BOX,
    shift: 1,
    mix: [2, 3, 1, 1],
};

const BACKWARD: Direction = Direction {
    substitution: &INVERSE_S_BOX,
    shift: 3,
    mix: [14, 11, 13, 9],
};

/// The substitution: the inverse in the field, then an affine map.
static S_BOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let x = galois::inverse(i as u8);
        table[i] =
            x ^ x.rotate_left(1) ^ x.rotate_left(2) ^ x.rotate_left(3) ^ x.rotate_left(4) ^ 0x63;
        i += 1;
    }
    table
};

static INVERSE_S_BOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[S_BOX[i] as usize] = i as u8;
        i += 1;
    }
    table
};

fn substitute(table: &[u8; 256], byte: u8) -> u8 {
    table.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Byte `i` of the mixed columns of the block that `byte` reads.
fn mix(direction: &Direction, i: usize, byte: impl Fn(usize) -> u8) -> u8 {
    let (column, row) = (i / 4 * 4, i % 4);
    let factors = direction.mix.iter().zip(0..);
    factors.fold(0, |sum, (&factor, k)| {
        sum ^ galois::multiply(factor, byte(column + (row + k) % 4), AES_POLYNOMIAL)
    })
}

/// Shift rows, substitute, mix columns unless it is the last round, add the key.
fn round(e: &Execution, a: &Vector, key: &Vector, direction: &Direction, mixes: bool) -> Vector {
    build(e.bytes, |i| {
        let (block, i) = (i / 16 * 16, i % 16);
        let moved = |i: usize| {
            let from = (i + 4 * direction.shift * (i % 4)) % 16;
            substitute(direction.substitution, a.lane(block + from))
        };
        let byte = if mixes {
            mix(direction, i, moved)
        } else {
            moved(i)
        };
        byte ^ key.lane::<u8>(block + i)
    })
}
