//! The host's end of the channel.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use isa::FeatureSet;

use crate::frame::{self, Decoder, FrameError};
use crate::message::{
    Abort, Acknowledgement, Beat, BeatReply, Busy, Epoch, GuestHello, GuestIdentity, HostHello,
    HostIdentity, Offer, Prepare, ToGuest, ToHost, Versions,
};
use crate::strikes::Strikes;
use crate::text::Text;
use crate::time::Moment;

/// The first unanswered hello is repeated after this time, then each time
/// after twice as long…
pub const HELLO_FIRST: Duration = Duration::from_millis(250);
/// …up to this.
pub const HELLO_SLOWEST: Duration = Duration::from_secs(5);
/// Time between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// This many unanswered heartbeats and the guest is silent; say hello again.
pub const MISSED_BEATS: u32 = 3;
/// An offer is repeated if it is not acknowledged in this time.
pub const OFFER_REPEAT: Duration = Duration::from_secs(1);
/// A prepare is repeated if it is not answered in this time, its deadline
/// shortened by what has passed.
pub const PREPARE_REPEAT: Duration = Duration::from_secs(1);

/// What the driver of a session is to do or may want to know, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes to the channel.
    Transmit(Vec<u8>),
    /// Close the connection and open it again after a pause: the peer does not
    /// speak this protocol.
    Drop,
    /// Something happened.
    Event(Event),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A guest answered.
    Established {
        /// Who.
        guest: GuestIdentity,
        /// The protocol version agreed upon.
        version: u16,
        /// What its CPUID shows.
        visible: FeatureSet,
        /// What it has published.
        generation: u64,
    },
    /// The guest's agent speaks no version that we speak.
    Incompatible(Versions),
    /// The guest published an offer.
    Acknowledged {
        /// Which.
        sequence: u64,
        /// As which generation.
        generation: u64,
        /// From offer to acknowledgement.
        latency: Duration,
        /// Silent features that went without warning.
        unsafe_silent: FeatureSet,
    },
    /// A prepare has its answer.
    Prepared {
        /// Which.
        id: u64,
        /// The answer.
        answer: Answer,
        /// From prepare to answer.
        latency: Duration,
    },
    /// A prepare was still open at its deadline; the guest takes the faulting
    /// features back by itself.
    PrepareExpired(u64),
    /// The guest withholds something for a prepare that is over; it is told
    /// once more.
    StrayPrepare(u64),
    /// No heartbeat was answered for a while.
    GuestSilent,
    /// A frame was dropped.
    BadFrame(FrameError),
    /// A message that answers somebody else or an earlier state.
    Stale(&'static str),
    /// A message could not be sent.
    Unsendable(frame::EncodeError),
}

/// What a guest says to a prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The features are left; the generation that says so.
    Ready(u64),
    /// Some processes have not left.
    Busy(Busy),
    /// The guest will not.
    Refused(Text<256>),
    /// No answer by the deadline.
    Nothing,
}

/// Why a prepare cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// No agent has answered on this channel.
    #[error("no agent has answered on the guest's channel")]
    NoAgent,
    /// Another prepare is open.
    #[error("prepare {0} is still open")]
    AlreadyOpen(u64),
}

#[derive(Clone, Debug)]
struct OpenPrepare {
    id: u64,
    lost: FeatureSet,
    started: Moment,
    deadline: Moment,
    repeat_at: Moment,
    answered: bool,
}

#[derive(Clone, Debug)]
enum State {
    Disconnected,
    Greeting {
        token: u64,
        repeat_at: Moment,
        pause: Duration,
    },
    Established(Established),
}

#[derive(Clone, Debug)]
struct Established {
    token: u64,
    nonce: u64,
    guest: GuestIdentity,
    version: u16,
    visible: FeatureSet,
    generation: u64,
    unsafe_silent: FeatureSet,
    /// The latest offer and when it was sent, until it is acknowledged.
    unacknowledged: Option<(u64, Moment)>,
    repeat_at: Moment,
    beat_at: Moment,
    beats: u64,
    missed: u32,
}

