//! Single lanes to and from general-purpose registers and memory, and sign masks.

use crate::execution::Execution;
use crate::operation::Operation::{Binary, FromInteger, ToInteger};
use crate::operation::rows;
use crate::vector::{Lane, Vector, build};

rows! {
    Pextrb, Vpextrb => ToInteger(|e, a| extract::<u8>(e, a));
    Pextrw, Vpextrw => ToInteger(|e, a| extract::<u16>(e, a));
    Pextrd, Vpextrd, Extractps, Vextractps => ToInteger(|e, a| extract::<u32>(e, a));
    Pextrq, Vpextrq => ToInteger(|e, a| extract::<u64>(e, a));

    Pinsrb, Vpinsrb => FromInteger(|e, a, b| insert(e, a, b as u8));
    Pinsrw, Vpinsrw => FromInteger(|e, a, b| insert(e, a, b as u16));
    Pinsrd, Vpinsrd => FromInteger(|e, a, b| insert(e, a, b as u32));
    Pinsrq, Vpinsrq => FromInteger(|e, a, b| insert(e, a, b));

    // Bits 7:6 choose the source lane of a register, 5:4 the place, 3:0 what is zeroed.
    Insertps, Vinsertps => Binary(|e, a, b| {
        let from = if e.memory { 0 } else { usize::from(e.imm >> 6) };
        let place = usize::from(e.imm >> 4 & 3);
        build(e.bytes, |i| match i {
            _ if e.imm >> i & 1 == 1 => 0,
            _ if i == place => b.lane::<u32>(from),
            _ => a.lane(i),
        })
    });

    Pmovmskb, Vpmovmskb => ToInteger(|e, a| signs::<u8>(e, a));
    Movmskps, Vmovmskps => ToInteger(|e, a| signs::<u32>(e, a));
    Movmskpd, Vmovmskpd => ToInteger(|e, a| signs::<u64>(e, a));
}

/// The lane of an XMM or MMX register that the immediate names.
fn place<T: Lane>(e: &Execution) -> usize {
    usize::from(e.imm) % (e.block() / T::BYTES)
}

fn extract<T: Lane + Into<u64>>(e: &Execution, a: &Vector) -> u64 {
    a.lane::<T>(place::<T>(e)).into()
}

fn insert<T: Lane>(e: &Execution, a: &Vector, value: T) -> Vector {
    let mut result = *a;
    result.set_lane(place::<T>(e), value);
    result
}

/// The highest bit of each lane, lane 0 first.
fn signs<T: Lane>(e: &Execution, a: &Vector) -> u64 {
    (0..e.bytes / T::BYTES)
        .map(|i| u64::from(a.lane::<u8>(i * T::BYTES + T::BYTES - 1) >> 7) << i)
        .sum()
}
