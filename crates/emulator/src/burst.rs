//! Going on after the instruction that trapped.
//!
//! A trap costs a few microseconds, an instruction interpreted some ten nanoseconds. So a handler
//! that has finished one lost instruction goes on with those that follow, lost or not, as long as
//! it is likely that another lost one is near. That is a *burst*.

use crate::fault::Fault;
use crate::features::EMULATED;
use crate::memory::Memory;
use crate::state::{State, flag};
use crate::step::step;
use isa::FeatureSet;

/// Decoded instructions, kept from one burst to the next.
///
/// Each is compared with the bytes of the code before it is used, so a cache may be kept for ever,
/// and serve one thread after the other. About 24 KiB; [`Cache::new`] is a constant, for a static.
#[derive(Debug)]
pub struct Cache {
    absent: FeatureSet,
}

impl Cache {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            absent: FeatureSet::EMPTY,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a burst may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Instructions at most. Asynchronous signals wait for the end of a burst, so this bounds by
    /// how much they are late.
    pub instructions: u32,
    /// Instructions in a row that the CPU has itself, after which it is left to go on alone.
    pub patience: u32,
}

/// Why a burst ended. RIP is at the first instruction that was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The lost code is left: as many instructions as [`Budget::patience`] that the CPU has itself.
    Left,
    /// As many instructions as [`Budget::instructions`].
    Budget,
    /// The next instruction is not one for a burst: not emulated, or a wait in a loop (PAUSE); or
    /// the thread is single-stepped (RFLAGS.TF) or checks alignment (RFLAGS.AC).
    Unknown,
    /// The next instruction faults. The CPU will raise the fault itself, or trap to have it
    /// [emulated](crate::step).
    Fault(Fault),
}

/// What a burst did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Instructions carried out.
    pub instructions: u32,
    /// Those of them that the CPU lacks.
    pub emulated: u32,
    /// The features, absent from the CPU, that those needed.
    pub features: FeatureSet,
    /// Address of the last of those; 0 if there was none.
    pub address: u64,
    /// Why it ended.
    pub end: End,
}

/// Carries out instructions from RIP on, until one is not for a burst or the budget is used up.
///
/// The result is what as many calls of [`step`] give. `absent` are the features that the CPU lacks.
/// Async-signal-safe after [`init`](crate::init) if `memory` is.
pub fn burst(
    state: &mut State,
    memory: &mut dyn Memory,
    cache: &mut Cache,
    absent: FeatureSet,
    budget: Budget,
) -> Burst {
    cache.absent = absent;
    let mut done = Burst {
        instructions: 0,
        emulated: 0,
        features: FeatureSet::EMPTY,
        address: 0,
        end: End::Budget,
    };
    let mut quiet = 0;
    while done.instructions < budget.instructions {
        if state.rflags & (flag::TF | flag::AC) != 0 {
            done.end = End::Unknown;
            break;
        }
        let address = state.rip;
        let features = match step(state, memory, EMULATED) {
            Ok(step) => step.features & absent,
            Err(Fault::Unknown) => {
                done.end = End::Unknown;
                break;
            }
            Err(fault) => {
                done.end = End::Fault(fault);
                break;
            }
        };
        done.instructions = done.instructions.saturating_add(1);
        if features.is_empty() {
            quiet += 1;
            if quiet > budget.patience {
                done.end = End::Left;
                break;
            }
        } else {
            quiet = 0;
            done.emulated = done.emulated.saturating_add(1);
            done.features |= features;
            done.address = address;
        }
    }
    done
}
