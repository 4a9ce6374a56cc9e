//! Integer products and sums of products or differences.

use crate::execution::Execution;
use crate::operation::Operation::Binary;
use crate::operation::{lanewise, rows};
use crate::vector::{Vector, build};

rows! {
    Pmullw, Vpmullw => lanewise!(i16::wrapping_mul);
    Pmulld, Vpmulld => lanewise!(i32::wrapping_mul);
    Pmulhw, Vpmulhw => lanewise!(|a: i16, b: i16| ((i32::from(a) * i32::from(b)) >> 16) as i16);
    Pmulhuw, Vpmulhuw => lanewise!(|a: u16, b: u16| ((u32::from(a) * u32::from(b)) >> 16) as u16);
    Pmulhrsw, Vpmulhrsw => lanewise!(|a: i16, b: i16| {
        ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16
    });
    Pmuludq, Vpmuludq => lanewise!(|a: u64, b: u64| {
        (a & 0xffff_ffff).wrapping_mul(b & 0xffff_ffff)
    });
    Pmuldq, Vpmuldq => lanewise!(|a: u64, b: u64| {
        i64::from(a as i32).wrapping_mul(i64::from(b as i32))
    });
    Pmaddwd, Vpmaddwd => Binary(|e, a, b| build(e.bytes, |i| {
        let product = |i| i32::from(a.lane::<i16>(i)) * i32::from(b.lane::<i16>(i));
        product(2 * i).wrapping_add(product(2 * i + 1))
    }));
    Pmaddubsw, Vpmaddubsw => Binary(|e, a, b| build(e.bytes, |i| {
        let product = |i| i32::from(a.lane::<u8>(i)) * i32::from(b.lane::<i8>(i));
        (product(2 * i) + product(2 * i + 1)).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }));
    Psadbw, Vpsadbw => Binary(|e, a, b| build(e.bytes, |i| {
        (8 * i..8 * i + 8)
            .map(|j| u64::from(a.lane::<u8>(j).abs_diff(b.lane(j))))
            .sum::<u64>()
    }));
    Mpsadbw, Vmpsadbw => Binary(|e, a, b| sliding_differences(e, a, b));
}

/// For each of eight offsets, the sum of differences between four bytes of `a` from there on and
/// four bytes of `b`. Bits 0–2 of the immediate place them in the low 128 bits, 3–5 in the high.
fn sliding_differences(e: &Execution, a: &Vector, b: &Vector) -> Vector {
    build(e.bytes, |i| {
        let (block, offset) = (i / 8 * 16, i % 8);
        let select = usize::from(e.imm) >> (i / 8 * 3);
        let first = block + (select >> 2 & 1) * 4 + offset;
        let second = block + (select & 3) * 4;
        (0..4)
            .map(|j| u16::from(a.lane::<u8>(first + j).abs_diff(b.lane(second + j))))
            .sum::<u16>()
    })
}
