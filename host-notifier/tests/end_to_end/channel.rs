//! The conversation with a guest, and what disturbs it.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Instant;

use isa::features;
use protocol::{GuestHello, GuestIdentity, ToHost, Versions, frame};
use serde_json::json;

use crate::daemon::PATIENCE;
use crate::guest::Manner;
use crate::qemu::installed;
use crate::scene::{Scene, VISIBLE};

#[test]
fn a_guest_is_established_and_publishes_its_offer() {
    if !installed("a_guest_is_established_and_publishes_its_offer") {
        return;
    }
    let scene = Scene::new();
    let mut daemon = scene.daemon(&["vm1"]);
    // Everything is waited for: the daemon is there first.
    daemon.wait_for("guest vm1: waiting for qmp");
    assert_eq!(daemon.status("vm1")["state"], "no-qmp");
    let _qemu = scene.qemu("vm1", "max");
    daemon.wait_for("guest vm1: qemu ");
    daemon.wait_for("guest vm1: waiting for channel");
    assert_eq!(daemon.status("vm1")["state"], "no-channel");

    let guest = scene.guest("vm1", Manner::Leave);
    daemon.wait_for("guest vm1: channel connected");
    daemon.wait_for("guest vm1: established, protocol 1, visible 7 features, generation 1");
    let (sequence, available) = guest.wait_for_offer();
    assert!(available.contains(isa::Feature::Avx2) && !available.contains(isa::Feature::Avx512f));
    daemon.wait_for(&format!("guest vm1: offer {sequence} sent at "));
    let line = format!("guest vm1: offer {sequence} published as generation 2 after ");
    daemon.wait_for(&line);

    let status = daemon.status("vm1");
    let expected = json!({
        "state": "established", "accelerator": "tcg", "protocol": 1, "generation": 2,
        "up_to_date": true, "lost": [], "unsafe_silent": [], "prepare": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(status[key], *value, "{key} in {status}");
    }
    assert!(status["ack_latency_us"].as_u64().is_some(), "{status}");
    assert_eq!(status["visible"].as_array().unwrap().len(), VISIBLE.len());
    let bonus = status["bonus"].as_array().unwrap().len();
    assert_eq!(bonus, (available - VISIBLE).len());
}

#[test]
fn a_daemon_that_is_killed_goes_on_upwards() {
    if !installed("a_daemon_that_is_killed_goes_on_upwards") {
        return;
    }
    let scene = Scene::new();
    let (_qemu, guest, daemon) = scene.one(Manner::Leave);
    let (before, _) = guest.wait_for_offer();
    daemon.kill();
    assert!(
        scene.path("control").exists(),
        "killed, it could not remove its socket"
    );

    let mut daemon = scene.daemon(&["vm1"]);
    let (after, _) = guest.wait_for_offer();
    assert!(after > before, "{after} after {before}");
    daemon.wait_for(&format!(
        "guest vm1: offer {after} published as generation 2"
    ));
}

#[test]
fn a_channel_that_vanishes_in_the_middle_of_a_frame_is_opened_again() {
    if !installed("a_channel_that_vanishes_in_the_middle_of_a_frame_is_opened_again") {
        return;
    }
    let scene = Scene::new();
    let _qemu = scene.qemu("vm1", "max");
    let path = scene.channel("vm1");
    let listener = UnixListener::bind(&path).unwrap();
    let mut daemon = scene.daemon(&["vm1"]);
    {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(
            stream.read(&mut [0; 16]).unwrap() > 0,
            "the daemon says hello"
        );
        let hello = ToHost::Hello(GuestHello {
            versions: Versions::SUPPORTED,
            token: 0,
            nonce: 1,
            guest: GuestIdentity::default(),
            generation: 9,
            visible: VISIBLE,
        });
        let bytes = frame::encode(&hello).unwrap();
        stream.write_all(&bytes[..bytes.len() / 2]).unwrap();
    }
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    daemon.wait_for("guest vm1: waiting for channel");

    let _guest = scene.guest("vm1", Manner::Leave);
    daemon.wait_for("guest vm1: established, protocol 1, visible 7 features, generation 1");
    daemon.wait_for("published as generation 2");
    assert!(
        !daemon.has_logged("bad frame"),
        "the half frame belongs to another connection"
    );
}

#[test]
fn a_guest_that_floods_the_channel_is_dropped_and_the_others_are_served() {
    if !installed("a_guest_that_floods_the_channel_is_dropped_and_the_others_are_served") {
        return;
    }
    let scene = Scene::new();
    let _qemus = [scene.qemu("good", "max"), scene.qemu("bad", "max")];
    let listener = UnixListener::bind(scene.channel("bad")).unwrap();
    let flood = thread::spawn(move || {
        let garbage: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
        let deadline = Instant::now() + PATIENCE;
        // Twice: after a pause the daemon tries the guest again.
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            while stream.write_all(&garbage).is_ok() {
                assert!(
                    Instant::now() < deadline,
                    "the daemon goes on reading garbage"
                );
            }
        }
        let (stream, _) = listener.accept().unwrap();
        stream
    });
    let guest = scene.guest("good", Manner::Leave);
    let mut daemon = scene.daemon(&["good", "bad"]);
    daemon.wait_for("guest bad: bad frame: ");
    daemon.wait_for("guest bad: dropped: ");
    guest.wait_for_offer();
    let prepared = daemon.run(&["prepare", "good", "--lost", "avx2"]);
    assert_eq!(prepared.status.code(), Some(0), "{prepared:?}");
    daemon.wait_for("guest bad: dropped: ");
    daemon.wait_for("guest bad: channel connected");
    let _stream = flood.join().unwrap();
    assert_eq!(daemon.status("good")["state"], "established");
    assert!(!daemon.has_logged("guest good: dropped"));
    assert!(!daemon.has_logged("guest good: channel lost"));
}

