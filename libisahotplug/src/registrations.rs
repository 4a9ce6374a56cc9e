//! Who is to be told what, in which order, and what they answered.
//!
//! Bookkeeping only: no descriptors, no locks. [`List::next`] says whom to call next, and
//! [`List::answered`] takes what came of it; callbacks run in between, with nothing locked.
//!
//! Everybody is told of the difference to what *he* was told last: state travels, not events.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use isa::FeatureSet;
use protocol::local::Urgency;

use crate::c::{isahp_observer, isahp_release, isahp_slot};
use crate::event::{Answer, Event, Now, Seen};
use crate::in_trap::{self, Callback};
use crate::slots;

/// A pointer of the program's that travels to other threads with what it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Userdata(pub(crate) *mut c_void);
// SAFETY: that the callbacks may be called from other threads is the program's promise.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The library's thread.
    Thread,
    /// isahp_poll() of this owner's.
    Poll(u64),
}

/// What a registration is about.
pub(crate) enum Subject {
    Events {
        callback: Callback,
        /// Empty means everything.
        interest: FeatureSet,
        /// Its place in the trap handler's list.
        in_trap: Option<&'static in_trap::Node>,
    },
    Slot {
        slot: *mut isahp_slot,
        node: &'static slots::Node,
        /// The variant that the observer knows of.
        last: usize,
        observer: isahp_observer,
        userdata: Userdata,
    },
}

// SAFETY: the slot is only handed to the observer, as an address.
unsafe impl Send for Subject {}

/// What a registration answered to what it was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Left,
    Needs { until: Instant, ms: u32 },
    Refused(String),
}

pub(crate) struct Registration {
    pub(crate) id: u64,
    pub(crate) owner: u64,
    /// Called inside isahp_poll() only.
    pub(crate) by_poll: bool,
    pub(crate) urgency: Urgency,
    pub(crate) priority: i32,
    pub(crate) after: Vec<u64>,
    pub(crate) subject: Subject,
    pub(crate) seen: Seen,
    /// What it asked for time for.
    pub(crate) pending: Option<Event>,
    pub(crate) said: Said,
    pub(crate) running: Option<ThreadId>,
    /// To be taken out of the list as soon as it is not running.
    pub(crate) ended: bool,
    pub(crate) release: isahp_release,
    pub(crate) userdata: Userdata,
}

/// A callback to be made.
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) what: What,
}

#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
pub(crate) enum What {
    Event(Callback, Event),
    Change {
        observer: isahp_observer,
        userdata: Userdata,
        slot: *mut isahp_slot,
        from: usize,
        to: usize,
    },
}

/// What is left to do for a registration, as things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
enum Work {
    /// It has been told, and has left or refused.
    Settled,
    /// It has asked for time, which is not over.
    Waits,
    Due(Due),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
enum Due {
    Event(Event),
    Change(usize),
}

impl Registration {
    fn work(&self, now: &Now, at: Instant) -> Work {
        match &self.subject {
            Subject::Slot { node, last, .. } => match node.index() {
                index if index != *last => Work::Due(Due::Change(index)),
                _ => Work::Settled,
            },
            Subject::Events {
                interest, in_trap, ..
            } => {
                let event = now.since(self.seen);
                let changed = event.added.union(event.removed);
                let concerns =
                    !changed.is_empty() && (interest.is_empty() || !interest.is_disjoint(&changed));
                let told = in_trap.is_some_and(|node| {
                    let told = node.told(event.generation);
                    event.added.is_empty() && event.removed.is_subset(&told)
                });
                if concerns && !told {
                    return Work::Due(Due::Event(event));
                }
                match (&self.said, self.pending) {
                    (Said::Needs { until, .. }, Some(event)) if *until <= at => {
                        Work::Due(Due::Event(event))
                    }
                    (Said::Needs { .. }, _) => Work::Waits,
                    _ => Work::Settled,
                }
            }
        }
    }

    fn is_eager(&self) -> bool {
        self.urgency == Urgency::Eager
    }

