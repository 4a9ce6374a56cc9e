//! #UD as a sensor: a process that met one says so, and the agent tries itself.
//!
//! A process can lie, and cannot know: only what the CPUs refuse here is
//! believed. Trying costs time on every CPU, so it happens a limited number of
//! times a second for everybody together, and one that has reported what is
//! not so is heard with a delay, longer each time.

use std::collections::BTreeMap;
use std::time::Duration;

use isa::FeatureSet;
use protocol::Moment;
use protocol::local::ToProcess;
use tracing::Level;

use super::{Agent, WRONG_LINES, named};
use crate::poller::ClientId;
use crate::probe;

/// Least time between two trials.
const PACE: Duration = Duration::from_millis(50);
/// After its first false report what a process reports waits for this time;
/// each further one doubles it…
const FIRST_DEAFNESS: Duration = Duration::from_millis(100);
/// …so many times.
const DOUBLINGS: u32 = 7;

/// What was reported and not yet tried.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    features: FeatureSet,
    witnesses: Vec<ClientId>,
    not_before: Moment,
    /// What was reported by those who are not heard yet, and when they are.
    postponed: BTreeMap<ClientId, (Moment, FeatureSet)>,
}

impl Suspicion {
    /// When it is to be tried.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let trial = (!self.features.is_empty()).then_some(self.not_before);
        let postponed = self.postponed.values().map(|(at, _)| *at);
        trial.into_iter().chain(postponed).min()
    }

    fn add(&mut self, id: ClientId, features: FeatureSet) {
        self.features = self.features.union(features);
        if !self.witnesses.contains(&id) {
            self.witnesses.push(id);
        }
    }

    /// Hears those whose time has come.
    fn hear_postponed(&mut self, now: Moment) {
        let mut due = Vec::new();
        self.postponed.retain(|id, (at, features)| {
            let is_due = *at <= now;
            if is_due {
                due.push((*id, *features));
            }
            !is_due
        });
        for (id, features) in due {
            self.add(id, features);
        }
    }
}

impl Agent {
    /// A process met #UD at an instruction that needs `features`.
    pub(super) fn hear_trap(
        &mut self,
        id: ClientId,
        features: FeatureSet,
        address: u64,
        now: Moment,
    ) {
        self.registry.trapped(id);
        let Some(client) = self.clients.get(id) else {
            return;
        };
        // What is not available is known to trap.
        let available = self.session.availability().published().available;
        let suspects = features
            .intersection(available)
            .intersection(probe::can_be_tried());
        if suspects.is_empty() {
            return;
        }
        let text = format!("met #UD at {address:#x}, an instruction of {features}");
        client.log(&mut self.log, Level::INFO, "traps", &text);
        if now < client.deaf_until {
            let until = (client.deaf_until, FeatureSet::EMPTY);
            let (_, reported) = self.suspicion.postponed.entry(id).or_insert(until);
            *reported = reported.union(suspects);
        } else {
            self.suspicion.add(id, suspects);
        }
        self.try_suspects(now);
    }

    /// Executes what was reported, if it is time to.
    pub(super) fn try_suspects(&mut self, now: Moment) {
        self.suspicion.hear_postponed(now);
        if self.suspicion.features.is_empty() || now < self.suspicion.not_before {
            return;
        }
        let features = std::mem::take(&mut self.suspicion.features);
        let witnesses = std::mem::take(&mut self.suspicion.witnesses);
        self.suspicion.not_before = now.after(PACE);
        let available = self.session.availability().published().available;
        let refused = match probe::refused(features.intersection(available)) {
            // One is gone, so the host is another: what else is gone?
            Ok(refused) if !refused.is_empty() => probe::refused(available),
            other => other,
        };
        let absent = match refused {
            Ok(absent) => absent,
            Err(error) => {
                self.machine.problem = Some(error);
                FeatureSet::EMPTY
            }
        };
        for id in witnesses {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            if absent.is_empty() {
                // The guest has moved on: what trapped works again. A process
                // that does not listen goes on without it.
                let _unheard = client.send(&ToProcess::Present { features });
            }
            client.false_traps = if absent.is_empty() {
                client.false_traps + 1
            } else {
                0
            };
            let Some(doublings) = client.false_traps.checked_sub(1) else {
                continue;
            };
            client.deaf_until = now.after(FIRST_DEAFNESS * (1 << doublings.min(DOUBLINGS)));
        }
        let text = if absent.is_empty() {
            format!(
                "tried {}: every CPU executes it, nothing changes",
                named(features)
            )
        } else {
            format!("tried {}: the CPUs refuse {absent}", named(features))
        };
        self.log.limited(Level::WARN, "trials", WRONG_LINES, text);
        self.session.trapped(absent, now);
        self.carry_out(now);
    }
}
