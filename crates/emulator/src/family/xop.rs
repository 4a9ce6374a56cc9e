//! AMD's XOP (AMD APM vol. 4).

use crate::context::Context;
use crate::execution::Execution;
use crate::fault::Fault;
use crate::float::{self, F32, F64, Format};
use crate::operation::Operation::{Binary, Select, Special, Unary};
use crate::operation::rows;
use crate::vector::{Lane, Vector, build, zip};
use iced_x86::OpKind;

/// Compares each pair of lanes of type `$t` as the immediate says.
macro_rules! compare {
    ($t:ty, $unsigned:ty) => {
        Binary(|e, a, b| {
            let imm = e.imm;
            zip(e.bytes, a, b, |a: $t, b: $t| {
                if holds(imm, a, b) {
                    <$unsigned>::MAX
                } else {
                    0
                }
            })
        })
    };
}

/// The sum of as many neighbouring lanes of type `$from` as a lane of type `$to` has room for.
macro_rules! add_neighbours {
    ($from:ty => $to:ty) => {
        Unary(|e, a| {
            let count = <$to>::BYTES / <$from>::BYTES;
            build(e.bytes, |i| {
                (i * count..(i + 1) * count)
                    .map(|j| <$to>::from(a.lane::<$from>(j)))
                    .sum::<$to>()
            })
        })
    };
}

/// The even minus the odd one of two neighbouring lanes.
macro_rules! subtract_neighbours {
    ($from:ty => $to:ty) => {
        Unary(|e, a| {
            build(e.bytes, |i| {
                let lane = |j| <$to>::from(a.lane::<$from>(j));
                lane(2 * i).wrapping_sub(lane(2 * i + 1))
            })
        })
    };
}

/// Multiplies a lane of type `$from`, number `$step * i + $first`, and adds lane `i` of type `$to`
/// by `$add`.
macro_rules! multiply_add {
    ($from:ty, $step:literal, $first:literal, $to:ty, $wide:ty, $finish:path) => {
        Select(|e, a, b, c| {
            build(e.bytes, |i| {
                let lane = |v: &Vector| <$wide>::from(v.lane::<$from>($step * i + $first));
                let sum = lane(a)
                    .wrapping_mul(lane(b))
                    .wrapping_add(c.lane::<$to>(i).into());
                $finish(sum) as $to
            })
        })
    };
}

/// Two products of words and a doubleword.
macro_rules! multiply_add_pairs {
    ($finish:path) => {
        Select(|e, a, b, c| {
            build(e.bytes, |i| {
                let product = |j| i64::from(a.lane::<i16>(j)).wrapping_mul(b.lane::<i16>(j).into());
                let sum = product(2 * i)
                    .wrapping_add(product(2 * i + 1))
                    .wrapping_add(c.lane::<i32>(i).into());
                $finish(sum) as i32
            })
        })
    };
}

/// Moves each lane of type `$t` by the signed count in the low byte of the same lane: left if
/// positive, right if negative. Counts are taken modulo the width.
macro_rules! by_signed_count {
    ($t:ty, $left:ident, $right:ident) => {
        Special(|cx| {
            by_signed_count(cx, |x: $t, count| {
                let places = u32::from(count.unsigned_abs());
                if count < 0 {
                    x.$right(places)
                } else {
                    x.$left(places)
                }
            })
        })
    };
}

