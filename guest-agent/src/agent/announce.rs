//! Removals that a host announced: who has to leave first, and the answer.

use std::time::Duration;

use protocol::availability::OpenPrepare;
use protocol::{Holder, Moment, Text};
use tracing::Level;

use super::{Agent, LINES, named};

/// The longest that an answer is given to travel.
const LONGEST_WAY: Duration = Duration::from_secs(1);

/// In this time processes that were registered with an earlier agent, or have been waiting for one,
/// have registered (twice the library's longest pause). A removal of silent features that is
/// announced before must not be acknowledged without them.
const COMING_BACK: Duration = Duration::from_secs(4);
/// Who is named to the host where they are the only ones to wait for.
const LATE: &str = "processes that may not have registered yet";

/// A removal that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    pub(super) id: u64,
    since: Moment,
    /// When those who have not left are named to the host.
    pub(super) busy_at: Moment,
}

impl Agent {
    /// A host announced a removal, and it is published.
    pub(super) fn announce(&mut self, prepare: &OpenPrepare, now: Moment) {
        self.registry.prepare(prepare);
        self.wake_some(now);
        if let Some(known) = self.latest_announced.filter(|known| known.id == prepare.id) {
            // Said again, for the host has not heard our answer yet.
            self.announced = Some(known);
            return;
        }
        let allowed = prepare.deadline.since(now);
        let way = (allowed / 10).min(LONGEST_WAY);
        let busy_at = now.after(allowed.saturating_sub(way));
        let announced = Announced {
            id: prepare.id,
            since: now,
            busy_at,
        };
        self.announced = Some(announced);
        self.latest_announced = Some(announced);
        let waiting = match self.registry.held_by() {
            0 => "nobody".into(),
            _ => self.registry.name_holders(),
        };
        let text = format!(
            "prepare {} from host {}: lost {}, generation {}, deadline in {} ms, waiting for {waiting}",
            prepare.id,
            self.host_name,
            named(prepare.lost),
            prepare.generation,
            allowed.as_millis(),
        );
        self.log.limited(Level::INFO, "prepares", LINES, text);
    }

    /// Answers the host as soon as it can be answered.
    pub(super) fn answer_announced(&mut self, now: Moment) {
        let Some(announced) = self.announced else {
            return;
        };
        let open = self.session.unanswered_prepare().map(|prepare| prepare.id);
        if open != Some(announced.id) {
            // Refused, aborted, replaced, or its deadline has passed.
            self.announced = None;
            self.registry.settled();
        } else if self.registry.held_by() == 0 && !self.waits_for_late_ones(now) {
            self.announced = None;
            self.session.left();
            self.carry_out(now);
            self.say_answer(announced, "ready", now);
        } else if announced.busy_at <= now {
            self.announced = None;
            let mut holders = self.registry.holders();
            let mut names = self.registry.name_holders();
            if holders.is_empty() {
                names = LATE.into();
                let name = Text::lossy(LATE);
                holders.push(Holder { pid: 0, name });
            }
            self.registry.settled();
            self.session.busy(holders);
            self.carry_out(now);
            self.say_answer(announced, &format!("busy: {names}"), now);
        }
    }

    /// Somebody who has not left is not heard any more: nobody can say that he has.
    pub(super) fn answer_abandoned(&mut self, holder: Holder, now: Moment) {
        let Some(announced) = self.announced.take() else {
            return;
        };
        let text = format!(
            "busy: {}[{}] is not heard any more",
            holder.name, holder.pid
        );
        self.registry.settled();
        self.session.busy(vec![holder]);
        self.carry_out(now);
        self.say_answer(announced, &text, now);
    }

    /// Whether somebody may use what is lost in silence and not be registered yet.
    fn waits_for_late_ones(&self, now: Moment) -> bool {
        let prepare = self.session.unanswered_prepare();
        let is_silent = prepare.is_some_and(|prepare| !prepare.lost.silent().is_empty());
        is_silent && now < self.all_are_back()
    }

    fn all_are_back(&self) -> Moment {
        self.started.after(COMING_BACK)
    }

    /// When the answer to an announced removal is due at the latest.
    pub(super) fn answer_due(&self, now: Moment) -> Option<Moment> {
        let announced = self.announced.as_ref()?;
        let late = self.registry.held_by() == 0 && self.waits_for_late_ones(now);
        let back = late.then(|| self.all_are_back());
        Some(back.map_or(announced.busy_at, |back| back.min(announced.busy_at)))
    }

    fn say_answer(&mut self, announced: Announced, answer: &str, now: Moment) {
        let micros = now.since(announced.since).as_micros();
        let text = format!("prepare {}: {answer}, after {micros} µs", announced.id);
        self.answer = Some(text.clone());
        self.log.limited(Level::INFO, "answers", LINES, text);
    }

    /// How an open prepare stands, for people.
    pub(super) fn describe_prepare(&self, now: Moment) -> Option<String> {
        let prepare = self.session.availability().prepare()?;
        let state = match self.announced {
            _ if prepare.expired => "deadline passed".into(),
            None => "answered".into(),
            Some(_) if self.registry.held_by() == 0 => format!("waiting for {LATE}"),
            Some(_) => format!("waiting for {}", self.registry.name_holders()),
        };
        let left = prepare.deadline.since(now).as_millis();
        Some(format!(
            "{}: lost {}, {left} ms left, {state}",
            prepare.id,
            named(prepare.lost)
        ))
    }
}