#[test]
fn an_agent_that_falls_silent_is_noted_and_greeted_again() {
    if !installed("an_agent_that_falls_silent_is_noted_and_greeted_again") {
        return;
    }
    let scene = Scene::new();
    let (_qemu, guest, mut daemon) = scene.one(Manner::Leave);
    guest.mute();
    daemon.wait_for("guest vm1: silent: ");
    let status = daemon.status("vm1");
    assert_eq!(status["state"], "silent");
    assert_eq!(status["generation"], 2, "what it said last");
    let prepared = daemon.run(&["prepare", "vm1", "--lost", "avx2"]);
    assert_eq!(prepared.status.code(), Some(6), "{prepared:?}");
}

#[test]
fn silent_features_lost_without_warning_are_said_loudly_until_they_return() {
    if !installed("silent_features_lost_without_warning_are_said_loudly_until_they_return") {
        return;
    }
    let scene = Scene::new();
    let less = scene.qemu("vm1", "max,-abm,-bmi1,-avx2");
    let _guest = scene.guest("vm1", Manner::Leave);
    let mut daemon = scene.daemon(&["vm1"]);
    let line = daemon.wait_for("guest vm1: unsafe: silent: ");
    assert!(line.contains("WARN"), "{line}");
    assert!(
        line.ends_with(&format!("unsafe: silent: {}", features![Abm, Bmi1])),
        "{line}"
    );
    let status = daemon.status("vm1");
    assert_eq!(status["unsafe_silent"], json!(["bmi1", "abm"]));
    let page = daemon.run(&["status", "vm1"]).stdout;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("unsafe: silent: bmi1 abm"), "{page}");
    let table = String::from_utf8(daemon.run(&["guests"]).stdout).unwrap();
    assert!(table.contains(" unsafe"), "{table}");

    // The machine comes back with them, and the same guest in it.
    drop(less);
    daemon.wait_for("guest vm1: waiting for qmp");
    let _qemu = scene.qemu("vm1", "max");
    daemon.wait_for("guest vm1: safe again: ");
    assert_eq!(daemon.status("vm1")["unsafe_silent"], json!([]));
}

#[test]
fn two_guests_are_offered_what_each_ones_machine_executes() {
    if !installed("two_guests_are_offered_what_each_ones_machine_executes") {
        return;
    }
    let scene = Scene::new();
    let _qemus = [scene.qemu("a", "max"), scene.qemu("b", "max,-avx2,-fma")];
    let (a, b) = (
        scene.guest("a", Manner::Leave),
        scene.guest("b", Manner::Leave),
    );
    let daemon = scene.daemon(&["a", "b"]);
    let ((_, at_a), (_, at_b)) = (a.wait_for_offer(), b.wait_for_offer());
    let fewer = at_a - at_b;
    assert!(features![Avx2, Fma].is_subset(&fewer), "{fewer}");
    let table = String::from_utf8(daemon.run(&["guests"]).stdout).unwrap();
    let names: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().next())
        .collect();
    assert_eq!(names, ["NAME", "a", "b"]);
}