    fn is_for(&self, caller: Caller, has_thread: bool) -> bool {
        match caller {
            Caller::Thread => !self.by_poll,
            // Without a thread polling serves both kinds.
            Caller::Poll(owner) => (self.by_poll || !has_thread) && self.owner == owner,
        }
    }
}

/// All of them, by id.
#[derive(Default)]
pub(crate) struct List {
    entries: Vec<Registration>,
    /// Those taken out whose `release` has not returned.
    releasing: Vec<Releasing>,
}

/// See [`List::take_ended`].
struct Releasing {
    id: u64,
    owner: u64,
    thread: ThreadId,
}

/// Handles are never given twice, not even after isahp_unload(): an old one names nothing.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// How the eager ones stand, those for whom a planned removal waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Somebody is still to be called, or is running.
    Busy,
    /// Everybody has left.
    Left,
    /// Somebody needs so many milliseconds.
    Needs(u32),
    Refused(String),
}

impl List {
    pub(crate) fn add(&mut self, make: impl FnOnce(u64) -> Registration) -> u64 {
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        let mut entry = make(id);
        // A handle that was guessed could make two wait for each other.
        entry.after.retain(|other| *other < id);
        self.entries.push(entry);
        id
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.entries.iter().filter(|entry| !entry.ended)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Registration> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Registration> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// Takes those out that have ended and are not running. The caller releases them and then says
    /// so ([`released`](Self::released)).
    pub(crate) fn take_ended(&mut self) -> Vec<Registration> {
        let over = |entry: &Registration| entry.ended && entry.running.is_none();
        if !self.entries.iter().any(over) {
            return Vec::new();
        }
        let (over, stay) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(over);
        self.entries = stay;
        let thread = std::thread::current().id();
        let to_release = over.iter().map(|entry: &Registration| Releasing {
            id: entry.id,
            owner: entry.owner,
            thread,
        });
        self.releasing.extend(to_release);
        over
    }

    /// Nothing of these is in use any more.
    pub(crate) fn released(&mut self, ids: &[u64]) {
        self.releasing.retain(|entry| !ids.contains(&entry.id));
    }

    /// The thread that calls the callback of a registration, or its `release`.
    pub(crate) fn runner(&self, id: u64) -> Option<ThreadId> {
        let releasing = self.releasing.iter().find(|entry| entry.id == id);
        releasing
            .map(|entry| entry.thread)
            .or_else(|| self.get(id)?.running)
    }

    /// Whether the thread is in a callback of this library's.
    pub(crate) fn runs(&self, thread: ThreadId) -> bool {
        let mut releasing = self.releasing.iter();
        let mut entries = self.entries.iter();
        releasing.any(|entry| entry.thread == thread)
            || entries.any(|entry| entry.running == Some(thread))
    }

    /// Those that have nothing to act upon see the present all the same.
    fn catch_up(&mut self, now: &Now, at: Instant) {
        for entry in &mut self.entries {
            let concerned = matches!(entry.work(now, at), Work::Due(Due::Event(_)));
            let due_again = matches!((&entry.said, entry.pending), (Said::Needs { .. }, Some(_)));
            if !concerned && !due_again && entry.running.is_none() {
                if entry.seen.generation != now.seen().generation {
                    // What it refused is another matter.
                    entry.said = Said::Left;
                }
                entry.seen = now.seen();
            }
        }
    }

    /// Whom `caller` is to call next; marks him as running. `removing`: the latest change took
    /// something away, so that those who build upon others go first.
    pub(crate) fn next(
        &mut self,
        now: &Now,
        at: Instant,
        caller: Caller,
        has_thread: bool,
        removing: bool,
    ) -> Option<Call> {
        self.catch_up(now, at);
        let me = std::thread::current().id();
        let mut best: Option<(usize, Due)> = None;
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.ended || entry.running.is_some() || !entry.is_for(caller, has_thread) {
                continue;
            }
            let Work::Due(due) = entry.work(now, at) else {
                continue;
            };
            let observes = |entry: &Registration| matches!(entry.subject, Subject::Slot { .. });
            if !observes(entry) && self.must_wait(entry, now, at, removing) {
                continue;
            }
            let rank = |entry: &Registration| (observes(entry), entry.priority);
            let is_better = best
                .as_ref()
                .is_none_or(|(other, _)| rank(entry) > rank(&self.entries[*other]));
            if is_better {
                best = Some((index, due));
            }
        }
        let (index, due) = best?;
        let entry = self.entries.get_mut(index)?;
        entry.running = Some(me);
        let what = match (due, &mut entry.subject) {
            (Due::Event(event), Subject::Events { callback, .. }) => {
                entry.seen = now.seen();
                entry.pending = Some(event);
                What::Event(*callback, event)
            }
            (
                Due::Change(to),
                Subject::Slot {
                    slot,
                    last,
                    observer,
                    userdata,
                    ..
                },
            ) => What::Change {
                observer: *observer,
                userdata: *userdata,
                slot: *slot,
                from: std::mem::replace(last, to),
                to,
            },
            _ => {
                entry.running = None;
                return None;
            }
        };
        Some(Call { id: entry.id, what })
    }

