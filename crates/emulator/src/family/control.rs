//! Clearing of registers, MXCSR, flags, fences and hints.

use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;
use crate::vector::Vector;
use core::sync::atomic::{Ordering, fence};
use iced_x86::Register;

/// The status flags in the low byte.
const IN_AH: u64 = flag::STATUS & 0xff;

rows! {
    // In 64-bit mode registers 16–31 are left alone (Intel SDM vol. 2, VZEROALL).
    Vzeroall => Special(|cx| {
        cx.state.vector.iter_mut().take(16).for_each(|v| *v = Vector::ZERO);
        Ok(())
    });
    Vzeroupper => Special(|cx| {
        cx.state.vector.iter_mut().take(16).for_each(|v| *v = v.truncated(16));
        Ok(())
    });
    Ldmxcsr, Vldmxcsr => Special(|cx| {
        let value: u32 = cx.load()?.lane(0);
        if value & !cx.state.mxcsr_mask != 0 {
            return Err(Fault::Protection);
        }
        cx.state.mxcsr = value;
        Ok(())
    });
    // One thread's accesses are carried out in order anyway; other threads need the real fence.
    Lfence, Sfence, Mfence => Special(|_| {
        fence(Ordering::SeqCst);
        Ok(())
    });
    // A prefetch neither faults nor changes anything, nor does CLDEMOTE.
    Prefetcht0, Prefetcht1, Prefetcht2, Prefetchnta,
    Prefetch, Prefetchw, Prefetchwt1, Prefetchit0, Prefetchit1, Cldemote => Special(|_| Ok(()));
    // SF, ZF, AF, PF, CF; bit 1 of the byte is always set, 3 and 5 never.
    Lahf => Special(|cx| {
        let flags = cx.state.rflags & IN_AH | 2;
        cx.write_gpr(Register::AH, flags);
        Ok(())
    });
    Sahf => Special(|cx| {
        cx.state.rflags = cx.state.rflags & !IN_AH | cx.gpr(Register::AH) & IN_AH;
        Ok(())
    });
    // After any other instruction on MMX registers the x87 stack is full.
    Emms, Femms => Special(|cx| {
        cx.state.x87.leave_mmx();
        Ok(())
    });
    Stmxcsr, Vstmxcsr => Special(|cx| {
        let mxcsr = cx.state.mxcsr;
        cx.store(&Vector::from_lane(mxcsr))
    });
}
