//! Bit fields of the low quadword, and scalar non-temporal stores: SSE4A.
//!
//! The high quadword of the destination is undefined (AMD APM vol. 4, EXTRQ, INSERTQ); AMD CPUs
//! clear it.

use crate::context::Context;
use crate::operation::Operation::{Special, Unary};
use crate::operation::rows;
use crate::vector::Vector;

rows! {
    Extrq => Special(|cx| {
        let source: u64 = cx.vector(0)?.lane(0);
        let (length, index) = if cx.operands() > 1 {
            let control = cx.vector(1)?;
            (control.lane(0), control.lane(1))
        } else {
            immediates(cx)
        };
        let result = source >> (index & 63) & field(length);
        cx.write_vector(0, &Vector::from_lane(result))
    });
    Insertq => Special(|cx| {
        let (to, from) = (cx.vector(0)?, cx.vector(1)?);
        // The register form has the control in the upper half of its source.
        let (length, index) = match cx.instruction.op_count() {
            2 => (from.lane(8), from.lane(9)),
            _ => immediates(cx),
        };
        let (to, from): (u64, u64) = (to.lane(0), from.lane(0));
        let (mask, index) = (field(length), index & 63);
        let result = to & !(mask << index) | (from & mask) << index;
        cx.write_vector(0, &Vector::from_lane(result))
    });
    Movntss, Movntsd => Unary(|_, a| *a);
}

/// Length and index of the immediate forms.
fn immediates(cx: &Context<'_>) -> (u8, u8) {
    (cx.instruction.immediate8(), cx.instruction.immediate8_2nd())
}

/// As many ones as the length, of which six bits count and 0 means 64, says.
fn field(length: u8) -> u64 {
    u64::MAX >> (64u8.wrapping_sub(length) & 63)
}