/// What is known of a guest whose agent has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Who it is.
    pub identity: GuestIdentity,
    /// The protocol version spoken.
    pub version: u16,
    /// What its CPUID shows.
    pub visible: FeatureSet,
    /// The generation that it published last.
    pub generation: u64,
    /// Silent features that it lost without warning.
    pub unsafe_silent: FeatureSet,
    /// Whether the latest offer is acknowledged.
    pub up_to_date: bool,
}

/// The state machine of the host's end for one guest: bytes and time in,
/// [`Output`] out.
///
/// Drive it with the methods below (and [`tick`](Self::tick) no later than
/// [`deadline`](Self::deadline)), and after each call take everything from
/// [`poll`](Self::poll).
#[derive(Debug)]
pub struct HostSession {
    identity: HostIdentity,
    name: Text<64>,
    /// Tokens are drawn from it; each random number that comes in stirs it.
    seed: u64,
    sequence: u64,
    /// Prepares with larger numbers are of this session.
    first_sequence: u64,
    available: Option<FeatureSet>,
    state: State,
    prepare: Option<OpenPrepare>,
    /// Whatever the guest still withholds is to be given back.
    aborting: bool,
    /// A prepare that the guest was ready for and that ran out: the move may
    /// still be under way, so what does not fault stays away.
    expired: u64,
    decoder: Decoder,
    output: VecDeque<Output>,
    strikes: Strikes,
}

impl HostSession {
    /// A session of host `identity`, called `name`. `sequence` must be larger
    /// than any that an earlier notifier of this host used, such as the
    /// microseconds since the epoch; prepares are numbered from it too.
    pub fn new(identity: HostIdentity, name: Text<64>, sequence: u64) -> Self {
        Self {
            identity,
            name,
            seed: 0,
            sequence,
            first_sequence: sequence,
            available: None,
            state: State::Disconnected,
            prepare: None,
            aborting: false,
            expired: 0,
            decoder: Decoder::new(),
            output: VecDeque::new(),
            strikes: Strikes::default(),
        }
    }

    /// The channel is connected. `random` is a random number.
    pub fn connected(&mut self, random: u64, now: Moment) {
        self.decoder.reset();
        self.strikes = Strikes::default();
        self.seed ^= random;
        self.greet(HELLO_FIRST, now);
    }

    /// The channel is gone. An open prepare stays open until its deadline: the
    /// guest may come back, or it has left for the destination.
    pub fn disconnected(&mut self) {
        self.state = State::Disconnected;
    }

    /// The guest may have changed under us: its virtual CPUs started again
    /// after a stop (a snapshot was loaded, a migration ended or failed).
    /// Everything is said anew. `random` is a random number.
    pub fn resumed(&mut self, random: u64, now: Moment) {
        self.seed ^= random;
        if !matches!(self.state, State::Disconnected) {
            self.greet(HELLO_FIRST, now);
        }
    }

    /// What this host can execute for the guest. Sent when it is new, and
    /// whenever the guest says hello.
    pub fn set_available(&mut self, available: FeatureSet, now: Moment) {
        if self.available.replace(available) != Some(available) {
            self.offer(now);
        }
    }

    /// Announces a removal; returns the number of the prepare.
    ///
    /// # Errors
    /// [`PrepareError`] if nobody is there to answer or one is open already.
    pub fn prepare(
        &mut self,
        lost: FeatureSet,
        allowed: Duration,
        now: Moment,
    ) -> Result<u64, PrepareError> {
        if let Some(open) = &self.prepare {
            return Err(PrepareError::AlreadyOpen(open.id));
        }
        if !matches!(self.state, State::Established(_)) {
            return Err(PrepareError::NoAgent);
        }
        self.sequence += 1;
        self.aborting = false;
        let id = self.sequence;
        let deadline = now.after(allowed);
        let (started, repeat_at, answered) = (now, now, false);
        self.prepare = Some(OpenPrepare {
            id,
            lost,
            started,
            deadline,
            repeat_at,
            answered,
        });
        self.send_prepare(now);
        Ok(id)
    }

