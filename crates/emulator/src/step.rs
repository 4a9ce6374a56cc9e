//! Decoding and executing the instruction at RIP.

use crate::context::Context;
use crate::decoded::{Decoded, MAX_LENGTH, Mmx, Segment};
use crate::fault::Fault;
use crate::memory::{Access, FaultKind, Memory, MemoryFault};
use crate::operation::{self, Operation};
use crate::state::{State, Width};
use iced_x86::{DecoderError, Register};
use isa::FeatureSet;

/// An instruction that completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The features a CPU needs to execute it.
    pub features: FeatureSet,
    /// Its length in bytes.
    pub length: usize,
}

/// What an instruction needs, found without executing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The features a CPU needs to execute it.
    pub features: FeatureSet,
    /// Its length in bytes.
    pub length: usize,
    /// Whether [`step`] knows it.
    pub emulated: bool,
}

/// Builds the decoder's tables.
///
/// The decoder builds them on first use, with allocation and under a lock. Call this from ordinary
/// code before [`step`] or [`attribute`] can be reached from a signal handler. Not
/// async-signal-safe; calling it again does nothing.
pub fn init() {
    // A NOP: any instruction will do.
    let _ = Decoded::new(&[0x90], 0);
}

/// Says which features the instruction in `code` needs, without executing it; `None` if the bytes
/// are not an instruction or its features have no name here.
///
/// Async-signal-safe after [`init`].
#[must_use]
pub fn attribute(code: &[u8]) -> Option<Attribution> {
    let decoded = Decoded::new(code, 0).ok()?;
    Some(Attribution {
        features: decoded.features()?,
        length: decoded.instruction.len(),
        emulated: !matches!(decoded.operation, Operation::Unknown),
    })
}

/// Executes the one instruction at RIP and sets RIP to the next.
///
/// `permitted` restricts what is carried out: an instruction that needs any feature outside it is
/// refused. [`EMULATED`](crate::EMULATED) permits all. Async-signal-safe after [`init`] if
/// `memory` is.
///
/// # Errors
/// See [`Fault`] for each, and for what the state is then.
pub fn step(
    state: &mut State,
    memory: &mut dyn Memory,
    permitted: FeatureSet,
) -> Result<Step, Fault> {
    let mut decoded = Decoded::none();
    fetch(&mut decoded, state.rip, memory)?;
    let features = decoded.features().ok_or(Fault::Unknown)?;
    if !permitted.is_superset(&features) {
        return Err(Fault::Unknown);
    }
    execute(&decoded, state, memory)?;
    Ok(Step {
        features,
        length: decoded.instruction.len(),
    })
}

/// Decodes the instruction at `rip`; its code and what follows it.
pub(crate) fn fetch(
    decoded: &mut Decoded,
    rip: u64,
    memory: &mut dyn Memory,
) -> Result<[u8; 16], Fault> {
    let mut code = [0; 16];
    let buffer = code.get_mut(..MAX_LENGTH).unwrap_or_default();
    let readable = memory.fetch(rip, buffer).min(MAX_LENGTH);
    match decoded.decode(code.get(..readable).unwrap_or_default(), rip) {
        Ok(()) => Ok(code),
        Err(DecoderError::NoMoreBytes) if readable < MAX_LENGTH => {
            Err(Fault::Memory(MemoryFault {
                address: rip.wrapping_add(readable as u64),
                access: Access::Execute,
                kind: FaultKind::Unmapped,
            }))
        }
        Err(_) => Err(Fault::Unknown),
    }
}

/// Carries out `decoded`, which is at RIP, and sets RIP to the next.
pub(crate) fn execute(
    decoded: &Decoded,
    state: &mut State,
    memory: &mut dyn Memory,
) -> Result<(), Fault> {
    if decoded.wants_ymm && state.width < Width::Ymm {
        return Err(Fault::Unknown);
    }
    if decoded.mmx != Mmx::Unused {
        state.x87.check()?;
    }
    let mut cx = Context::new(state, memory, decoded);
    operation::execute(&mut cx).map_err(|fault| of_segment(fault, decoded))?;
    let next = cx.next;
    if decoded.mmx == Mmx::Enters {
        state.x87.enter_mmx();
    }
    state.rip = next;
    Ok(())
}

/// What is #GP in other segments is #SS in the stack's: that of RSP and RBP, as in 64-bit mode
/// prefixes of other segments than FS and GS do not count (tried).
fn of_segment(fault: Fault, decoded: &Decoded) -> Fault {
    match fault {
        Fault::Memory(fault)
            if fault.kind == FaultKind::NonCanonical
                && decoded.address.segment == Segment::Flat
                && matches!(
                    decoded.instruction.memory_base(),
                    Register::RSP | Register::RBP
                ) =>
        {
            Fault::Memory(MemoryFault {
                kind: FaultKind::NonCanonicalStack,
                ..fault
            })
        }
        fault => fault,
    }
}
