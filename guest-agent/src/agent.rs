//! The agent: what happens on the channel, in the page and at the socket, in
//! one place and on one thread.
//!
//! [`Agent`] never waits. [`run`](mod@crate::run) tells it which descriptors are
//! ready and what time it is; [`Agent::deadline`] says when it wants to be
//! called at the latest.

mod announce;
mod process;
mod trap;

use std::io;
use std::path::Path;

use isa::FeatureSet;
use nix::sys::epoll::EpollFlags;
use protocol::availability::{Availability, Cause, Change};
use protocol::guest::{Note, Output};
use protocol::{Epoch, GuestSession, Moment, Text};
use tracing::Level;

use crate::clients::Clients;
use crate::log::Log;
use crate::machine::{self, Machine};
use crate::page::{Found, RunDir, RunDirError, SharedPage};
use crate::poller::{Poller, Token};
use crate::port::{PAUSE_AFTER_DROP, Place, Port};
use crate::registry::Registry;
use crate::waker::Waker;

use announce::Announced;
use trap::Suspicion;

/// Most processes woken before others get their turn.
const WOKEN_AT_ONCE: usize = 64;
/// Most lines in the log of what a host can cause, of one kind, in a while.
const LINES: u32 = 50;
/// The same for what is wrong.
const WRONG_LINES: u32 = 5;

/// Everything the daemon holds.
#[derive(Debug)]
pub(crate) struct Agent {
    poller: Poller,
    log: Log,
    session: GuestSession,
    machine: Machine,
    page: SharedPage,
    port: Port,
    clients: Clients,
    registry: Registry,
    waker: Waker,
    /// When this agent began.
    started: Moment,
    /// The removal that waits for an answer.
    announced: Option<Announced>,
    /// The latest one, answered or not: a host repeats it until it is answered.
    latest_announced: Option<Announced>,
    /// What the host was told last about a prepare, in words.
    answer: Option<String>,
    suspicion: Suspicion,
    /// What the host calls itself.
    host_name: Text<64>,
    _run_dir: RunDir,
}

impl Agent {
    /// Takes the run directory over, and listens.
    pub(crate) fn new(run_dir: &Path, place: Place, now: Moment) -> Result<Self, RunDirError> {
        let run_dir = RunDir::lock(run_dir)?;
        let io = |error| RunDirError::Io(run_dir.path().to_path_buf(), error);
        let (page, published, found) = SharedPage::open(&run_dir, isa::detect(), now)?;
        let visible = published.visible;
        let poller = Poller::new().map_err(io)?;
        let clients = Clients::listen(run_dir.path(), &poller).map_err(io)?;
        let waker = Waker::new().map_err(io)?;
        let mut log = Log::default();
        match found {
            Found::Nothing => {}
            Found::Kept => log.info("page: goes on where an earlier agent stopped"),
            Found::Replaced(problem) => log.warn(format!(
                "page: made anew, for the old one is of no use: {problem}"
            )),
        }
        log.info(format!(
            "ready in {}: generation {}, {} features visible, bonus {}, lost {}",
            run_dir.path().display(),
            published.generation,
            visible.len(),
            named(published.available.difference(visible)),
            named(visible.difference(published.available)),
        ));
        let mut agent = Self {
            session: GuestSession::new(machine::identity(), Availability::resume(published)),
            machine: Machine::default(),
            port: Port::new(place, now),
            registry: Registry::default(),
            started: now,
            announced: None,
            latest_announced: None,
            answer: None,
            suspicion: Suspicion::default(),
            host_name: Text::default(),
            poller,
            log,
            page,
            clients,
            waker,
            _run_dir: run_dir,
        };
        if !published.unsafe_silent.is_empty() {
            agent.say_unsafe(published.unsafe_silent);
        }
        Ok(agent)
    }

    /// The descriptor that says whether anything is ready.
    pub(crate) const fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Does what the ready descriptors ask for; `false` if none was ready.
    ///
    /// # Errors
    /// If the poller fails, which leaves nothing to go on with.
    pub(crate) fn serve_ready(&mut self, now: Moment) -> io::Result<bool> {
        let ready = self.poller.ready()?;
        for (token, flags) in &ready {
            match *token {
                Token::Port => self.port.ready(*flags, &mut self.log, now),
                Token::Listener => self.clients.accept(&self.poller, &mut self.log),
                Token::Client(id) => {
                    self.serve_process(id, flags.contains(EpollFlags::EPOLLHUP), now);
                }
            }
        }
        Ok(!ready.is_empty())
    }

    /// Does what is due: reads the channel, answers prepares, wakes processes,
    /// writes the log.
    pub(crate) fn tick(&mut self, now: Moment) {
        if self.port.open_if_due(&self.poller, &mut self.log, now) {
            self.session.opened(now, &mut self.machine);
        }
        let bytes = self.port.read(&mut self.log, now);
        if !bytes.is_empty() {
            self.session.receive(&bytes, now, &mut self.machine);
        }
        self.session.tick(now, &mut self.machine);
        self.carry_out(now);
        self.try_suspects(now);
        self.answer_announced(now);
        self.wake_some(now);
        self.log.flush(now);
    }

