//! The page and the run directory across restarts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use isa::{FeatureSet, features};
use nix::sys::signal::Signal;
use protocol::Moment;
use protocol::availability::{Cause, Publication};

use crate::daemon::{Daemon, Guest, PROGRAM};
use crate::process::PageView;

const GONE: FeatureSet = features![Ssse3, Sse41];

fn less() -> FeatureSet {
    isa::detect().difference(GONE)
}

#[test]
fn an_agent_that_was_killed_goes_on_in_the_same_page() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    host.offer(less());
    host.wait_for_ack();
    let page = guest.page();
    let (identity, before) = (page.identity(), page.read().unwrap());
    assert_eq!(before.generation, 2);
    daemon.kill();
    host.disconnect();

    let daemon = guest.start();
    assert_eq!(page.read().unwrap(), before);
    host.accept();
    host.wait_for_ack();
    assert_eq!(page.generation(), 2, "the same offer changes nothing");
    let process = guest.process();
    assert_eq!(process.register("demo", GONE, true, 2), 2);
    host.offer(isa::detect());
    process.wait();
    let after = page.read().unwrap();
    assert_eq!((after.generation, after.available), (3, isa::detect()));
    assert_eq!((page.identity(), page.is_retired()), (identity, false));
    assert_eq!(guest.page().identity(), identity);
    drop(daemon);
}

#[test]
fn on_sigterm_the_page_stays_and_the_socket_goes() {
    let guest = Guest::new();
    let (mut daemon, mut host) = guest.start_with_host();
    host.offer(less());
    host.wait_for_ack();
    assert!(guest.run_dir().join("agent.sock").exists());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    daemon.wait_for("SIGTERM: stopped, the page stays at generation 2");
    assert!(!guest.run_dir().join("agent.sock").exists());
    assert_eq!(guest.page().read().unwrap().available, less());
    let (status, success) = guest.status();
    assert!(!success);
    assert!(
        status.starts_with("{\"running\": false, \"problem\": \"guest-agent is not running in ")
    );
    assert!(
        status.contains("\"generation\": 2, \"cause\": \"offer\""),
        "{status}"
    );
    assert!(
        status.contains("\"lost\": [\"ssse3\", \"sse4_1\"]"),
        "{status}"
    );
}

#[test]
fn everybody_can_read_the_page_and_only_the_agent_can_write_it() {
    let guest = Guest::new();
    let _daemon = guest.start();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(guest.run_dir()), 0o755);
    assert_eq!(mode(guest.page_path()), 0o644);
    assert_eq!(mode(guest.run_dir().join("agent.sock")), 0o666);
    assert_eq!(mode(guest.run_dir().join("agent.lock")), 0o600);
}

#[test]
fn a_second_agent_on_the_same_directory_is_refused() {
    let guest = Guest::new();
    let first = guest.start();
    let mut second = Daemon::spawn(Command::new(PROGRAM).arg("run"), &guest.run_dir(), &[]);
    second.wait_for(&format!("another guest-agent (pid {}) serves", first.pid()));
    assert_eq!(second.wait().code(), Some(1));
    assert_eq!(
        guest.process().status().generation,
        1,
        "the first one serves on"
    );
}

#[test]
fn a_damaged_page_is_retired_and_replaced_at_a_higher_generation() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    host.offer(less());
    assert_eq!(host.wait_for_ack(), 2);
    let page = guest.page();
    daemon.kill();
    // The slot of generation 2 is slot 0, at byte 64.
    let mut bytes = fs::read(guest.page_path()).unwrap();
    bytes[64] ^= 0xff;
    fs::write(guest.page_path(), &bytes).unwrap();

    let daemon = guest.start();
    drop(daemon);
    assert!(page.is_retired());
    let fresh = guest.page();
    assert_ne!(fresh.identity(), page.identity());
    let published = fresh.read().unwrap();
    assert_eq!((published.generation, published.cause), (3, Cause::Start));
    assert_eq!(published.available, isa::detect());
}

#[test]
fn files_that_are_no_pages_are_replaced_and_not_written_to() {
    for content in [
        vec![],
        vec![7; 100],
        vec![7; 4096],
        vec![0; 4096],
        vec![7; 10000],
    ] {
        let guest = Guest::new();
        fs::create_dir(guest.run_dir()).unwrap();
        fs::write(guest.page_path(), &content).unwrap();
        let keep = guest.run_dir().join("keep");
        fs::hard_link(guest.page_path(), &keep).unwrap();
        let mut command = Command::new(PROGRAM);
        let daemon = Daemon::spawn(command.arg("run"), &guest.run_dir(), &[]);
        daemon.wait_for("page: made anew, for the old one is of no use: ");
        daemon.wait_for("ready in");
        assert_eq!(fs::read(keep).unwrap(), content);
        assert_eq!(guest.page().read().unwrap().generation, 1);
    }
}

#[test]
fn a_page_of_an_earlier_boot_is_not_gone_on_with() {
    let guest = Guest::new();
    guest.start().kill();
    let page = PageView::open_writable(&guest.page_path());
    let mut stale = page.read().unwrap();
    stale.generation += 1;
    stale.available = less();
    stale.since = Moment::from_micros(u64::MAX);
    page.publish(&stale);
    drop(guest.start());
    let published = guest.page().read().unwrap();
    assert_eq!(
        (published.generation, published.available),
        (3, isa::detect())
    );
}

#[test]
fn what_cpuid_showed_at_boot_stays_what_is_visible() {
    let guest = Guest::new();
    guest.start().kill();
    let page = PageView::open_writable(&guest.page_path());
    let before = page.read().unwrap();
    let other = Publication {
        generation: 2,
        visible: less(),
        available: less(),
        ..before
    };
    page.publish(&other);
    drop(guest.start());
    let published = page.read().unwrap();
    assert_eq!((published.generation, published.visible), (2, less()));
    assert_eq!(published.available, less());
}
