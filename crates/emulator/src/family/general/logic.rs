//! Bitwise operations.

use super::arithmetic::combine;
use super::{source, update};
use crate::family::flags::result_flags;
use crate::operation::Operation::Special;
use crate::operation::rows;

rows! {
    And => Special(|cx| combine(cx, |e, a, b| result_flags(e, a & b, false)));
    Or => Special(|cx| combine(cx, |e, a, b| result_flags(e, a | b, false)));
    Xor => Special(|cx| combine(cx, |e, a, b| result_flags(e, a ^ b, false)));
    Test => Special(|cx| {
        let (a, b) = (cx.integer(0)?, source(cx, 1)?);
        result_flags(&mut cx.execution, a & b, false);
        cx.commit();
        Ok(())
    });
    // No flags.
    Not => Special(|cx| {
        update(cx, |_, a| !a)?;
        Ok(())
    });
}
