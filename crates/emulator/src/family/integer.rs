//! Addition, subtraction, absolute value, sign, average, minimum and maximum of integers.

use crate::execution::Execution;
use crate::operation::Operation::{Binary, Unary};
use crate::operation::{each_lane, lanewise, rows};
use crate::vector::{Lane, Vector, build};

rows! {
    Paddb, Vpaddb => lanewise!(u8::wrapping_add);
    Paddw, Vpaddw => lanewise!(u16::wrapping_add);
    Paddd, Vpaddd => lanewise!(u32::wrapping_add);
    Paddq, Vpaddq => lanewise!(u64::wrapping_add);
    Paddsb, Vpaddsb => lanewise!(i8::saturating_add);
    Paddsw, Vpaddsw => lanewise!(i16::saturating_add);
    Paddusb, Vpaddusb => lanewise!(u8::saturating_add);
    Paddusw, Vpaddusw => lanewise!(u16::saturating_add);

    Psubb, Vpsubb => lanewise!(u8::wrapping_sub);
    Psubw, Vpsubw => lanewise!(u16::wrapping_sub);
    Psubd, Vpsubd => lanewise!(u32::wrapping_sub);
    Psubq, Vpsubq => lanewise!(u64::wrapping_sub);
    Psubsb, Vpsubsb => lanewise!(i8::saturating_sub);
    Psubsw, Vpsubsw => lanewise!(i16::saturating_sub);
    Psubusb, Vpsubusb => lanewise!(u8::saturating_sub);
    Psubusw, Vpsubusw => lanewise!(u16::saturating_sub);

    Phaddw, Vphaddw => Binary(|e, a, b| horizontal(e, a, b, i16::wrapping_add));
    Phaddd, Vphaddd => Binary(|e, a, b| horizontal(e, a, b, i32::wrapping_add));
    Phaddsw, Vphaddsw => Binary(|e, a, b| horizontal(e, a, b, i16::saturating_add));
    Phsubw, Vphsubw => Binary(|e, a, b| horizontal(e, a, b, i16::wrapping_sub));
    Phsubd, Vphsubd => Binary(|e, a, b| horizontal(e, a, b, i32::wrapping_sub));
    Phsubsw, Vphsubsw => Binary(|e, a, b| horizontal(e, a, b, i16::saturating_sub));

    Pabsb, Vpabsb => each_lane!(i8::wrapping_abs);
    Pabsw, Vpabsw => each_lane!(i16::wrapping_abs);
    Pabsd, Vpabsd => each_lane!(i32::wrapping_abs);
    Psignb, Vpsignb => lanewise!(|a: i8, b: i8| a.wrapping_mul(b.signum()));
    Psignw, Vpsignw => lanewise!(|a: i16, b: i16| a.wrapping_mul(b.signum()));
    Psignd, Vpsignd => lanewise!(|a: i32, b: i32| a.wrapping_mul(b.signum()));

    Pavgb, Vpavgb => lanewise!(|a: u8, b: u8| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8);
    Pavgw, Vpavgw => lanewise!(|a: u16, b: u16| ((u32::from(a) + u32::from(b) + 1) >> 1) as u16);

    Pminsb, Vpminsb => lanewise!(<i8 as Ord>::min);
    Pminsw, Vpminsw => lanewise!(<i16 as Ord>::min);
    Pminsd, Vpminsd => lanewise!(<i32 as Ord>::min);
    Pminub, Vpminub => lanewise!(<u8 as Ord>::min);
    Pminuw, Vpminuw => lanewise!(<u16 as Ord>::min);
    Pminud, Vpminud => lanewise!(<u32 as Ord>::min);
    Pmaxsb, Vpmaxsb => lanewise!(<i8 as Ord>::max);
    Pmaxsw, Vpmaxsw => lanewise!(<i16 as Ord>::max);
    Pmaxsd, Vpmaxsd => lanewise!(<i32 as Ord>::max);
    Pmaxub, Vpmaxub => lanewise!(<u8 as Ord>::max);
    Pmaxuw, Vpmaxuw => lanewise!(<u16 as Ord>::max);
    Pmaxud, Vpmaxud => lanewise!(<u32 as Ord>::max);
    Phminposuw, Vphminposuw => Unary(|_, a| smallest_word(a));
}

/// In each block, `f` of the pairs of neighbours in `a`, then of those in `b`.
fn horizontal<T: Lane>(e: &Execution, a: &Vector, b: &Vector, f: impl Fn(T, T) -> T) -> Vector {
    let lanes = e.block() / T::BYTES;
    build(e.bytes, |i| {
        let (block, place) = (i / lanes * lanes, i % lanes);
        let (from, pair) = if place < lanes / 2 {
            (a, place)
        } else {
            (b, place - lanes / 2)
        };
        f(from.lane(block + 2 * pair), from.lane(block + 2 * pair + 1))
    })
}

/// The smallest of eight words and the index of its first occurrence.
fn smallest_word(a: &Vector) -> Vector {
    let (mut least, mut index) = (u16::MAX, 0);
    for i in (0..8).rev() {
        let word = a.lane(i);
        if word <= least {
            (least, index) = (word, i);
        }
    }
    Vector::from_lane(u32::from(least) | (index as u32) << 16)
}
