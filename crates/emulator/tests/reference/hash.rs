//! SHA-512, SM3 and SM4, as the standards describe them: states of named words, and the S-box of
//! SM4 by its algebra.

use crate::lanes::{bytes, unsigned};
use crate::{Input, Output};
use iced_x86::Mnemonic;

fn quadwords(bytes: &[u8]) -> Vec<u64> {
    unsigned(bytes, 8).into_iter().map(|x| x as u64).collect()
}

fn doublewords(bytes: &[u8]) -> Vec<u32> {
    unsigned(bytes, 4).into_iter().map(|x| x as u32).collect()
}

fn of<T: Into<i128>>(words: impl IntoIterator<Item = T>, size: usize) -> Output {
    let words: Vec<i128> = words.into_iter().map(Into::into).collect();
    bytes(&words, size).into()
}

/// ROTR of FIPS 180-4, 3.2.
fn right(x: u64, places: u32) -> u64 {
    // A second copy above the first makes the rotation a shift.
    let twice = u128::from(x) << 64 | u128::from(x);
    (twice >> places) as u64
}

pub(crate) fn sha512(input: &Input) -> Output {
    let first = quadwords(&input.operands[0]);
    let second = quadwords(&input.operands[1]);
    match input.mnemonic {
        Mnemonic::Vsha512msg1 => {
            // Words 0 to 4 of the schedule.
            let w = [&first[..], &second[..1]].concat();
            of(
                (0..4).map(|t| {
                    let x = w[t + 1];
                    w[t].wrapping_add(right(x, 1) ^ right(x, 8) ^ x >> 7)
                }),
                8,
            )
        }
        Mnemonic::Vsha512msg2 => {
            // Words 14 and 15 in front, then those that become 16 to 19.
            let mut w = vec![second[2], second[3]];
            for partial in first {
                let x = w[w.len() - 2];
                w.push(partial.wrapping_add(right(x, 19) ^ right(x, 61) ^ x >> 6));
            }
            of(w.into_iter().skip(2), 8)
        }
        _ => {
            let wk = quadwords(&input.operands[2]);
            // a, b, c, d, e, f, g, h of FIPS 180-4, 6.4.2.
            let mut s = [
                second[3], second[2], first[3], first[2], second[1], second[0], first[1], first[0],
            ];
            for &wk in &wk[..2] {
                let [a, b, c, d, e, f, g, h] = s;
                let sum1 = right(e, 14) ^ right(e, 18) ^ right(e, 41);
                let sum0 = right(a, 28) ^ right(a, 34) ^ right(a, 39);
                let ch = (e & f) | (!e & g);
                let maj = (a & b) | (c & (a | b));
                let t1 = [h, sum1, ch, wk].into_iter().fold(0, u64::wrapping_add);
                let t2 = sum0.wrapping_add(maj);
                s = [t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g];
            }
            of([s[5], s[4], s[1], s[0]], 8)
        }
    }
}

/// <<< of GB/T 32905, 3.
fn left(x: u32, places: u32) -> u32 {
    let twice = u64::from(x) << 32 | u64::from(x);
    (twice >> (32 - places % 32)) as u32
}

fn p0(x: u32) -> u32 {
    x ^ left(x, 9) ^ left(x, 17)
}

fn p1(x: u32) -> u32 {
    x ^ left(x, 15) ^ left(x, 23)
}

