//! SHA-512 (FIPS 180-4; Intel SDM vol. 2, VSHA512RNDS2 and its like); lane 3 holds the first word
//! of a state, lane 0 that of a message.

use crate::operation::Operation::Ternary;
use crate::operation::rows;
use crate::vector::{Vector, build};

rows! {
    Vsha512msg1 => Ternary(|_, w, next, _| build(32, |i| {
        let following = if i < 3 { w.lane::<u64>(i + 1) } else { next.lane(0) };
        let s0 = following.rotate_right(1) ^ following.rotate_right(8) ^ following >> 7;
        w.lane::<u64>(i).wrapping_add(s0)
    }));
    Vsha512msg2 => Ternary(|_, w, last, _| {
        let word = |i: usize, w14: u64| {
            let s1 = w14.rotate_right(19) ^ w14.rotate_right(61) ^ w14 >> 6;
            w.lane::<u64>(i).wrapping_add(s1)
        };
        let w16 = word(0, last.lane(2));
        let w17 = word(1, last.lane(3));
        let w18 = word(2, w16);
        let w19 = word(3, w17);
        words([w16, w17, w18, w19])
    });
    Vsha512rnds2 => Ternary(|_, cdgh, abef, wk| rounds(cdgh, abef, wk));
}

/// A vector of these lanes, lane 0 first.
fn words(lanes: [u64; 4]) -> Vector {
    build(32, |i| lanes.get(i).copied().unwrap_or(0))
}

/// Two rounds; `cdgh` and `abef` hold the state, `wk` two message words plus constants.
fn rounds(cdgh: &Vector, abef: &Vector, wk: &Vector) -> Vector {
    let [mut a, mut b, mut e, mut f] = [3, 2, 1, 0].map(|i| abef.lane::<u64>(i));
    let [mut c, mut d, mut g, mut h] = [3, 2, 1, 0].map(|i| cdgh.lane::<u64>(i));
    for i in 0..2 {
        let s1 = e.rotate_right(14) ^ e.rotate_right(18) ^ e.rotate_right(41);
        let s0 = a.rotate_right(28) ^ a.rotate_right(34) ^ a.rotate_right(39);
        let choice = (e & f) ^ (!e & g);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let t1 = h
            .wrapping_add(s1)
            .wrapping_add(choice)
            .wrapping_add(wk.lane(i));
        let t2 = s0.wrapping_add(majority);
        (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
        (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
    }
    words([f, e, b, a])
}
