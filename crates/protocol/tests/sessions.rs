//! Both ends of the channel against each other, over a stream that is cut,
//! reverted and handed from host to host as a live migration does it.

use std::collections::VecDeque;
use std::time::Duration;

use isa::{FeatureSet, features};
use proptest::prelude::*;
use protocol::frame::{self, FrameError};
use protocol::guest::{Environment, GuestSession, Note, Output as GuestOutput};
use protocol::host::{Answer, Event, HostSession, Output as HostOutput};
use protocol::local::{self, FromProcess, ToProcess};
use protocol::{
    Availability, Epoch, GuestIdentity, Holder, HostIdentity, Moment, Offer, Text, ToGuest, ToHost,
};

const FULL: FeatureSet = features![Sse2, Avx2, Fma, Bmi2, Abm];
const LESS: FeatureSet = features![Sse2];

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

fn identity(n: u8) -> HostIdentity {
    HostIdentity {
        machine: [n; 16],
        boot: [n; 16],
    }
}

/// CPUs that execute everything, and nonces that are easy to read.
#[derive(Clone, Debug, Default)]
struct Machine {
    nonces: u64,
    refuses: FeatureSet,
}

impl Environment for Machine {
    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        1000 + self.nonces
    }
    fn executable(&mut self, candidates: FeatureSet) -> FeatureSet {
        candidates.difference(self.refuses)
    }
}

struct Guest {
    session: GuestSession,
    machine: Machine,
    to_host: VecDeque<u8>,
    notes: Vec<Note>,
    generations: Vec<u64>,
    prepares: usize,
    dropped: usize,
}

impl Guest {
    fn new() -> Self {
        let session = GuestSession::new(
            GuestIdentity { boot: [9; 16] },
            Availability::new(FULL, at(0)),
        );
        Self {
            session,
            machine: Machine::default(),
            to_host: VecDeque::new(),
            notes: Vec::new(),
            generations: Vec::new(),
            prepares: 0,
            dropped: 0,
        }
    }
    fn open(&mut self, now: Moment) {
        self.session.opened(now, &mut self.machine);
        self.collect();
    }
    fn receive(&mut self, bytes: &[u8], now: Moment) {
        self.session.receive(bytes, now, &mut self.machine);
        self.collect();
    }
    fn tick(&mut self, now: Moment) {
        self.session.tick(now, &mut self.machine);
        self.collect();
    }
    fn collect(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                GuestOutput::Transmit(bytes) => self.to_host.extend(bytes),
                GuestOutput::Publish(change) => {
                    self.generations.push(change.publication.generation);
                }
                GuestOutput::Prepare(_) => self.prepares += 1,
                GuestOutput::Drop => self.dropped += 1,
                GuestOutput::Note(note) => self.notes.push(note),
            }
        }
    }
    fn available(&self) -> FeatureSet {
        self.session.availability().published().available
    }
    fn generation(&self) -> u64 {
        self.session.availability().published().generation
    }
    fn take(&mut self) -> Vec<u8> {
        self.to_host.drain(..).collect()
    }
}

struct Host {
    session: HostSession,
    tokens: u64,
    to_guest: VecDeque<u8>,
    events: Vec<Event>,
    dropped: usize,
}

impl Host {
    fn new(n: u8, available: FeatureSet) -> Self {
        let mut session = HostSession::new(identity(n), Text::lossy("host"), u64::from(n) * 1000);
        session.set_available(available, at(0));
        let tokens = u64::from(n) * 100;
        Self {
            session,
            tokens,
            to_guest: VecDeque::new(),
            events: Vec::new(),
            dropped: 0,
        }
    }
    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }
    fn connect(&mut self, now: Moment) {
        let token = self.token();
        self.session.connected(token, now);
        self.collect();
    }
    fn receive(&mut self, bytes: &[u8], now: Moment) {
        self.session.receive(bytes, now);
        self.collect();
    }
    fn tick(&mut self, now: Moment) {
        let token = self.token();
        self.session.tick(token, now);
        self.collect();
    }
    fn collect(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                HostOutput::Transmit(bytes) => self.to_guest.extend(bytes),
                HostOutput::Event(event) => self.events.push(event),
                HostOutput::Drop => self.dropped += 1,
            }
        }
    }
    fn take(&mut self) -> Vec<u8> {
        self.to_guest.drain(..).collect()
    }
    fn answers(&self) -> Vec<&Answer> {
        self.events
            .iter()
            .filter_map(|e| match e {
                Event::Prepared { answer, .. } => Some(answer),
                _ => None,
            })
            .collect()
    }
}

