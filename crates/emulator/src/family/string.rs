//! String comparison: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.
//!
//! The immediate (Intel SDM vol. 2, 4.1): bits 1:0 the element, 3:2 how elements are compared,
//! 5:4 polarity, 6 form of the result.

use crate::context::Context;
use crate::execution::Execution;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;
use crate::vector::{Vector, build};
use iced_x86::Register;

rows! {
    Pcmpestri, Vpcmpestri => Special(|cx| explicit(cx, Register::EAX, Register::EDX, index));
    Pcmpestri64, Vpcmpestri64 => Special(|cx| explicit(cx, Register::RAX, Register::RDX, index));
    Pcmpestrm, Vpcmpestrm => Special(|cx| explicit(cx, Register::EAX, Register::EDX, mask));
    Pcmpestrm64, Vpcmpestrm64 => Special(|cx| explicit(cx, Register::RAX, Register::RDX, mask));
    Pcmpistri, Vpcmpistri => Special(|cx| implicit(cx, index));
    Pcmpistrm, Vpcmpistrm => Special(|cx| implicit(cx, mask));
}

/// A string in a register.
struct Text {
    lanes: Vector,
    /// Elements before its end, at most as many as the register holds.
    length: usize,
}

/// Elements in a register.
fn capacity(imm: u8) -> usize {
    if imm & 1 == 0 { 16 } else { 8 }
}

/// Element `i`, widened; signed or not as the immediate says.
fn element(imm: u8, text: &Text, i: usize) -> i32 {
    match imm & 3 {
        0 => text.lanes.lane::<u8>(i).into(),
        1 => text.lanes.lane::<u16>(i).into(),
        2 => text.lanes.lane::<i8>(i).into(),
        _ => text.lanes.lane::<i16>(i).into(),
    }
}

/// A result bit for each element of `b`.
fn compare(imm: u8, a: &Text, b: &Text) -> u32 {
    let capacity = capacity(imm);
    let at = |text: &Text, i: usize| element(imm, text, i);
    let mut result = 0;
    for j in 0..capacity {
        let in_b = j < b.length;
        let holds = match imm >> 2 & 3 {
            // Equal any: `a` is a set.
            0 => in_b && (0..a.length).any(|i| at(a, i) == at(b, j)),
            // Ranges: `a` holds pairs of limits.
            1 => {
                in_b && (0..a.length / 2)
                    .any(|i| (at(a, 2 * i)..=at(a, 2 * i + 1)).contains(&at(b, j)))
            }
            // Equal each: beyond both ends counts as equal.
            2 => match (j < a.length, in_b) {
                (true, true) => at(a, j) == at(b, j),
                (x, y) => x == y,
            },
            // Equal ordered: `a` is sought in `b`, and may run over the end of the register.
            _ => (0..a.length.min(capacity - j))
                .all(|i| j + i < b.length && at(a, i) == at(b, j + i)),
        };
        result |= u32::from(holds) << j;
    }
    let all = (1 << capacity) - 1;
    match imm >> 4 & 3 {
        1 => !result & all,
        3 => result ^ ((1 << b.length) - 1),
        _ => result,
    }
}

type Finish = fn(&mut Context<'_>, u32);

/// ECX: index of the lowest or highest set bit, or the number of elements if there is none.
fn index(cx: &mut Context<'_>, result: u32) {
    let imm = cx.execution.imm;
    let found = if result == 0 {
        capacity(imm) as u32
    } else if imm & 0x40 == 0 {
        result.trailing_zeros()
    } else {
        31 - result.leading_zeros()
    };
    cx.write_gpr(Register::ECX, found.into());
}

/// XMM0: the bits, as they are or each widened to an element.
fn mask(cx: &mut Context<'_>, result: u32) {
    let imm = cx.execution.imm;
    let all_ones = |i: usize| 0u16.wrapping_sub((result >> i & 1) as u16);
    let value = if imm & 0x40 == 0 {
        Vector::from_lane(result)
    } else if imm & 1 == 0 {
        build(16, |i| all_ones(i) as u8)
    } else {
        build(16, all_ones)
    };
    cx.write_register(0, &value);
}

fn set_flags(e: &mut Execution, a: &Text, b: &Text, result: u32) {
    let capacity = capacity(e.imm);
    let flags = [
        (flag::CF, result != 0),
        (flag::ZF, b.length < capacity),
        (flag::SF, a.length < capacity),
        (flag::OF, result & 1 == 1),
    ];
    e.rflags &= !flag::STATUS;
    for (flag, _) in flags.iter().filter(|(_, on)| *on) {
        e.rflags |= flag;
    }
}

fn run(cx: &mut Context<'_>, a: &Text, b: &Text, finish: Finish) {
    let result = compare(cx.execution.imm, a, b);
    set_flags(&mut cx.execution, a, b, result);
    finish(cx, result);
    cx.commit();
}

/// Lengths in registers, whose magnitude counts.
fn explicit(
    cx: &mut Context<'_>,
    a_length: Register,
    b_length: Register,
    finish: Finish,
) -> Result<(), Fault> {
    let capacity = capacity(cx.execution.imm);
    let length = |cx: &Context<'_>, register: Register| {
        let value = cx.gpr(register);
        let value = if register.size() == 4 {
            u64::from((value as i32).unsigned_abs())
        } else {
            (value as i64).unsigned_abs()
        };
        value.min(capacity as u64) as usize
    };
    let a = Text {
        lanes: cx.vector(0)?,
        length: length(cx, a_length),
    };
    let b = Text {
        lanes: cx.vector(1)?,
        length: length(cx, b_length),
    };
    run(cx, &a, &b, finish);
    Ok(())
}

/// Strings that end at the first zero.
fn implicit(cx: &mut Context<'_>, finish: Finish) -> Result<(), Fault> {
    let imm = cx.execution.imm;
    let text = |lanes: Vector| {
        let mut text = Text { lanes, length: 0 };
        let end = (0..capacity(imm)).find(|&i| element(imm, &text, i) == 0);
        text.length = end.unwrap_or(capacity(imm));
        text
    };
    let a = text(cx.vector(0)?);
    let b = text(cx.vector(1)?);
    run(cx, &a, &b, finish);
    Ok(())
}