    /// When [`tick`](Self::tick) must be called at the latest.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        if self.registry.has_sleepers() {
            return Some(Moment::default());
        }
        let deadlines = [
            self.port.deadline(),
            self.session.deadline(),
            self.answer_due(now),
            self.suspicion.deadline(),
            self.log.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The last words.
    pub(crate) fn stop(mut self, why: &str, now: Moment) {
        let generation = self.session.availability().published().generation;
        self.log.info(format!(
            "{why}: stopped, the page stays at generation {generation}"
        ));
        self.log.flush(now);
    }

    /// Carries out what the session asks for, in order.
    fn carry_out(&mut self, now: Moment) {
        let mut offer = None;
        while let Some(output) = self.session.poll() {
            match output {
                Output::Publish(change) => self.publish(&change, offer.take(), now),
                Output::Note(Note::Offered { epoch, .. }) => offer = Some(epoch),
                Output::Note(note) => self.note(note),
                Output::Prepare(prepare) => self.announce(&prepare, now),
                Output::Transmit(frame) => {
                    self.port.send(frame, &mut self.log, now);
                    if let Some(epoch) = offer.take() {
                        self.say_unchanged(epoch);
                    }
                }
                Output::Drop => {
                    let why = "the peer does not speak our protocol";
                    self.port.close(why, PAUSE_AFTER_DROP, &mut self.log, now);
                }
            }
        }
        if let Some(error) = self.machine.problem.take() {
            let text = format!("features cannot be tried, so none is added that could be: {error}");
            self.log.limited(Level::WARN, "probes", WRONG_LINES, text);
        }
    }

    /// The page first, then those who sleep, then the log.
    fn publish(&mut self, change: &Change, offer: Option<Epoch>, now: Moment) {
        self.page.publish(&change.publication);
        self.registry.publish(change);
        self.wake_some(now);
        let publication = &change.publication;
        let subject = match offer {
            Some(epoch) if publication.cause == Cause::Offer => self.name_offer(epoch),
            _ => publication.cause.name().into(),
        };
        let text = format!(
            "{subject}: generation {}, added {}, removed {}",
            publication.generation,
            named(change.added),
            named(change.removed),
        );
        self.log.limited(Level::INFO, "generations", LINES, text);
    }

    fn say_unchanged(&mut self, epoch: Epoch) {
        let generation = self.session.availability().published().generation;
        let text = format!(
            "{}: generation {generation}, nothing changed",
            self.name_offer(epoch)
        );
        self.log.limited(Level::INFO, "offers", LINES, text);
    }

    fn name_offer(&self, epoch: Epoch) -> String {
        format!(
            "offer from host {}/{} sequence {}",
            self.host_name, epoch.host, epoch.sequence
        )
    }

    fn say_unsafe(&mut self, features: FeatureSet) {
        self.log.warn(format!("unsafe: silent: {features}"));
    }

    fn note(&mut self, note: Note) {
        let (level, kind, text) = match note {
            Note::Hello {
                host,
                name,
                version,
            } => {
                let text = format!("hello from host {name}/{host}, version {version}");
                self.host_name = name;
                (Level::INFO, "hellos", text)
            }
            Note::Incompatible { name, versions } => {
                let ours = protocol::Versions::SUPPORTED;
                let text = format!(
                    "host {name} speaks versions {versions}, this agent {ours}: it is not heard"
                );
                (Level::WARN, "incompatible hosts", text)
            }
            Note::BadFrame(error) => (
                Level::WARN,
                "bad frames",
                format!("bad frame from the host, dropped: {error}"),
            ),
            Note::Stale { what, nonce } => {
                let text =
                    format!("stale {what} dropped: nonce {nonce:016x} is not the latest hello's");
                (Level::INFO, "stale messages", text)
            }
            Note::Refuted(features) => {
                let text = format!("refuted: {features}: offered, but this guest's CPUs refuse it");
                (Level::WARN, "refuted features", text)
            }
            Note::UnsafeSilent(features) => return self.say_unsafe(features),
            Note::Aborted(id) => (
                Level::INFO,
                "aborts",
                format!("prepare {id}: aborted by the host"),
            ),
            Note::AbortUnknown(id) => (
                Level::WARN,
                "aborts",
                format!("prepare {id}: aborted by the host, but not open"),
            ),
            Note::Expired { id, withheld } => {
                let text = format!(
                    "prepare {id}: deadline passed, withheld {}",
                    named(withheld)
                );
                (Level::WARN, "deadlines", text)
            }
            Note::HostSilent => (Level::WARN, "silent hosts", "the host is silent".into()),
            Note::Unsendable(error) => (
                Level::WARN,
                "unsendable messages",
                format!("a message was not sent: {error}"),
            ),
            Note::Offered { .. } => return,
        };
        let most = if level == Level::INFO {
            LINES
        } else {
            WRONG_LINES
        };
        self.log.limited(level, kind, most, text);
    }

    /// Wakes the next few.
    fn wake_some(&mut self, now: Moment) {
        let batch = self.registry.next_to_wake(WOKEN_AT_ONCE);
        let awake = batch
            .iter()
            .filter_map(|id| Some((*id, self.clients.eventfd(*id)?)));
        let (ids, eventfds): (Vec<_>, Vec<_>) = awake.unzip();
        for at in self.waker.wake(&eventfds) {
            self.drop_process(ids[at], "its eventfd blocks its writer", now);
        }
    }
}

/// A set for a log line.
fn named(features: FeatureSet) -> String {
    if features.is_empty() {
        "none".into()
    } else {
        features.to_string()
    }
}