    /// Whether somebody has to be told, and answer, before `entry`.
    fn must_wait(&self, entry: &Registration, now: &Now, at: Instant, removing: bool) -> bool {
        self.entries.iter().any(|other| {
            let goes_first = if removing {
                other.after.contains(&entry.id)
            } else {
                entry.after.contains(&other.id)
            };
            goes_first
                && !other.ended
                && (other.running.is_some() || other.work(now, at) != Work::Settled)
        })
    }

    /// Takes what came of a call. `None` for an observer.
    pub(crate) fn answered(&mut self, id: u64, answer: Option<Answer>, at: Instant) {
        let Some(entry) = self.get_mut(id) else {
            return;
        };
        entry.running = None;
        let Some(answer) = answer else { return };
        // It said so itself while it was running.
        let left = entry.pending.is_none();
        (entry.said, entry.pending) = match (answer, entry.pending) {
            (Answer::Needs(ms), Some(event)) if !left => {
                let ms = ms.max(1);
                let until = at + Duration::from_millis(ms.into());
                let again = Event {
                    attempt: event.attempt.saturating_add(1),
                    ..event
                };
                (Said::Needs { until, ms }, Some(again))
            }
            (Answer::Refuse(reason), _) => (Said::Refused(reason), None),
            _ => (Said::Left, None),
        };
    }

    /// A callback that has asked for time for the event of this generation has left. `false` if it
    /// has not asked, or has been told of another one since.
    pub(crate) fn left(&mut self, id: u64, generation: u64) -> bool {
        let Some(entry) = self.get_mut(id).filter(|entry| !entry.ended) else {
            return false;
        };
        let asked = |event: &Event| event.generation == generation;
        if !entry.pending.as_ref().is_some_and(asked) {
            return false;
        }
        entry.pending = None;
        entry.said = Said::Left;
        true
    }

    /// How those stand who are waited for: the eager ones, or all if there is none.
    pub(crate) fn standing(&self, now: &Now, at: Instant) -> Standing {
        let mut standing = Standing::Left;
        let any_eager = self.iter().any(Registration::is_eager);
        for entry in self.iter().filter(|entry| entry.is_eager() || !any_eager) {
            if entry.running.is_some() {
                return Standing::Busy;
            }
            match entry.work(now, at) {
                Work::Due(_) => return Standing::Busy,
                Work::Settled | Work::Waits => {}
            }
            standing = match (&entry.said, standing) {
                (_, Standing::Refused(reason)) => Standing::Refused(reason),
                (Said::Refused(reason), _) => Standing::Refused(reason.clone()),
                (Said::Needs { ms, .. }, Standing::Needs(more)) => Standing::Needs(more.max(*ms)),
                (Said::Needs { ms, .. }, _) => Standing::Needs(*ms),
                (Said::Left, other) => other,
            };
        }
        standing
    }

    /// Whether `caller` has somebody to call, and not only after others.
    pub(crate) fn is_due(
        &self,
        now: &Now,
        at: Instant,
        caller: Caller,
        has_thread: bool,
        removing: bool,
    ) -> bool {
        self.iter().any(|entry| {
            entry.running.is_none()
                && entry.is_for(caller, has_thread)
                && matches!(entry.work(now, at), Work::Due(_))
                && (matches!(entry.subject, Subject::Slot { .. })
                    || !self.must_wait(entry, now, at, removing))
        })
    }

    /// Whether a callback of `owner`'s is running on a thread other than `me`.
    pub(crate) fn is_running(&self, owner: u64, me: ThreadId) -> bool {
        let runs = |thread: ThreadId| thread != me;
        let mut entries = self.entries.iter();
        let mut releasing = self.releasing.iter();
        entries.any(|entry| entry.owner == owner && entry.running.is_some_and(runs))
            || releasing.any(|entry| entry.owner == owner && runs(entry.thread))
    }

    /// When somebody who has asked for time is to be called again. Those whose time is over by `at`
    /// are due, to whom it may concern.
    pub(crate) fn deadline(&self, at: Instant) -> Option<Instant> {
        let needs = self.iter().filter_map(|entry| match entry.said {
            Said::Needs { until, .. } if until > at => Some(until),
            _ => None,
        });
        needs.min()
    }

