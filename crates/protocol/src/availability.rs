//! What a guest may use now: the set behind the shared page.
//!
//! [`Availability`] is pure bookkeeping. It takes what happened (an offer, a
//! prepare, a deadline, a trap) and says what is to be published, if the set
//! changed. Four rules hold whatever the order of events:
//!
//! 1. The generation grows by one with each change of the set, and only then.
//! 2. While a prepare is open nothing is added. Only an offer of *another*
//!    host commits it; the host that prepared is about to lose the guest, and
//!    what it still says may only take away.
//! 3. Nothing is added that the guest's own CPUs refuse to execute.
//! 4. A silent feature comes back only by an explicit offer or abort, and its
//!    loss without a prepare is remembered as unsafe.

use isa::FeatureSet;

use crate::message::{Epoch, HostIdentity};
use crate::time::Moment;

/// Why the published set changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Cause {
    /// The agent started without a page from before: what CPUID shows.
    #[default]
    Start = 0,
    /// A host's offer.
    Offer = 1,
    /// A host announced a removal.
    Prepare = 2,
    /// A host took an announced removal back.
    Abort = 3,
    /// An announced removal did not happen in time.
    Deadline = 4,
    /// A process met #UD, and a probe confirmed the loss.
    Trap = 5,
}

impl Cause {
    /// The cause with this number in the shared page.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Start,
            1 => Self::Offer,
            2 => Self::Prepare,
            3 => Self::Abort,
            4 => Self::Deadline,
            5 => Self::Trap,
            _ => return None,
        })
    }

    /// The cause in one lower-case word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Offer => "offer",
            Self::Prepare => "prepare",
            Self::Abort => "abort",
            Self::Deadline => "deadline",
            Self::Trap => "trap",
        }
    }
}

/// One state of the guest's instruction set, as processes see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// Counts the changes of `available`; 0 only in a page that holds nothing.
    pub generation: u64,
    /// What a registered process may use.
    pub available: FeatureSet,
    /// What CPUID shows.
    pub visible: FeatureSet,
    /// Silent features that went without warning.
    pub unsafe_silent: FeatureSet,
    /// Why this generation came to be.
    pub cause: Cause,
    /// The latest offer heard, if any.
    pub epoch: Option<Epoch>,
    /// When the news reached the guest, on the guest's `CLOCK_MONOTONIC`.
    pub since: Moment,
    /// For [`Cause::Prepare`], until when the guest waits for its processes; same clock.
    pub deadline: Option<Moment>,
}

/// A removal that a host announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPrepare {
    /// The host's name for it.
    pub id: u64,
    /// Who announced it.
    pub host: HostIdentity,
    /// What will go.
    pub lost: FeatureSet,
    /// When the guest stops waiting for it.
    pub deadline: Moment,
    /// The generation from which `lost` is absent.
    pub generation: u64,
    /// The deadline has passed: only silent features are still withheld.
    pub expired: bool,
}

/// What an event did to the published set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is to be published.
    pub publication: Publication,
    /// Now available, not before.
    pub added: FeatureSet,
    /// Available before, not now.
    pub removed: FeatureSet,
}

/// What an offer led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// The change, if there was one.
    pub change: Option<Change>,
    /// Offered, but the guest's CPUs refuse to execute it.
    pub refuted: FeatureSet,
    /// Silent features that this offer took without warning.
    pub unsafe_silent: FeatureSet,
}

/// The guest's view of what it may use. See the [module](self).
#[derive(Clone, Debug)]
pub struct Availability {
    published: Publication,
    offered: FeatureSet,
    refuted: FeatureSet,
    prepare: Option<OpenPrepare>,
    /// Taken away by a prepare that nobody has acknowledged: somebody may still
    /// be using it.
    unsettled: FeatureSet,
}

impl Availability {
    /// A guest that has just booted: what CPUID shows, generation 1.
    pub fn new(visible: FeatureSet, now: Moment) -> Self {
        Self::resume(Publication {
            generation: 1,
            available: visible,
            visible,
            since: now,
            ..Publication::default()
        })
    }

