//! Near branches.

use super::conditions::condition::{A, AE, B, BE, E, G, GE, L, LE, NE, NO, NP, NS, O, P, S};
use super::conditions::holds;
use super::stack::{pop, push};
use super::{extended, source};
use crate::context::Context;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;
use iced_x86::{Code, OpKind, Register};

rows! {
    Jo => Special(jump_if::<O>);
    Jno => Special(jump_if::<NO>);
    Jb => Special(jump_if::<B>);
    Jae => Special(jump_if::<AE>);
    Je => Special(jump_if::<E>);
    Jne => Special(jump_if::<NE>);
    Jbe => Special(jump_if::<BE>);
    Ja => Special(jump_if::<A>);
    Js => Special(jump_if::<S>);
    Jns => Special(jump_if::<NS>);
    Jp => Special(jump_if::<P>);
    Jnp => Special(jump_if::<NP>);
    Jl => Special(jump_if::<L>);
    Jge => Special(jump_if::<GE>);
    Jle => Special(jump_if::<LE>);
    Jg => Special(jump_if::<G>);

    Jecxz => Special(|cx| branch_if(cx, cx.gpr(Register::ECX) == 0));
    Jrcxz => Special(|cx| branch_if(cx, cx.gpr(Register::RCX) == 0));
    Loop => Special(|cx| count_down(cx, |_| true));
    Loope => Special(|cx| count_down(cx, |flags| flags & flag::ZF != 0));
    Loopne => Special(|cx| count_down(cx, |flags| flags & flag::ZF == 0));

    Jmp => Special(|cx| {
        let target = target(cx)?;
        branch(cx, target)
    });
    Call => Special(call);
    Ret => Special(ret);
}

/// Where the only operand leads.
fn target(cx: &mut Context<'_>) -> Result<u64, Fault> {
    if cx.kind(0) == OpKind::NearBranch64 {
        Ok(cx.instruction.near_branch64())
    } else {
        source(cx, 0)
    }
}

/// Fails unless RIP can be `target`.
///
/// How many bits of an address count depends on the paging mode: where 48 bits are not enough but
/// 57 are it is left to the CPU.
fn check(target: u64) -> Result<(), Fault> {
    let fits = |bits| extended(bits, target) as u64 == target;
    if fits(48) {
        Ok(())
    } else if fits(57) {
        Err(Fault::Unknown)
    } else {
        Err(Fault::Protection)
    }
}

fn branch(cx: &mut Context<'_>, target: u64) -> Result<(), Fault> {
    check(target)?;
    cx.next = target;
    Ok(())
}

fn branch_if(cx: &mut Context<'_>, condition: bool) -> Result<(), Fault> {
    if condition {
        branch(cx, cx.instruction.near_branch64())
    } else {
        Ok(())
    }
}

fn jump_if<const CONDITION: u8>(cx: &mut Context<'_>) -> Result<(), Fault> {
    branch_if(cx, holds::<CONDITION>(cx.state.rflags))
}

/// Decrements RCX, or ECX where addresses have 32 bits, and branches unless it is then 0.
fn count_down(cx: &mut Context<'_>, condition: fn(u64) -> bool) -> Result<(), Fault> {
    let counter = match cx.instruction.code() {
        Code::Loop_rel8_64_ECX | Code::Loope_rel8_64_ECX | Code::Loopne_rel8_64_ECX => {
            Register::ECX
        }
        _ => Register::RCX,
    };
    // Both are 0 when the count ends, whatever the borrow leaves above ECX.
    let count = cx.gpr(counter).wrapping_sub(1);
    let ended = extended((counter.size() as u32).wrapping_mul(8), count) == 0;
    branch_if(cx, !ended && condition(cx.state.rflags))?;
    cx.write_gpr(counter, count);
    Ok(())
}

/// A shadow stack would have to be pushed to as well.
fn call(cx: &mut Context<'_>) -> Result<(), Fault> {
    if cx.state.shadow_stack {
        return Err(Fault::Unknown);
    }
    let target = target(cx)?;
    if check(target).is_err() {
        // A stack that cannot be written is found first.
        let to = cx.gpr(Register::RSP).wrapping_sub(8);
        cx.memory.check_write(to, 8)?;
    }
    branch(cx, target)?;
    push(cx, 8, cx.instruction.next_ip())
}

/// The immediate says how many bytes of arguments go too.
fn ret(cx: &mut Context<'_>) -> Result<(), Fault> {
    if cx.state.shadow_stack {
        return Err(Fault::Unknown);
    }
    let arguments = if cx.kind(0) == OpKind::Immediate16 {
        cx.instruction.immediate16()
    } else {
        0
    };
    let (target, above) = pop(cx, 8)?;
    branch(cx, target)?;
    cx.write_gpr(Register::RSP, above.wrapping_add(arguments.into()));
    Ok(())
}
