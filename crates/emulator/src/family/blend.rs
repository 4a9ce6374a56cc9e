//! Choices between two sources, lane by lane.

use crate::execution::Execution;
use crate::operation::Operation::{Binary, Select};
use crate::operation::rows;
use crate::vector::{Lane, Vector, build};

rows! {
    Blendps, Vblendps, Vpblendd => Binary(|e, a, b| by_immediate::<u32>(e, a, b));
    Blendpd, Vblendpd => Binary(|e, a, b| by_immediate::<u64>(e, a, b));
    // The eight bits serve each 128-bit block anew.
    Pblendw, Vpblendw => Binary(|e, a, b| by_immediate::<u16>(e, a, b));
    Pblendvb, Vpblendvb => Select(|e, a, b, mask| by_sign::<u8>(e, a, b, mask));
    Blendvps, Vblendvps => Select(|e, a, b, mask| by_sign::<u32>(e, a, b, mask));
    Blendvpd, Vblendvpd => Select(|e, a, b, mask| by_sign::<u64>(e, a, b, mask));
}

fn by_immediate<T: Lane>(e: &Execution, a: &Vector, b: &Vector) -> Vector {
    build(e.bytes, |i| {
        let from = if e.imm >> (i % 8) & 1 == 0 { a } else { b };
        from.lane::<T>(i)
    })
}

/// The highest bit of each lane of `mask` chooses.
fn by_sign<T: Lane>(e: &Execution, a: &Vector, b: &Vector, mask: &Vector) -> Vector {
    build(e.bytes, |i| {
        let top: u8 = mask.lane(i * T::BYTES + T::BYTES - 1);
        let from = if top & 0x80 == 0 { a } else { b };
        from.lane::<T>(i)
    })
}
