//! SHA-1 and SHA-256 (FIPS 180-4; Intel SDM vol. 2, SHA1RNDS4 and its like). Only legacy forms
//! exist; lane 3 holds the first word.

use crate::execution::Execution;
use crate::operation::Operation::{Binary, Select};
use crate::operation::rows;
use crate::vector::{Vector, build};

rows! {
    Sha1rnds4 => Binary(sha1_rounds);
    Sha1nexte => Binary(|_, a, b| {
        let mut result = *b;
        let e = a.lane::<u32>(3).rotate_left(30);
        result.set_lane(3, b.lane::<u32>(3).wrapping_add(e));
        result
    });
    Sha1msg1 => Binary(|_, a, b| build(16, |i| {
        // Words two places on; those beyond the first source come from the second.
        let next = if i < 2 { b.lane::<u32>(i + 2) } else { a.lane(i - 2) };
        a.lane::<u32>(i) ^ next
    }));
    Sha1msg2 => Binary(|_, a, b| {
        let word = |i: usize, w: u32| (a.lane::<u32>(i) ^ w).rotate_left(1);
        let w16 = word(3, b.lane(2));
        let w17 = word(2, b.lane(1));
        let w18 = word(1, b.lane(0));
        let w19 = word(0, w16);
        words([w19, w18, w17, w16])
    });
    Sha256rnds2 => Select(|_, a, b, wk| sha256_rounds(a, b, wk));
    Sha256msg1 => Binary(|_, a, b| build(16, |i| {
        let next = if i < 3 { a.lane::<u32>(i + 1) } else { b.lane(0) };
        let s0 = next.rotate_right(7) ^ next.rotate_right(18) ^ next >> 3;
        a.lane::<u32>(i).wrapping_add(s0)
    }));
    Sha256msg2 => Binary(|_, a, b| {
        let word = |i: usize, w: u32| {
            let s1 = w.rotate_right(17) ^ w.rotate_right(19) ^ w >> 10;
            a.lane::<u32>(i).wrapping_add(s1)
        };
        let w16 = word(0, b.lane(2));
        let w17 = word(1, b.lane(3));
        let w18 = word(2, w16);
        let w19 = word(3, w17);
        words([w16, w17, w18, w19])
    });
}

/// A vector of these lanes, lane 0 first.
fn words(lanes: [u32; 4]) -> Vector {
    build(16, |i| lanes.get(i).copied().unwrap_or(0))
}

/// The constants of the four groups of rounds.
const SHA1_K: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

fn choose(x: u32, y: u32, z: u32) -> u32 {
    (x & y) ^ (!x & z)
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    (x & y) ^ (x & z) ^ (y & z)
}

/// Four rounds; the second source holds message words, to the first of which E has been added.
fn sha1_rounds(execution: &mut Execution, abcd: &Vector, message: &Vector) -> Vector {
    let group = usize::from(execution.imm & 3);
    let k = SHA1_K.get(group).copied().unwrap_or(0);
    let [mut a, mut b, mut c, mut d] = [3, 2, 1, 0].map(|i| abcd.lane::<u32>(i));
    let mut e = 0;
    for i in (0..4).rev() {
        let f = match group {
            0 => choose(b, c, d),
            2 => majority(b, c, d),
            _ => b ^ c ^ d,
        };
        let next = f
            .wrapping_add(a.rotate_left(5))
            .wrapping_add(message.lane(i))
            .wrapping_add(e)
            .wrapping_add(k);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    words([d, c, b, a])
}

/// Two rounds; `cdgh` and `abef` hold the state, `wk` two message words plus constants.
fn sha256_rounds(cdgh: &Vector, abef: &Vector, wk: &Vector) -> Vector {
    let [mut a, mut b, mut e, mut f] = [3, 2, 1, 0].map(|i| abef.lane::<u32>(i));
    let [mut c, mut d, mut g, mut h] = [3, 2, 1, 0].map(|i| cdgh.lane::<u32>(i));
    for i in 0..2 {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t1 = h
            .wrapping_add(s1)
            .wrapping_add(choose(e, f, g))
            .wrapping_add(wk.lane(i));
        let t2 = s0.wrapping_add(majority(a, b, c));
        (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
        (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
    }
    words([f, e, b, a])
}
