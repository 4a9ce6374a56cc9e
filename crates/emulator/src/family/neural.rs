//! Dot products accumulated into doublewords, AVX-VNNI and its INT8 and INT16 extensions, and
//! 52-bit products accumulated into quadwords, AVX-IFMA.

use crate::operation::Operation::Ternary;
use crate::operation::rows;
use crate::vector::{Vector, build};

/// The sum of a doubleword of type `$sum` and the `$count` products of the lanes, types `$a` and
/// `$b`, that lie in its place; `$finish` makes it fit.
macro_rules! dot_product {
    ($count:literal, $a:ty, $b:ty, $sum:ty, $finish:path) => {
        Ternary(|e, sum, a, b| {
            build(e.bytes, |i| {
                // Four products at most: far from the limits of 64 bits.
                let products = ($count * i..$count * (i + 1))
                    .map(|j| i64::from(a.lane::<$a>(j)) * i64::from(b.lane::<$b>(j)))
                    .sum::<i64>();
                $finish(i64::from(sum.lane::<$sum>(i)) + products) as $sum
            })
        })
    };
}

rows! {
    Vpdpbusd => dot_product!(4, u8, i8, i32, wrapping);
    Vpdpbusds => dot_product!(4, u8, i8, i32, signed);
    Vpdpbssd => dot_product!(4, i8, i8, i32, wrapping);
    Vpdpbssds => dot_product!(4, i8, i8, i32, signed);
    Vpdpbsud => dot_product!(4, i8, u8, i32, wrapping);
    Vpdpbsuds => dot_product!(4, i8, u8, i32, signed);
    Vpdpbuud => dot_product!(4, u8, u8, u32, wrapping);
    Vpdpbuuds => dot_product!(4, u8, u8, u32, unsigned);

    Vpdpwssd => dot_product!(2, i16, i16, i32, wrapping);
    Vpdpwssds => dot_product!(2, i16, i16, i32, signed);
    Vpdpwsud => dot_product!(2, i16, u16, i32, wrapping);
    Vpdpwsuds => dot_product!(2, i16, u16, i32, signed);
    Vpdpwusd => dot_product!(2, u16, i16, i32, wrapping);
    Vpdpwusds => dot_product!(2, u16, i16, i32, signed);
    Vpdpwuud => dot_product!(2, u16, u16, u32, wrapping);
    Vpdpwuuds => dot_product!(2, u16, u16, u32, unsigned);

    Vpmadd52luq => Ternary(|e, sum, a, b| build(e.bytes, |i| {
        sum.lane::<u64>(i).wrapping_add(product_52(a, b, i) as u64 & LOW_52)
    }));
    Vpmadd52huq => Ternary(|e, sum, a, b| build(e.bytes, |i| {
        sum.lane::<u64>(i).wrapping_add((product_52(a, b, i) >> 52) as u64)
    }));
}

fn wrapping(sum: i64) -> i64 {
    sum
}

fn signed(sum: i64) -> i64 {
    sum.clamp(i32::MIN.into(), i32::MAX.into())
}

fn unsigned(sum: i64) -> i64 {
    sum.clamp(0, u32::MAX.into())
}

const LOW_52: u64 = (1 << 52) - 1;

/// The product, of 104 bits, of the low 52 bits of both lanes.
fn product_52(a: &Vector, b: &Vector, i: usize) -> u128 {
    let low = |v: &Vector| u128::from(v.lane::<u64>(i) & LOW_52);
    low(a).wrapping_mul(low(b))
}
