//! What processes say, and what they are told.

use std::os::fd::AsFd;

use isa::FeatureSet;
use protocol::local::{self, FromProcess, MAX_REQUEST, PacketError, Report, ToProcess, Urgency};
use protocol::{Holder, Moment, Text, Versions};
use tracing::Level;

use super::{Agent, named};
use crate::packet::{self, Packet};
use crate::poller::ClientId;
use crate::registry::Registration;

/// The generation that a process says it has acted upon. Nobody has seen what is yet to come: that
/// is one of another page, of which nothing follows for this one.
fn seen(generation: u64, published: u64) -> u64 {
    if generation > published {
        0
    } else {
        generation
    }
}

/// What a process did that ends its connection.
type Fault = String;

/// Whether a process goes on executing instructions (proc_pid_stat(5)).
fn lives(pid: u32) -> bool {
    /// It is on its way out (include/linux/sched.h): its descriptors are closed after this is set.
    const PF_EXITING: u64 = 4;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before may hold anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let mut fields = fields.split(' ');
    let is_running = fields
        .next()
        .is_some_and(|state| !matches!(state, "Z" | "X" | ""));
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u64>().ok());
    is_running && flags.is_some_and(|flags| flags & PF_EXITING == 0)
}

impl Agent {
    /// A process said something, or is gone (`hung_up`).
    pub(super) fn serve_process(&mut self, id: ClientId, hung_up: bool, now: Moment) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        match client.receive() {
            Ok(None) => {}
            Ok(Some(packet)) if packet.len == 0 && hung_up => self.forget_process(id, now),
            Ok(Some(packet)) => {
                if let Err(fault) = self.hear_process(id, packet, now) {
                    self.drop_process(id, &fault, now);
                }
            }
            // The connection was reset.
            Err(_) => self.forget_process(id, now),
        }
    }

    /// Tells a process what it did wrong, and ends the connection.
    pub(super) fn drop_process(&mut self, id: ClientId, fault: &str, now: Moment) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let reason = Text::lossy(fault);
        // One that does not read does not learn why.
        let _unheard = client.send(&ToProcess::Rejected { reason });
        client.log(
            &mut self.log,
            Level::WARN,
            "faults",
            &format!("{fault}, dropped"),
        );
        let abandoned = self.is_abandoned(id);
        self.clients.remove(id, &self.poller);
        self.registry.remove(id);
        if let Some(holder) = abandoned {
            self.answer_abandoned(holder, now);
        }
        self.answer_announced(now);
    }

    /// Who is not heard any more though a removal of silent features waits for him and he lives: he
    /// may still be using them.
    fn is_abandoned(&self, id: ClientId) -> Option<Holder> {
        let prepare = self.session.unanswered_prepare()?;
        if !self.registry.is_holding(id) || prepare.lost.silent().is_empty() {
            return None;
        }
        let registration = self.registry.get(id)?;
        lives(registration.pid).then(|| Holder {
            pid: registration.pid,
            name: registration.name.clone(),
        })
    }

    fn forget_process(&mut self, id: ClientId, now: Moment) {
        let abandoned = self.is_abandoned(id);
        let held = self.registry.is_holding(id) && abandoned.is_none();
        let Some(client) = self.clients.remove(id, &self.poller) else {
            return;
        };
        let Some(registration) = self.registry.remove(id) else {
            return;
        };
        let waited = if held {
            ", the prepare waits for it no longer"
        } else {
            ""
        };
        let text = format!("gone, was registered as {}{waited}", registration.name);
        client.log(&mut self.log, Level::INFO, "partings", &text);
        if let Some(holder) = abandoned {
            self.answer_abandoned(holder, now);
        }
    }

    fn hear_process(&mut self, id: ClientId, packet: Packet, now: Moment) -> Result<(), Fault> {
        if packet.len > MAX_REQUEST {
            let error = PacketError::Oversized {
                len: packet.len,
                max: MAX_REQUEST,
            };
            return Err(error.to_string());
        }
        let message: FromProcess =
            local::decode(&packet.bytes, MAX_REQUEST).map_err(|error| error.to_string())?;
        match message {
            FromProcess::Register {
                versions,
                name,
                interest,
                urgency,
                generation,
            } => {
                let version = Versions::SUPPORTED.agree(versions).ok_or_else(|| {
                    let ours = Versions::SUPPORTED;
                    format!("speaks versions {versions} of the protocol, this agent {ours}")
                })?;
                self.take_eventfd(id, packet, urgency)?;
                self.register(id, name, interest, urgency, generation)?;
                let generation = self.session.availability().published().generation;
                self.reply(
                    id,
                    &ToProcess::Welcome {
                        version,
                        generation,
                    },
                )?;
            }
            FromProcess::Left { generation } => self.hear_left(id, generation, now)?,
            FromProcess::Refuse { generation, reason } => {
                self.hear_refusal(id, generation, &reason, now)?;
            }
            FromProcess::Needs {
                generation,
                ms,
                what,
            } => self.hear_need(id, generation, ms, &what)?,
            FromProcess::Trapped { features, address } => {
                self.hear_trap(id, features, address, now);
            }
            FromProcess::Status => {
                let report = self.report(now);
                self.reply(id, &ToProcess::Status(report))?;
            }
        }
        Ok(())
    }

    fn reply(&self, id: ClientId, message: &ToProcess) -> Result<(), Fault> {
        let Some(client) = self.clients.get(id) else {
            return Ok(());
        };
        client
            .send(message)
            .map_err(|error| format!("does not read its replies: {error}"))
    }

    /// The eventfd that a registration came with; a later one may come without, and who is lazy
    /// needs none.
    fn take_eventfd(
        &mut self,
        id: ClientId,
        packet: Packet,
        urgency: Urgency,
    ) -> Result<(), Fault> {
        if urgency == Urgency::Lazy {
            self.clients.set_eventfd(id, None);
            return Ok(());
        }
        match packet.descriptors.into_iter().next() {
            Some(fd) if packet::is_eventfd(fd.as_fd()) => self.clients.set_eventfd(id, Some(fd)),
            Some(_) => return Err("the descriptor of its registration is no eventfd".into()),
            None if self.clients.eventfd(id).is_none() => {
                return Err("registered without an eventfd".into());
            }
            None => {}
        }
        Ok(())
    }

    fn register(
        &mut self,
        id: ClientId,
        name: Text<64>,
        interest: FeatureSet,
        urgency: Urgency,
        generation: u64,
    ) -> Result<(), Fault> {
        let Some(client) = self.clients.get(id) else {
            return Ok(());
        };
        let published = self.session.availability().published().generation;
        let kind = urgency.name();
        let wants = if interest.is_empty() {
            "everything".into()
        } else {
            named(interest)
        };
        let text = format!(
            "registered as {name}, {kind}, interested in {wants}, at generation {generation}"
        );
        client.log(&mut self.log, Level::INFO, "registrations", &text);
        let registration = Registration {
            pid: client.pid,
            name,
            interest,
            urgency,
            generation: seen(generation, published),
            told: 0,
            trapped: self.registry.get(id).map_or(0, |earlier| earlier.trapped),
            answer: self
                .registry
                .get(id)
                .map_or_else(Text::default, |earlier| earlier.answer.clone()),
        };
        self.registry
            .insert(id, registration, self.session.unanswered_prepare());
        if generation != published && urgency != Urgency::Lazy {
            self.registry.wake(id);
        }
        Ok(())
    }

    fn hear_left(&mut self, id: ClientId, generation: u64, now: Moment) -> Result<(), Fault> {
        if self.registry.get(id).is_none() {
            return Err("left a generation without being registered".into());
        }
        let published = self.session.availability().published().generation;
        let prepare = self.session.unanswered_prepare().copied();
        self.registry
            .answered(id, &format!("left generation {generation}"));
        let awaited = self
            .registry
            .left(id, seen(generation, published), prepare.as_ref());
        if let (true, Some(announced), Some(client)) =
            (awaited, self.announced, self.clients.get(id))
        {
            let text = format!(
                "left at generation {generation}, as prepare {} asks",
                announced.id
            );
            client.log(&mut self.log, Level::INFO, "departures", &text);
        }
        self.answer_announced(now);
        Ok(())
    }

    fn hear_refusal(
        &mut self,
        id: ClientId,
        generation: u64,
        reason: &Text<256>,
        now: Moment,
    ) -> Result<(), Fault> {
        let (Some(registration), Some(client)) = (self.registry.get(id), self.clients.get(id))
        else {
            return Err("refused a generation without being registered".into());
        };
        let asked = self
            .session
            .unanswered_prepare()
            .filter(|p| p.generation <= generation);
        let Some(prepare) = asked.filter(|_| self.registry.is_holding(id)) else {
            let text = format!(
                "refuses generation {generation}, which it was not asked to leave: {reason}"
            );
            client.log(&mut self.log, Level::INFO, "refusals", &text);
            return Ok(());
        };
        let text = format!("refuses prepare {}: {reason}", prepare.id);
        client.log(&mut self.log, Level::WARN, "refusals", &text);
        let said = format!("refused: {reason}");
        let reason = format!("{registration}: {reason}");
        self.answer = Some(format!("prepare {}: refused: {reason}", prepare.id));
        self.registry.answered(id, &said);
        self.session.refuse(&reason);
        self.carry_out(now);
        self.answer_announced(now);
        Ok(())
    }

    /// Somebody is on the way; the prepare goes on waiting, up to its deadline.
    fn hear_need(
        &mut self,
        id: ClientId,
        generation: u64,
        ms: u32,
        what: &Text<256>,
    ) -> Result<(), Fault> {
        let Some(client) = self.clients.get(id) else {
            return Ok(());
        };
        if self.registry.get(id).is_none() {
            return Err("needs time for a generation without being registered".into());
        }
        let text = format!("needs {ms} ms to leave generation {generation}: {what}");
        client.log(&mut self.log, Level::INFO, "needs", &text);
        self.registry
            .answered(id, &format!("needs {ms} ms: {what}"));
        Ok(())
    }

    fn report(&self, now: Moment) -> Report {
        let published = self.session.availability().published();
        let mut channel = self.port.describe();
        if let Some((host, version)) = self.session.host().filter(|_| self.port.is_connected()) {
            let silent = if self.session.host_silent() {
                ", silent"
            } else {
                ""
            };
            channel += &format!(
                ", host {}/{host}, version {version}{silent}",
                self.host_name
            );
        }
        Report {
            generation: published.generation,
            visible: published.visible,
            available: published.available,
            unsafe_silent: published.unsafe_silent,
            cause: Text::lossy(published.cause.name()),
            channel: Text::lossy(&channel),
            prepare: self
                .describe_prepare(now)
                .map(|prepare| Text::lossy(&prepare)),
            answer: self.answer.as_deref().map(Text::lossy),
            registered: u32::try_from(self.registry.len()).unwrap_or(u32::MAX),
            registrations: self.registry.list(),
        }
    }
}
