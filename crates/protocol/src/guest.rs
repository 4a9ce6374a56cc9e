//! The guest's end of the channel.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use isa::FeatureSet;
use serde::Serialize;

use crate::availability::{Availability, Change, OpenPrepare};
use crate::frame::{self, Decoder, FrameError};
use crate::message::{
    Acknowledgement, Beat, BeatReply, Busy, Epoch, GuestHello, GuestIdentity, Holder, HostHello,
    HostIdentity, MAX_HOLDERS, Offer, Prepare, Ready, Refused, ToGuest, ToHost, Versions,
};
use crate::strikes::Strikes;
use crate::text::Text;
use crate::time::Moment;

/// How long a host that said hello may be silent before it is noted.
pub const HOST_SILENCE: Duration = Duration::from_secs(10);
/// At most one hello in this time is sent because of bad frames.
pub const RESYNC_PAUSE: Duration = Duration::from_millis(200);

/// What the session needs from the machine it runs on.
pub trait Environment {
    /// A random number. (In a guest that was reverted to a snapshot it may come
    /// again; the session mixes what the host draws into it.)
    fn nonce(&mut self) -> u64;

    /// Of `candidates`, those that may be believed: each feature that can be
    /// tried was executed on every CPU, and those that cannot be tried are
    /// taken on trust.
    fn executable(&mut self, candidates: FeatureSet) -> FeatureSet;
}

/// What the driver of a session is to do or may want to log, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "few are alive at a time, and no allocation is made for each"
)]
pub enum Output {
    /// Write these bytes to the channel.
    Transmit(Vec<u8>),
    /// Write the shared page and wake who asked for it.
    Publish(Change),
    /// A removal was announced: call [`GuestSession::left`],
    /// [`GuestSession::refuse`] or, at its deadline, [`GuestSession::busy`].
    Prepare(OpenPrepare),
    /// Close the channel and open it again after a pause: the peer does not
    /// speak this protocol.
    Drop,
    /// Something to tell the log.
    Note(Note),
}

/// What happened on the channel, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A host said hello.
    Hello {
        /// Who.
        host: HostIdentity,
        /// Its name.
        name: Text<64>,
        /// The protocol version agreed upon.
        version: u16,
    },
    /// A host speaks no version that we speak.
    Incompatible {
        /// Its name.
        name: Text<64>,
        /// What it speaks.
        versions: Versions,
    },
    /// A frame was dropped.
    BadFrame(FrameError),
    /// A message carried another nonce than the last hello's: late bytes of a
    /// host that we have left, or of before a restart.
    Stale {
        /// What kind of message.
        what: &'static str,
        /// The nonce it carried.
        nonce: u64,
    },
    /// An offer was heard.
    Offered {
        /// Whose, and which.
        epoch: Epoch,
        /// The whole set.
        available: FeatureSet,
    },
    /// Offered, but this guest's CPUs refuse to execute it.
    Refuted(FeatureSet),
    /// These went without warning and run something else instead of faulting.
    UnsafeSilent(FeatureSet),
    /// A prepare was taken back.
    Aborted(u64),
    /// An abort names a prepare that is not open.
    AbortUnknown(u64),
    /// A prepare's deadline passed; the set is silent features still withheld.
    Expired {
        /// Which prepare.
        id: u64,
        /// What stays away until an abort or an offer.
        withheld: FeatureSet,
    },
    /// The host has not spoken for [`HOST_SILENCE`].
    HostSilent,
    /// A message could not be sent.
    Unsendable(frame::EncodeError),
}

/// The state machine of the guest's end: bytes and time in, [`Output`] out.
///
/// Drive it with [`receive`](Self::receive) and [`tick`](Self::tick) (no later
/// than [`deadline`](Self::deadline)), and after each call take everything
/// from [`poll`](Self::poll).
#[derive(Debug)]
pub struct GuestSession {
    identity: GuestIdentity,
    availability: Availability,
    decoder: Decoder,
    output: VecDeque<Output>,
    /// The nonce of the latest hello; nothing is heard before the first.
    nonce: Option<u64>,
    /// The host that is spoken with, and the version.
    host: Option<(HostIdentity, u16)>,
    heard_at: Moment,
    silence_noted: bool,
    resynced_at: Option<Moment>,
    resync_due: bool,
    strikes: Strikes,
    answered: bool,
}

impl GuestSession {
    /// A session of the guest `identity`, at what `availability` says.
    pub fn new(identity: GuestIdentity, availability: Availability) -> Self {
        Self {
            identity,
            availability,
            decoder: Decoder::new(),
            output: VecDeque::new(),
            nonce: None,
            host: None,
            heard_at: Moment::default(),
            silence_noted: false,
            resynced_at: None,
            resync_due: false,
            strikes: Strikes::default(),
            answered: false,
        }
    }

    /// What is published and what is being prepared.
    pub const fn availability(&self) -> &Availability {
        &self.availability
    }