    /// In the child of a fork nobody runs but what this thread runs.
    pub(crate) fn forked(&mut self) {
        let me = std::thread::current().id();
        for entry in &mut self.entries {
            if entry.running != Some(me) {
                entry.running = None;
            }
        }
        self.releasing.retain(|entry| entry.thread == me);
    }
}

#[cfg(test)]
mod tests {
    use isa::features;
    use protocol::availability::{Cause, Publication};

    use super::*;

    const WIDE: FeatureSet = features![Sse2, Avx2, Fma];
    const PLAIN: FeatureSet = features![Sse2];

    unsafe extern "C" fn nothing(_: *mut c_void, _: *const crate::c::isahp_event) -> i32 {
        0
    }

    fn now(generation: u64, available: FeatureSet) -> Now {
        let publication = Publication {
            generation,
            available,
            cause: Cause::Offer,
            ..Publication::default()
        };
        Now {
            publication,
            available,
            ..Now::default()
        }
    }

    /// Somebody who was told of generation 1, with everything available.
    fn somebody(interest: FeatureSet) -> impl FnOnce(u64) -> Registration {
        move |id| Registration {
            id,
            owner: 1,
            by_poll: false,
            urgency: Urgency::Eager,
            priority: 0,
            after: Vec::new(),
            subject: Subject::Events {
                callback: Callback {
                    function: nothing,
                    userdata: std::ptr::null_mut(),
                },
                interest,
                in_trap: None,
            },
            seen: now(1, WIDE).seen(),
            pending: None,
            said: Said::Left,
            running: None,
            ended: false,
            release: None,
            userdata: Userdata(std::ptr::null_mut()),
        }
    }

    struct Present {
        list: List,
        at: Instant,
        now: Now,
        removing: bool,
    }

    impl Present {
        fn new() -> Self {
            Self {
                list: List::default(),
                at: Instant::now(),
                now: now(1, WIDE),
                removing: false,
            }
        }

        fn add(&mut self, change: impl FnOnce(&mut Registration)) -> u64 {
            self.list.add(|id| {
                let mut entry = somebody(FeatureSet::EMPTY)(id);
                change(&mut entry);
                entry
            })
        }

        fn publish(&mut self, generation: u64, available: FeatureSet) {
            self.removing = !self.now.available.is_subset(&available);
            self.now = now(generation, available);
        }

        /// Who is called next, by the thread.
        fn next(&mut self) -> Option<u64> {
            self.next_for(Caller::Thread)
        }

        fn next_for(&mut self, caller: Caller) -> Option<u64> {
            self.list
                .next(&self.now, self.at, caller, true, self.removing)
                .map(|call| call.id)
        }

        fn answer(&mut self, id: u64, answer: Answer) {
            self.list.answered(id, Some(answer), self.at);
        }

        /// The order in which all are called, if each has left at once.
        fn order(&mut self) -> Vec<u64> {
            let mut order = Vec::new();
            while let Some(id) = self.next() {
                order.push(id);
                self.answer(id, Answer::Left);
            }
            order
        }

        fn standing(&self) -> Standing {
            self.list.standing(&self.now, self.at)
        }
    }

    #[test]
    fn each_is_told_once_of_what_concerns_it() {
        let mut all = Present::new();
        let everything = all.add(|_| {});
        let fma = all.list.add(somebody(features![Fma]));
        all.publish(2, features![Sse2, Fma]);
        assert_eq!(all.order(), [everything]);
        all.publish(3, PLAIN);
        assert_eq!(all.order(), [everything, fma]);
        assert_eq!(all.order(), [0u64; 0]);
        // There and back between two looks: nothing has happened.
        all.publish(4, WIDE);
        all.publish(5, PLAIN);
        assert_eq!(all.order(), [0u64; 0]);
        assert_eq!(all.standing(), Standing::Left);
    }

    #[test]
    fn higher_priorities_come_first_and_equal_ones_as_they_registered() {
        let mut all = Present::new();
        let (a, b) = (all.add(|_| {}), all.add(|_| {}));
        let low = all.add(|entry| entry.priority = -1);
        let high = all.add(|entry| entry.priority = 7);
        all.publish(2, PLAIN);
        assert_eq!(all.order(), [high, a, b, low]);
    }

