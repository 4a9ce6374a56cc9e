//! Floating-point arithmetic on packed and scalar operands.

use crate::context::Context;
use crate::execution::Execution;
use crate::fault::{Fault, exception};
use crate::float::{self, Environment, F32, F64, Format, Native, Quick};
use crate::memory::Memory;
use crate::operation::Operation::{Binary, Special, Unary};
use crate::operation::rows;
use crate::vector::{Vector, build};

/// `$f` on each lane of format `$format`.
macro_rules! packed {
    ($format:ty, $f:ident) => {
        Binary(|e, a, b| {
            quick::<$format>(e, |i| <$format as Native>::$f(a.lane(i), b.lane(i)))
                .unwrap_or_else(|| packed::<$format>(e, a, b, float::$f::<$format>))
        })
    };
}

/// `$f` on lane 0; the other lanes are those of the first source.
macro_rules! scalar {
    ($format:ty, $f:ident) => {
        Binary(|e, a, b| {
            let quick = <$format as Native>::$f(a.lane(0), b.lane(0));
            if let Some(value) = e.float.take(quick) {
                let mut result = a.truncated(16);
                result.set_lane(0, value);
                return result;
            }
            scalar::<$format>(e, a, b, float::$f::<$format>)
        })
    };
}

rows! {
    Addps, Vaddps => packed!(F32, add);
    Addpd, Vaddpd => packed!(F64, add);
    Addss, Vaddss => scalar!(F32, add);
    Addsd, Vaddsd => scalar!(F64, add);
    Subps, Vsubps => packed!(F32, sub);
    Subpd, Vsubpd => packed!(F64, sub);
    Subss, Vsubss => scalar!(F32, sub);
    Subsd, Vsubsd => scalar!(F64, sub);
    Mulps, Vmulps => packed!(F32, mul);
    Mulpd, Vmulpd => packed!(F64, mul);
    Mulss, Vmulss => scalar!(F32, mul);
    Mulsd, Vmulsd => scalar!(F64, mul);
    Divps, Vdivps => packed!(F32, div);
    Divpd, Vdivpd => packed!(F64, div);
    Divss, Vdivss => scalar!(F32, div);
    Divsd, Vdivsd => scalar!(F64, div);
    Minps, Vminps => packed!(F32, min);
    Minpd, Vminpd => packed!(F64, min);
    Minss, Vminss => scalar!(F32, min);
    Minsd, Vminsd => scalar!(F64, min);
    Maxps, Vmaxps => packed!(F32, max);
    Maxpd, Vmaxpd => packed!(F64, max);
    Maxss, Vmaxss => scalar!(F32, max);
    Maxsd, Vmaxsd => scalar!(F64, max);

    Sqrtps, Vsqrtps => Unary(|e, a| each::<F32>(e, a, float::sqrt::<F32>));
    Sqrtpd, Vsqrtpd => Unary(|e, a| each::<F64>(e, a, float::sqrt::<F64>));
    Sqrtss, Vsqrtss => Binary(|e, a, b| scalar::<F32>(e, a, b, second_sqrt::<F32>));
    Sqrtsd, Vsqrtsd => Binary(|e, a, b| scalar::<F64>(e, a, b, second_sqrt::<F64>));
    Rcpps, Vrcpps => Special(|cx| approximate_each(cx, reciprocal));
    Rcpss, Vrcpss => Special(|cx| approximate_first(cx, reciprocal));
    Rsqrtps, Vrsqrtps => Special(|cx| approximate_each(cx, reciprocal_sqrt));
    Rsqrtss, Vrsqrtss => Special(|cx| approximate_first(cx, reciprocal_sqrt));

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

/// All lanes by the CPU's own arithmetic, if it gives the same in each.
#[inline]
pub(super) fn quick<F: Native>(
    e: &mut Execution,
    f: impl Fn(usize) -> Quick<F::Bits>,
) -> Option<Vector> {
    if !e.float.easy {
        return None;
    }
    let (mut same, mut inexact) = (true, false);
    let result = if e.float.knows_inexact {
        build(e.bytes, |i| {
            let quick = f(i);
            same &= quick.is_it;
            quick.value
        })
    } else {
        build(e.bytes, |i| {
            let quick = f(i);
            same &= quick.is_it & quick.is_known;
            inexact |= quick.inexact;
            quick.value
        })
    };
    if !same {
        return None;
    }
    if inexact {
        e.float.raise(exception::PRECISION);
    }
    Some(result)
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

/// What this CPU's RCPSS gives, or about that.
fn reciprocal(memory: &mut dyn Memory, x: u32) -> u32 {
    memory
        .reciprocal(x)
        .unwrap_or_else(|| float::reciprocal(x.into()) as u32)
}

/// What this CPU's RSQRTSS gives, or about that.
fn reciprocal_sqrt(memory: &mut dyn Memory, x: u32) -> u32 {
    memory
        .reciprocal_sqrt(x)
        .unwrap_or_else(|| float::reciprocal_sqrt(x.into()) as u32)
}

/// A function of one number that CPUs have their own tables for.
type Approximation = fn(&mut dyn Memory, u32) -> u32;

fn approximate_each(cx: &mut Context<'_>, f: Approximation) -> Result<(), Fault> {
    let source = cx.vector(cx.operands().saturating_sub(1))?;
    let result = build(cx.execution.bytes, |i| f(cx.memory, source.lane(i)));
    cx.write_vector(0, &result)
}

fn approximate_first(cx: &mut Context<'_>, f: Approximation) -> Result<(), Fault> {
    let last = cx.operands().saturating_sub(1);
    let mut result = cx.vector(u32::from(last > 1))?.truncated(16);
    let source = cx.vector(last)?;
    result.set_lane(0, f(cx.memory, source.lane(0)));
    cx.write_vector(0, &result)
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
