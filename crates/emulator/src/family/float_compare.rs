//! Floating-point comparisons.

use crate::execution::Execution;
use crate::float::{self, F32, F64, Format, Ordering};
use crate::operation::Operation::{Binary, Test};
use crate::operation::rows;
use crate::state::flag;
use crate::vector::{Vector, build};

rows! {
    Cmpps, Vcmpps => Binary(packed::<F32>);
    Cmppd, Vcmppd => Binary(packed::<F64>);
    Cmpss, Vcmpss => Binary(scalar::<F32>);
    Cmpsd, Vcmpsd => Binary(scalar::<F64>);
    Comiss, Vcomiss => Test(|e, a, b| flags::<F32>(e, a, b, true));
    Comisd, Vcomisd => Test(|e, a, b| flags::<F64>(e, a, b, true));
    Ucomiss, Vucomiss => Test(|e, a, b| flags::<F32>(e, a, b, false));
    Ucomisd, Vucomisd => Test(|e, a, b| flags::<F64>(e, a, b, false));
}

/// All ones where the predicate of the immediate holds for lane `i`.
fn lane<F: Format>(e: &mut Execution, a: &Vector, b: &Vector, i: usize) -> F::Bits {
    let (a, b) = (a.lane::<F::Bits>(i).into(), b.lane::<F::Bits>(i).into());
    let holds = float::predicate::<F>(&mut e.float, a, b, e.imm & e.predicates);
    F::lane(0u64.wrapping_sub(u64::from(holds)))
}

fn packed<F: Format>(e: &mut Execution, a: &Vector, b: &Vector) -> Vector {
    build(e.bytes, |i| lane::<F>(e, a, b, i))
}

fn scalar<F: Format>(e: &mut Execution, a: &Vector, b: &Vector) -> Vector {
    let mut result = a.truncated(16);
    result.set_lane(0, lane::<F>(e, a, b, 0));
    result
}

/// ZF, PF, CF say how lane 0 compares; the other status flags are cleared.
fn flags<F: Format>(e: &mut Execution, a: &Vector, b: &Vector, signalling: bool) {
    let (a, b) = (a.lane::<F::Bits>(0).into(), b.lane::<F::Bits>(0).into());
    let ordering = float::compare::<F>(&mut e.float, a, b, signalling);
    e.rflags &= !flag::STATUS;
    e.rflags |= match ordering {
        Ordering::Greater => 0,
        Ordering::Less => flag::CF,
        Ordering::Equal => flag::ZF,
        Ordering::Unordered => flag::ZF | flag::PF | flag::CF,
    };
}
