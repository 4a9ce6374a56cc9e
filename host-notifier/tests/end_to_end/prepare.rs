//! Announced removals: every way they can end.

use std::process::Output;
use std::thread;

use isa::{Feature, features};
use protocol::availability::Cause;
use protocol::guest;
use serde_json::{Value, json};

use crate::daemon::{Daemon, command, finish};
use crate::guest::Manner;
use crate::qemu::installed;
use crate::scene::Scene;

fn prepare(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, Value) {
    let Output {
        status,
        stdout,
        stderr,
    } = daemon.run(&[&["prepare", "vm1", "--json"], arguments].concat());
    let error = json!(String::from_utf8_lossy(&stderr));
    (
        status.code(),
        serde_json::from_slice(&stdout).unwrap_or(error),
    )
}

#[test]
fn a_guest_that_has_left_the_features_is_ready() {
    if !installed("a_guest_that_has_left_the_features_is_ready") {
        return;
    }
    let scene = Scene::new();
    let (_qemu, guest, mut daemon) = scene.one(Manner::Leave);
    let (exit, answer) = prepare(&daemon, &["--lost", "avx2,fma", "--deadline", "1m"]);
    assert_eq!(exit, Some(0), "{answer}");
    assert_eq!(answer["answer"], "ready");
    assert_eq!(answer["generation"], 3);
    assert_eq!(answer["lost"], json!(["fma", "avx2"]));
    assert!(
        answer["latency_us"].as_u64().unwrap() < 60_000_000,
        "{answer}"
    );
    let id = answer["id"].as_u64().unwrap();
    daemon.wait_for(&format!(
        "guest vm1: prepare {id} ready as generation 3 after "
    ));
    assert_eq!(
        daemon.status("vm1")["prepare"],
        json!({"id": id, "lost": ["fma", "avx2"], "ready": true})
    );

    // One at a time.
    let (exit, answer) = prepare(&daemon, &["--lost", "abm"]);
    assert_eq!(exit, Some(1), "{answer}");
    assert!(
        answer
            .as_str()
            .unwrap()
            .contains(&format!("prepare {id} is still open")),
        "{answer}"
    );

    // The operator takes it back.
    assert_eq!(daemon.run(&["abort", "vm1"]).status.code(), Some(0));
    let change = guest.wait_for("abort", |output| match output {
        guest::Output::Publish(change) if change.publication.cause == Cause::Abort => Some(change),
        _ => None,
    });
    assert_eq!(change.added, features![Avx2, Fma]);
    assert_eq!(daemon.status("vm1")["prepare"], Value::Null);
}

#[test]
fn a_ready_guest_goes_on_at_the_deadline() {
    if !installed("a_ready_guest_goes_on_at_the_deadline") {
        return;
    }
    let scene = Scene::new();
    let (_qemu, guest, mut daemon) = scene.one(Manner::Leave);
    let (exit, answer) = prepare(&daemon, &["--lost", "avx2", "--deadline", "200ms"]);
    assert_eq!(exit, Some(0), "{answer}");
    daemon.wait_for(&format!("guest vm1: prepare {} expired", answer["id"]));
    let change = guest.wait_for("deadline", |output| match output {
        guest::Output::Publish(change) if change.publication.cause == Cause::Deadline => {
            Some(change)
        }
        _ => None,
    });
    assert_eq!(change.added, features![Avx2]);
}

#[test]
fn a_busy_guest_names_who_has_not_left() {
    if !installed("a_busy_guest_names_who_has_not_left") {
        return;
    }
    let scene = Scene::new();
    let holders = (0..18).map(|i| (100 + i, "demo")).collect();
    let (_qemu, _guest, daemon) = scene.one(Manner::Busy(holders));
    let (exit, answer) = prepare(&daemon, &["--lost", "avx2"]);
    assert_eq!(exit, Some(3), "{answer}");
    assert_eq!(answer["answer"], "busy");
    assert_eq!(answer["holders"][0], json!({"pid": 100, "name": "demo"}));
    assert_eq!(answer["more"], 2);
    let text = daemon.run(&["prepare", "vm1", "--lost", "avx2"]);
    assert_eq!(text.status.code(), Some(3));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("demo (100), demo (101)") && text.contains("and 2 more"),
        "{text}"
    );
}

#[test]
fn a_guest_that_refuses_says_why() {
    if !installed("a_guest_that_refuses_says_why") {
        return;
    }
    let scene = Scene::new();
    let (_qemu, _guest, daemon) = scene.one(Manner::Refuse("the kernel uses it"));
    let (exit, answer) = prepare(&daemon, &["--lost", "avx2"]);
    assert_eq!(exit, Some(4), "{answer}");
    assert_eq!(answer["reason"], "the kernel uses it");
    assert_eq!(daemon.status("vm1")["prepare"], Value::Null);
}

