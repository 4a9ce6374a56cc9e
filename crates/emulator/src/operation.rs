//! The shapes that instructions come in, and the table that gives each mnemonic its meaning.
//!
//! A *shape* says where operands come from and where the result goes; the function in it says
//! what is computed. The legacy and the VEX form of an instruction, its 128- and 256-bit and its
//! register and memory forms all share one row, because [`execute`] finds the operands of each.

use crate::context::Context;
use crate::execution::Execution;
use crate::family;
use crate::fault::Fault;
use crate::vector::Vector;
use iced_x86::{Mnemonic, OpKind};

/// What an instruction does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// Not emulated.
    Unknown,
    /// destination = f(last operand)
    Unary(fn(&mut Execution, &Vector) -> Vector),
    /// destination = f(first source, second source); the first source of a legacy form is its
    /// destination.
    Binary(fn(&mut Execution, &Vector, &Vector) -> Vector),
    /// destination = f(destination, second operand, third operand)
    Ternary(fn(&mut Execution, &Vector, &Vector, &Vector) -> Vector),
    /// destination = f(first, second, third source); the third source of a legacy form is XMM0.
    Select(fn(&mut Execution, &Vector, &Vector, &Vector) -> Vector),
    /// destination = f(source, count); the count is an immediate or the low quadword of an operand.
    Shift(fn(&mut Execution, &Vector, u64) -> Vector),
    /// general-purpose destination or memory = f(vector)
    ToInteger(fn(&mut Execution, &Vector) -> u64),
    /// vector destination = f(first source, general-purpose register or memory)
    FromInteger(fn(&mut Execution, &Vector, u64) -> Vector),
    /// flags = f(first operand, second operand)
    Test(fn(&mut Execution, &Vector, &Vector)),
    /// general-purpose destination, flags = f(last operand)
    Integer1(fn(&mut Execution, u64) -> u64),
    /// general-purpose destination, flags = f(first source, second source)
    Integer2(fn(&mut Execution, u64, u64) -> u64),
    /// Operands unlike all of the above.
    Special(fn(&mut Context<'_>) -> Result<(), Fault>),
}

/// Mnemonics that mean the same, and what they mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub mnemonics: &'static [Mnemonic],
    pub operation: Operation,
}

/// Declares the `ROWS` of a family: `Paddd, Vpaddd => lanewise!(u32::wrapping_add);`.
macro_rules! rows {
    ($($($mnemonic:ident),+ => $operation:expr;)*) => {
        /// Every instruction of this family.
        pub(crate) const ROWS: &[crate::operation::Row] = &[$(
            crate::operation::Row {
                mnemonics: &[$(iced_x86::Mnemonic::$mnemonic),+],
                operation: $operation,
            }
        ),*];
    };
}
pub(crate) use rows;

/// A [`Binary`](Operation::Binary) operation on each pair of lanes.
macro_rules! lanewise {
    ($f:expr) => {
        crate::operation::Operation::Binary(|e, a, b| crate::vector::zip(e.bytes, a, b, $f))
    };
}
pub(crate) use lanewise;

/// A [`Unary`](Operation::Unary) operation on each lane.
macro_rules! each_lane {
    ($f:expr) => {
        crate::operation::Operation::Unary(|e, a| crate::vector::map(e.bytes, a, $f))
    };
}
pub(crate) use each_lane;

/// One more than the highest mnemonic in any row.
const LENGTH: usize = {
    let mut length = 0;
    let mut f = 0;
    while f < family::ALL.len() {
        let mut r = 0;
        while r < family::ALL[f].len() {
            let mut m = 0;
            while m < family::ALL[f][r].mnemonics.len() {
                let index = family::ALL[f][r].mnemonics[m] as usize;
                if index >= length {
                    length = index + 1;
                }
                m += 1;
            }
            r += 1;
        }
        f += 1;
    }
    length
};

/// The rows of all families by mnemonic. Built by the compiler, which also rejects a mnemonic
/// that stands in two rows.
static INDEX: [Operation; LENGTH] = {
    let mut index = [Operation::Unknown; LENGTH];
    let mut f = 0;
    while f < family::ALL.len() {
        let mut r = 0;
        while r < family::ALL[f].len() {
            let row = &family::ALL[f][r];
            let mut m = 0;
            while m < row.mnemonics.len() {
                let place = &mut index[row.mnemonics[m] as usize];
                assert!(
                    matches!(place, Operation::Unknown),
                    "a mnemonic stands in two rows"
                );
                *place = row.operation;
                m += 1;
            }
            r += 1;
        }
        f += 1;
    }
    index
};