    /// Takes an announced removal back: the open one, or whichever the guest
    /// has open. Said again until the guest shows that it has none. `false` if
    /// no agent is there to hear it now.
    pub fn abort(&mut self) -> bool {
        let id = self.prepare.take().map_or(0, |open| open.id);
        self.aborting = true;
        self.send_abort(id)
    }

    /// The number of the open prepare, what it takes, and whether the guest
    /// has answered that it is ready.
    pub fn open_prepare(&self) -> Option<(u64, FeatureSet, bool)> {
        self.prepare
            .as_ref()
            .map(|open| (open.id, open.lost, open.answered))
    }

    /// The guest, if its agent has answered.
    pub fn guest(&self) -> Option<Guest> {
        let State::Established(peer) = &self.state else {
            return None;
        };
        Some(Guest {
            identity: peer.guest,
            version: peer.version,
            visible: peer.visible,
            generation: peer.generation,
            unsafe_silent: peer.unsafe_silent,
            up_to_date: peer.unacknowledged.is_none(),
        })
    }

    /// What is offered.
    pub const fn available(&self) -> Option<FeatureSet> {
        self.available
    }

    /// Bytes arrived, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], now: Moment) {
        for frame in self.decoder.push(bytes) {
            match frame.and_then(|f| f.message()) {
                Ok(message) => self.hear(message, now),
                Err(error) => self.bad_frame(error, now),
            }
        }
    }

    /// Lets time pass. `random` is a random number.
    pub fn tick(&mut self, random: u64, now: Moment) {
        self.seed ^= random;
        if let Some(open) = self.prepare.take_if(|open| open.deadline <= now) {
            if open.answered {
                self.expired = open.id;
                self.event(Event::PrepareExpired(open.id));
            } else {
                self.conclude(&open, Answer::Nothing, now);
            }
        }
        if self
            .prepare
            .as_ref()
            .is_some_and(|open| !open.answered && open.repeat_at <= now)
        {
            self.send_prepare(now);
        }
        match &mut self.state {
            State::Disconnected => {}
            State::Greeting {
                repeat_at, pause, ..
            } => {
                if *repeat_at <= now {
                    let pause = (*pause * 2).min(HELLO_SLOWEST);
                    self.greet(pause, now);
                }
            }
            State::Established(peer) => {
                if peer.unacknowledged.is_some() && peer.repeat_at <= now {
                    peer.repeat_at = now.after(OFFER_REPEAT);
                    self.send_offer();
                } else if peer.beat_at <= now {
                    self.beat(now);
                }
            }
        }
    }

    /// When [`tick`](Self::tick) must be called at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let prepare = self.prepare.as_ref().map(|open| match &self.state {
            State::Established(_) if !open.answered => open.deadline.min(open.repeat_at),
            _ => open.deadline,
        });
        let state = match &self.state {
            State::Disconnected => None,
            State::Greeting { repeat_at, .. } => Some(*repeat_at),
            State::Established(peer) => {
                let repeat = peer.unacknowledged.map(|_| peer.repeat_at);
                Some(repeat.map_or(peer.beat_at, |at| at.min(peer.beat_at)))
            }
        };
        [prepare, state].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Says hello with a token of its own, never 0 and never used before: what
    /// the guest draws may repeat itself after a revert, this does not.
    fn greet(&mut self, pause: Duration, now: Moment) {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let token = scrambled(self.seed).max(1);
        self.state = State::Greeting {
            token,
            repeat_at: now.after(pause),
            pause,
        };
        let (host, name) = (self.identity, self.name.clone());
        self.send(&ToGuest::Hello(HostHello {
            versions: Versions::SUPPORTED,
            token,
            host,
            name,
        }));
    }

    /// Offers what is available under a new sequence number.
    fn offer(&mut self, now: Moment) {
        let State::Established(peer) = &mut self.state else {
            return;
        };
        if self.available.is_some() {
            self.sequence += 1;
            peer.unacknowledged = Some((self.sequence, now));
            peer.repeat_at = now.after(OFFER_REPEAT);
            self.send_offer();
        }
    }

    /// Sends the offer that is not acknowledged, also a second time: under its
    /// number, so that a slow guest's answer to the first still counts.
    fn send_offer(&mut self) {
        let (State::Established(peer), Some(available)) = (&self.state, self.available) else {
            return;
        };
        let Some((sequence, _)) = peer.unacknowledged else {
            return;
        };
        let epoch = Epoch {
            host: self.identity,
            sequence,
        };
        let nonce = peer.nonce;
        self.send(&ToGuest::Offer(Offer {
            nonce,
            epoch,
            available,
        }));
    }

    fn send_abort(&mut self, id: u64) -> bool {
        let State::Established(peer) = &self.state else {
            return false;
        };
        let nonce = peer.nonce;
        self.send(&ToGuest::Abort(Abort { nonce, id }));
        true
    }

    /// The guest says which prepare withholds something. One that this session
    /// has ended, or that is to be taken back whoever announced it, is aborted
    /// again: the abort may have been lost, or the prepare read late. One of an
    /// earlier notifier is left to its deadline, for the move may go on.
    fn reconcile(&mut self, preparing: u64) {
        if preparing == 0 {
            self.aborting = false;
            return;
        }
        let open = self
            .prepare
            .as_ref()
            .is_some_and(|open| open.id == preparing);
        let ours = (self.first_sequence + 1..=self.sequence).contains(&preparing);
        let ended = ours && !open && preparing != self.expired;
        if ended || self.aborting {
            self.event(Event::StrayPrepare(preparing));
            self.send_abort(preparing);
        }
    }

    fn send_prepare(&mut self, now: Moment) {
        let (State::Established(peer), Some(open)) = (&self.state, &mut self.prepare) else {
            return;
        };
        open.repeat_at = now.after(PREPARE_REPEAT);
        let left = open.deadline.since(now).as_millis();
        let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
        let prepare = Prepare {
            nonce: peer.nonce,
            id: open.id,
            lost: open.lost,
            deadline_ms,
        };
        self.send(&ToGuest::Prepare(prepare));
    }

    fn beat(&mut self, now: Moment) {
        let State::Established(peer) = &mut self.state else {
            return;
        };
        if peer.missed >= MISSED_BEATS {
            self.event(Event::GuestSilent);
            self.greet(HELLO_FIRST, now);
            return;
        }
        peer.missed += 1;
        peer.beats += 1;
        peer.beat_at = now.after(HEARTBEAT);
        let beat = Beat {
            nonce: peer.nonce,
            count: peer.beats,
        };
        self.send(&ToGuest::Heartbeat(beat));
    }

    fn hear(&mut self, message: ToHost, now: Moment) {
        match message {
            ToHost::Hello(hello) => self.hear_hello(&hello, now),
            ToHost::Ack(ack) => self.hear_ack(&ack, now),
            ToHost::Heartbeat(reply) => self.hear_beat(&reply, now),
            ToHost::Ready(m) => self.hear_answer(m.nonce, m.id, Answer::Ready(m.generation), now),
            ToHost::Busy(m) => self.hear_answer(m.nonce, m.id, Answer::Busy(m), now),
            ToHost::Refused(m) => self.hear_answer(m.nonce, m.id, Answer::Refused(m.reason), now),
        }
    }

    fn hear_hello(&mut self, hello: &GuestHello, now: Moment) {
        let token = match &self.state {
            State::Disconnected => return,
            State::Greeting { token, .. } => *token,
            State::Established(peer) => peer.token,
        };
        // The agent has just started and does not know who we are.
        if hello.token == 0 {
            return self.greet(HELLO_FIRST, now);
        }
        // An answer to another notifier's hello: its bytes were still on the way.
        if hello.token != token {
            return self.event(Event::Stale("hello"));
        }
        let Some(version) = Versions::SUPPORTED.agree(hello.versions) else {
            return self.event(Event::Incompatible(hello.versions));
        };
        self.state = State::Established(Established {
            token,
            nonce: hello.nonce,
            guest: hello.guest,
            version,
            visible: hello.visible,
            generation: hello.generation,
            unsafe_silent: FeatureSet::EMPTY,
            unacknowledged: None,
            repeat_at: now,
            beat_at: now.after(HEARTBEAT),
            beats: 0,
            missed: 0,
        });
        self.event(Event::Established {
            guest: hello.guest,
            version,
            visible: hello.visible,
            generation: hello.generation,
        });
        // First what is being taken away, or an agent that has just restarted
        // would give it back for a moment.
        if let Some(open) = &mut self.prepare {
            open.answered = false;
            self.send_prepare(now);
        } else if self.aborting {
            self.send_abort(0);
        }
        self.offer(now);
    }

    fn hear_ack(&mut self, ack: &Acknowledgement, now: Moment) {
        let State::Established(peer) = &mut self.state else {
            return;
        };
        let Some((sequence, sent)) = peer.unacknowledged else {
            return;
        };
        if ack.nonce != peer.nonce || ack.sequence != sequence {
            return self.event(Event::Stale("acknowledgement"));
        }
        peer.unacknowledged = None;
        peer.generation = ack.generation;
        peer.unsafe_silent = ack.unsafe_silent;
        self.event(Event::Acknowledged {
            sequence,
            generation: ack.generation,
            latency: now.since(sent),
            unsafe_silent: ack.unsafe_silent,
        });
        self.reconcile(ack.preparing);
    }

    fn hear_beat(&mut self, reply: &BeatReply, now: Moment) {
        let State::Established(peer) = &mut self.state else {
            return;
        };
        if reply.nonce == peer.nonce {
            peer.missed = 0;
            peer.generation = reply.generation;
            self.reconcile(reply.preparing);
        } else {
            // The guest was reverted or its agent restarted: it does not hear
            // us any more.
            self.event(Event::Stale("heartbeat"));
            self.greet(HELLO_FIRST, now);
        }
    }

    fn hear_answer(&mut self, nonce: u64, id: u64, answer: Answer, now: Moment) {
        let current = matches!(&self.state, State::Established(peer) if peer.nonce == nonce);
        let Some(mut open) = self.prepare.take_if(|open| current && open.id == id) else {
            return self.event(Event::Stale("answer to a prepare"));
        };
        if let Answer::Ready(generation) = answer {
            // The features stay away until the move, an abort or the deadline.
            open.answered = true;
            if let State::Established(peer) = &mut self.state {
                peer.generation = generation;
            }
            let latency = now.since(open.started);
            self.event(Event::Prepared {
                id,
                answer,
                latency,
            });
            self.prepare = Some(open);
        } else {
            self.conclude(&open, answer, now);
        }
    }

    /// A prepare that came to nothing: tell the guest to go on.
    fn conclude(&mut self, open: &OpenPrepare, answer: Answer, now: Moment) {
        self.send_abort(open.id);
        let latency = now.since(open.started);
        self.event(Event::Prepared {
            id: open.id,
            answer,
            latency,
        });
    }

    fn bad_frame(&mut self, error: FrameError, now: Moment) {
        self.event(Event::BadFrame(error));
        if self.strikes.strike(now) {
            self.output.push_back(Output::Drop);
        }
    }

    fn event(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }

    fn send(&mut self, message: &ToGuest) {
        self.output.push_back(match frame::encode(message) {
            Ok(bytes) => Output::Transmit(bytes),
            Err(error) => Output::Event(Event::Unsendable(error)),
        });
    }
}

/// SplitMix64's output function: a bijection, so that different seeds never
/// give the same token.
const fn scrambled(seed: u64) -> u64 {
    let a = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}
