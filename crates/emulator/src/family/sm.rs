//! The Chinese standard hash SM3 (GB/T 32905) and cipher SM4 (GB/T 32907); Intel SDM vol. 2,
//! VSM3RNDS2, VSM4RNDS4 and their like.

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
            let substituted = (x1 ^ x2 ^ x3 ^ keys.lane::<u32>(block + i))
                .to_le_bytes()
                .map(|byte| SM4_BOX.get(usize::from(byte)).copied().unwrap_or(0));
            state = [x1, x2, x3, x0 ^ linear(u32::from_le_bytes(substituted))];
        }
        for (i, word) in state.into_iter().enumerate() {
            result.set_lane(block + i, word);
        }
    }
    result
}

/// The S-box (GB/T 32907-2016, 6.2).
#[rustfmt::skip]
const SM4_BOX: [u8; 256] = [
    0xd6, 0x90, 0xe9, 0xfe, 0xcc, 0xe1, 0x3d, 0xb7, 0x16, 0xb6, 0x14, 0xc2, 0x28, 0xfb, 0x2c, 0x05,
    0x2b, 0x67, 0x9a, 0x76, 0x2a, 0xbe, 0x04, 0xc3, 0xaa, 0x44, 0x13, 0x26, 0x49, 0x86, 0x06, 0x99,
    0x9c, 0x42, 0x50, 0xf4, 0x91, 0xef, 0x98, 0x7a, 0x33, 0x54, 0x0b, 0x43, 0xed, 0xcf, 0xac, 0x62,
    0xe4, 0xb3, 0x1c, 0xa9, 0xc9, 0x08, 0xe8, 0x95, 0x80, 0xdf, 0x94, 0xfa, 0x75, 0x8f, 0x3f, 0xa6,
    0x47, 0x07, 0xa7, 0xfc, 0xf3, 0x73, 0x17, 0xba, 0x83, 0x59, 0x3c, 0x19, 0xe6, 0x85, 0x4f, 0xa8,
    0x68, 0x6b, 0x81, 0xb2, 0x71, 0x64, 0xda, 0x8b, 0xf8, 0xeb, 0x0f, 0x4b, 0x70, 0x56, 0x9d, 0x35,
    0x1e, 0x24, 0x0e, 0x5e, 0x63, 0x58, 0xd1, 0xa2, 0x25, 0x22, 0x7c, 0x3b, 0x01, 0x21, 0x78, 0x87,
    0xd4, 0x00, 0x46, 0x57, 0x9f, 0xd3, 0x27, 0x52, 0x4c, 0x36, 0x02, 0xe7, 0xa0, 0xc4, 0xc8, 0x9e,
    0xea, 0xbf, 0x8a, 0xd2, 0x40, 0xc7, 0x38, 0xb5, 0xa3, 0xf7, 0xf2, 0xce, 0xf9, 0x61, 0x15, 0xa1,
    0xe0, 0xae, 0x5d, 0xa4, 0x9b, 0x34, 0x1a, 0x55, 0xad, 0x93, 0x32, 0x30, 0xf5, 0x8c, 0xb1, 0xe3,
    0x1d, 0xf6, 0xe2, 0x2e, 0x82, 0x66, 0xca, 0x60, 0xc0, 0x29, 0x23, 0xab, 0x0d, 0x53, 0x4e, 0x6f,
    0xd5, 0xdb, 0x37, 0x45, 0xde, 0xfd, 0x8e, 0x2f, 0x03, 0xff, 0x6a, 0x72, 0x6d, 0x6c, 0x5b, 0x51,
    0x8d, 0x1b, 0xaf, 0x92, 0xbb, 0xdd, 0xbc, 0x7f, 0x11, 0xd9, 0x5c, 0x41, 0x1f, 0x10, 0x5a, 0xd8,
    0x0a, 0xc1, 0x31, 0x88, 0xa5, 0xcd, 0x7b, 0xbd, 0x2d, 0x74, 0xd0, 0x12, 0xb8, 0xe5, 0xb4, 0xb0,
    0x89, 0x69, 0x97, 0x4a, 0x0c, 0x96, 0x77, 0x7e, 0x65, 0xb9, 0xf1, 0x09, 0xc5, 0x6e, 0xc6, 0x84,
    0x18, 0xf0, 0x7d, 0xec, 0x3a, 0xdc, 0x4d, 0x20, 0x79, 0xee, 0x5f, 0x3e, 0xd7, 0xcb, 0x39, 0x48,
];
