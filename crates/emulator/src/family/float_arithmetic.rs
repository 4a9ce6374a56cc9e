//! Floating-point arithmetic on packed and scalar operands.

use crate::execution::Execution;
use crate::float::{self, Environment, F32, F64, Format};
use crate::operation::Operation::{Binary, Unary};
use crate::operation::rows;
use crate::vector::{Vector, build};

/// `$f` on each lane of format `$format`.
macro_rules! packed {
    ($format:ty, $f:path) => {
        Binary(|e, a, b| packed::<$format>(e, a, b, $f))
    };
}

/// `$f` on lane 0; the other lanes are those of the first source.
macro_rules! scalar {
    ($format:ty, $f:path) => {
        Binary(|e, a, b| scalar::<$format>(e, a, b, $f))
    };
}

rows! {
    Addps, Vaddps => packed!(F32, float::add::<F32>);
    Addpd, Vaddpd => packed!(F64, float::add::<F64>);
    Addss, Vaddss => scalar!(F32, float::add::<F32>);
    Addsd, Vaddsd => scalar!(F64, float::add::<F64>);
    Subps, Vsubps => packed!(F32, float::sub::<F32>);
    Subpd, Vsubpd => packed!(F64, float::sub::<F64>);
    Subss, Vsubss => scalar!(F32, float::sub::<F32>);
    Subsd, Vsubsd => scalar!(F64, float::sub::<F64>);
    Mulps, Vmulps => packed!(F32, float::mul::<F32>);
    Mulpd, Vmulpd => packed!(F64, float::mul::<F64>);
    Mulss, Vmulss => scalar!(F32, float::mul::<F32>);
    Mulsd, Vmulsd => scalar!(F64, float::mul::<F64>);
    Divps, Vdivps => packed!(F32, float::div::<F32>);
    Divpd, Vdivpd => packed!(F64, float::div::<F64>);
    Divss, Vdivss => scalar!(F32, float::div::<F32>);
    Divsd, Vdivsd => scalar!(F64, float::div::<F64>);
    Minps, Vminps => packed!(F32, float::min::<F32>);
    Minpd, Vminpd => packed!(F64, float::min::<F64>);
    Minss, Vminss => scalar!(F32, float::min::<F32>);
    Minsd, Vminsd => scalar!(F64, float::min::<F64>);
    Maxps, Vmaxps => packed!(F32, float::max::<F32>);
    Maxpd, Vmaxpd => packed!(F64, float::max::<F64>);
    Maxss, Vmaxss => scalar!(F32, float::max::<F32>);
    Maxsd, Vmaxsd => scalar!(F64, float::max::<F64>);

    Sqrtps, Vsqrtps => Unary(|e, a| each::<F32>(e, a, float::sqrt::<F32>));
    Sqrtpd, Vsqrtpd => Unary(|e, a| each::<F64>(e, a, float::sqrt::<F64>));
    Sqrtss, Vsqrtss => scalar!(F32, second_sqrt::<F32>);
    Sqrtsd, Vsqrtsd => scalar!(F64, second_sqrt::<F64>);
    Rcpps, Vrcpps => Unary(|e, a| each::<F32>(e, a, |_, x| float::reciprocal(x)));
    Rcpss, Vrcpss => Binary(|e, a, b| scalar::<F32>(e, a, b, |_, _, x| float::reciprocal(x)));
    Rsqrtps, Vrsqrtps => Unary(|e, a| each::<F32>(e, a, |_, x| float::reciprocal_sqrt(x)));
    Rsqrtss, Vrsqrtss => Binary(|e, a, b| {
        scalar::<F32>(e, a, b, |_, _, x| float::reciprocal_sqrt(x))
    });

    Addsubps, Vaddsubps => Binary(alternating::<F32>);
    Addsubpd, Vaddsubpd => Binary(alternating::<F64>);
    Haddps, Vhaddps => Binary(|e, a, b| horizontal::<F32>(e, a, b, float::add::<F32>));
    Haddpd, Vhaddpd => Binary(|e, a, b| horizontal::<F64>(e, a, b, float::add::<F64>));
    Hsubps, Vhsubps => Binary(|e, a, b| horizontal::<F32>(e, a, b, float::sub::<F32>));
    Hsubpd, Vhsubpd => Binary(|e, a, b| horizontal::<F64>(e, a, b, float::sub::<F64>));
    Dpps, Vdpps => Binary(dot_product::<F32>);
    Dppd, Vdppd => Binary(dot_product::<F64>);
}

