//! Fused multiply-add: FMA and FMA4. The digits of an FMA mnemonic give the order of its operands:
//! 132 multiplies the first and third and adds the second. FMA4 has none: it multiplies the first
//! two of three sources and adds the third.

use super::float_arithmetic::quick;
use crate::execution::Execution;
use crate::float::{self, F32, F64, Format, Native};
use crate::operation::Operation::{Select, Ternary};
use crate::operation::rows;
use crate::vector::{Vector, build};

/// Signs of the product and of the addend in even and in odd lanes.
#[derive(Clone, Copy)]
enum Signs {
    /// `a * b + c`
    Add,
    /// `a * b - c`
    Sub,
    /// `-(a * b) + c`
    NegatedAdd,
    /// `-(a * b) - c`
    NegatedSub,
    /// Subtract in even lanes, add in odd ones.
    AddSub,
    /// Add in even lanes, subtract in odd ones.
    SubAdd,
}

impl Signs {
    /// Whether to negate the product, and the addend, in lane `i`.
    fn in_lane(self, i: usize) -> (bool, bool) {
        match self {
            Self::Add => (false, false),
            Self::Sub => (false, true),
            Self::NegatedAdd => (true, false),
            Self::NegatedSub => (true, true),
            Self::AddSub => (false, i.is_multiple_of(2)),
            Self::SubAdd => (false, i % 2 == 1),
        }
    }
}

/// Puts the operands in the order multiplicand, multiplier, addend.
macro_rules! ordered {
    (132, $first:ident, $second:ident, $third:ident) => {
        [$first, $third, $second]
    };
    (213, $first:ident, $second:ident, $third:ident) => {
        [$second, $first, $third]
    };
    (231, $first:ident, $second:ident, $third:ident) => {
        [$second, $third, $first]
    };
}

/// The operation on every lane of format `$format`.
macro_rules! packed {
    ($order:tt, $format:ty, $signs:ident) => {
        Ternary(|e, a, b, c| packed::<$format>(e, Signs::$signs, ordered!($order, a, b, c)))
    };
}

/// The operation on lane 0; the other lanes are those of the first operand.
macro_rules! scalar {
    ($order:tt, $format:ty, $signs:ident) => {
        Ternary(|e, a, b, c| scalar::<$format>(e, Signs::$signs, a, ordered!($order, a, b, c)))
    };
}

/// The FMA4 form on every lane of format `$format`.
macro_rules! packed4 {
    ($format:ty, $signs:ident) => {
        Select(|e, a, b, c| packed::<$format>(e, Signs::$signs, [a, b, c]))
    };
}

/// The FMA4 form on lane 0; the other lanes become zero (AMD APM vol. 4, VFMADDSS).
macro_rules! scalar4 {
    ($format:ty, $signs:ident) => {
        Select(|e, a, b, c| Vector::from_lane(lane::<$format>(e, Signs::$signs, [a, b, c], 0)))
    };
}

