//! Who wants to know what, and who has left what.
//!
//! Bookkeeping only: no descriptors and no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use isa::FeatureSet;
use protocol::availability::{Change, OpenPrepare};
use protocol::local::{MAX_LISTED, Registration as Listed, Urgency};
use protocol::{Holder, MAX_HOLDERS, Text};

use crate::poller::ClientId;

/// One registered process.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) pid: u32,
    pub(crate) name: Text<64>,
    /// Empty: everything.
    pub(crate) interest: FeatureSet,
    pub(crate) urgency: Urgency,
    /// It has acted upon this generation.
    pub(crate) generation: u64,
    /// #UDs that it reported.
    pub(crate) trapped: u64,
    /// It has been woken for this generation.
    pub(crate) told: u64,
    /// What it said last about leaving what a generation takes away.
    pub(crate) answer: Text<96>,
}

impl Registration {
    fn is_interested(&self, features: FeatureSet) -> bool {
        self.interest.is_empty() || !self.interest.is_disjoint(&features)
    }

    /// Whether `prepare` has to wait for it.
    fn holds(&self, prepare: &OpenPrepare) -> bool {
        self.urgency == Urgency::Eager
            && self.is_interested(prepare.lost)
            && self.generation < prepare.generation
    }
}

impl std::fmt::Display for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.name, self.pid)
    }
}

/// All registered processes.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    registered: BTreeMap<ClientId, Registration>,
    /// Those of them that are not lazy: nobody else is looked at when something is published.
    awake: BTreeSet<ClientId>,
    /// To be woken: first those for whom somebody waits.
    eager: VecDeque<ClientId>,
    others: VecDeque<ClientId>,
    queued: BTreeSet<ClientId>,
    /// Those that the open prepare waits for.
    holding: BTreeSet<ClientId>,
}

impl Registry {
    pub(crate) fn get(&self, id: ClientId) -> Option<&Registration> {
        self.registered.get(&id)
    }

    /// Adds or changes a registration. `prepare`: the removal that waits for
    /// an answer.
    pub(crate) fn insert(
        &mut self,
        id: ClientId,
        registration: Registration,
        prepare: Option<&OpenPrepare>,
    ) {
        if registration.urgency == Urgency::Lazy {
            self.awake.remove(&id);
        } else {
            self.awake.insert(id);
        }
        self.registered.insert(id, registration);
        self.look_again(id, prepare);
    }

    /// The process is gone, and nobody waits for it any more.
    pub(crate) fn remove(&mut self, id: ClientId) -> Option<Registration> {
        self.holding.remove(&id);
        self.awake.remove(&id);
        self.registered.remove(&id)
    }

    /// It has acted upon `generation`; `true` if the prepare waited for that.
    pub(crate) fn left(
        &mut self,
        id: ClientId,
        generation: u64,
        prepare: Option<&OpenPrepare>,
    ) -> bool {
        let Some(registration) = self.registered.get_mut(&id) else {
            return false;
        };
        registration.generation = registration.generation.max(generation);
        let held = self.holding.contains(&id);
        self.look_again(id, prepare);
        held && !self.holding.contains(&id)
    }

    /// What it said about leaving what a generation takes away, for a status report.
    pub(crate) fn answered(&mut self, id: ClientId, answer: &str) {
        if let Some(registration) = self.registered.get_mut(&id) {
            registration.answer = Text::lossy(answer);
        }
    }

    /// Counts a #UD.
    pub(crate) fn trapped(&mut self, id: ClientId) {
        if let Some(registration) = self.registered.get_mut(&id) {
            registration.trapped += 1;
        }
    }

    /// A new generation is in the page: queues those that it concerns and that are not lazy. Those
    /// that it does not concern have nothing to act upon.
    pub(crate) fn publish(&mut self, change: &Change) {
        let changed = change.added.union(change.removed);
        let generation = change.publication.generation;
        let mut concerned = Vec::new();
        for id in &self.awake {
            let Some(registration) = self.registered.get_mut(id) else {
                continue;
            };
            if registration.is_interested(changed) {
                registration.told = generation;
                concerned.push(*id);
            } else if registration.generation + 1 == generation {
                registration.generation = generation;
            }
        }
        for id in concerned {
            self.wake(id);
        }
    }

