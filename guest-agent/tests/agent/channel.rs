//! What the channel brings, and what becomes of it when it is cut.

use std::io::{Read, Write};
use std::time::Duration;

use isa::{FeatureSet, features};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use protocol::availability::Cause;
use protocol::frame::{self, Decoder};
use protocol::{Beat, ToGuest, ToHost};

use crate::daemon::Guest;
use crate::host::Host;

/// What every CPU that can run the tests has, and no kernel of it depends on.
const GONE: FeatureSet = features![Ssse3, Sse41];

fn less() -> FeatureSet {
    isa::detect().difference(GONE)
}

#[test]
fn an_offer_is_one_generation_in_the_page_and_wakes_who_registered() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let process = guest.process();
    assert_eq!(process.register("demo", GONE, true, 1), 1);
    let page = guest.page();
    assert_eq!(page.read().unwrap().available, isa::detect());
    host.offer(less());
    process.wait();
    let published = page.read().unwrap();
    assert_eq!((published.generation, published.available), (2, less()));
    assert_eq!(
        (published.visible, published.cause),
        (isa::detect(), Cause::Offer)
    );
    assert_eq!(host.wait_for_ack(), 2);
    let line = daemon.wait_for("generation 2");
    assert!(line.contains("offer from host host1/01010101010101010101010101010101 sequence "));
    assert!(
        line.ends_with(": generation 2, added none, removed ssse3 sse4_1"),
        "{line}"
    );
    host.offer(isa::detect());
    process.wait();
    assert_eq!(page.generation(), 3);
}

#[test]
fn only_those_are_woken_whom_it_concerns() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let (concerned, other, curious) = (guest.process(), guest.process(), guest.process());
    concerned.register("concerned", GONE, false, 1);
    other.register("other", features![Avx2], false, 1);
    curious.register("curious", FeatureSet::EMPTY, false, 1);
    host.offer(less());
    host.wait_for_ack();
    concerned.wait();
    curious.wait();
    assert!(!other.is_woken());
}

#[test]
fn what_the_cpus_refuse_is_not_believed() {
    let refused = features![Xop, Fma4].difference(isa::detect());
    if refused.is_empty() {
        return crate::skip(
            "what_the_cpus_refuse_is_not_believed",
            "this CPU has XOP and FMA4",
        );
    }
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    // A feature that cannot be tried is taken on trust.
    host.offer(isa::detect().union(refused).with(isa::Feature::Hle));
    assert_eq!(host.wait_for_ack(), 2);
    daemon.wait_for(&format!("refuted: {refused}"));
    let available = guest.page().read().unwrap().available;
    assert_eq!(available, isa::detect().with(isa::Feature::Hle));
}

#[test]
fn the_unannounced_loss_of_a_silent_feature_is_called_unsafe() {
    let silent = isa::detect().intersection(features![Abm, Bmi1]);
    if silent.is_empty() {
        let test = "the_unannounced_loss_of_a_silent_feature_is_called_unsafe";
        return crate::skip(test, "this CPU has neither LZCNT nor TZCNT");
    }
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    host.offer(isa::detect().difference(silent));
    host.wait_for_ack();
    let line = daemon.wait_for("unsafe: silent:");
    assert!(
        line.contains("WARN") && line.ends_with(&format!("unsafe: silent: {silent}")),
        "{line}"
    );
    assert_eq!(guest.process().status().unsafe_silent, silent);
    let names: Vec<String> = silent.iter().map(|f| format!("\"{f}\"")).collect();
    let expected = format!("\"unsafe_silent\": [{}]", names.join(", "));
    assert!(guest.status().0.contains(&expected));
}

#[test]
fn frames_that_are_none_are_logged_and_dropped_and_the_next_is_heard() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let process = guest.process();
    process.register("demo", FeatureSet::EMPTY, true, 1);
    for (bytes, reason) in [
        (vec![9, 9, 9, 0], "garbage of 3 bytes: not a COBS frame"),
        (vec![3, 1, 1, 0], "truncated frame of 2 bytes"),
        ([vec![7; 5000], vec![0]].concat(), "oversized frame"),
        (vec![5, 1, 2, 3, 4, 3, 5, 6, 0], "checksum"),
    ] {
        host.send_raw(&bytes);
        daemon.wait_for(&format!("bad frame from the host, dropped: {reason}"));
        // Something of the host's may have been lost with it.
        host.wait_for_hello();
    }
    // Half a frame of one host, and then a whole one.
    let whole = frame::encode(&ToGuest::Heartbeat(Beat { nonce: 1, count: 1 })).unwrap();
    host.send_raw(&whole[..whole.len() / 2]);
    host.offer(less());
    process.wait();
    assert_eq!(guest.page().read().unwrap().available, less());
}

#[test]
fn a_peer_that_speaks_something_else_is_dropped_and_tried_again() {
    let guest = Guest::new();
    let host = guest.host(1);
    let daemon = guest.start();
    let mut stream = host.accept_raw();
    stream.write_all(&[9, 9, 0].repeat(40)).unwrap();
    daemon.wait_for("closed: the peer does not speak our protocol");
    assert_eq!(
        guest.process().status().generation,
        1,
        "processes are served meanwhile"
    );
    let mut host = host;
    host.accept();
    host.offer(less());
    assert_eq!(host.wait_for_ack(), 2);
}

