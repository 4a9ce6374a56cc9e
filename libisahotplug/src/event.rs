//! What a callback is told.

use isa::FeatureSet;
use protocol::availability::Cause;
use protocol::page::Page;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The generation that is published now.
    pub generation: u64,
    /// Why. [`Cause::Trap`] also if it was this process that met #UD and the
    /// agent does not know yet; the generation is then still the old one.
    pub cause: Cause,
    /// What may be used now and could not before.
    pub added: FeatureSet,
    /// What may no longer be used.
    pub removed: FeatureSet,
    /// All that may be used now.
    pub available: FeatureSet,
    /// When the news reached the guest (or this process, for its own trap):
    /// microseconds on `CLOCK_MONOTONIC`.
    pub since_us: u64,
    /// For [`Cause::Trap`] seen by this process, the address of the instruction
    /// that was emulated last; otherwise 0.
    pub address: u64,
}

/// What a callback answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The removed features are left: no thread of this process that the
    /// callback speaks for uses them any more.
    Left,
    /// They cannot be left; the reason reaches the operator.
    Refuse(String),
}

/// What this process has seen last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) generation: u64,
    pub(crate) available: FeatureSet,
}

impl Seen {
    /// Compares with how things stand; `None` if nothing has changed for this
    /// process.
    pub(crate) fn compare(&mut self, page: &Page, lost: FeatureSet, trap: Trap) -> Option<Event> {
        let published = page.read().ok()?;
        let available = published.available.difference(lost);
        let old = std::mem::replace(
            self,
            Self {
                generation: published.generation,
                available,
            },
        );
        if old.available == available {
            return None;
        }
        let own = old.generation == published.generation && !lost.is_empty();
        Some(Event {
            generation: published.generation,
            cause: if own { Cause::Trap } else { published.cause },
            added: available.difference(old.available),
            removed: old.available.difference(available),
            available,
            since_us: if own {
                trap.since_us
            } else {
                published.since.micros()
            },
            address: if own { trap.address } else { 0 },
        })
    }
}

/// The trap that this process met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trap {
    pub(crate) since_us: u64,
    pub(crate) address: u64,
}