#[test]
fn a_guest_that_says_nothing_is_waited_for_until_the_deadline() {
    if !installed("a_guest_that_says_nothing_is_waited_for_until_the_deadline") {
        return;
    }
    let scene = Scene::new();
    let (_qemu, _guest, daemon) = scene.one(Manner::SayNothing);
    let (exit, answer) = prepare(&daemon, &["--lost", "avx2", "--deadline", "300ms"]);
    assert_eq!(exit, Some(5), "{answer}");
    assert_eq!(answer["answer"], "nothing");
    assert!(
        answer["latency_us"].as_u64().unwrap() >= 300_000,
        "{answer}"
    );
}

#[test]
fn an_abort_ends_a_prepare_that_is_being_waited_for() {
    if !installed("an_abort_ends_a_prepare_that_is_being_waited_for") {
        return;
    }
    let scene = Scene::new();
    let (_qemu, guest, mut daemon) = scene.one(Manner::SayNothing);
    let prepare = daemon.command(&["prepare", "vm1", "--lost", "avx2", "--deadline", "5m"]);
    let waiting = thread::spawn(|| finish(prepare));
    guest.wait_for("prepare", |output| {
        matches!(output, guest::Output::Prepare(_)).then_some(())
    });
    assert_eq!(daemon.run(&["abort", "vm1"]).status.code(), Some(0));
    daemon.wait_for("guest vm1: abort asked for");
    let ended = waiting.join().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let why = String::from_utf8(ended.stderr).unwrap();
    assert!(why.contains("aborted by the operator"), "{why}");
}

#[test]
fn what_the_destination_lacks_is_found_out_from_its_daemon() {
    if !installed("what_the_destination_lacks_is_found_out_from_its_daemon") {
        return;
    }
    let (here, there) = (Scene::new(), Scene::new());
    let (_qemu, guest, daemon) = here.one(Manner::Leave);
    let (_, available) = guest.wait_for_offer();
    let _less = there.qemu("arriving", "max,-avx2,-fma,-f16c,-bmi2");
    let mut destination = there.daemon(&["arriving"]);
    destination.wait_for("guest arriving: qemu ");

    let control = destination.control.display().to_string();
    let to = ["--to", &control, "--to-guest", "arriving"];
    let (exit, answer) = prepare(&daemon, &to);
    assert_eq!(exit, Some(0), "{answer}");
    let lost: Vec<&str> = answer["lost"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(lost, ["f16c", "fma", "avx2", "bmi2"], "{answer}");
    assert_eq!(daemon.run(&["abort", "vm1"]).status.code(), Some(0));

    // The same in words.
    let rest = available.without(Feature::Avx2).to_string();
    let (exit, answer) = prepare(&daemon, &["--available", &rest]);
    assert_eq!(
        (exit, &answer["lost"]),
        (Some(0), &json!(["avx2"])),
        "{answer}"
    );

    // There is no guest of the same name there.
    let (exit, answer) = prepare(&daemon, &["--to", &control]);
    assert_eq!(exit, Some(2), "{answer}");
}

#[test]
fn wrong_usage_has_exit_status_two() {
    let scene = Scene::new();
    let daemon = scene.daemon(&["vm1"]);
    for (arguments, exit) in [
        (&["prepare", "vm1"][..], 2),
        (
            &["prepare", "vm1", "--lost", "avx2", "--available", "fma"],
            2,
        ),
        (&["prepare", "vm1", "--lost", "avx2000"], 2),
        (&["prepare", "vm1", "--lost", "avx2", "--to-guest", "x"], 2),
        (
            &["prepare", "vm1", "--lost", "avx2", "--deadline", "soon"],
            2,
        ),
        (&["prepare", "nobody", "--lost", "avx2"], 2),
        (&["status", "nobody"], 2),
        (&["abort", "nobody"], 2),
        (&["prepare", "vm1", "--lost", "avx2"], 6),
        (&["prepare", "vm1", "--available", "avx2"], 6),
        (&["abort", "vm1"], 0),
    ] {
        let output = daemon.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{arguments:?}: {output:?}"
        );
        assert!(
            exit == 0 || !output.stderr.is_empty(),
            "{arguments:?} says why"
        );
    }
    let nowhere = scene.path("nowhere");
    let output = finish(command(&nowhere, &["guests"]));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("nowhere"),
        "{output:?}"
    );
    // --control wins over the environment.
    let output = daemon.run(&["guests", "--control", &nowhere.display().to_string()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // Waits for nobody: no answer takes the deadline.
    let (exit, _) = prepare(&daemon, &["--lost", "avx2", "--deadline", "5m"]);
    assert_eq!(exit, Some(6));
}
