//! Shifts of lanes, by one count for all or by a count for each.

use crate::operation::Operation::Shift;
use crate::operation::{lanewise, rows};
use crate::vector::{build, map};

/// A shift of each lane, type `$t`, of the source by the same count; a count of the lane's width
/// or more leaves what `$beyond` says of the lane.
macro_rules! shift_all {
    ($t:ty, $shift:ident, $beyond:expr) => {
        Shift(|e, a, count| {
            map(e.bytes, a, |x: $t| {
                if count < u64::from(<$t>::BITS) {
                    x.$shift(count as u32)
                } else {
                    $beyond(x)
                }
            })
        })
    };
}

/// A shift of each lane by the count in the same lane of the second source.
macro_rules! shift_each {
    ($t:ty, $unsigned:ty, $shift:ident, $beyond:expr) => {
        lanewise!(|x: $t, count: $unsigned| {
            if u64::from(count) < u64::from(<$t>::BITS) {
                x.$shift(count as u32)
            } else {
                $beyond(x)
            }
        })
    };
}

rows! {
    Psllw, Vpsllw => shift_all!(u16, wrapping_shl, |_| 0);
    Pslld, Vpslld => shift_all!(u32, wrapping_shl, |_| 0);
    Psllq, Vpsllq => shift_all!(u64, wrapping_shl, |_| 0);
    Psrlw, Vpsrlw => shift_all!(u16, wrapping_shr, |_| 0);
    Psrld, Vpsrld => shift_all!(u32, wrapping_shr, |_| 0);
    Psrlq, Vpsrlq => shift_all!(u64, wrapping_shr, |_| 0);
    Psraw, Vpsraw => shift_all!(i16, wrapping_shr, |x: i16| x >> 15);
    Psrad, Vpsrad => shift_all!(i32, wrapping_shr, |x: i32| x >> 31);

    Vpsllvd => shift_each!(u32, u32, wrapping_shl, |_| 0);
    Vpsllvq => shift_each!(u64, u64, wrapping_shl, |_| 0);
    Vpsrlvd => shift_each!(u32, u32, wrapping_shr, |_| 0);
    Vpsrlvq => shift_each!(u64, u64, wrapping_shr, |_| 0);
    Vpsravd => shift_each!(i32, u32, wrapping_shr, |x: i32| x >> 31);

    // Whole 128-bit blocks by bytes.
    Pslldq, Vpslldq => Shift(|e, a, count| build(e.bytes, |i| {
        let from = (i % 16).checked_sub(count as usize);
        from.map_or(0, |from| a.lane::<u8>(i / 16 * 16 + from))
    }));
    Psrldq, Vpsrldq => Shift(|e, a, count| build(e.bytes, |i| {
        let from = (i % 16).saturating_add(count as usize);
        if from < 16 { a.lane::<u8>(i / 16 * 16 + from) } else { 0 }
    }));
}