    /// The host that said hello last, and the version spoken with it.
    pub const fn host(&self) -> Option<(HostIdentity, u16)> {
        self.host
    }

    /// Whether the host has been silent for [`HOST_SILENCE`].
    pub const fn host_silent(&self) -> bool {
        self.silence_noted
    }

    /// The removal that still waits for an answer.
    pub fn unanswered_prepare(&self) -> Option<&OpenPrepare> {
        self.availability
            .prepare()
            .filter(|p| !p.expired && !self.answered)
    }

    /// The channel was opened: speak first, a host may be there already.
    pub fn opened(&mut self, now: Moment, environment: &mut impl Environment) {
        self.decoder.reset();
        self.host = None;
        self.strikes = Strikes::default();
        self.resynced_at = Some(now);
        self.resync_due = false;
        self.hello(0, environment);
    }

    /// Bytes arrived, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], now: Moment, environment: &mut impl Environment) {
        for frame in self.decoder.push(bytes) {
            match frame.and_then(|f| f.message()) {
                Ok(message) => self.hear(message, now, environment),
                Err(error) => self.bad_frame(error, now),
            }
        }
        self.tick(now, environment);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Moment, environment: &mut impl Environment) {
        let expired = self
            .availability
            .expire(now, |hoped| environment.executable(hoped));
        if let Some(change) = expired {
            if let Some(prepare) = self.availability.prepare().copied() {
                let withheld = prepare.lost.silent();
                self.note(Note::Expired {
                    id: prepare.id,
                    withheld,
                });
            }
            self.publish(change);
        }
        if self.resync_due
            && self
                .resynced_at
                .is_none_or(|at| at.after(RESYNC_PAUSE) <= now)
        {
            self.resync_due = false;
            self.resynced_at = Some(now);
            self.hello(0, environment);
        }
        if self.host.is_some() && !self.silence_noted && self.heard_at.after(HOST_SILENCE) <= now {
            self.silence_noted = true;
            self.note(Note::HostSilent);
        }
    }

    /// When [`tick`](Self::tick) must be called at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let prepare = self
            .availability
            .prepare()
            .filter(|p| !p.expired)
            .map(|p| p.deadline);
        let resync = self.resync_due.then(|| {
            self.resynced_at
                .map_or(Moment::default(), |at| at.after(RESYNC_PAUSE))
        });
        let silence =
            (self.host.is_some() && !self.silence_noted).then(|| self.heard_at.after(HOST_SILENCE));
        [prepare, resync, silence].into_iter().flatten().min()
    }

    /// Everybody has left the paths of the announced removal.
    pub fn left(&mut self) {
        if let Some((nonce, prepare)) = self.take_unanswered() {
            let (id, generation) = (prepare.id, prepare.generation);
            self.availability.acknowledge();
            self.send(&ToHost::Ready(Ready {
                nonce,
                id,
                generation,
            }));
        }
    }

    /// The announced removal is refused.
    pub fn refuse(&mut self, reason: &str) {
        if let Some((nonce, prepare)) = self.take_unanswered() {
            let reason = Text::lossy(reason);
            self.send(&ToHost::Refused(Refused {
                nonce,
                id: prepare.id,
                reason,
            }));
        }
    }

    /// These have not left in time.
    pub fn busy(&mut self, mut holders: Vec<Holder>) {
        if let Some((nonce, prepare)) = self.take_unanswered() {
            let more = u32::try_from(holders.len().saturating_sub(MAX_HOLDERS)).unwrap_or(u32::MAX);
            holders.truncate(MAX_HOLDERS);
            self.send(&ToHost::Busy(Busy {
                nonce,
                id: prepare.id,
                holders,
                more,
            }));
        }
    }

    /// A probe found that the CPUs refuse `absent`.
    pub fn trapped(&mut self, absent: FeatureSet, now: Moment) {
        let change = self.availability.refute(absent, now);
        let silent = self
            .availability
            .published()
            .unsafe_silent
            .intersection(absent);
        if change.is_some() && !silent.is_empty() {
            self.note(Note::UnsafeSilent(silent));
        }
        self.publish(change);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    fn take_unanswered(&mut self) -> Option<(u64, OpenPrepare)> {
        let prepare = *self.unanswered_prepare()?;
        self.answered = true;
        Some((self.nonce?, prepare))
    }

    fn hear(&mut self, message: ToGuest, now: Moment, environment: &mut impl Environment) {
        self.heard_at = now;
        self.silence_noted = false;
        match message {
            ToGuest::Hello(hello) => self.hear_hello(hello, environment),
            ToGuest::Offer(offer) => {
                if self.is_current("offer", offer.nonce) {
                    self.hear_offer(&offer, now, environment);
                }
            }
            ToGuest::Prepare(prepare) => {
                if self.is_current("prepare", prepare.nonce) {
                    self.hear_prepare(&prepare, now);
                }
            }
            ToGuest::Abort(abort) => {
                if self.is_current("abort", abort.nonce) {
                    self.hear_abort(abort.id, now, environment);
                }
            }
            ToGuest::Heartbeat(Beat { count, .. }) => {
                // Answered whatever nonce it carries: the difference tells the
                // host that we were reverted or restarted.
                if let Some(nonce) = self.nonce {
                    let generation = self.availability.published().generation;
                    let preparing = self.preparing();
                    self.send(&ToHost::Heartbeat(BeatReply {
                        nonce,
                        count,
                        generation,
                        preparing,
                    }));
                }
            }
        }
    }

    fn hear_hello(&mut self, hello: HostHello, environment: &mut impl Environment) {
        match Versions::SUPPORTED.agree(hello.versions) {
            Some(version) => {
                self.host = Some((hello.host, version));
                self.note(Note::Hello {
                    host: hello.host,
                    name: hello.name,
                    version,
                });
            }
            None => {
                self.host = None;
                self.note(Note::Incompatible {
                    name: hello.name,
                    versions: hello.versions,
                });
            }
        }
        // Answered in either case, so that the host can say the same.
        self.hello(hello.token, environment);
    }

    fn hear_offer(&mut self, offer: &Offer, now: Moment, environment: &mut impl Environment) {
        self.note(Note::Offered {
            epoch: offer.epoch,
            available: offer.available,
        });
        let offered = self
            .availability
            .offer(offer.epoch, offer.available, now, |hoped| {
                environment.executable(hoped)
            });
        if !offered.refuted.is_empty() {
            self.note(Note::Refuted(offered.refuted));
        }
        if !offered.unsafe_silent.is_empty() {
            self.note(Note::UnsafeSilent(offered.unsafe_silent));
        }
        self.publish(offered.change);
        let published = self.availability.published();
        let ack = Acknowledgement {
            nonce: offer.nonce,
            sequence: offer.epoch.sequence,
            generation: published.generation,
            unsafe_silent: published.unsafe_silent,
            preparing: self.preparing(),
        };
        self.send(&ToHost::Ack(ack));
    }

    fn hear_prepare(&mut self, prepare: &Prepare, now: Moment) {
        let Some((host, _)) = self.host else { return };
        let deadline = now.after(Duration::from_millis(prepare.deadline_ms.into()));
        self.answered = false;
        let change = self
            .availability
            .announce(prepare.id, host, prepare.lost, deadline, now);
        self.publish(change);
        if let Some(open) = self.availability.prepare().copied() {
            self.output.push_back(Output::Prepare(open));
        }
    }

    fn hear_abort(&mut self, id: u64, now: Moment, environment: &mut impl Environment) {
        let aborted = self
            .availability
            .abort(id, now, |hoped| environment.executable(hoped));
        match aborted {
            Some(change) => {
                self.note(Note::Aborted(id));
                self.publish(change);
            }
            // 0 asks for whichever is open; that none is, is no news.
            None if id == 0 => {}
            None => self.note(Note::AbortUnknown(id)),
        }
    }

    /// The prepare that still withholds something; 0 for none.
    fn preparing(&self) -> u64 {
        self.availability.prepare().map_or(0, |prepare| prepare.id)
    }

    fn is_current(&mut self, what: &'static str, nonce: u64) -> bool {
        let current = self.host.is_some() && self.nonce == Some(nonce);
        if !current {
            self.note(Note::Stale { what, nonce });
        }
        current
    }

    fn bad_frame(&mut self, error: FrameError, now: Moment) {
        self.note(Note::BadFrame(error));
        // Something of the host's may have been in it: ask for everything anew.
        self.resync_due = true;
        if self.strikes.strike(now) {
            self.resync_due = false;
            self.host = None;
            self.nonce = None;
            self.output.push_back(Output::Drop);
        }
    }

    fn hello(&mut self, token: u64, environment: &mut impl Environment) {
        // A guest that was reverted to a snapshot may draw the same numbers
        // again; the host's token is not reverted with it.
        let nonce = environment.nonce() ^ token;
        self.nonce = Some(nonce);
        let published = self.availability.published();
        let hello = GuestHello {
            versions: Versions::SUPPORTED,
            token,
            nonce,
            guest: self.identity,
            generation: published.generation,
            visible: published.visible,
        };
        self.send(&ToHost::Hello(hello));
    }

    fn publish(&mut self, change: Option<Change>) {
        self.output.extend(change.map(Output::Publish));
    }

    fn note(&mut self, note: Note) {
        self.output.push_back(Output::Note(note));
    }

    fn send(&mut self, message: &impl Serialize) {
        self.output.push_back(match frame::encode(message) {
            Ok(bytes) => Output::Transmit(bytes),
            Err(error) => Output::Note(Note::Unsendable(error)),
        });
    }
}