    /// Goes on where an earlier agent stopped, at what it published last.
    ///
    /// If that was a prepare, it is not known whether everybody had left.
    pub fn resume(published: Publication) -> Self {
        let unsettled = match published.cause {
            Cause::Prepare => published.visible.difference(published.available),
            _ => FeatureSet::EMPTY,
        };
        Self {
            unsettled,
            published,
            offered: published.available,
            refuted: FeatureSet::EMPTY,
            prepare: None,
        }
    }

    /// What is published.
    pub const fn published(&self) -> &Publication {
        &self.published
    }

    /// The removal that is announced, if any, also when its deadline has passed.
    pub const fn prepare(&self) -> Option<&OpenPrepare> {
        self.prepare.as_ref()
    }

    /// A host said what it can execute. `executable` tries features on the
    /// guest's own CPUs and returns those that may be believed.
    pub fn offer(
        &mut self,
        epoch: Epoch,
        available: FeatureSet,
        now: Moment,
        executable: impl FnOnce(FeatureSet) -> FeatureSet,
    ) -> Offered {
        let commits = |p: &OpenPrepare| p.expired || p.host != epoch.host;
        if self.prepare.as_ref().is_some_and(commits) {
            self.prepare = None;
        }
        self.offered = available;
        self.refuted = FeatureSet::EMPTY;
        self.published.epoch = Some(epoch);
        self.try_out(executable);
        let mut gone = self.published.available.difference(self.target());
        if self.prepare.is_none() {
            gone = gone.union(self.unsettled.difference(self.target()));
            self.unsettled = FeatureSet::EMPTY;
        }
        let unsafe_silent = gone.silent().user();
        let change = self.publish(Cause::Offer, now, unsafe_silent);
        Offered {
            change,
            refuted: self.refuted,
            unsafe_silent,
        }
    }

    /// A host announced that `lost` will go. A later prepare replaces one that
    /// is open.
    pub fn announce(
        &mut self,
        id: u64,
        host: HostIdentity,
        lost: FeatureSet,
        deadline: Moment,
        now: Moment,
    ) -> Option<Change> {
        let generation = self.published.generation;
        let taken = self.published.available.intersection(lost);
        self.unsettled = self.unsettled.union(taken);
        self.prepare = Some(OpenPrepare {
            id,
            host,
            lost,
            deadline,
            generation,
            expired: false,
        });
        let change = self.publish(Cause::Prepare, now, FeatureSet::EMPTY);
        if let Some(prepare) = &mut self.prepare {
            prepare.generation = self.published.generation;
        }
        change
    }

    /// Everybody has left what the open prepare takes.
    pub fn acknowledge(&mut self) {
        self.unsettled = FeatureSet::EMPTY;
    }

    /// The announced removal will not happen. `id` 0 means whichever is open.
    /// `None` if no such prepare is open. `executable` as for
    /// [`offer`](Self::offer).
    pub fn abort(
        &mut self,
        id: u64,
        now: Moment,
        executable: impl FnOnce(FeatureSet) -> FeatureSet,
    ) -> Option<Option<Change>> {
        self.prepare.as_ref().filter(|p| id == 0 || p.id == id)?;
        self.prepare = None;
        self.try_out(executable);
        Some(self.publish(Cause::Abort, now, FeatureSet::EMPTY))
    }

    /// Lets time pass: at its deadline a prepare gives the faulting features
    /// back. `None` if no deadline has passed. `executable` as for
    /// [`offer`](Self::offer).
    pub fn expire(
        &mut self,
        now: Moment,
        executable: impl FnOnce(FeatureSet) -> FeatureSet,
    ) -> Option<Option<Change>> {
        let prepare = self
            .prepare
            .as_mut()
            .filter(|p| !p.expired && p.deadline <= now)?;
        prepare.expired = true;
        // The guest may be elsewhere already, and the news still on the way.
        self.try_out(executable);
        Some(self.publish(Cause::Deadline, now, FeatureSet::EMPTY))
    }

