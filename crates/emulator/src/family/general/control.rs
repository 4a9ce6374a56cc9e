//! The carry flag, and what does nothing.

use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::state::flag;

rows! {
    Clc => Special(|cx| {
        cx.state.rflags &= !flag::CF;
        Ok(())
    });
    Stc => Special(|cx| {
        cx.state.rflags |= flag::CF;
        Ok(())
    });
    Cmc => Special(|cx| {
        cx.state.rflags ^= flag::CF;
        Ok(())
    });
    // The operand of the long form of NOP is not accessed.
    Nop, Pause, Endbr32, Endbr64 => Special(|_| Ok(()));
}