/// Carries bytes both ways until nobody has anything to say.
fn talk(host: &mut Host, guest: &mut Guest, now: Moment) {
    for _ in 0..50 {
        let (down, up) = (host.take(), guest.take());
        if down.is_empty() && up.is_empty() {
            return;
        }
        guest.receive(&down, now);
        host.receive(&up, now);
    }
    panic!(
        "host and guest never stop talking: {:?} {:?}",
        host.events, guest.notes
    );
}

fn settled(host: &mut Host) -> Guest {
    let mut guest = Guest::new();
    guest.open(at(0));
    host.connect(at(0));
    talk(host, &mut guest, at(1));
    guest
}

#[test]
fn whoever_comes_first_an_offer_is_published_and_acknowledged() {
    for host_first in [true, false] {
        let (mut host, mut guest) = (Host::new(1, LESS), Guest::new());
        if host_first {
            host.connect(at(0));
            guest.open(at(5));
        } else {
            guest.open(at(0));
            host.connect(at(5));
        }
        talk(&mut host, &mut guest, at(6));
        assert_eq!((guest.available(), guest.generation()), (LESS, 2));
        assert_eq!(guest.generations, [2]);
        let known = host.session.guest().unwrap();
        assert!(known.up_to_date);
        assert_eq!((known.generation, known.visible), (2, FULL));
    }
}

#[test]
fn a_planned_move_is_ready_leaves_and_lands_without_another_generation() {
    let mut a = Host::new(1, FULL);
    let mut guest = settled(&mut a);
    a.session
        .prepare(FULL - LESS, Duration::from_secs(5), at(10))
        .unwrap();
    a.collect();
    talk(&mut a, &mut guest, at(11));
    assert_eq!(guest.prepares, 1);
    assert_eq!(guest.available(), LESS, "published before anybody answers");
    assert!(a.answers().is_empty());
    guest.session.left();
    guest.collect();
    talk(&mut a, &mut guest, at(12));
    assert_eq!(a.answers(), [&Answer::Ready(2)]);
    // The guest moves; the destination speaks.
    let mut b = Host::new(2, LESS);
    b.connect(at(20));
    talk(&mut b, &mut guest, at(21));
    assert_eq!((guest.available(), guest.generation()), (LESS, 2));
    assert!(
        guest.session.availability().prepare().is_none(),
        "committed"
    );
    assert!(
        guest
            .notes
            .iter()
            .all(|n| !matches!(n, Note::UnsafeSilent(_)))
    );
}

#[test]
fn busy_and_refused_end_the_prepare_and_give_everything_back() {
    for refuse in [false, true] {
        let mut host = Host::new(1, FULL);
        let mut guest = settled(&mut host);
        host.session
            .prepare(FULL - LESS, Duration::from_secs(5), at(10))
            .unwrap();
        host.collect();
        talk(&mut host, &mut guest, at(11));
        if refuse {
            guest.session.refuse("demo[7]: in a transaction");
        } else {
            let holder = |pid| Holder {
                pid,
                name: Text::lossy("demo"),
            };
            guest.session.busy((0..20).map(holder).collect());
        }
        guest.collect();
        talk(&mut host, &mut guest, at(12));
        match host.answers()[..] {
            [Answer::Refused(reason)] => assert!(refuse && reason.as_str().contains("demo[7]")),
            [Answer::Busy(busy)] => {
                assert_eq!((busy.holders.len(), busy.more, refuse), (16, 4, false));
            }
            ref other => panic!("{other:?}"),
        }
        assert_eq!((guest.available(), guest.generation()), (FULL, 3));
        assert!(host.session.open_prepare().is_none());
    }
}