    /// The guest's CPUs were found to refuse `absent`, whatever was offered.
    pub fn refute(&mut self, absent: FeatureSet, now: Moment) -> Option<Change> {
        self.refuted = self.refuted.union(absent);
        let gone = self.published.available.intersection(absent);
        self.publish(Cause::Trap, now, gone.silent().user())
    }

    /// Finds what of that which would be added the CPUs refuse.
    fn try_out(&mut self, executable: impl FnOnce(FeatureSet) -> FeatureSet) {
        let hoped = self.target().difference(self.published.available);
        self.refuted = self.refuted.union(hoped.difference(executable(hoped)));
    }

    fn target(&self) -> FeatureSet {
        let base = self.offered.difference(self.refuted);
        match &self.prepare {
            None => base,
            Some(p) if p.expired => base.difference(p.lost.silent()),
            Some(p) => self
                .published
                .available
                .intersection(base)
                .difference(p.lost),
        }
    }

    fn publish(&mut self, cause: Cause, now: Moment, unsafe_silent: FeatureSet) -> Option<Change> {
        let (before, after) = (self.published.available, self.target());
        self.published.unsafe_silent = self
            .published
            .unsafe_silent
            .union(unsafe_silent)
            .difference(after);
        self.unsettled = self.unsettled.difference(after);
        if before == after {
            return None;
        }
        self.published.generation += 1;
        self.published.available = after;
        self.published.cause = cause;
        self.published.since = now;
        let announced = self.prepare.filter(|_| cause == Cause::Prepare);
        self.published.deadline = announced.map(|prepare| prepare.deadline);
        Some(Change {
            publication: self.published,
            added: after.difference(before),
            removed: before.difference(after),
        })
    }
}

#[cfg(test)]
mod tests {
    use isa::features;
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment::from_micros(0);
    const FULL: FeatureSet = features![Sse2, Avx2, Fma, Abm];
    const LESS: FeatureSet = features![Sse2];

    fn host(n: u8) -> HostIdentity {
        HostIdentity {
            machine: [n; 16],
            boot: [n; 16],
        }
    }

    fn epoch(n: u8, sequence: u64) -> Epoch {
        Epoch {
            host: host(n),
            sequence,
        }
    }

    fn trusting(hoped: FeatureSet) -> FeatureSet {
        hoped
    }

    #[test]
    fn an_offer_that_changes_nothing_does_not_count() {
        let mut a = Availability::new(FULL, NOW);
        let offered = a.offer(epoch(1, 1), FULL, NOW, trusting);
        assert_eq!(offered, Offered::default());
        assert_eq!(a.published().generation, 1);
        assert_eq!(a.published().epoch, Some(epoch(1, 1)));
    }

    #[test]
    fn a_planned_move_takes_away_once_and_the_destination_commits() {
        let mut a = Availability::new(FULL, NOW);
        a.offer(epoch(1, 1), FULL, NOW, trusting);
        let change = a
            .announce(5, host(1), features![Avx2, Abm], after(10), NOW)
            .unwrap();
        assert_eq!(change.removed, features![Avx2, Abm]);
        assert_eq!(change.publication.cause, Cause::Prepare);
        assert_eq!(a.prepare().unwrap().generation, 2);
        a.acknowledge();
        // The source says it all again, late: nothing comes back.
        assert_eq!(a.offer(epoch(1, 2), FULL, NOW, trusting).change, None);
        let landed = a.offer(epoch(2, 1), features![Sse2, Fma], NOW, trusting);
        assert_eq!(landed.change, None, "exactly what was prepared");
        assert_eq!(
            landed.unsafe_silent,
            FeatureSet::EMPTY,
            "everybody had left abm"
        );
        assert!(a.prepare().is_none());
        assert_eq!(a.published().generation, 2);
    }

