//! What operators ask of a guest.

use std::time::Duration;

use protocol::host::PrepareError;

use super::{Guest, Removal, Request};
use crate::clock;
use crate::control::{Denial, ErrorKind, GuestStatus, OpenPrepare, State, names};

impl Guest {
    pub(super) fn hear_request(&mut self, request: Request) {
        match request {
            // Whoever asked may have gone: nothing is lost with the answer.
            Request::Status(wanted) => {
                let _ = wanted.send(self.status());
            }
            Request::Abort(wanted) => {
                self.info("abort asked for by the operator");
                let _ = wanted.send(self.abort("aborted by the operator"));
            }
            Request::Prepare {
                removal,
                allowed,
                answer,
            } => match self.prepare(removal, allowed) {
                Ok(id) => self.waiting = Some((id, answer)),
                Err(error) => {
                    let _ = answer.send(Err(error));
                }
            },
        }
    }

    pub(super) fn prepare(&mut self, removal: Removal, allowed: Duration) -> Result<u64, Denial> {
        let lost = match (removal, self.session.available()) {
            (Removal::Lost(lost), _) => lost,
            (Removal::DownTo(rest), Some(available)) => available - rest,
            (Removal::DownTo(_), None) => {
                let message = "it is not known yet what this host executes for the guest";
                return Err(Denial::new(ErrorKind::NoAgent, message));
            }
        };
        let id = self
            .session
            .prepare(lost, allowed, clock::now())
            .map_err(|error| {
                let kind = match error {
                    PrepareError::NoAgent => ErrorKind::NoAgent,
                    PrepareError::AlreadyOpen(_) => ErrorKind::AlreadyOpen,
                };
                Denial::new(kind, error.to_string())
            })?;
        self.announced = (id, lost);
        let list = if lost.is_empty() {
            "nothing".to_owned()
        } else {
            lost.to_string()
        };
        self.info(format_args!(
            "prepare {id} sent, {} ms: {list}",
            allowed.as_millis()
        ));
        Ok(id)
    }

    pub(super) fn status(&self) -> GuestStatus {
        let guest = self.session.guest();
        // What a QEMU that is gone could execute says nothing of the next.
        let reached = self.machine.is_some() || self.channel.is_some();
        let available = self.session.available().filter(|_| reached);
        let visible = self.said.visible;
        let both = available.zip(visible);
        let prepare = self.session.open_prepare();
        GuestStatus {
            name: self.config.name.clone(),
            state: self.state(),
            qemu: self.machine.as_ref().map(|machine| machine.qemu.clone()),
            accelerator: self
                .machine
                .as_ref()
                .map(|m| m.accelerator.name().to_owned()),
            protocol: self.said.version,
            generation: guest.map(|guest| guest.generation).or(self.said.generation),
            up_to_date: available.is_some() && guest.is_some_and(|guest| guest.up_to_date),
            available: available.map(names),
            visible: visible.map(names),
            bonus: names(both.map(|(a, v)| a - v).unwrap_or_default()),
            lost: names(both.map(|(a, v)| v - a).unwrap_or_default()),
            unsafe_silent: names(self.said.unsafe_silent),
            prepare: prepare.map(|(id, lost, ready)| OpenPrepare {
                id,
                lost: names(lost),
                ready,
            }),
            ack_latency_us: self
                .said
                .latency
                .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        }
    }

    pub(super) fn state(&self) -> State {
        if self.left {
            State::Left
        } else if self.session.guest().is_some() {
            State::Established
        } else if self.channel.is_some() {
            if self.silent {
                State::Silent
            } else {
                State::Greeting
            }
        } else if self.machine.is_none() {
            State::NoQmp
        } else {
            State::NoChannel
        }
    }
}
