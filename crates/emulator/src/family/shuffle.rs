//! Rearrangements within blocks of 128 bits, or of the 64 of an MMX register.

use crate::context::Context;
use crate::execution::Execution;
use crate::fault::Fault;
use crate::operation::Operation::{Binary, Special, Unary};
use crate::operation::rows;
use crate::vector::{Lane, Vector, build};

rows! {
    Pshufb, Vpshufb => Binary(|e, a, b| build(e.bytes, |i| {
        let select: u8 = b.lane(i);
        if select & 0x80 == 0 {
            let place = usize::from(select) % e.block();
            a.lane::<u8>(i / e.block() * e.block() + place)
        } else {
            0
        }
    }));
    Pshufd, Vpshufd => Unary(|e, a| build(e.bytes, |i| a.lane::<u32>(i / 4 * 4 + field(e, i % 4))));
    Pshuflw, Vpshuflw => Unary(|e, a| build(e.bytes, |i| {
        a.lane::<u16>(if i % 8 < 4 { i / 8 * 8 + field(e, i % 4) } else { i })
    }));
    Pshufhw, Vpshufhw => Unary(|e, a| build(e.bytes, |i| {
        a.lane::<u16>(if i % 8 < 4 { i } else { i / 8 * 8 + 4 + field(e, i % 4) })
    }));
    // MMX only.
    Pshufw => Unary(|e, a| build(e.bytes, |i| a.lane::<u16>(field(e, i))));
    Shufps, Vshufps => Binary(|e, a, b| build(e.bytes, |i| {
        let from = if i % 4 < 2 { a } else { b };
        from.lane::<u32>(i / 4 * 4 + field(e, i % 4))
    }));
    Shufpd, Vshufpd => Binary(|e, a, b| build(e.bytes, |i| {
        let from = if i % 2 == 0 { a } else { b };
        from.lane::<u64>(i / 2 * 2 + usize::from(e.imm >> i & 1))
    }));
    Palignr, Vpalignr => Binary(|e, a, b| build(e.bytes, |i| {
        let bytes = e.block();
        let (block, from) = (i / bytes * bytes, i % bytes + usize::from(e.imm));
        if from < bytes {
            b.lane::<u8>(block + from)
        } else if from < 2 * bytes {
            a.lane(block + from - bytes)
        } else {
            0
        }
    }));

    Punpcklbw, Vpunpcklbw => Binary(|e, a, b| interleave::<u8>(e, a, b, 0));
    Punpcklwd, Vpunpcklwd => Binary(|e, a, b| interleave::<u16>(e, a, b, 0));
    Punpckldq, Vpunpckldq, Unpcklps, Vunpcklps => Binary(|e, a, b| interleave::<u32>(e, a, b, 0));
    Punpcklqdq, Vpunpcklqdq, Unpcklpd, Vunpcklpd => Binary(|e, a, b| interleave::<u64>(e, a, b, 0));
    Punpckhbw, Vpunpckhbw => Binary(|e, a, b| interleave::<u8>(e, a, b, 1));
    Punpckhwd, Vpunpckhwd => Binary(|e, a, b| interleave::<u16>(e, a, b, 1));
    Punpckhdq, Vpunpckhdq, Unpckhps, Vunpckhps => Binary(|e, a, b| interleave::<u32>(e, a, b, 1));
    Punpckhqdq, Vpunpckhqdq, Unpckhpd, Vunpckhpd => Binary(|e, a, b| interleave::<u64>(e, a, b, 1));

    Movddup, Vmovddup => Unary(|e, a| build(e.bytes, |i| a.lane::<u64>(i & !1)));
    Movsldup, Vmovsldup => Unary(|e, a| build(e.bytes, |i| a.lane::<u32>(i & !1)));
    Movshdup, Vmovshdup => Unary(|e, a| build(e.bytes, |i| a.lane::<u32>(i | 1)));

    Vpermilps => Special(|cx| permute_in_block(cx,
        |e, a| build(e.bytes, |i| a.lane::<u32>(i / 4 * 4 + field(e, i % 4))),
        |e, a, b| build(e.bytes, |i| {
            a.lane::<u32>(i / 4 * 4 + (b.lane::<u32>(i) & 3) as usize)
        })));
    Vpermilpd => Special(|cx| permute_in_block(cx,
        |e, a| build(e.bytes, |i| a.lane::<u64>(i / 2 * 2 + usize::from(e.imm >> i & 1))),
        |e, a, b| build(e.bytes, |i| {
            a.lane::<u64>(i / 2 * 2 + (b.lane::<u64>(i) >> 1 & 1) as usize)
        })));
}

/// Two-bit field `i` of the immediate.
fn field(e: &Execution, i: usize) -> usize {
    usize::from(e.imm >> (2 * i) & 3)
}

/// Alternates lanes of the low (0) or high (1) `half` of each block of `a` and `b`.
fn interleave<T: Lane>(e: &Execution, a: &Vector, b: &Vector, half: usize) -> Vector {
    let lanes = e.block() / T::BYTES;
    build(e.bytes, |i| {
        let from = if i % 2 == 0 { a } else { b };
        from.lane::<T>(i / lanes * lanes + half * lanes / 2 + i % lanes / 2)
    })
}

/// VPERMILxx: the control is an immediate, or a vector.
fn permute_in_block(
    cx: &mut Context<'_>,
    by_immediate: fn(&Execution, &Vector) -> Vector,
    by_vector: fn(&Execution, &Vector, &Vector) -> Vector,
) -> Result<(), Fault> {
    let a = cx.vector(1)?;
    let result = if cx.operands() > 2 {
        let control = cx.vector(2)?;
        by_vector(&cx.execution, &a, &control)
    } else {
        by_immediate(&cx.execution, &a)
    };
    cx.write_vector(0, &result)
}