    /// A removal is announced: remembers for whom it waits, and queues those of
    /// them that were not woken for its generation. It may take nothing away
    /// and publish nothing, and still wants to be acknowledged.
    pub(crate) fn prepare(&mut self, prepare: &OpenPrepare) {
        let holds = |id: &&ClientId| self.registered[id].holds(prepare);
        self.holding = self.awake.iter().filter(holds).copied().collect();
        let asleep = |id: &&ClientId| self.registered[id].told < prepare.generation;
        let asleep: Vec<ClientId> = self.holding.iter().filter(asleep).copied().collect();
        for id in asleep {
            self.wake(id);
        }
    }

    /// The prepare has its answer, or wants none any more.
    pub(crate) fn settled(&mut self) {
        self.holding.clear();
    }

    /// Whether the prepare that waits for an answer waits for this one.
    pub(crate) fn is_holding(&self, id: ClientId) -> bool {
        self.holding.contains(&id)
    }

    /// How many have not left.
    pub(crate) fn held_by(&self) -> usize {
        self.holding.len()
    }

    /// Who has not left.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let holding = self.holding.iter().filter_map(|id| self.registered.get(id));
        holding
            .map(|r| Holder {
                pid: r.pid,
                name: r.name.clone(),
            })
            .collect()
    }

    /// The same for a log line: the first few by name.
    pub(crate) fn name_holders(&self) -> String {
        let holding = self.holding.iter().filter_map(|id| self.registered.get(id));
        let mut names: Vec<String> = holding.take(MAX_HOLDERS).map(ToString::to_string).collect();
        let more = self.holding.len() - names.len();
        if more > 0 {
            names.push(format!("{more} more"));
        }
        names.join(", ")
    }

    /// Queues one to be woken.
    pub(crate) fn wake(&mut self, id: ClientId) {
        let Some(registration) = self.registered.get(&id) else {
            return;
        };
        if self.queued.insert(id) {
            let queue = if registration.urgency == Urgency::Eager {
                &mut self.eager
            } else {
                &mut self.others
            };
            queue.push_back(id);
        }
    }

    /// Whether somebody is to be woken.
    pub(crate) fn has_sleepers(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Takes the next ones to wake, eager ones first.
    pub(crate) fn next_to_wake(&mut self, most: usize) -> Vec<ClientId> {
        let mut batch = Vec::new();
        while batch.len() < most {
            let Some(id) = self.eager.pop_front().or_else(|| self.others.pop_front()) else {
                break;
            };
            self.queued.remove(&id);
            if self.registered.contains_key(&id) {
                batch.push(id);
            }
        }
        batch
    }

    pub(crate) fn len(&self) -> usize {
        self.registered.len()
    }

    /// For a status report.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let listed = self.registered.values().take(MAX_LISTED);
        listed
            .map(|r| Listed {
                pid: r.pid,
                name: r.name.clone(),
                urgency: r.urgency,
                generation: r.generation,
                trapped: r.trapped,
                answer: r.answer.clone(),
            })
            .collect()
    }

    fn look_again(&mut self, id: ClientId, prepare: Option<&OpenPrepare>) {
        let holds = match (self.registered.get(&id), prepare) {
            (Some(registration), Some(prepare)) => registration.holds(prepare),
            _ => false,
        };
        if holds {
            self.holding.insert(id);
        } else {
            self.holding.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use isa::features;
    use protocol::availability::Publication;
    use protocol::{HostIdentity, Moment};

    use super::*;

    fn process(interest: FeatureSet, eager: bool, generation: u64) -> Registration {
        let urgency = if eager {
            Urgency::Eager
        } else {
            Urgency::Woken
        };
        Registration {
            pid: 7,
            name: Text::lossy("demo"),
            interest,
            urgency,
            generation,
            trapped: 0,
            told: 0,
            answer: Text::default(),
        }
    }

    fn change(generation: u64, added: FeatureSet, removed: FeatureSet) -> Change {
        Change {
            publication: Publication {
                generation,
                ..Publication::default()
            },
            added,
            removed,
        }
    }

    fn prepare(lost: FeatureSet, generation: u64) -> OpenPrepare {
        let (id, host, deadline) = (1, HostIdentity::default(), Moment::from_micros(9));
        OpenPrepare {
            id,
            host,
            lost,
            deadline,
            generation,
            expired: false,
        }
    }

    #[test]
    fn only_the_concerned_are_woken_and_the_eager_ones_first() {
        let mut registry = Registry::default();
        registry.insert(ClientId(0), process(features![Avx2], false, 1), None);
        registry.insert(ClientId(1), process(features![Fma], true, 1), None);
        registry.insert(ClientId(2), process(FeatureSet::EMPTY, true, 1), None);
        registry.insert(ClientId(3), process(features![Avx2, Fma], false, 1), None);
        registry.publish(&change(2, features![Avx2], FeatureSet::EMPTY));
        assert_eq!(registry.next_to_wake(2), [ClientId(2), ClientId(0)]);
        registry.publish(&change(3, FeatureSet::EMPTY, features![Avx2]));
        assert_eq!(
            registry.next_to_wake(9),
            [ClientId(2), ClientId(3), ClientId(0)]
        );
        assert!(!registry.has_sleepers());
        assert_eq!(
            registry.get(ClientId(1)).unwrap().generation,
            3,
            "nothing to act upon"
        );
        assert_eq!(registry.get(ClientId(0)).unwrap().generation, 1);
    }

    #[test]
    fn a_prepare_waits_for_eager_ones_that_use_what_goes() {
        let mut registry = Registry::default();
        registry.insert(ClientId(0), process(features![Avx2], false, 1), None);
        registry.insert(ClientId(1), process(features![Fma], true, 1), None);
        registry.insert(ClientId(2), process(features![Avx2], true, 1), None);
        registry.insert(ClientId(3), process(FeatureSet::EMPTY, true, 1), None);
        registry.insert(ClientId(4), process(features![Avx2], true, 2), None);
        let open = prepare(features![Avx2], 2);
        registry.prepare(&open);
        assert_eq!(registry.held_by(), 2);
        assert!(
            !registry.left(ClientId(2), 1, Some(&open)),
            "an old generation is no answer"
        );
        assert!(registry.left(ClientId(2), 2, Some(&open)));
        registry.insert(ClientId(5), process(features![Avx2], true, 1), Some(&open));
        assert_eq!(registry.held_by(), 2, "who comes late is waited for too");
        registry.remove(ClientId(3));
        registry.remove(ClientId(5));
        assert_eq!(registry.held_by(), 0);
    }

    #[test]
    fn the_lazy_are_neither_woken_nor_waited_for() {
        let mut registry = Registry::default();
        let lazy = Registration {
            urgency: Urgency::Lazy,
            ..process(FeatureSet::EMPTY, false, 1)
        };
        registry.insert(ClientId(0), lazy.clone(), None);
        registry.publish(&change(2, features![Avx2], FeatureSet::EMPTY));
        registry.prepare(&prepare(features![Avx2], 2));
        assert!(!registry.has_sleepers());
        assert_eq!(registry.held_by(), 0);
        // It may change its mind, and change it back.
        registry.insert(ClientId(0), process(FeatureSet::EMPTY, true, 1), None);
        registry.publish(&change(3, features![Fma], FeatureSet::EMPTY));
        assert_eq!(registry.next_to_wake(9), [ClientId(0)]);
        registry.insert(ClientId(0), lazy, None);
        registry.publish(&change(4, FeatureSet::EMPTY, features![Fma]));
        assert!(!registry.has_sleepers());
    }

    #[test]
    fn who_is_gone_is_not_woken() {
        let mut registry = Registry::default();
        registry.insert(ClientId(0), process(FeatureSet::EMPTY, true, 1), None);
        registry.wake(ClientId(0));
        registry.remove(ClientId(0));
        assert_eq!(registry.next_to_wake(9), []);
        assert!(!registry.has_sleepers());
    }

    #[test]
    fn of_many_holders_the_log_names_a_few() {
        let mut registry = Registry::default();
        for id in 0..40 {
            registry.insert(ClientId(id), process(FeatureSet::EMPTY, true, 1), None);
        }
        registry.prepare(&prepare(features![Avx2], 2));
        assert!(registry.name_holders().ends_with("demo[7], 24 more"));
        assert_eq!(registry.holders().len(), 40);
    }
}