#[test]
fn a_prepare_without_an_answer_ends_at_its_deadline_on_both_ends() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    host.session
        .prepare(features![Avx2, Abm], Duration::from_secs(2), at(1000))
        .unwrap();
    host.collect();
    talk(&mut host, &mut guest, at(1000));
    guest.tick(at(3000));
    assert_eq!(guest.available(), FULL - features![Abm], "silent ones wait");
    host.tick(at(3000));
    assert_eq!(host.answers(), [&Answer::Nothing]);
    talk(&mut host, &mut guest, at(3001));
    assert_eq!(guest.available(), FULL, "the host's abort brings them back");
}

#[test]
fn a_lost_prepare_is_said_again() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    host.session
        .prepare(features![Avx2], Duration::from_secs(5), at(1000))
        .unwrap();
    host.collect();
    drop(host.take());
    assert_eq!(
        host.session.deadline(),
        Some(at(2000)),
        "the repeat is the next thing due"
    );
    host.tick(at(2000));
    talk(&mut host, &mut guest, at(2000));
    assert_eq!(guest.prepares, 1);
    assert_eq!(
        guest.session.availability().prepare().unwrap().deadline,
        at(6000),
        "not extended"
    );
}

#[test]
fn a_lost_offer_is_said_again() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    host.session.set_available(LESS, at(100));
    host.collect();
    drop(host.take());
    host.tick(at(1100));
    talk(&mut host, &mut guest, at(1100));
    assert_eq!(guest.available(), LESS);
}

#[test]
fn an_abort_that_is_lost_is_said_again_until_the_guest_has_none() {
    for operator in [false, true] {
        let mut host = Host::new(1, FULL);
        let mut guest = settled(&mut host);
        host.session
            .prepare(features![Avx2, Abm], Duration::from_secs(60), at(100))
            .unwrap();
        host.collect();
        talk(&mut host, &mut guest, at(101));
        if operator {
            host.session.abort();
            host.collect();
        } else {
            guest.session.refuse("no");
            guest.collect();
            host.receive(&guest.take(), at(102));
        }
        drop(host.take());
        assert_eq!(
            guest.available(),
            FULL - features![Avx2, Abm],
            "the abort was lost"
        );
        // The next heartbeat tells.
        host.tick(at(5000));
        talk(&mut host, &mut guest, at(5001));
        assert_eq!(guest.available(), FULL);
        assert!(
            host.events
                .iter()
                .any(|e| matches!(e, Event::StrayPrepare(_)))
        );
    }
}

#[test]
fn a_prepare_that_is_read_when_it_is_over_does_not_stay() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    host.session
        .prepare(features![Abm], Duration::from_secs(2), at(100))
        .unwrap();
    host.collect();
    let buffered = host.take();
    // The guest stands still for longer than the deadline.
    host.tick(at(3000));
    drop(host.take());
    guest.receive(&buffered, at(4000));
    host.session.resumed(5, at(4000));
    host.collect();
    talk(&mut host, &mut guest, at(4001));
    assert_eq!(guest.available(), FULL, "also what does not fault");
}

#[test]
fn an_earlier_notifiers_prepare_is_left_to_its_deadline() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    host.session
        .prepare(features![Avx2], Duration::from_secs(60), at(100))
        .unwrap();
    host.collect();
    talk(&mut host, &mut guest, at(101));
    let mut later = HostSession::new(identity(1), Text::lossy("host"), 5_000_000);
    later.set_available(FULL, at(200));
    host.session = later;
    host.connect(at(200));
    talk(&mut host, &mut guest, at(201));
    host.tick(at(3000));
    talk(&mut host, &mut guest, at(3001));
    assert_eq!(guest.available(), FULL - features![Avx2]);
}