    #[test]
    fn who_builds_upon_others_is_told_last_of_additions_and_first_of_removals() {
        let mut all = Present::new();
        let kernels = all.add(|_| {});
        let blas = all.add(|entry| entry.after = vec![kernels]);
        // Priorities do not overrule it.
        let solver = all.add(|entry| {
            entry.after = vec![blas];
            entry.priority = 9;
        });
        all.publish(2, PLAIN);
        assert_eq!(all.order(), [solver, blas, kernels]);
        all.publish(3, WIDE);
        assert_eq!(all.order(), [kernels, blas, solver]);
    }

    #[test]
    fn nobody_overtakes_one_who_needs_time() {
        let mut all = Present::new();
        let kernels = all.add(|_| {});
        let blas = all.add(|entry| entry.after = vec![kernels]);
        all.publish(2, PLAIN);
        assert_eq!(all.next(), Some(blas));
        assert_eq!(all.next(), None, "it is still running");
        all.answer(blas, Answer::Needs(10));
        assert_eq!(all.next(), None);
        all.at += Duration::from_millis(10);
        assert_eq!(all.next(), Some(blas), "again");
        all.answer(blas, Answer::Needs(10));
        assert!(!all.list.left(blas, 1), "that was about another event");
        assert!(all.list.left(blas, 2), "before the time is over");
        assert!(!all.list.left(blas, 2));
        assert_eq!(all.next(), Some(kernels));
        all.answer(kernels, Answer::Refuse("no".into()));
        assert_eq!(all.next(), None);
        assert_eq!(all.standing(), Standing::Refused("no".into()));
        // A refusal is about one generation.
        all.publish(3, PLAIN);
        assert_eq!(all.next(), None);
        assert_eq!(all.standing(), Standing::Left);
    }

    #[test]
    fn only_the_eager_ones_are_waited_for_if_there_are_any() {
        let mut all = Present::new();
        let woken = all.add(|entry| entry.urgency = Urgency::Woken);
        all.publish(2, PLAIN);
        assert_eq!(all.standing(), Standing::Busy);
        let eager = all.add(|_| {});
        assert_eq!(all.next(), Some(woken));
        assert_eq!(all.next(), Some(eager));
        assert_eq!(all.standing(), Standing::Busy);
        all.answer(eager, Answer::Needs(30));
        assert_eq!(all.standing(), Standing::Needs(30));
        assert!(all.list.left(eager, 2));
        assert_eq!(
            all.standing(),
            Standing::Left,
            "the other one is still running"
        );
    }

    #[test]
    fn those_who_poll_are_called_by_their_own_poll_only() {
        let mut all = Present::new();
        let polled = all.add(|entry| entry.by_poll = true);
        all.publish(2, PLAIN);
        assert_eq!(all.next(), None);
        assert_eq!(all.next_for(Caller::Poll(2)), None);
        assert_eq!(all.standing(), Standing::Busy);
        assert_eq!(all.next_for(Caller::Poll(1)), Some(polled));
    }

    #[test]
    fn one_whose_time_is_over_sets_no_alarm_that_only_its_own_poll_could_stop() {
        let mut all = Present::new();
        let polled = all.add(|entry| entry.by_poll = true);
        all.publish(2, PLAIN);
        assert_eq!(all.next_for(Caller::Poll(1)), Some(polled));
        all.answer(polled, Answer::Needs(10));
        let over = all.at + Duration::from_millis(10);
        assert_eq!(all.list.deadline(all.at), Some(over));
        all.at = over;
        assert_eq!(all.next(), None);
        assert_eq!(all.list.deadline(all.at), None);
        assert_eq!(all.next_for(Caller::Poll(1)), Some(polled));
    }

    #[test]
    fn one_that_has_ended_is_not_called_and_goes_when_it_does_not_run() {
        let mut all = Present::new();
        let (first, second) = (all.add(|_| {}), all.add(|_| {}));
        all.publish(2, PLAIN);
        assert_eq!(all.next(), Some(first));
        for id in [first, second] {
            all.list.get_mut(id).unwrap().ended = true;
        }
        let gone = |list: &mut List| -> Vec<u64> {
            list.take_ended().iter().map(|entry| entry.id).collect()
        };
        assert_eq!(gone(&mut all.list), [second]);
        all.answer(first, Answer::Left);
        assert_eq!(gone(&mut all.list), [first]);
        assert_eq!(all.next(), None);
    }
}
