//! Going on after the instruction that trapped.
//!
//! A trap costs a few microseconds, an instruction interpreted some twenty nanoseconds. So a handler
//! that has finished one lost instruction goes on with those that follow, lost or not, as long as
//! it is likely that another lost one is near. That is a *burst*.

use crate::decoded::Decoded;
use crate::fault::Fault;
use crate::features::EMULATED;
use crate::memory::Memory;
use crate::state::{State, flag};
use crate::step::{execute, fetch};
use iced_x86::Mnemonic;
use isa::FeatureSet;

/// Instructions that a [`Cache`] holds: the body of a large loop.
const ENTRIES: usize = 256;
/// Places of the table that finds them; a power of two, few of which collide.
const PLACES: usize = 1024;
// A position fits into a byte.
const _: () = assert!(ENTRIES <= 256);

/// Decoded instructions, kept from one burst to the next.
///
/// Each is compared with the bytes of the code before it is used, so a cache may be kept for ever,
/// and serve one thread after the other. About 54 KiB; [`Cache::new`] is a constant, for a static.
pub struct Cache {
    /// What [`Entry::lost`] was decided by.
    absent: FeatureSet,
    /// In the order in which they were decoded: most often that of execution. `length` of them.
    entries: [Option<Entry>; ENTRIES],
    length: usize,
    /// Position in `entries` by [`place`] of the address; may be out of date.
    positions: [u8; PLACES],
    /// Number of the present burst.
    burst: u32,
}

/// A decoded instruction.
struct Entry {
    rip: u64,
    /// Its bytes, the lowest first, zeros above.
    code: u128,
    length: u8,
    /// The features it needs that the CPU lacks.
    features: FeatureSet,
    /// There are such.
    lost: bool,
    /// May be carried out in a burst.
    usable: bool,
    /// The last burst in which its features were noted.
    noted: u32,
    decoded: Decoded,
}

impl core::fmt::Debug for Cache {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cache")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            absent: FeatureSet::EMPTY,
            entries: [const { None }; ENTRIES],
            length: 0,
            positions: [0; PLACES],
            burst: 0,
        }
    }

    fn begin(&mut self, absent: FeatureSet) {
        if self.absent != absent {
            self.absent = absent;
            self.length = 0;
        }
        self.burst = self.burst.wrapping_add(1);
    }

    fn is_at(&self, position: usize, rip: u64) -> bool {
        position < self.length
            && matches!(self.entries.get(position), Some(Some(entry)) if entry.rip == rip)
    }

    /// Position of the instruction at `rip`, tried at `likely` first.
    fn find(&mut self, rip: u64, likely: usize, memory: &mut dyn Memory) -> Result<usize, Fault> {
        let mut position = likely;
        if !self.is_at(position, rip) {
            position = self.positions.get(place(rip)).copied().unwrap_or(0).into();
        }
        if self.is_at(position, rip)
            && let Some(Some(entry)) = self.entries.get(position)
        {
            if memory.is_unchanged(rip, entry.code, entry.length.into()) {
                return Ok(position);
            }
            return self.decode(position, rip, memory);
        }
        if self.length == ENTRIES {
            self.length = 0;
        }
        let position = self.length;
        self.length = position.wrapping_add(1);
        self.decode(position, rip, memory)
    }

    /// Decodes the instruction at `rip` into `position`.
    fn decode(
        &mut self,
        position: usize,
        rip: u64,
        memory: &mut dyn Memory,
    ) -> Result<usize, Fault> {
        let Some(slot) = self.entries.get_mut(position) else {
            return Err(Fault::Unknown);
        };
        // What was here is no more, whatever comes of it.
        *slot = None;
        let mut decoded = Decoded::none();
        let code = u128::from_le_bytes(fetch(&mut decoded, rip, memory)?);
        let length = decoded.instruction.len();
        let others = (!0u128).checked_shl(8 * length as u32).unwrap_or(0);
        let features = decoded.features().ok_or(Fault::Unknown)?;
        let absent = features & self.absent;
        let lost = !absent.is_empty();
        let usable = EMULATED.is_superset(&features)
            && decoded.instruction.mnemonic() != Mnemonic::Pause
            && (lost || !is_approximate(&decoded) || knows_the_cpu(memory));
        *slot = Some(Entry {
            rip,
            code: code & !others,
            length: length as u8,
            features: absent,
            lost,
            usable,
            noted: self.burst.wrapping_sub(1),
            decoded,
        });
        if let Some(place) = self.positions.get_mut(place(rip)) {
            *place = position as u8;
        }
        Ok(position)
    }
}

fn place(rip: u64) -> usize {
    rip as usize & (PLACES - 1)
}

/// Whether CPUs differ in the result: the emulator's own must not be mixed with the CPU's.
fn is_approximate(decoded: &Decoded) -> bool {
    matches!(
        decoded.instruction.mnemonic(),
        Mnemonic::Rcpps
            | Mnemonic::Rcpss
            | Mnemonic::Rsqrtps
            | Mnemonic::Rsqrtss
            | Mnemonic::Vrcpps
            | Mnemonic::Vrcpss
            | Mnemonic::Vrsqrtps
            | Mnemonic::Vrsqrtss
    )
}

fn knows_the_cpu(memory: &mut dyn Memory) -> bool {
    memory.reciprocal(0x3f80_0000).is_some() && memory.reciprocal_sqrt(0x3f80_0000).is_some()
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
    /// The lost code is left: after as many instructions as [`Budget::patience`] that the CPU has
    /// itself comes another.
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
/// The result is what as many calls of [`step`](crate::step) give. `absent` are the features that the CPU lacks.
/// Async-signal-safe after [`init`](crate::init) if `memory` is.
pub fn burst(
    state: &mut State,
    memory: &mut dyn Memory,
    cache: &mut Cache,
    absent: FeatureSet,
    budget: Budget,
) -> Burst {
    cache.begin(absent);
    let mut done = Burst {
        instructions: 0,
        emulated: 0,
        features: FeatureSet::EMPTY,
        address: 0,
        end: End::Budget,
    };
    let mut quiet = 0;
    let mut likely = 0;
    while done.instructions < budget.instructions {
        let position = match cache.find(state.rip, likely, memory) {
            Ok(position) => position,
            Err(fault) => {
                done.end = end_of(fault);
                break;
            }
        };
        likely = position.wrapping_add(1);
        let burst = cache.burst;
        let Some(Some(entry)) = cache.entries.get_mut(position) else {
            break;
        };
        if !entry.lost && quiet >= budget.patience {
            done.end = End::Left;
            break;
        }
        if !entry.usable || state.rflags & (flag::TF | flag::AC) != 0 {
            done.end = End::Unknown;
            break;
        }
        if let Err(fault) = execute(&entry.decoded, state, memory) {
            done.end = end_of(fault);
            break;
        }
        done.instructions = done.instructions.saturating_add(1);
        if entry.lost {
            quiet = 0;
            done.emulated = done.emulated.saturating_add(1);
            done.address = entry.rip;
            if entry.noted != burst {
                entry.noted = burst;
                done.features |= entry.features;
            }
        } else {
            quiet = quiet.saturating_add(1);
        }
    }
    done
}

fn end_of(fault: Fault) -> End {
    match fault {
        Fault::Unknown => End::Unknown,
        fault => End::Fault(fault),
    }
}
