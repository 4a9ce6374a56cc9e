//! What happens in the session with the guest's agent.

use std::fmt;
use std::time::Duration;

use protocol::host::{self, Event};

use super::{Guest, holder_list};
use crate::backoff::Backoff;
use crate::control::{Answer, Denial, ErrorKind, Holder, Prepared, names};

impl Guest {
    pub(super) fn hear_session(&mut self, event: Event) {
        match event {
            Event::Established {
                version,
                visible,
                generation,
                ..
            } => {
                self.silent = false;
                self.backoff = Backoff::new();
                self.said.version = Some(version);
                self.said.visible = Some(visible);
                self.said.generation = Some(generation);
                self.info(format_args!(
                    "established, protocol {version}, visible {} features, generation {generation}",
                    visible.len()
                ));
            }
            Event::Incompatible(versions) => {
                self.warn(format_args!(
                    "its agent speaks protocol {versions} and we do not"
                ));
            }
            Event::Acknowledged {
                sequence,
                generation,
                latency,
                unsafe_silent,
            } => {
                self.said.generation = Some(generation);
                self.said.latency = Some(latency);
                self.info(format_args!(
                    "offer {sequence} published as generation {generation} after {}",
                    Millis(latency)
                ));
                let before = std::mem::replace(&mut self.said.unsafe_silent, unsafe_silent);
                if unsafe_silent.is_empty() {
                    if !before.is_empty() {
                        self.info(format_args!("safe again: back are {before}"));
                    }
                } else if before != unsafe_silent {
                    self.warn(format_args!("unsafe: silent: {unsafe_silent}"));
                }
            }
            Event::Prepared {
                id,
                answer,
                latency,
            } => self.prepared(id, answer, latency),
            Event::PrepareExpired(id) => self.warn(format_args!(
                "prepare {id} expired before a move: the guest takes faulting features back"
            )),
            Event::StrayPrepare(id) => self.info(format_args!(
                "the guest still holds to prepare {id}, which is over: aborting it again"
            )),
            Event::GuestSilent => {
                self.silent = true;
                self.warn("silent: its agent answers no heartbeat; greeting it again");
            }
            Event::BadFrame(error) => self.warn(format_args!("bad frame: {error}")),
            Event::Stale(what) => self.info(format_args!("stale {what} ignored")),
            Event::Unsendable(error) => self.warn(format_args!("message not sent: {error}")),
        }
    }

    pub(super) fn prepared(&mut self, id: u64, answer: host::Answer, latency: Duration) {
        let after = Millis(latency);
        let answer = match answer {
            host::Answer::Ready(generation) => {
                self.said.generation = Some(generation);
                self.info(format_args!(
                    "prepare {id} ready as generation {generation} after {after}"
                ));
                Answer::Ready { generation }
            }
            host::Answer::Busy(busy) => {
                let holder = |h: &protocol::Holder| Holder {
                    pid: h.pid,
                    name: h.name.to_string(),
                };
                let holders: Vec<Holder> = busy.holders.iter().map(holder).collect();
                let list = holder_list(&holders, busy.more);
                self.warn(format_args!("prepare {id} busy after {after}: {list}"));
                Answer::Busy {
                    holders,
                    more: busy.more,
                }
            }
            host::Answer::Refused(reason) => {
                self.warn(format_args!("prepare {id} refused after {after}: {reason}"));
                Answer::Refused {
                    reason: reason.to_string(),
                }
            }
            host::Answer::Nothing => {
                self.warn(format_args!("prepare {id} unanswered after {after}"));
                Answer::Nothing
            }
        };
        if let Some((_, wanted)) = self.waiting.take_if(|(waiting, _)| *waiting == id) {
            let lost = names(self.announced.1);
            let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            // Whoever asked may have gone; the answer is in the log.
            let _ = wanted.send(Ok(Prepared {
                id,
                lost,
                latency_us,
                answer,
            }));
        }
    }

    /// Takes an announced removal back; says whether the guest was told.
    pub(super) fn abort(&mut self, why: &str) -> bool {
        if let Some((id, wanted)) = self.waiting.take() {
            let message = format!("prepare {id} ended: {why}");
            let _ = wanted.send(Err(Denial::new(ErrorKind::Aborted, message)));
        }
        self.session.abort()
    }
}

/// A time in milliseconds with three decimals.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ms", self.0.as_secs_f64() * 1e3)
    }
}
