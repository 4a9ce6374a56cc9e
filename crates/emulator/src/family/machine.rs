//! What takes more of the machine than registers and plain accesses to memory. Each is refused,
//! as [`Fault::Unknown`], where [`Memory`](crate::Memory) does not offer what it takes.

use crate::context::Context;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;
use iced_x86::Register;

rows! {
    Cmpxchg16b => Special(compare_exchange);
    // CLFLUSHOPT is ordered less than CLFLUSH, and CLWB may keep the line.
    Clflushopt, Clwb => Special(|cx| {
        let address = cx.address(0);
        cx.memory.flush_line(address)?.ok_or(Fault::Unknown)
    });
    Rdpid => Special(|cx| {
        let aux = cx.memory.time_stamp_aux().ok_or(Fault::Unknown)?;
        cx.write_integer(0, aux.into())
    });
    Rdtscp => Special(|cx| {
        let (counter, aux) = cx
            .memory
            .time_stamp()
            .zip(cx.memory.time_stamp_aux())
            .ok_or(Fault::Unknown)?;
        cx.write_gpr(Register::EAX, counter);
        cx.write_gpr(Register::EDX, counter >> 32);
        cx.write_gpr(Register::ECX, aux.into());
        Ok(())
    });
    Rdrand, Rdseed => Special(|cx| {
        // CF = 0 and a destination of 0 say that there is none (Intel SDM vol. 1, 7.3.17).
        let random = cx.memory.random().ok_or(Fault::Unknown)?;
        let carry = if random.is_some() { flag::CF } else { 0 };
        cx.write_integer(0, random.unwrap_or(0))?;
        cx.state.rflags = cx.state.rflags & !flag::STATUS | carry;
        Ok(())
    });
}

/// Replaces 16 bytes of memory by RCX:RBX if they equal RDX:RAX, else loads them there.
fn compare_exchange(cx: &mut Context<'_>) -> Result<(), Fault> {
    let address = cx.address(0);
    if !address.is_multiple_of(16) {
        return Err(Fault::Alignment { address });
    }
    let pair = |high, low| u128::from(cx.gpr(high)) << 64 | u128::from(cx.gpr(low));
    let expected = pair(Register::RDX, Register::RAX);
    let new = pair(Register::RCX, Register::RBX);
    let old = cx
        .memory
        .compare_exchange_16(address, expected, new)?
        .ok_or(Fault::Unknown)?;
    if old == expected {
        cx.state.rflags |= flag::ZF;
    } else {
        cx.state.rflags &= !flag::ZF;
        cx.write_gpr(Register::RAX, old as u64);
        cx.write_gpr(Register::RDX, (old >> 64) as u64);
    }
    Ok(())
}