rows! {
    Vfmadd132ps => packed!(132, F32, Add);
    Vfmadd213ps => packed!(213, F32, Add);
    Vfmadd231ps => packed!(231, F32, Add);
    Vfmadd132pd => packed!(132, F64, Add);
    Vfmadd213pd => packed!(213, F64, Add);
    Vfmadd231pd => packed!(231, F64, Add);
    Vfmadd132ss => scalar!(132, F32, Add);
    Vfmadd213ss => scalar!(213, F32, Add);
    Vfmadd231ss => scalar!(231, F32, Add);
    Vfmadd132sd => scalar!(132, F64, Add);
    Vfmadd213sd => scalar!(213, F64, Add);
    Vfmadd231sd => scalar!(231, F64, Add);
    Vfmsub132ps => packed!(132, F32, Sub);
    Vfmsub213ps => packed!(213, F32, Sub);
    Vfmsub231ps => packed!(231, F32, Sub);
    Vfmsub132pd => packed!(132, F64, Sub);
    Vfmsub213pd => packed!(213, F64, Sub);
    Vfmsub231pd => packed!(231, F64, Sub);
    Vfmsub132ss => scalar!(132, F32, Sub);
    Vfmsub213ss => scalar!(213, F32, Sub);
    Vfmsub231ss => scalar!(231, F32, Sub);
    Vfmsub132sd => scalar!(132, F64, Sub);
    Vfmsub213sd => scalar!(213, F64, Sub);
    Vfmsub231sd => scalar!(231, F64, Sub);
    Vfnmadd132ps => packed!(132, F32, NegatedAdd);
    Vfnmadd213ps => packed!(213, F32, NegatedAdd);
    Vfnmadd231ps => packed!(231, F32, NegatedAdd);
    Vfnmadd132pd => packed!(132, F64, NegatedAdd);
    Vfnmadd213pd => packed!(213, F64, NegatedAdd);
    Vfnmadd231pd => packed!(231, F64, NegatedAdd);
    Vfnmadd132ss => scalar!(132, F32, NegatedAdd);
    Vfnmadd213ss => scalar!(213, F32, NegatedAdd);
    Vfnmadd231ss => scalar!(231, F32, NegatedAdd);
    Vfnmadd132sd => scalar!(132, F64, NegatedAdd);
    Vfnmadd213sd => scalar!(213, F64, NegatedAdd);
    Vfnmadd231sd => scalar!(231, F64, NegatedAdd);
    Vfnmsub132ps => packed!(132, F32, NegatedSub);
    Vfnmsub213ps => packed!(213, F32, NegatedSub);
    Vfnmsub231ps => packed!(231, F32, NegatedSub);
    Vfnmsub132pd => packed!(132, F64, NegatedSub);
    Vfnmsub213pd => packed!(213, F64, NegatedSub);
    Vfnmsub231pd => packed!(231, F64, NegatedSub);
    Vfnmsub132ss => scalar!(132, F32, NegatedSub);
    Vfnmsub213ss => scalar!(213, F32, NegatedSub);
    Vfnmsub231ss => scalar!(231, F32, NegatedSub);
    Vfnmsub132sd => scalar!(132, F64, NegatedSub);
    Vfnmsub213sd => scalar!(213, F64, NegatedSub);
    Vfnmsub231sd => scalar!(231, F64, NegatedSub);
    Vfmaddsub132ps => packed!(132, F32, AddSub);
    Vfmaddsub213ps => packed!(213, F32, AddSub);
    Vfmaddsub231ps => packed!(231, F32, AddSub);
    Vfmaddsub132pd => packed!(132, F64, AddSub);
    Vfmaddsub213pd => packed!(213, F64, AddSub);
    Vfmaddsub231pd => packed!(231, F64, AddSub);
    Vfmsubadd132ps => packed!(132, F32, SubAdd);
    Vfmsubadd213ps => packed!(213, F32, SubAdd);
    Vfmsubadd231ps => packed!(231, F32, SubAdd);
    Vfmsubadd132pd => packed!(132, F64, SubAdd);
    Vfmsubadd213pd => packed!(213, F64, SubAdd);
    Vfmsubadd231pd => packed!(231, F64, SubAdd);

    Vfmaddps => packed4!(F32, Add);
    Vfmaddpd => packed4!(F64, Add);
    Vfmaddss => scalar4!(F32, Add);
    Vfmaddsd => scalar4!(F64, Add);
    Vfmsubps => packed4!(F32, Sub);
    Vfmsubpd => packed4!(F64, Sub);
    Vfmsubss => scalar4!(F32, Sub);
    Vfmsubsd => scalar4!(F64, Sub);
    Vfnmaddps => packed4!(F32, NegatedAdd);
    Vfnmaddpd => packed4!(F64, NegatedAdd);
    Vfnmaddss => scalar4!(F32, NegatedAdd);
    Vfnmaddsd => scalar4!(F64, NegatedAdd);
    Vfnmsubps => packed4!(F32, NegatedSub);
    Vfnmsubpd => packed4!(F64, NegatedSub);
    Vfnmsubss => scalar4!(F32, NegatedSub);
    Vfnmsubsd => scalar4!(F64, NegatedSub);
    Vfmaddsubps => packed4!(F32, AddSub);
    Vfmaddsubpd => packed4!(F64, AddSub);
    Vfmsubaddps => packed4!(F32, SubAdd);
    Vfmsubaddpd => packed4!(F64, SubAdd);
}

fn lane<F: Format>(e: &mut Execution, signs: Signs, [x, y, z]: [&Vector; 3], i: usize) -> F::Bits {
    let (product, addend) = signs.in_lane(i);
    let get = |v: &Vector| v.lane::<F::Bits>(i).into();
    F::lane(float::mul_add::<F>(
        &mut e.float,
        get(x),
        get(y),
        get(z),
        product,
        addend,
    ))
}

fn packed<F: Native>(e: &mut Execution, signs: Signs, operands: [&Vector; 3]) -> Vector {
    let [x, y, z] = operands;
    let [even, odd] = [0, 1].map(|i| signs.in_lane(i));
    let (x, z) = (
        &negated::<F>(e, x, even.0, odd.0),
        &negated::<F>(e, z, even.1, odd.1),
    );
    quick::<F>(e, |i| F::mul_add(x.lane(i), y.lane(i), z.lane(i)))
        .unwrap_or_else(|| build(e.bytes, |i| lane::<F>(e, signs, operands, i)))
}

/// `a` with the other sign in even and in odd lanes.
fn negated<F: Format>(e: &Execution, a: &Vector, even: bool, odd: bool) -> Vector {
    if !even && !odd {
        return *a;
    }
    let flip = [even, odd].map(|negate| if negate { F::SIGN } else { 0 });
    build(e.bytes, |i| {
        let [even, odd] = flip;
        let value: u64 = a.lane::<F::Bits>(i).into();
        F::lane(value ^ if i % 2 == 0 { even } else { odd })
    })
}

fn scalar<F: Native>(
    e: &mut Execution,
    signs: Signs,
    rest: &Vector,
    operands: [&Vector; 3],
) -> Vector {
    let [x, y, z] = operands;
    let (product, addend) = signs.in_lane(0);
    let quick = F::mul_add(
        negated::<F>(e, x, product, product).lane(0),
        y.lane(0),
        negated::<F>(e, z, addend, addend).lane(0),
    );
    let value = match e.float.take(quick) {
        Some(value) => value,
        None => lane::<F>(e, signs, operands, 0),
    };
    let mut result = rest.truncated(16);
    result.set_lane(0, value);
    result
}
