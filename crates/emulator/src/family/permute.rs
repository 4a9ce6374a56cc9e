//! Rearrangements across 128-bit blocks, and broadcasts.

use crate::operation::Operation::{Binary, Unary};
use crate::operation::rows;
use crate::vector::{Vector, build};

rows! {
    Vpermd, Vpermps => Binary(|e, control, a| build(e.bytes, |i| {
        a.lane::<u32>((control.lane::<u32>(i) & 7) as usize)
    }));
    Vpermq, Vpermpd => Unary(|e, a| build(e.bytes, |i| {
        a.lane::<u64>(usize::from(e.imm >> (2 * i) & 3))
    }));
    Vperm2f128, Vperm2i128 => Binary(|e, a, b| build(e.bytes, |i| {
        let select = e.imm >> (4 * i);
        let from = if select & 2 == 0 { a } else { b };
        if select & 8 == 0 { from.lane::<u128>(usize::from(select & 1)) } else { 0 }
    }));
    Vextractf128, Vextracti128 => Unary(|e, a| {
        Vector::from_lane(a.lane::<u128>(usize::from(e.imm & 1)))
    });
    Vinsertf128, Vinserti128 => Binary(|e, a, b| {
        let mut result = *a;
        result.set_lane::<u128>(usize::from(e.imm & 1), b.lane(0));
        result
    });

    Vpbroadcastb => Unary(|e, a| build(e.bytes, |_| a.lane::<u8>(0)));
    Vpbroadcastw => Unary(|e, a| build(e.bytes, |_| a.lane::<u16>(0)));
    Vpbroadcastd, Vbroadcastss => Unary(|e, a| build(e.bytes, |_| a.lane::<u32>(0)));
    Vpbroadcastq, Vbroadcastsd => Unary(|e, a| build(e.bytes, |_| a.lane::<u64>(0)));
    Vbroadcastf128, Vbroadcasti128 => Unary(|e, a| build(e.bytes, |_| a.lane::<u128>(0)));
}