pub(crate) fn sm3(input: &Input) -> Output {
    let [first, second, third] = [0, 1, 2].map(|i| doublewords(&input.operands[i]));
    match input.mnemonic {
        Mnemonic::Vsm3msg1 => of(
            (0..4).map(|i| {
                // W[j-16], W[j-9] and W[j-3], of which the last is not there for j = 19.
                let last = [second[0], second[1], second[2], 0][i];
                p1(third[i] ^ first[i] ^ left(last, 15))
            }),
            4,
        ),
        Mnemonic::Vsm3msg2 => {
            let mut w: Vec<u32> = (0..4)
                .map(|i| first[i] ^ left(second[i], 7) ^ third[i])
                .collect();
            // P1 of W[16] <<< 15, written out as the manual does.
            w[3] ^= left(w[0], 6) ^ left(w[0], 15) ^ left(w[0], 30);
            of(w, 4)
        }
        _ => {
            let round = input.immediate & 0x3e;
            let mut s = [
                second[3],
                second[2],
                left(first[3], 9),
                left(first[2], 9),
                second[1],
                second[0],
                left(first[1], 19),
                left(first[0], 19),
            ];
            for i in 0..2u32 {
                let [a, b, c, d, e, f, g, h] = s;
                let j = round + i;
                let t: u32 = if j < 16 { 0x79cc_4519 } else { 0x7a87_9d8a };
                let ff = if j < 16 {
                    a ^ b ^ c
                } else {
                    (a & b) | (a & c) | (b & c)
                };
                let gg = if j < 16 {
                    e ^ f ^ g
                } else {
                    (e & f) | (!e & g)
                };
                let (w, w4) = (third[i as usize], third[i as usize + 2]);
                let ss1 = left(left(a, 12).wrapping_add(e).wrapping_add(left(t, j)), 7);
                let ss2 = ss1 ^ left(a, 12);
                let tt1 = [ff, d, ss2, w ^ w4].into_iter().fold(0, u32::wrapping_add);
                let tt2 = [gg, h, ss1, w].into_iter().fold(0, u32::wrapping_add);
                s = [tt1, a, left(b, 9), c, p0(tt2), e, left(f, 19), g];
            }
            of([s[5], s[4], s[1], s[0]], 4)
        }
    }
}

/// Product in GF(2^8) modulo x^8 + x^7 + x^6 + x^5 + x^4 + x^2 + 1.
fn times(a: u8, b: u8) -> u8 {
    let mut product = 0u16;
    for i in 0..8 {
        if b >> i & 1 == 1 {
            product ^= u16::from(a) << i;
        }
    }
    for i in (8..16).rev() {
        if product >> i & 1 == 1 {
            product ^= 0x1f5 << (i - 8);
        }
    }
    product as u8
}

/// The S-box: an affine map, the inverse, and the same map again.
fn substitute(x: u8) -> u8 {
    let affine = |x: u8| {
        let mut y = 0;
        for i in 0..8 {
            // The rows of the matrix are rotations of 1101 0011.
            let row = 0xa7u8.rotate_left(i);
            y |= ((x & row).count_ones() as u8 & 1) << i;
        }
        y ^ 0xd3
    };
    let x = affine(x);
    let inverse = (0..=255).find(|&y| times(x, y) == 1).unwrap_or(0);
    affine(inverse)
}

pub(crate) fn sm4(input: &Input) -> Output {
    let table: Vec<u8> = (0..=255).map(substitute).collect();
    let (x, keys) = (
        doublewords(&input.operands[1]),
        doublewords(&input.operands[2]),
    );
    let shifts: &[u32] = if input.mnemonic == Mnemonic::Vsm4key4 {
        &[0, 13, 23]
    } else {
        &[0, 2, 10, 18, 24]
    };
    let mut result = Vec::new();
    for (x, keys) in x.chunks(4).zip(keys.chunks(4)) {
        let mut x = x.to_vec();
        for &key in keys {
            let i = x.len() - 4;
            let mixed = x[i + 1] ^ x[i + 2] ^ x[i + 3] ^ key;
            let b = (0..4).fold(0, |b, n| {
                b | u32::from(table[(mixed >> (8 * n) & 255) as usize]) << (8 * n)
            });
            let linear = shifts.iter().fold(0, |sum, &n| sum ^ left(b, n));
            x.push(x[i] ^ linear);
        }
        result.extend_from_slice(&x[4..]);
    }
    of(result, 4)
}
