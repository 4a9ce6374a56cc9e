//! Clearing of registers, MXCSR, fences and hints.

use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::vector::Vector;
use core::sync::atomic::{Ordering, fence};

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
    // A prefetch neither faults nor changes anything.
    Prefetcht0, Prefetcht1, Prefetcht2, Prefetchnta => Special(|_| Ok(()));
    Stmxcsr, Vstmxcsr => Special(|cx| {
        let mxcsr = cx.state.mxcsr;
        cx.store(&Vector::from_lane(mxcsr))
    });
}