#[test]
fn a_guest_that_takes_longer_than_the_repeat_is_up_to_date_in_the_end() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    host.session.set_available(LESS, at(100));
    host.collect();
    let first = host.take();
    for second in 1..4u64 {
        host.tick(at(100 + 1000 * second));
    }
    guest.receive(&first, at(3200));
    host.receive(&guest.take(), at(3300));
    assert!(host.session.guest().unwrap().up_to_date);
    let repeats = host.take();
    guest.receive(&repeats, at(3400));
    host.receive(&guest.take(), at(3500));
    assert_eq!((guest.generation(), guest.generations.len()), (2, 1));
}

#[test]
fn the_source_late_bytes_after_the_destination_offer_change_nothing() {
    let mut a = Host::new(1, FULL);
    let mut guest = settled(&mut a);
    // A offers again; the bytes are still on the way when the guest moves.
    a.session.set_available(FULL - features![Fma], at(5));
    a.collect();
    let late = a.take();
    let mut b = Host::new(2, LESS);
    b.connect(at(10));
    talk(&mut b, &mut guest, at(11));
    guest.receive(&late, at(12));
    assert_eq!(guest.available(), LESS);
    assert!(
        guest
            .notes
            .iter()
            .any(|n| matches!(n, Note::Stale { what: "offer", .. }))
    );
}

#[test]
fn a_frame_cut_in_half_by_the_move_costs_nothing() {
    for keep in 1..60 {
        let mut a = Host::new(1, FULL);
        let mut guest = settled(&mut a);
        a.session.set_available(FULL - features![Fma], at(5));
        a.collect();
        let cut = a.take();
        guest.receive(&cut[..keep.min(cut.len() - 1)], at(6));
        let mut b = Host::new(2, LESS);
        b.connect(at(10));
        talk(&mut b, &mut guest, at(11));
        guest.tick(at(500));
        talk(&mut b, &mut guest, at(501));
        assert_eq!(guest.available(), LESS, "cut after {keep} bytes");
        assert!(b.session.guest().unwrap().up_to_date);
    }
}

#[test]
fn a_reverted_guest_is_noticed_by_the_next_heartbeat() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    let (availability, machine) = (guest.session.availability().clone(), guest.machine.clone());
    host.session.set_available(LESS, at(100));
    host.collect();
    talk(&mut host, &mut guest, at(101));
    // Back to before the offer, with another nonce than the host believes in.
    let mut reverted = Guest::new();
    reverted.session = GuestSession::new(GuestIdentity { boot: [9; 16] }, availability);
    reverted.machine = machine;
    reverted.open(at(150));
    drop(reverted.take());
    assert_eq!(reverted.available(), FULL);
    host.tick(at(3000));
    talk(&mut host, &mut reverted, at(3001));
    assert_eq!(reverted.available(), LESS);
}

/// Guests that are reverted to one state draw the same random numbers.
#[test]
fn a_reverted_guest_never_uses_a_nonce_twice() {
    let mut host = Host::new(1, FULL);
    let guest = settled(&mut host);
    let mut seen = Vec::new();
    for second in 1..20u64 {
        let mut reverted = Guest::new();
        reverted.session = GuestSession::new(
            GuestIdentity { boot: [9; 16] },
            guest.session.availability().clone(),
        );
        reverted.machine = guest.machine.clone();
        // Without new randomness on the host's side either.
        host.session.resumed(0, at(1000 * second));
        host.collect();
        let greeting = host.take();
        reverted.receive(&greeting, at(1000 * second));
        let hello = reverted.take();
        let mut decoder = protocol::frame::Decoder::new();
        for frame in decoder.push(&hello).into_iter().flatten() {
            if let ToHost::Hello(hello) = frame.message().unwrap() {
                assert!(!seen.contains(&hello.nonce), "{:x} again", hello.nonce);
                seen.push(hello.nonce);
            }
        }
    }
    assert_eq!(seen.len(), 19);
}

#[test]
fn vcpus_that_start_again_make_the_host_say_everything_anew() {
    let mut host = Host::new(1, LESS);
    let mut guest = settled(&mut host);
    let nonces = guest.machine.nonces;
    host.session.resumed(777, at(50));
    host.collect();
    talk(&mut host, &mut guest, at(51));
    assert!(guest.machine.nonces > nonces);
    assert!(host.session.guest().unwrap().up_to_date);
    assert_eq!(guest.generation(), 2, "and nothing changes by it");
}