/// The meaning of `mnemonic`.
pub(crate) fn lookup(mnemonic: Mnemonic) -> Operation {
    INDEX
        .get(mnemonic as usize)
        .copied()
        .unwrap_or(Operation::Unknown)
}

/// Carries out the operation of the instruction in `cx` on its operands.
///
/// Nothing of the state changes before everything that can fail has succeeded, except where a
/// [`Special`](Operation::Special) operation says otherwise.
pub(crate) fn execute(cx: &mut Context<'_>) -> Result<(), Fault> {
    // With three operands besides immediates the first is written only; with two it is the first
    // source as well.
    let operands = cx.operands();
    let last = operands.saturating_sub(1);
    let first_source = u32::from(operands > 2);
    match cx.decoded.operation {
        Operation::Unknown => return Err(Fault::Unknown),
        Operation::Special(f) => {
            f(cx)?;
            return Ok(());
        }
        Operation::Unary(f) => {
            let mut source = Vector::ZERO;
            cx.read_vector(last, &mut source)?;
            let result = f(&mut cx.execution, &source);
            cx.check_float()?;
            cx.write_vector(0, &result)?;
        }
        Operation::Binary(f) => {
            let mut a = Vector::ZERO;
            cx.read_vector(first_source, &mut a)?;
            let mut b = Vector::ZERO;
            cx.read_vector(last, &mut b)?;
            let result = f(&mut cx.execution, &a, &b);
            cx.check_float()?;
            cx.write_vector(0, &result)?;
        }
        Operation::Ternary(f) => {
            let mut a = Vector::ZERO;
            cx.read_vector(0, &mut a)?;
            let mut b = Vector::ZERO;
            cx.read_vector(1, &mut b)?;
            let mut c = Vector::ZERO;
            cx.read_vector(2, &mut c)?;
            let result = f(&mut cx.execution, &a, &b, &c);
            cx.check_float()?;
            cx.write_vector(0, &result)?;
        }
        Operation::Select(f) => {
            let [a, b, mask] = if operands > 3 {
                [cx.vector(1)?, cx.vector(2)?, cx.vector(3)?]
            } else {
                [cx.vector(0)?, cx.vector(1)?, cx.register(0)]
            };
            let result = f(&mut cx.execution, &a, &b, &mask);
            cx.check_float()?;
            cx.write_vector(0, &result)?;
        }
        Operation::Shift(f) => {
            let (source, count) = if cx.decoded.last == OpKind::Immediate8 {
                (last, u64::from(cx.execution.imm))
            } else {
                (first_source, cx.vector(last)?.lane(0))
            };
            let operand = source;
            let mut source = Vector::ZERO;
            cx.read_vector(operand, &mut source)?;
            let result = f(&mut cx.execution, &source, count);
            cx.write_vector(0, &result)?;
        }
        Operation::ToInteger(f) => {
            let mut source = Vector::ZERO;
            cx.read_vector(last, &mut source)?;
            let result = f(&mut cx.execution, &source);
            cx.check_float()?;
            cx.write_integer(0, result)?;
        }
        Operation::FromInteger(f) => {
            let mut a = Vector::ZERO;
            cx.read_vector(first_source, &mut a)?;
            let b = cx.integer(last)?;
            let result = f(&mut cx.execution, &a, b);
            cx.check_float()?;
            cx.write_vector(0, &result)?;
        }
        Operation::Test(f) => {
            let mut a = Vector::ZERO;
            cx.read_vector(0, &mut a)?;
            let mut b = Vector::ZERO;
            cx.read_vector(last, &mut b)?;
            f(&mut cx.execution, &a, &b);
            cx.check_float()?;
        }
        Operation::Integer1(f) => {
            let source = cx.integer(last)?;
            let result = f(&mut cx.execution, source);
            cx.write_integer(0, result)?;
        }
        Operation::Integer2(f) => {
            // An immediate second source (RORX, TBM's BEXTR) leaves the first source last.
            let (a, b) = match cx.decoded.last {
                OpKind::Immediate8 => (cx.integer(last)?, u64::from(cx.execution.imm)),
                OpKind::Immediate32 => (cx.integer(last)?, u64::from(cx.instruction.immediate32())),
                _ => (cx.integer(first_source)?, cx.integer(last)?),
            };
            let result = f(&mut cx.execution, a, b);
            cx.write_integer(0, result)?;
        }
    }
    cx.commit();
    Ok(())
}
