//! Addition, subtraction and comparison.

use super::{source, update};
use crate::context::Context;
use crate::execution::Execution;
use crate::family::flags::{difference, sum};
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;

rows! {
    Add => Special(|cx| combine(cx, |e, a, b| sum(e, a, b, 0)));
    Adc => Special(|cx| combine(cx, |e, a, b| sum(e, a, b, e.rflags & flag::CF)));
    Sub => Special(|cx| combine(cx, |e, a, b| difference(e, a, b, 0)));
    Sbb => Special(|cx| combine(cx, |e, a, b| difference(e, a, b, e.rflags & flag::CF)));
    Cmp => Special(|cx| {
        let (a, b) = (cx.integer(0)?, source(cx, 1)?);
        difference(&mut cx.execution, a, b, 0);
        cx.commit();
        Ok(())
    });
    Inc => Special(|cx| step(cx, |e, a| sum(e, a, 1, 0)));
    Dec => Special(|cx| step(cx, |e, a| difference(e, a, 1, 0)));
    Neg => Special(|cx| {
        update(cx, |e, a| difference(e, 0, a, 0))?;
        Ok(())
    });
}

/// First operand = f(first operand, second operand).
#[inline]
pub(super) fn combine(
    cx: &mut Context<'_>,
    f: impl Fn(&mut Execution, u64, u64) -> u64,
) -> Result<(), Fault> {
    let b = source(cx, 1)?;
    update(cx, |e, a| f(e, a, b))?;
    Ok(())
}

/// As [`update`]; CF stays.
fn step(cx: &mut Context<'_>, f: impl Fn(&mut Execution, u64) -> u64) -> Result<(), Fault> {
    update(cx, |e, a| {
        let carry = e.rflags & flag::CF;
        let result = f(e, a);
        e.rflags = e.rflags & !flag::CF | carry;
        result
    })?;
    Ok(())
}