#[test]
fn an_agent_that_restarts_in_a_prepare_does_not_give_the_features_back() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    host.session
        .prepare(features![Avx2], Duration::from_secs(5), at(10))
        .unwrap();
    host.collect();
    talk(&mut host, &mut guest, at(11));
    let page = *guest.session.availability().published();
    let mut restarted = Guest::new();
    restarted.session =
        GuestSession::new(GuestIdentity { boot: [9; 16] }, Availability::resume(page));
    restarted.machine.nonces = 50;
    restarted.open(at(20));
    talk(&mut host, &mut restarted, at(21));
    assert_eq!(restarted.available(), FULL - features![Avx2]);
    assert!(restarted.generations.is_empty());
    restarted.session.left();
    restarted.collect();
    talk(&mut host, &mut restarted, at(22));
    assert_eq!(host.answers(), [&Answer::Ready(page.generation)]);
}

#[test]
fn a_notifier_that_restarts_can_abort_what_it_does_not_remember() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    host.session
        .prepare(features![Avx2, Abm], Duration::from_secs(60), at(10))
        .unwrap();
    host.collect();
    talk(&mut host, &mut guest, at(11));
    let mut again = Host::new(1, FULL);
    again.connect(at(20));
    talk(&mut again, &mut guest, at(21));
    assert_eq!(
        guest.available(),
        FULL - features![Avx2, Abm],
        "still the same host"
    );
    assert!(again.session.abort());
    again.collect();
    talk(&mut again, &mut guest, at(22));
    assert_eq!(guest.available(), FULL);
}

#[test]
fn only_one_prepare_at_a_time_and_only_with_an_agent() {
    let mut host = Host::new(1, FULL);
    assert!(
        host.session
            .prepare(LESS, Duration::from_secs(1), at(0))
            .is_err()
    );
    let _guest = settled(&mut host);
    let id = host
        .session
        .prepare(LESS, Duration::from_secs(1), at(0))
        .unwrap();
    let error = host
        .session
        .prepare(LESS, Duration::from_secs(1), at(0))
        .unwrap_err();
    assert_eq!(error.to_string(), format!("prepare {id} is still open"));
}

#[test]
fn an_unannounced_loss_of_a_silent_feature_reaches_the_host() {
    let mut host = Host::new(1, LESS);
    let guest = settled(&mut host);
    assert!(guest.notes.contains(&Note::UnsafeSilent(features![Abm])));
    assert_eq!(host.session.guest().unwrap().unsafe_silent, features![Abm]);
}

#[test]
fn a_guest_whose_cpus_refuse_an_offer_says_so_and_stays_below_it() {
    let (mut host, mut guest) = (Host::new(1, FULL), Guest::new());
    guest.session = GuestSession::new(
        GuestIdentity { boot: [9; 16] },
        Availability::new(LESS, at(0)),
    );
    guest.machine.refuses = features![Avx2];
    guest.open(at(0));
    host.connect(at(0));
    talk(&mut host, &mut guest, at(1));
    assert_eq!(guest.available(), FULL - features![Avx2]);
    assert!(guest.notes.contains(&Note::Refuted(features![Avx2])));
}

#[test]
fn garbage_drops_the_peer_after_a_while_and_is_answered_slowly() {
    let mut guest = settled(&mut Host::new(1, FULL));
    let nonces = guest.machine.nonces;
    for i in 0..31u64 {
        guest.receive(b"garbage\0", at(1000 + i));
    }
    assert_eq!(guest.dropped, 0);
    assert_eq!(
        guest.machine.nonces,
        nonces + 1,
        "one hello, not thirty-one"
    );
    guest.receive(b"garbage\0", at(1040));
    assert_eq!(guest.dropped, 1);
    assert!(guest.notes.contains(&Note::BadFrame(FrameError::Cobs(7))));

    let mut host = Host::new(1, FULL);
    settled(&mut host);
    for _ in 0..32 {
        host.receive(b"garbage\0", at(10));
    }
    assert_eq!(host.dropped, 1);
}

