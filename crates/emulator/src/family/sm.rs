//! The Chinese standard hash SM3 (GB/T 32905) and cipher SM4 (GB/T 32907); Intel SDM vol. 2,
//! VSM3RNDS2, VSM4RNDS4 and their like.

use super::galois;
use crate::execution::Execution;
use crate::operation::Operation::{Binary, Ternary};
use crate::operation::rows;
use crate::vector::{Vector, build};

rows! {
    // Words 16–19 of the message without the parts that words 16–18 themselves and 3–6 give.
    Vsm3msg1 => Ternary(|_, w7, w13, w0| build(16, |i| {
        // Word 16, which the fourth would need, is not known yet.
        let w13 = if i < 3 { w13.lane::<u32>(i) } else { 0 };
        p1(w7.lane::<u32>(i) ^ w0.lane::<u32>(i) ^ w13.rotate_left(15))
    }));
    Vsm3msg2 => Ternary(|_, part, w3, w10| {
        let word = |i| part.lane::<u32>(i) ^ w3.lane::<u32>(i).rotate_left(7) ^ w10.lane::<u32>(i);
        let w16: u32 = word(0);
        words([w16, word(1), word(2), word(3) ^ p1(w16.rotate_left(15))])
    });
    Vsm3rnds2 => Ternary(sm3_rounds);

    Vsm4key4 => Binary(|e, x, keys| sm4_rounds(e, x, keys, |b| {
        b ^ b.rotate_left(13) ^ b.rotate_left(23)
    }));
    Vsm4rnds4 => Binary(|e, x, keys| sm4_rounds(e, x, keys, |b| {
        b ^ b.rotate_left(2) ^ b.rotate_left(10) ^ b.rotate_left(18) ^ b.rotate_left(24)
    }));
}

/// A vector of these lanes, lane 0 first.
fn words(lanes: [u32; 4]) -> Vector {
    build(16, |i| lanes.get(i).copied().unwrap_or(0))
}

/// Permutation of the message expansion.
fn p1(x: u32) -> u32 {
    x ^ x.rotate_left(15) ^ x.rotate_left(23)
}

/// Two rounds, of which the immediate gives the number of the first. C, D, G and H come as they
/// were two rounds before, not yet rotated; the third operand has the message words of both
/// rounds and those four places on.
fn sm3_rounds(execution: &mut Execution, cdgh: &Vector, abef: &Vector, message: &Vector) -> Vector {
    let round = u32::from(execution.imm & 0x3e);
    let [mut a, mut b, mut e, mut f] = [3, 2, 1, 0].map(|i| abef.lane::<u32>(i));
    let [c, d, g, h] = [3, 2, 1, 0].map(|i| cdgh.lane::<u32>(i));
    let (mut c, mut d) = (c.rotate_left(9), d.rotate_left(9));
    let (mut g, mut h) = (g.rotate_left(19), h.rotate_left(19));
    let early = round < 16;
    let constant: u32 = if early { 0x79cc_4519 } else { 0x7a87_9d8a };
    for i in 0..2 {
        let w: u32 = message.lane(i);
        let w_prime = w ^ message.lane::<u32>(i + 2);
        let ff = if early {
            a ^ b ^ c
        } else {
            a & b | a & c | b & c
        };
        let gg = if early { e ^ f ^ g } else { e & f | !e & g };
        let ss1 = a
            .rotate_left(12)
            .wrapping_add(e)
            .wrapping_add(constant.rotate_left(round.wrapping_add(i as u32)))
            .rotate_left(7);
        let ss2 = ss1 ^ a.rotate_left(12);
        let t1 = ff.wrapping_add(d).wrapping_add(ss2).wrapping_add(w_prime);
        let t2 = gg.wrapping_add(h).wrapping_add(ss1).wrapping_add(w);
        (d, c, b, a) = (c, b.rotate_left(9), a, t1);
        (h, g, f, e) = (
            g,
            f.rotate_left(19),
            e,
            t2 ^ t2.rotate_left(9) ^ t2.rotate_left(17),
        );
    }
    words([f, e, b, a])
}

/// In each 128 bits, four rounds with the four keys: `linear` after the S-box.
fn sm4_rounds(e: &Execution, x: &Vector, keys: &Vector, linear: fn(u32) -> u32) -> Vector {
    let mut result = Vector::ZERO;
    for block in (0..e.bytes / 4).step_by(4) {
        let mut state = [0, 1, 2, 3].map(|i| x.lane::<u32>(block + i));
        for i in 0..4 {
            let [x0, x1, x2, x3] = state;
            let substituted = substitute(x1 ^ x2 ^ x3 ^ keys.lane::<u32>(block + i));
            state = [x1, x2, x3, x0 ^ linear(substituted)];
        }
        for (i, word) in state.into_iter().enumerate() {
            result.set_lane(block + i, word);
        }
    }
    result
}

/// The S-box (GB/T 32907-2016, 6.2) on each byte, computed in the same time for all: an affine map,
/// the inverse in a field, the same affine map (Liu et al., *Analysis of the SMS4 Block Cipher*,
/// 2007).
fn substitute(x: u32) -> u32 {
    /// x^8 + x^7 + x^6 + x^5 + x^4 + x^2 + 1
    const POLYNOMIAL: u16 = 0x1f5;
    let affine = |x: u8| {
        x ^ x.rotate_left(1) ^ x.rotate_left(3) ^ x.rotate_left(6) ^ x.rotate_left(7) ^ 0xd3
    };
    let bytes = u128::from(x).to_le_bytes().map(affine);
    let inverse = galois::inverse(&bytes, POLYNOMIAL).map(affine);
    u128::from_le_bytes(inverse) as u32
}