rows! {
    Vpcomb => compare!(i8, u8);
    Vpcomw => compare!(i16, u16);
    Vpcomd => compare!(i32, u32);
    Vpcomq => compare!(i64, u64);
    Vpcomub => compare!(u8, u8);
    Vpcomuw => compare!(u16, u16);
    Vpcomud => compare!(u32, u32);
    Vpcomuq => compare!(u64, u64);

    Vphaddbw => add_neighbours!(i8 => i16);
    Vphaddbd => add_neighbours!(i8 => i32);
    Vphaddbq => add_neighbours!(i8 => i64);
    Vphaddwd => add_neighbours!(i16 => i32);
    Vphaddwq => add_neighbours!(i16 => i64);
    Vphadddq => add_neighbours!(i32 => i64);
    Vphaddubw => add_neighbours!(u8 => u16);
    Vphaddubd => add_neighbours!(u8 => u32);
    Vphaddubq => add_neighbours!(u8 => u64);
    Vphadduwd => add_neighbours!(u16 => u32);
    Vphadduwq => add_neighbours!(u16 => u64);
    Vphaddudq => add_neighbours!(u32 => u64);
    Vphsubbw => subtract_neighbours!(i8 => i16);
    Vphsubwd => subtract_neighbours!(i16 => i32);
    Vphsubdq => subtract_neighbours!(i32 => i64);

    Vpmacsww => multiply_add!(i16, 1, 0, i16, i64, core::convert::identity);
    Vpmacsswd => multiply_add!(i16, 2, 1, i32, i64, to_i32);
    Vpmacswd => multiply_add!(i16, 2, 1, i32, i64, core::convert::identity);
    Vpmacssww => multiply_add!(i16, 1, 0, i16, i64, to_i16);
    Vpmacsdd => multiply_add!(i32, 1, 0, i32, i64, core::convert::identity);
    Vpmacssdd => multiply_add!(i32, 1, 0, i32, i64, to_i32);
    Vpmacsdql => multiply_add!(i32, 2, 0, i64, i128, core::convert::identity);
    Vpmacssdql => multiply_add!(i32, 2, 0, i64, i128, to_i64);
    Vpmacsdqh => multiply_add!(i32, 2, 1, i64, i128, core::convert::identity);
    Vpmacssdqh => multiply_add!(i32, 2, 1, i64, i128, to_i64);
    Vpmadcswd => multiply_add_pairs!(core::convert::identity);
    Vpmadcsswd => multiply_add_pairs!(to_i32);

    Vprotb => by_signed_count!(u8, rotate_left, rotate_right);
    Vprotw => by_signed_count!(u16, rotate_left, rotate_right);
    Vprotd => by_signed_count!(u32, rotate_left, rotate_right);
    Vprotq => by_signed_count!(u64, rotate_left, rotate_right);
    Vpshlb => by_signed_count!(u8, wrapping_shl, wrapping_shr);
    Vpshlw => by_signed_count!(u16, wrapping_shl, wrapping_shr);
    Vpshld => by_signed_count!(u32, wrapping_shl, wrapping_shr);
    Vpshlq => by_signed_count!(u64, wrapping_shl, wrapping_shr);
    Vpshab => by_signed_count!(i8, wrapping_shl, wrapping_shr);
    Vpshaw => by_signed_count!(i16, wrapping_shl, wrapping_shr);
    Vpshad => by_signed_count!(i32, wrapping_shl, wrapping_shr);
    Vpshaq => by_signed_count!(i64, wrapping_shl, wrapping_shr);

    Vpcmov => Select(|e, a, b, selector| build(e.bytes, |i| {
        let selector: u64 = selector.lane(i);
        a.lane::<u64>(i) & selector | b.lane::<u64>(i) & !selector
    }));
    Vpperm => Select(|e, a, b, control| build(e.bytes, |i| {
        let control: u8 = control.lane(i);
        let from = if control & 0x10 == 0 { a } else { b };
        altered(control >> 5, from.lane(usize::from(control & 15)))
    }));
    Vpermil2ps => Select(|e, a, b, control| build(e.bytes, |i| {
        let select: u32 = control.lane(i);
        let from = if select & 4 == 0 { a } else { b };
        if zeroes(e, select) { 0 } else { from.lane::<u32>(i / 4 * 4 + (select & 3) as usize) }
    }));
    Vpermil2pd => Select(|e, a, b, control| build(e.bytes, |i| {
        let select = control.lane::<u64>(i) as u32;
        let from = if select & 4 == 0 { a } else { b };
        let place = i / 2 * 2 + (select >> 1 & 1) as usize;
        if zeroes(e, select) { 0 } else { from.lane::<u64>(place) }
    }));

    Vfrczps => Unary(|e, a| build(e.bytes, |i| fraction::<F32>(e, a, i)));
    Vfrczpd => Unary(|e, a| build(e.bytes, |i| fraction::<F64>(e, a, i)));
    // The rest of the destination becomes zero.
    Vfrczss => Unary(|e, a| Vector::from_lane(fraction::<F32>(e, a, 0)));
    Vfrczsd => Unary(|e, a| Vector::from_lane(fraction::<F64>(e, a, 0)));
}

fn holds<T: Ord + Copy>(imm: u8, a: T, b: T) -> bool {
    match imm & 7 {
        0 => a < b,
        1 => a <= b,
        2 => a > b,
        3 => a >= b,
        4 => a == b,
        5 => a != b,
        6 => false,
        _ => true,
    }
}

fn to_i16(x: i64) -> i64 {
    x.clamp(i16::MIN.into(), i16::MAX.into())
}

fn to_i32(x: i64) -> i64 {
    x.clamp(i32::MIN.into(), i32::MAX.into())
}

fn to_i64(x: i128) -> i128 {
    x.clamp(i64::MIN.into(), i64::MAX.into())
}

/// `f` of each lane of the first source and its count, in a lane of the second or an immediate.
fn by_signed_count<T: Lane>(cx: &mut Context<'_>, f: impl Fn(T, i8) -> T) -> Result<(), Fault> {
    let source = cx.vector(1)?;
    let result = if cx.kind(2) == OpKind::Immediate8 {
        let count = cx.execution.imm as i8;
        build(16, |i| f(source.lane(i), count))
    } else {
        let counts = cx.vector(2)?;
        build(16, |i| f(source.lane(i), counts.lane(i * T::BYTES)))
    };
    cx.write_vector(0, &result)
}

/// What VPPERM makes of the byte that it has selected.
fn altered(operation: u8, byte: u8) -> u8 {
    let sign = 0u8.wrapping_sub(byte >> 7);
    match operation {
        0 => byte,
        1 => !byte,
        2 => byte.reverse_bits(),
        3 => !byte.reverse_bits(),
        4 => 0,
        5 => 0xff,
        6 => sign,
        _ => !sign,
    }
}

/// Whether VPERMIL2PS zeroes a lane with this selector: immediate 2 zeroes where the match bit is
/// set, 3 where it is clear, the others nowhere.
fn zeroes(e: &Execution, select: u32) -> bool {
    let matched = select & 8 != 0;
    match e.imm & 3 {
        2 => matched,
        3 => !matched,
        _ => false,
    }
}

/// What rounding lane `i` towards zero cuts off.
fn fraction<F: Format>(e: &mut Execution, a: &Vector, i: usize) -> F::Bits {
    const TOWARDS_ZERO_QUIETLY: u8 = 8 | 3;
    let a = a.lane::<F::Bits>(i).into();
    let whole = float::integral::<F>(&mut e.float, a, TOWARDS_ZERO_QUIETLY);
    F::lane(float::sub::<F>(&mut e.float, a, whole))
}