/// A function of two numbers.
type Function2 = fn(&mut Environment, u64, u64) -> u64;

/// Number of lanes of format `F` in the vector.
fn lanes<F: Format>(bytes: usize) -> usize {
    bytes * 8 / F::WIDTH as usize
}

fn lane<F: Format>(a: &Vector, i: usize) -> u64 {
    a.lane::<F::Bits>(i).into()
}

fn each<F: Format>(
    e: &mut Execution,
    a: &Vector,
    f: impl Fn(&mut Environment, u64) -> u64,
) -> Vector {
    build(e.bytes, |i| F::lane(f(&mut e.float, lane::<F>(a, i))))
}

fn packed<F: Format>(e: &mut Execution, a: &Vector, b: &Vector, f: Function2) -> Vector {
    build(e.bytes, |i| {
        F::lane(f(&mut e.float, lane::<F>(a, i), lane::<F>(b, i)))
    })
}

fn scalar<F: Format>(e: &mut Execution, a: &Vector, b: &Vector, f: Function2) -> Vector {
    let mut result = a.truncated(16);
    let value = f(&mut e.float, lane::<F>(a, 0), lane::<F>(b, 0));
    result.set_lane(0, F::lane(value));
    result
}

/// The scalar square root is of the second source alone.
fn second_sqrt<F: Format>(env: &mut Environment, _: u64, b: u64) -> u64 {
    float::sqrt::<F>(env, b)
}

/// Subtracts in even lanes, adds in odd ones.
fn alternating<F: Format>(e: &mut Execution, a: &Vector, b: &Vector) -> Vector {
    build(e.bytes, |i| {
        let f = if i % 2 == 0 {
            float::sub::<F>
        } else {
            float::add::<F>
        };
        F::lane(f(&mut e.float, lane::<F>(a, i), lane::<F>(b, i)))
    })
}

/// In each 128 bits, `f` of the pairs of neighbours in `a`, then of those in `b`.
fn horizontal<F: Format>(e: &mut Execution, a: &Vector, b: &Vector, f: Function2) -> Vector {
    let lanes = lanes::<F>(16);
    build(e.bytes, |i| {
        let (block, place) = (i / lanes * lanes, i % lanes);
        let (from, pair) = if place < lanes / 2 {
            (a, place)
        } else {
            (b, place - lanes / 2)
        };
        let first = lane::<F>(from, block + 2 * pair);
        let second = lane::<F>(from, block + 2 * pair + 1);
        F::lane(f(&mut e.float, first, second))
    })
}

/// In each 128 bits, the sum of those products that the high half of the immediate selects, to
/// those lanes that the low half selects. The sum is made in pairs (Intel SDM vol. 2, DPPS), and
/// an unmasked exception in one step keeps the next from happening.
fn dot_product<F: Format>(e: &mut Execution, a: &Vector, b: &Vector) -> Vector {
    let lanes = lanes::<F>(16);
    let (bytes, imm) = (e.bytes, e.imm);
    let mut sums = build(bytes, |i| {
        let selected = imm >> (4 + i % lanes) & 1 == 1;
        F::lane(if selected {
            float::mul::<F>(&mut e.float, lane::<F>(a, i), lane::<F>(b, i))
        } else {
            0
        })
    });
    // Lane 0 of each block ends up as the sum of all.
    let mut distance = 1;
    while distance < lanes && e.float.finish_step() {
        sums = build(bytes, |i| {
            F::lane(if i % (2 * distance) == 0 {
                let (x, y) = (lane::<F>(&sums, i), lane::<F>(&sums, i + distance));
                float::add::<F>(&mut e.float, x, y)
            } else {
                0
            })
        });
        distance *= 2;
    }
    build(bytes, |i| {
        let selected = imm >> (i % lanes) & 1 == 1;
        F::lane(if selected {
            lane::<F>(&sums, i / lanes * lanes)
        } else {
            0
        })
    })
}
