//! What a callback is told.

use isa::FeatureSet;
use protocol::Epoch;
use protocol::availability::{Cause, Publication};
use protocol::page::Page;

use crate::c::{c_set, isahp_epoch, isahp_event};

/// What changed since the callback was called last, or was registered.
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
    /// For [`Cause::Trap`] seen by this process, the features of the
    /// instructions that raised #UD.
    pub trapped: FeatureSet,
    /// When the news reached the guest (or this process, for its own trap):
    /// microseconds on `CLOCK_MONOTONIC`.
    pub since_us: u64,
    /// For [`Cause::Prepare`], until when the host waits for an answer:
    /// microseconds on `CLOCK_MONOTONIC`; otherwise 0.
    pub deadline_us: u64,
    /// For [`Cause::Trap`] seen by this process, the address of the instruction
    /// that was emulated last; otherwise 0.
    pub address: u64,
    /// The offer in force, if any host has spoken.
    pub epoch: Option<Epoch>,
    /// How many times the callback has asked for time for this very event.
    pub attempt: u32,
}

impl Event {
    /// As C sees it.
    pub(crate) fn to_c(self) -> isahp_event {
        let epoch = self
            .epoch
            .map_or_else(isahp_epoch::default, |epoch| isahp_epoch {
                machine: epoch.host.machine,
                boot: epoch.host.boot,
                sequence: epoch.sequence,
            });
        isahp_event {
            size: size_of::<isahp_event>(),
            cause: self.cause as u32,
            attempt: self.attempt,
            generation: self.generation,
            since_us: self.since_us,
            deadline_us: self.deadline_us,
            address: self.address,
            epoch,
            added: c_set(self.added),
            removed: c_set(self.removed),
            available: c_set(self.available),
            trapped: c_set(self.trapped),
        }
    }

    /// As Rust sees what C saw.
    pub(crate) fn from_c(event: &isahp_event) -> Self {
        let host = protocol::HostIdentity {
            machine: event.epoch.machine,
            boot: event.epoch.boot,
        };
        let epoch = Epoch {
            host,
            sequence: event.epoch.sequence,
        };
        Self {
            generation: event.generation,
            // An older library's causes are among ours, a newer one's may not be.
            cause: Cause::from_number(event.cause).unwrap_or(Cause::Offer),
            added: FeatureSet::from_words(event.added.words),
            removed: FeatureSet::from_words(event.removed.words),
            available: FeatureSet::from_words(event.available.words),
            trapped: FeatureSet::from_words(event.trapped.words),
            since_us: event.since_us,
            deadline_us: event.deadline_us,
            address: event.address,
            epoch: (event.epoch != isahp_epoch::default()).then_some(epoch),
            attempt: event.attempt,
        }
    }
}

/// What a callback answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The removed features are left: no thread of this process that the
    /// callback speaks for uses them any more. (Threads in a
    /// [`Section`](crate::Section) are waited for by the library.)
    Left,
    /// It takes so long, in milliseconds, as far as is known. The callback is then called again
    /// with the same event, unless [`left`](crate::left()) has come
    /// first. 0 counts as 1.
    Needs(u32),
    /// They cannot be left; the reason reaches the operator.
    Refuse(String),
}

/// How things stand for this process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    pub(crate) publication: Publication,
    /// What is published, less what this process has seen trap.
    pub(crate) available: FeatureSet,
    /// What this process has seen trap at this generation.
    pub(crate) lost: FeatureSet,
    pub(crate) trap: Trap,
}

/// The trap that this process met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trap {
    pub(crate) since_us: u64,
    pub(crate) address: u64,
}

/// What a callback has seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) generation: u64,
    pub(crate) available: FeatureSet,
}

impl Now {
    /// `None` if the page cannot be read.
    pub(crate) fn look(page: &Page, lost: FeatureSet, trap: Trap) -> Option<Self> {
        let publication = page.read().ok()?;
        Some(Self {
            available: publication.available.difference(lost),
            publication,
            lost,
            trap,
        })
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen {
            generation: self.publication.generation,
            available: self.available,
        }
    }

    /// What has changed since `old`.
    pub(crate) fn since(&self, old: Seen) -> Event {
        let publication = &self.publication;
        let removed = old.available.difference(self.available);
        let own = old.generation == publication.generation && !removed.is_disjoint(&self.lost);
        let deadline = publication.deadline.filter(|_| !own);
        Event {
            generation: publication.generation,
            cause: if own { Cause::Trap } else { publication.cause },
            added: self.available.difference(old.available),
            removed,
            available: self.available,
            trapped: if own { self.lost } else { FeatureSet::EMPTY },
            since_us: if own {
                self.trap.since_us
            } else {
                publication.since.micros()
            },
            deadline_us: deadline.map_or(0, protocol::Moment::micros),
            address: if own { self.trap.address } else { 0 },
            epoch: publication.epoch,
            attempt: 0,
        }
    }
}
