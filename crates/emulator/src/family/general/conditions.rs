//! The sixteen conditions, and the moves and bytes that depend on them.

use crate::context::Context;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag::{CF, OF, PF, SF, ZF};
use core::hint::black_box;

/// Conditions as the lowest four bits of the opcode encode them (Intel SDM vol. 1, appendix B);
/// an odd one is the opposite of the one before.
pub(super) mod condition {
    pub(crate) const O: u8 = 0;
    pub(crate) const NO: u8 = 1;
    pub(crate) const B: u8 = 2;
    pub(crate) const AE: u8 = 3;
    pub(crate) const E: u8 = 4;
    pub(crate) const NE: u8 = 5;
    pub(crate) const BE: u8 = 6;
    pub(crate) const A: u8 = 7;
    pub(crate) const S: u8 = 8;
    pub(crate) const NS: u8 = 9;
    pub(crate) const P: u8 = 10;
    pub(crate) const NP: u8 = 11;
    pub(crate) const L: u8 = 12;
    pub(crate) const GE: u8 = 13;
    pub(crate) const LE: u8 = 14;
    pub(crate) const G: u8 = 15;
}
use condition::{A, AE, B, BE, E, G, GE, L, LE, NE, NO, NP, NS, O, P, S};

rows! {
    Cmovo => Special(move_if::<O>);
    Cmovno => Special(move_if::<NO>);
    Cmovb => Special(move_if::<B>);
    Cmovae => Special(move_if::<AE>);
    Cmove => Special(move_if::<E>);
    Cmovne => Special(move_if::<NE>);
    Cmovbe => Special(move_if::<BE>);
    Cmova => Special(move_if::<A>);
    Cmovs => Special(move_if::<S>);
    Cmovns => Special(move_if::<NS>);
    Cmovp => Special(move_if::<P>);
    Cmovnp => Special(move_if::<NP>);
    Cmovl => Special(move_if::<L>);
    Cmovge => Special(move_if::<GE>);
    Cmovle => Special(move_if::<LE>);
    Cmovg => Special(move_if::<G>);

    Seto => Special(set_if::<O>);
    Setno => Special(set_if::<NO>);
    Setb => Special(set_if::<B>);
    Setae => Special(set_if::<AE>);
    Sete => Special(set_if::<E>);
    Setne => Special(set_if::<NE>);
    Setbe => Special(set_if::<BE>);
    Seta => Special(set_if::<A>);
    Sets => Special(set_if::<S>);
    Setns => Special(set_if::<NS>);
    Setp => Special(set_if::<P>);
    Setnp => Special(set_if::<NP>);
    Setl => Special(set_if::<L>);
    Setge => Special(set_if::<GE>);
    Setle => Special(set_if::<LE>);
    Setg => Special(set_if::<G>);
}

/// Whether `CONDITION` is true of the flags.
#[inline]
pub(super) fn holds<const CONDITION: u8>(rflags: u64) -> bool {
    let any = |flags| rflags & flags != 0;
    let less = any(SF) != any(OF);
    let holds = match CONDITION & !1 {
        O => any(OF),
        B => any(CF),
        E => any(ZF),
        BE => any(CF | ZF),
        S => any(SF),
        P => any(PF),
        L => less,
        _ => less | any(ZF),
    };
    holds != (CONDITION & 1 == 1)
}

/// The source is read, and the upper half of a 32-bit destination cleared, in any case. Without a
/// branch on the condition: programs choose by it what must not show in time.
fn move_if<const CONDITION: u8>(cx: &mut Context<'_>) -> Result<(), Fault> {
    let (old, new) = (cx.integer(0)?, cx.integer(1)?);
    let mask = 0u64.wrapping_sub(holds::<CONDITION>(cx.state.rflags).into());
    cx.write_integer(0, old ^ (old ^ new) & black_box(mask))
}

fn set_if<const CONDITION: u8>(cx: &mut Context<'_>) -> Result<(), Fault> {
    let value = holds::<CONDITION>(cx.state.rflags);
    cx.write_integer(0, value.into())
}