#[test]
fn an_agent_of_another_age_is_named() {
    let mut host = Host::new(1, FULL);
    host.connect(at(0));
    let mut decoder = frame::Decoder::new();
    let greeting = decoder
        .push(&host.take())
        .remove(0)
        .unwrap()
        .message()
        .unwrap();
    let ToGuest::Hello(greeting) = greeting else {
        panic!("{greeting:?}")
    };
    let hello = protocol::GuestHello {
        versions: protocol::Versions { min: 7, max: 9 },
        token: greeting.token,
        nonce: 1,
        guest: GuestIdentity::default(),
        generation: 1,
        visible: LESS,
    };
    host.receive(&frame::encode(&ToHost::Hello(hello)).unwrap(), at(1));
    assert_eq!(
        host.events,
        [Event::Incompatible(protocol::Versions { min: 7, max: 9 })]
    );
    assert!(host.session.guest().is_none());
}

#[test]
fn a_host_that_falls_silent_is_noted_once_and_a_silent_guest_is_greeted_again() {
    let mut host = Host::new(1, FULL);
    let mut guest = settled(&mut host);
    for second in 1..40 {
        guest.tick(at(second * 1000));
        host.tick(at(second * 1000));
    }
    assert_eq!(
        guest
            .notes
            .iter()
            .filter(|n| **n == Note::HostSilent)
            .count(),
        1
    );
    assert!(host.events.contains(&Event::GuestSilent));
    // The channel works again.
    drop(guest.take());
    talk(&mut host, &mut guest, at(41_000));
    assert!(host.session.guest().unwrap().up_to_date);
    assert!(!guest.session.host_silent());
}

/// The bytes of every message, so that no change of a dependency or of a
/// struct changes the protocol unseen. docs/PROTOCOL.md explains them.
#[test]
fn golden_bytes() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let host = HostIdentity {
        machine: [0x11; 16],
        boot: [0x22; 16],
    };
    let available = FeatureSet::from_words([0x0301, 0, 0, 0, 0, 0, 0, 0]);
    let epoch = Epoch {
        host,
        sequence: 300,
    };
    let to_guest = [
        ToGuest::Hello(protocol::HostHello {
            versions: protocol::Versions { min: 1, max: 1 },
            token: 0x0102,
            host,
            name: Text::new("a").unwrap(),
        }),
        ToGuest::Offer(Offer {
            nonce: 5,
            epoch,
            available,
        }),
        ToGuest::Prepare(protocol::Prepare {
            nonce: 5,
            id: 7,
            lost: available,
            deadline_ms: 1000,
        }),
        ToGuest::Abort(protocol::Abort { nonce: 5, id: 7 }),
        ToGuest::Heartbeat(protocol::Beat { nonce: 5, count: 1 }),
    ];
    let to_host = [
        ToHost::Hello(protocol::GuestHello {
            versions: protocol::Versions { min: 1, max: 1 },
            token: 0x0102,
            nonce: 5,
            guest: GuestIdentity { boot: [0x33; 16] },
            generation: 4,
            visible: available,
        }),
        ToHost::Ack(protocol::Acknowledgement {
            nonce: 5,
            sequence: 300,
            generation: 4,
            unsafe_silent: FeatureSet::EMPTY,
            preparing: 7,
        }),
        ToHost::Ready(protocol::Ready {
            nonce: 5,
            id: 7,
            generation: 4,
        }),
        ToHost::Busy(protocol::Busy {
            nonce: 5,
            id: 7,
            holders: vec![Holder {
                pid: 42,
                name: Text::new("x").unwrap(),
            }],
            more: 2,
        }),
        ToHost::Refused(protocol::Refused {
            nonce: 5,
            id: 7,
            reason: Text::new("no").unwrap(),
        }),
        ToHost::Heartbeat(protocol::BeatReply {
            nonce: 5,
            count: 1,
            generation: 4,
            preparing: 0,
        }),
    ];
    let found: String = to_guest
        .iter()
        .map(|m| format!("to guest {}\n", hex(frame::encode(m).unwrap())))
        .chain(
            to_host
                .iter()
                .map(|m| format!("to host {}\n", hex(frame::encode(m).unwrap()))),
        )
        .collect();
    let text = |t: &str| Text::new(t).unwrap();
    let from_process = [
        FromProcess::Register {
            versions: protocol::Versions { min: 1, max: 1 },
            name: text("demo"),
            interest: available,
            urgency: local::Urgency::Eager,
            generation: 4,
        },
        FromProcess::Left { generation: 5 },
        FromProcess::Refuse {
            generation: 5,
            reason: Text::new("no").unwrap(),
        },
        FromProcess::Trapped {
            features: available,
            address: 0x1234,
        },
        FromProcess::Status,
        FromProcess::Needs {
            generation: 5,
            ms: 20,
            what: Text::new("demo: a batch").unwrap(),
        },
    ];
    let report = local::Report {
        generation: 5,
        visible: available,
        available,
        unsafe_silent: FeatureSet::EMPTY,
        cause: Text::new("offer").unwrap(),
        channel: Text::new("open").unwrap(),
        prepare: None,
        answer: Some(Text::new("ready").unwrap()),
        registered: 1,
        registrations: vec![local::Registration {
            pid: 42,
            name: text("demo"),
            urgency: local::Urgency::Eager,
            generation: 5,
            trapped: 0,
            answer: Text::new("left").unwrap(),
        }],
    };
    let to_process = [
        ToProcess::Welcome {
            version: 1,
            generation: 4,
        },
        ToProcess::Rejected {
            reason: Text::new("no").unwrap(),
        },
        ToProcess::Status(report),
        ToProcess::Present {
            features: available,
        },
    ];
    let packet = |direction: &str, bytes: Vec<u8>| format!("{direction} {}\n", hex(bytes));
    let found: String = [found]
        .into_iter()
        .chain(
            from_process
                .iter()
                .map(|m| packet("from process", local::encode(m, 1024).unwrap())),
        )
        .chain(
            to_process
                .iter()
                .map(|m| packet("to process", local::encode(m, 65536).unwrap())),
        )
        .collect();
    assert_eq!(found, include_str!("golden.txt"), "found:\n{found}");
}

