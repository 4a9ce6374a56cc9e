//! Dot products accumulated into doublewords: AVX-VNNI.

use crate::operation::Operation::Ternary;
use crate::operation::rows;
use crate::vector::{Vector, build};

rows! {
    Vpdpbusd => Ternary(|e, sum, a, b| build(e.bytes, |i| {
        sum.lane::<i32>(i).wrapping_add(bytes(a, b, i))
    }));
    Vpdpbusds => Ternary(|e, sum, a, b| build(e.bytes, |i| {
        sum.lane::<i32>(i).saturating_add(bytes(a, b, i))
    }));
    Vpdpwssd => Ternary(|e, sum, a, b| build(e.bytes, |i| {
        i64::from(sum.lane::<i32>(i)).wrapping_add(words(a, b, i)) as i32
    }));
    Vpdpwssds => Ternary(|e, sum, a, b| build(e.bytes, |i| {
        let sum = i64::from(sum.lane::<i32>(i)).wrapping_add(words(a, b, i));
        sum.clamp(i32::MIN.into(), i32::MAX.into()) as i32
    }));
}

/// Four unsigned bytes of `a` times four signed ones of `b`.
fn bytes(a: &Vector, b: &Vector, i: usize) -> i32 {
    (4 * i..4 * i + 4)
        .map(|j| i32::from(a.lane::<u8>(j)) * i32::from(b.lane::<i8>(j)))
        .sum()
}

/// Two signed words of `a` times two of `b`; the sum needs 33 bits.
fn words(a: &Vector, b: &Vector, i: usize) -> i64 {
    (2 * i..2 * i + 2)
        .map(|j| i64::from(a.lane::<i16>(j)) * i64::from(b.lane::<i16>(j)))
        .sum()
}