#[test]
fn a_host_that_comes_back_says_everything_anew() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    // It vanishes in the middle of a frame.
    let whole = frame::encode(&ToGuest::Heartbeat(Beat { nonce: 1, count: 1 })).unwrap();
    host.send_raw(&whole[..7]);
    host.disconnect();
    daemon.wait_for("closed: the other end closed it");
    host.offer(less());
    host.accept();
    host.offer(isa::detect());
    host.offer(less());
    host.wait_for_ack();
    let published = guest.page().read().unwrap();
    assert_eq!(published.available, less());
}

#[test]
fn without_a_channel_processes_have_what_cpuid_shows() {
    let guest = Guest::new();
    let daemon = guest.start_with(&["--port-name", "org.isahotplug.test-without"]);
    let line = daemon.wait_for("channel");
    assert!(
        line.contains("channel org.isahotplug.test-without: no such port"),
        "{line}"
    );
    let process = guest.process();
    assert_eq!(process.register("demo", FeatureSet::EMPTY, true, 0), 1);
    let report = process.status();
    assert_eq!((report.available, report.registered), (isa::detect(), 1));
    assert!(report.channel.as_str().contains("no such port"));
    daemon.signal(Signal::SIGTERM);
    let log = daemon.rest_of_log();
    assert!(
        !log.iter().any(|line| line.contains("no such port")),
        "said once: {log:?}"
    );
}

#[test]
fn a_channel_that_appears_later_is_found() {
    let guest = Guest::new();
    let daemon = guest.start();
    daemon.wait_for("No such file or directory");
    let mut host = guest.host(1);
    host.accept();
    host.offer(less());
    assert_eq!(host.wait_for_ack(), 2);
}

#[test]
fn a_host_that_does_not_read_loses_whole_frames_and_no_halves() {
    let guest = Guest::new();
    let host = guest.host(1);
    let daemon = guest.start();
    let mut stream = host.accept_raw();
    let mut sender = stream.try_clone().unwrap();
    // Each beat is answered, until the answers fill every buffer.
    let beats = std::thread::spawn(move || {
        for count in 0.. {
            let beat = frame::encode(&ToGuest::Heartbeat(Beat { nonce: 1, count })).unwrap();
            if sender.write_all(&beat).is_err() {
                return;
            }
        }
    });
    daemon.wait_for("the host does not read, dropped the oldest frame");
    assert_eq!(
        guest.process().status().generation,
        1,
        "processes are served meanwhile"
    );
    let mut decoder = Decoder::new();
    let mut last = 0;
    let mut jumped = false;
    let mut buffer = [0; 65536];
    while !jumped {
        let count = stream.read(&mut buffer).unwrap();
        for frame in decoder.push(&buffer[..count]) {
            let message = frame
                .and_then(|frame| frame.message())
                .expect("no half frames");
            let ToHost::Heartbeat(reply) = message else {
                continue;
            };
            jumped |= reply.count > last + 1;
            last = reply.count;
        }
    }
    drop(stream);
    drop(daemon);
    beats.join().unwrap();
}

#[test]
fn a_terminal_device_is_a_channel_too() {
    let guest = Guest::new();
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let master = match nix::pty::posix_openpt(flags) {
        Err(Errno::ENODEV | Errno::ENOENT) => {
            let test = "a_terminal_device_is_a_channel_too";
            return crate::skip(test, "/dev/pts is not mounted");
        }
        opened => opened.unwrap(),
    };
    nix::pty::grantpt(&master).unwrap();
    nix::pty::unlockpt(&master).unwrap();
    let slave = nix::pty::ptsname_r(&master).unwrap();
    let daemon = guest.start_with(&["--port", &slave]);
    daemon.wait_for(&format!("channel {slave}: opened {slave}"));
    let mut host = Host::unconnected(1);
    host.connect(master);
    host.offer(less());
    assert_eq!(host.wait_for_ack(), 2);
    host.disconnect();
    daemon.wait_for(&format!("channel {slave}: closed"));
    daemon.wait_for(&format!(
        "channel {slave}: {slave}: No such file or directory"
    ));
    assert_eq!(guest.process().status().generation, 2);
}

#[test]
fn two_hosts_one_after_the_other_are_one_story() {
    let guest = Guest::new();
    let (daemon, mut source) = guest.start_with_host();
    let page = guest.page();
    source.prepare(GONE, Duration::from_secs(20));
    source.wait_for_answer();
    assert_eq!(page.read().unwrap().available, less());
    source.disconnect();
    daemon.wait_for("closed");
    let mut destination = guest.host(2);
    destination.offer(less());
    destination.accept();
    assert_eq!(
        destination.wait_for_ack(),
        2,
        "what was prepared is committed without a change"
    );
    let line = daemon.wait_for("offer from host host2/0202");
    assert!(line.ends_with("generation 2, nothing changed"), "{line}");
}
