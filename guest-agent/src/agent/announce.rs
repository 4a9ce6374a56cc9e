//! Removals that a host announced: who has to leave first, and the answer.

use std::time::Duration;

use protocol::Moment;
use protocol::availability::OpenPrepare;
use tracing::Level;

use super::{Agent, LINES, named};

/// The longest that an answer is given to travel.
const LONGEST_WAY: Duration = Duration::from_secs(1);

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
        } else if self.registry.held_by() == 0 {
            self.announced = None;
            self.session.left();
            self.carry_out(now);
            self.say_answer(announced, "ready", now);
        } else if announced.busy_at <= now {
            self.announced = None;
            let holders = self.registry.holders();
            let names = self.registry.name_holders();
            self.registry.settled();
            self.session.busy(holders);
            self.carry_out(now);
            self.say_answer(announced, &format!("busy: {names}"), now);
        }
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
