//! Processes that mean ill, or know no better.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

use isa::{FeatureSet, features};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, send};
use protocol::local::{self, FromProcess, MAX_REQUEST};
use protocol::{Text, Versions};

use crate::daemon::{Daemon, Guest, PROGRAM};
use crate::process::Process;

const GONE: FeatureSet = features![Ssse3, Sse41];

#[test]
fn what_is_not_understood_is_rejected_with_a_reason_and_others_are_served() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let good = guest.process();
    good.register("good", FeatureSet::EMPTY, true, 1);
    let newer = FromProcess::Register {
        versions: Versions { min: 7, max: 9 },
        name: Text::lossy("newer"),
        interest: FeatureSet::EMPTY,
        urgency: protocol::local::Urgency::Woken,
        generation: 0,
    };
    let newer = local::encode(&newer, MAX_REQUEST).unwrap();
    let trailing = [
        local::encode(&FromProcess::Status, MAX_REQUEST).unwrap(),
        vec![1, 2],
    ]
    .concat();
    let left = local::encode(&FromProcess::Left { generation: 1 }, MAX_REQUEST).unwrap();
    let cases: [(&[u8], &str); 7] = [
        (&[1, 99, 3], "unreadable packet of 3 bytes"),
        (&[8, 1], "packet format 8 where 1 is spoken"),
        (
            &[1; 5000],
            "packet of 5000 bytes where at most 1024 are allowed",
        ),
        (&[], "empty packet"),
        (&trailing, "2 bytes left over after the message"),
        (
            &newer,
            "speaks versions 7–9 of the protocol, this agent 1–1",
        ),
        (&left, "left a generation without being registered"),
    ];
    for (packet, reason) in cases {
        let bad = guest.process();
        bad.send_raw(packet, &[]);
        let told = bad.wait_for_rejection();
        assert!(
            told.starts_with(reason),
            "{told:?} where {reason:?} was expected"
        );
        let line = daemon.wait_for(", dropped");
        let pid = std::process::id();
        assert!(
            line.contains(&format!("process {pid} (")) && line.contains(reason),
            "{line}"
        );
    }
    host.offer(isa::detect().difference(GONE));
    good.wait();
    assert_eq!(good.status().registered, 1);
}

#[test]
fn only_an_eventfd_is_written_to() {
    let guest = Guest::new();
    let _daemon = guest.start();
    let without = guest.process();
    without.send_register("without", FeatureSet::EMPTY, false, 0, &[]);
    assert_eq!(
        without.wait_for_rejection(),
        "registered without an eventfd"
    );
    let file = guest.process();
    let null = File::open("/dev/null").unwrap();
    file.send_register("file", FeatureSet::EMPTY, false, 0, &[null.as_raw_fd()]);
    assert_eq!(
        file.wait_for_rejection(),
        "the descriptor of its registration is no eventfd"
    );
}

#[test]
fn an_interest_can_be_changed_without_another_eventfd() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let process = guest.process();
    process.register("demo", features![Avx2], false, 1);
    process.send_register("demo", GONE, false, 1, &[]);
    process.receive();
    assert_eq!(process.status().registered, 1);
    host.offer(isa::detect().difference(GONE));
    process.wait();
}

#[test]
fn hundreds_are_woken() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let processes: Vec<_> = (0..300).map(|_| guest.process()).collect();
    for process in &processes {
        process.register("one of many", GONE, false, 1);
    }
    host.offer(isa::detect().difference(GONE));
    processes.iter().for_each(Process::wait);
    assert_eq!(guest.process().status().registered, 300);
}

#[test]
fn a_full_eventfd_that_blocks_holds_nobody_up() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let (full, good) = (guest.process(), guest.process());
    // Eager, so that it comes first.
    full.register("full", FeatureSet::EMPTY, true, 1);
    good.register("good", FeatureSet::EMPTY, false, 1);
    fcntl(&full.eventfd, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    full.eventfd.write(u64::MAX - 1).unwrap();
    host.offer(isa::detect().difference(GONE));
    good.wait();
    assert_eq!(host.wait_for_ack(), 2);
    assert_eq!(full.status().registered, 2, "a full eventfd is no crime");
}

/// Two registrations with one eventfd: it has room for the first wake-up when
/// the agent looks, and none for the second when it writes.
#[test]
fn one_whose_eventfd_blocks_the_agent_is_dropped() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let (one, two, good) = (guest.process(), guest.process(), guest.process());
    one.register("one", FeatureSet::EMPTY, true, 1);
    let shared = [one.eventfd.as_fd().as_raw_fd()];
    two.send_register("two", FeatureSet::EMPTY, true, 1, &shared);
    two.receive();
    good.register("good", FeatureSet::EMPTY, false, 1);
    fcntl(&one.eventfd, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    one.eventfd.write(u64::MAX - 2).unwrap();
    host.offer(isa::detect().difference(GONE));
    good.wait();
    assert_eq!(two.wait_for_rejection(), "its eventfd blocks its writer");
    daemon.wait_for("its eventfd blocks its writer, dropped");
    assert_eq!(good.status().registered, 2);
}

#[test]
fn one_that_does_not_read_its_replies_is_dropped() {
    let guest = Guest::new();
    let daemon = guest.start();
    let deaf = guest.process();
    let question = local::encode(&FromProcess::Status, MAX_REQUEST).unwrap();
    while send(deaf.socket.as_raw_fd(), &question, MsgFlags::MSG_NOSIGNAL).is_ok() {}
    daemon.wait_for("does not read its replies");
    assert_eq!(guest.process().status().generation, 1);
}

#[test]
fn connections_beyond_the_limit_are_refused_and_those_before_are_served() {
    let guest = Guest::new();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" run \"$@\"", PROGRAM]);
    let daemon = Daemon::spawn(&mut command, &guest.run_dir(), &[]);
    daemon.wait_for("ready in");
    let first = guest.process();
    first.register("first", FeatureSet::EMPTY, false, 0);
    let others: Vec<_> = (1..16).map(|_| guest.process()).collect();
    let refused = guest.process();
    assert_eq!(
        refused.wait_for_rejection(),
        "16 connections are open, as many as there can be"
    );
    daemon.wait_for("refused: 16 connections are open");
    assert_eq!(first.status().registered, 1);
    // Who is not to be woken needs one descriptor, not two.
    for other in &others[..2] {
        other.register_lazily("lazy");
    }
    let another = guest.process();
    another.register("another", FeatureSet::EMPTY, false, 0);
    assert_eq!(first.status().registered, 4);
    drop((others, another));
    // Once the agent has seen that they are gone there is room again.
    first.status();
    assert_eq!(guest.process().status().registered, 1);
}