proptest! {
    /// Moves between three hosts with random cuts, losses and late bytes: once
    /// the last host has talked, the guest holds exactly its set.
    #[test]
    fn whatever_happens_on_the_way_the_last_host_is_believed(
        moves in prop::collection::vec((0u8..3, any::<u8>(), 0usize..200, any::<bool>()), 1..25),
    ) {
        let sets = [FULL, FULL - features![Fma, Abm], LESS];
        let mut guest = Guest::new();
        guest.open(at(0));
        let mut now = 0;
        let mut late: Vec<u8> = Vec::new();
        for (n, keep, cut, prepare) in moves {
            now += 300;
            let mut host = Host::new(n + 1, sets[usize::from(n)]);
            host.connect(at(now));
            guest.receive(&late, at(now));
            talk(&mut host, &mut guest, at(now + 1));
            guest.tick(at(now + 250));
            talk(&mut host, &mut guest, at(now + 251));
            prop_assert_eq!(guest.available(), sets[usize::from(n)]);
            if prepare {
                let lost = FeatureSet::from_words([u64::from(keep), 0, 0, 0, 0, 0, 0, 0]) | features![Avx2];
                host.session.prepare(lost, Duration::from_millis(200), at(now + 252)).unwrap();
                host.collect();
                talk(&mut host, &mut guest, at(now + 253));
            }
            // It goes on talking while the guest leaves: part of it is lost,
            // part arrives late.
            host.session.set_available(FULL - features![Bmi2], at(now + 254));
            host.collect();
            late = host.take();
            late.truncate(cut);
        }
        prop_assert!(guest.generations.windows(2).all(|w| w[1] == w[0] + 1));
        prop_assert_eq!(guest.generation(), guest.generations.last().copied().unwrap_or(1));
    }
}
