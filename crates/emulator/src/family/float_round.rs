//! Rounding to whole numbers in floating point.

use crate::execution::Execution;
use crate::float::{self, F32, F64, Format};
use crate::operation::Operation::{Binary, Unary};
use crate::operation::rows;
use crate::vector::{Vector, build};

rows! {
    Roundps, Vroundps => Unary(packed::<F32>);
    Roundpd, Vroundpd => Unary(packed::<F64>);
    Roundss, Vroundss => Binary(scalar::<F32>);
    Roundsd, Vroundsd => Binary(scalar::<F64>);
}

fn lane<F: Format>(e: &mut Execution, a: &Vector, i: usize) -> F::Bits {
    F::lane(float::integral::<F>(
        &mut e.float,
        a.lane::<F::Bits>(i).into(),
        e.imm,
    ))
}

fn packed<F: Format>(e: &mut Execution, a: &Vector) -> Vector {
    build(e.bytes, |i| lane::<F>(e, a, i))
}

fn scalar<F: Format>(e: &mut Execution, a: &Vector, b: &Vector) -> Vector {
    let mut result = a.truncated(16);
    result.set_lane(0, lane::<F>(e, b, 0));
    result
}