    #[test]
    fn the_source_may_still_take_away_while_its_prepare_is_open() {
        let mut a = Availability::new(FULL, NOW);
        a.offer(epoch(1, 1), FULL, NOW, trusting);
        a.announce(5, host(1), features![Avx2], after(10), NOW);
        let change = a
            .offer(epoch(1, 2), features![Sse2, Avx2], NOW, trusting)
            .change
            .unwrap();
        assert_eq!(change.removed, features![Fma, Abm]);
        assert_eq!(change.added, FeatureSet::EMPTY);
    }

    #[test]
    fn at_the_deadline_faulting_features_come_back_and_silent_ones_wait() {
        let mut a = Availability::new(FULL, NOW);
        a.offer(epoch(1, 1), FULL, NOW, trusting);
        a.announce(5, host(1), features![Avx2, Abm], after(10), NOW);
        assert_eq!(a.expire(after(9), trusting), None);
        let change = a.expire(after(10), trusting).unwrap().unwrap();
        assert_eq!(change.added, features![Avx2]);
        assert_eq!(a.expire(after(11), trusting), None, "once");
        let back = a.offer(epoch(1, 2), FULL, NOW, trusting).change.unwrap();
        assert_eq!(back.added, features![Abm]);
    }

    #[test]
    fn an_abort_restores_and_a_foreign_abort_does_not() {
        let mut a = Availability::new(FULL, NOW);
        a.announce(5, host(1), features![Avx2], after(10), NOW);
        assert_eq!(a.abort(6, NOW, trusting), None);
        assert_eq!(
            a.abort(5, NOW, trusting).unwrap().unwrap().added,
            features![Avx2]
        );
        a.announce(7, host(1), features![Avx2], after(10), NOW);
        assert_eq!(
            a.abort(0, NOW, trusting).unwrap().unwrap().added,
            features![Avx2]
        );
    }

    #[test]
    fn a_move_that_nobody_was_ready_for_is_unsafe() {
        for (answered, restarted) in [(false, false), (false, true), (true, false)] {
            let mut a = Availability::new(FULL, NOW);
            a.offer(epoch(1, 1), FULL, NOW, trusting);
            a.announce(5, host(1), features![Avx2, Abm], after(10), NOW);
            if answered {
                a.acknowledge();
            }
            if restarted {
                a = Availability::resume(*a.published());
            }
            let offered = a.offer(epoch(2, 1), LESS, NOW, trusting);
            let expected = if answered {
                FeatureSet::EMPTY
            } else {
                features![Abm]
            };
            assert_eq!(offered.unsafe_silent, expected, "{answered} {restarted}");
            assert_eq!(a.published().unsafe_silent, expected);
        }
    }

    #[test]
    fn what_comes_back_by_itself_is_tried_first() {
        let refuses = |hoped: FeatureSet| hoped.difference(features![Avx2]);
        for abort in [false, true] {
            let mut a = Availability::new(FULL, NOW);
            a.announce(5, host(1), features![Avx2, Fma], after(10), NOW);
            let change = if abort {
                a.abort(5, NOW, refuses)
            } else {
                a.expire(after(10), refuses)
            };
            assert_eq!(change.unwrap().unwrap().added, features![Fma]);
        }
    }

    #[test]
    fn an_unannounced_loss_of_a_silent_feature_is_unsafe_until_it_returns() {
        let mut a = Availability::new(FULL, NOW);
        assert_eq!(
            a.offer(epoch(2, 1), LESS, NOW, trusting).unsafe_silent,
            features![Abm]
        );
        assert_eq!(a.published().unsafe_silent, features![Abm]);
        assert_eq!(
            a.offer(epoch(2, 2), LESS, NOW, trusting).unsafe_silent,
            FeatureSet::EMPTY
        );
        assert_eq!(a.published().unsafe_silent, features![Abm]);
        a.offer(epoch(1, 3), FULL, NOW, trusting);
        assert_eq!(a.published().unsafe_silent, FeatureSet::EMPTY);
    }

    #[test]
    fn what_the_cpu_refuses_is_not_added() {
        let mut a = Availability::new(LESS, NOW);
        let offered = a.offer(epoch(1, 1), FULL, NOW, |hoped| {
            hoped.difference(features![Avx2])
        });
        assert_eq!(offered.refuted, features![Avx2]);
        assert_eq!(offered.change.unwrap().added, features![Fma, Abm]);
    }

    #[test]
    fn a_trap_takes_away_what_a_later_offer_may_bring_back() {
        let mut a = Availability::new(FULL, NOW);
        let change = a.refute(features![Avx2], NOW).unwrap();
        assert_eq!(
            (change.removed, change.publication.cause),
            (features![Avx2], Cause::Trap)
        );
        assert_eq!(a.refute(features![Avx2], NOW), None);
        assert_eq!(a.published().unsafe_silent, FeatureSet::EMPTY, "it faults");
        a.refute(features![Abm], NOW);
        assert_eq!(a.published().unsafe_silent, features![Abm]);
        assert_eq!(
            a.offer(epoch(1, 1), FULL, NOW, trusting)
                .change
                .unwrap()
                .added,
            features![Avx2, Abm]
        );
    }

    fn after(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[derive(Clone, Debug)]
    enum Event {
        Offer(u8, FeatureSet, FeatureSet),
        Prepare(u64, u8, FeatureSet, u64),
        Abort(u64, FeatureSet),
        Tick(FeatureSet),
        Left,
        Trap(FeatureSet),
    }

    fn some_set() -> impl Strategy<Value = FeatureSet> {
        (0u8..16).prop_map(|bits| {
            FULL.iter()
                .enumerate()
                .filter(|(i, _)| bits >> i & 1 == 1)
                .map(|(_, f)| f)
                .collect()
        })
    }

    fn some_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0u8..3, some_set(), some_set()).prop_map(|(h, s, x)| Event::Offer(h, s, x)),
            (1u64..4, 0u8..3, some_set(), 0u64..30)
                .prop_map(|(id, h, s, d)| Event::Prepare(id, h, s, d)),
            (0u64..4, some_set()).prop_map(|(id, x)| Event::Abort(id, x)),
            some_set().prop_map(Event::Tick),
            Just(Event::Left),
            some_set().prop_map(Event::Trap),
        ]
    }

    proptest! {
        #[test]
        fn the_rules_hold_in_any_order(events in prop::collection::vec(some_event(), 1..60)) {
            let mut a = Availability::new(FULL, NOW);
            for (second, event) in (0u64..).zip(events) {
                let now = after(second);
                let before = *a.published();
                let open = a.prepare().copied().filter(|p| !p.expired);
                let mut refused = FeatureSet::EMPTY;
                match event.clone() {
                    Event::Offer(h, set, executes) => {
                        refused = executes;
                        a.offer(epoch(h, second), set, now, |hoped| hoped.difference(executes));
                    }
                    Event::Prepare(id, h, lost, s) => { a.announce(id, host(h), lost, after(second + s), now); }
                    Event::Abort(id, executes) => {
                        refused = executes;
                        a.abort(id, now, |hoped| hoped.difference(executes));
                    }
                    Event::Tick(executes) => {
                        refused = executes;
                        a.expire(now, |hoped| hoped.difference(executes));
                    }
                    Event::Left => a.acknowledge(),
                    Event::Trap(absent) => { a.refute(absent, now); }
                }
                let now_published = *a.published();
                let changed = now_published.available != before.available;
                prop_assert_eq!(now_published.generation, before.generation + u64::from(changed));
                let added = now_published.available.difference(before.available);
                prop_assert!(added.intersection(refused).is_empty());
                if let (Some(_), Some(still)) = (open, a.prepare().filter(|p| !p.expired)) {
                    prop_assert!(added.is_empty(), "{event:?} added {added} while a prepare is open");
                    prop_assert!(now_published.available.intersection(still.lost).is_empty());
                }
                prop_assert!(now_published.unsafe_silent.intersection(now_published.available).is_empty());
                prop_assert!(now_published.unsafe_silent.is_subset(&FULL.silent()));
            }
        }
    }
}
