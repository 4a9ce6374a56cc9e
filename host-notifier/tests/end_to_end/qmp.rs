//! What QEMU tells, and what it leads to.

use protocol::availability::Cause;
use protocol::guest;
use serde_json::{Value, json};

use crate::fake_qmp::{FakeQmp, Machine};
use crate::guest::Manner;
use crate::qemu::installed;
use crate::scene::Scene;

#[test]
fn a_migration_that_fails_gives_the_features_back() {
    if !installed("a_migration_that_fails_gives_the_features_back") {
        return;
    }
    let scene = Scene::new();
    let (mut qemu, guest, mut daemon) = scene.one(Manner::Leave);
    let ready = daemon.run(&["prepare", "vm1", "--lost", "avx2", "--deadline", "5m"]);
    assert_eq!(ready.status.code(), Some(0), "{ready:?}");
    qemu.execute("migrate", &json!({"uri": "exec:false"}));
    daemon.wait_for("guest vm1: migration failed: aborting prepare");
    let change = guest.wait_for("abort", |output| match output {
        guest::Output::Publish(change) if change.publication.cause == Cause::Abort => Some(change),
        _ => None,
    });
    assert_eq!(change.added, isa::features![Avx2]);
    assert_eq!(daemon.status("vm1")["prepare"], Value::Null);
}

#[test]
fn a_migration_that_is_cancelled_gives_the_features_back() {
    if !installed("a_migration_that_is_cancelled_gives_the_features_back") {
        return;
    }
    let scene = Scene::new();
    let (mut qemu, guest, mut daemon) = scene.one(Manner::Leave);
    let ready = daemon.run(&["prepare", "vm1", "--lost", "avx2", "--deadline", "5m"]);
    assert_eq!(ready.status.code(), Some(0), "{ready:?}");
    qemu.execute("migrate-set-parameters", &json!({"max-bandwidth": 1}));
    qemu.execute("migrate", &json!({"uri": "exec:cat >/dev/null"}));
    daemon.wait_for("guest vm1: migration active");
    qemu.execute("migrate_cancel", &json!({}));
    daemon.wait_for("guest vm1: migration cancelled: aborting prepare");
    guest.wait_for("abort", |output| match output {
        guest::Output::Publish(change) => (change.publication.cause == Cause::Abort).then_some(()),
        _ => None,
    });
}

#[test]
fn a_guest_that_has_migrated_away_has_left_and_may_come_back() {
    if !installed("a_guest_that_has_migrated_away_has_left_and_may_come_back") {
        return;
    }
    let scene = Scene::new();
    let (mut qemu, guest, mut daemon) = scene.one(Manner::Leave);
    let ready = daemon.run(&["prepare", "vm1", "--lost", "avx2", "--deadline", "5m"]);
    assert_eq!(ready.status.code(), Some(0), "{ready:?}");
    qemu.execute("migrate", &json!({"uri": "exec:cat >/dev/null"}));
    daemon.wait_for("guest vm1: left for another host");
    let status = daemon.status("vm1");
    assert_eq!(
        (&status["state"], &status["prepare"]),
        (&json!("left"), &Value::Null)
    );
    assert_eq!(
        daemon
            .run(&["prepare", "vm1", "--lost", "fma"])
            .status
            .code(),
        Some(6)
    );
    // A daemon that starts now sees it as well.
    daemon.kill();
    let mut daemon = scene.daemon(&["vm1"]);
    daemon.wait_for("guest vm1: left for another host");

    // The destination is lost; the operator goes on here.
    guest.forget();
    qemu.execute("cont", &json!({}));
    daemon.wait_for("guest vm1: back: it runs here again");
    daemon.wait_for("guest vm1: established");
    let change = guest.wait_for("abort", |output| match output {
        guest::Output::Publish(change) => Some(change),
        _ => None,
    });
    assert_eq!(
        (change.publication.cause, change.added),
        (Cause::Abort, isa::features![Avx2])
    );
}

#[test]
fn a_guest_that_runs_again_after_a_stop_is_greeted_anew() {
    if !installed("a_guest_that_runs_again_after_a_stop_is_greeted_anew") {
        return;
    }
    let scene = Scene::new();
    let (mut qemu, guest, mut daemon) = scene.one(Manner::Leave);
    guest.wait_for_offer();
    qemu.execute("cont", &json!({}));
    daemon.wait_for("guest vm1: resumed");
    guest.wait_for_hello();
    guest.wait_for_offer();
    qemu.execute("stop", &json!({}));
    daemon.wait_for("guest vm1: stopped");
    qemu.execute("system_reset", &json!({}));
    daemon.wait_for("guest vm1: reset");
}

#[test]
fn a_machine_that_is_switched_off_is_waited_for() {
    if !installed("a_machine_that_is_switched_off_is_waited_for") {
        return;
    }
    let scene = Scene::new();
    let (mut qemu, _guest, mut daemon) = scene.one(Manner::Leave);
    qemu.execute("quit", &json!({}));
    daemon.wait_for("guest vm1: shuts down");
    daemon.wait_for("lost: ");
    daemon.wait_for("guest vm1: waiting for qmp");
    drop(qemu);
    let _qemu = scene.qemu("vm1", "max,-avx2");
    daemon.wait_for("guest vm1: qemu ");
    daemon.wait_for("guest vm1: offer");
    daemon.wait_for("published as generation 3");
    assert_eq!(daemon.status("vm1")["lost"], json!(["avx2"]));
}

#[test]
fn under_kvm_the_hosts_instructions_are_a_bonus() {
    let scene = Scene::new();
    let _qmp = FakeQmp::start(&scene.qmp("vm1"), Machine::Kvm);
    let guest = scene.guest("vm1", Manner::Leave);
    let mut daemon = scene.daemon(&["vm1"]);
    daemon.wait_for("guest vm1: qemu 99.1.0, kvm: executes ");
    let (_, available) = guest.wait_for_offer();
    let words = isa::features![Sse2, Hypervisor];
    assert!(words.is_subset(&available), "{available}");
    let host = isa::detect();
    for feature in isa::features![Popcnt, Bmi1, Movbe, Avx2, Avx512f, Rdrand, Rdtscp] {
        let bonus = matches!(
            feature,
            isa::Feature::Popcnt | isa::Feature::Bmi1 | isa::Feature::Movbe
        );
        assert_eq!(
            available.contains(feature),
            bonus && host.contains(feature),
            "{feature}"
        );
    }
}

#[test]
fn an_event_that_no_schema_knows_costs_no_more_than_the_connection() {
    let scene = Scene::new();
    let qmp = FakeQmp::start(&scene.qmp("vm1"), Machine::Tcg);
    let _guest = scene.guest("vm1", Manner::Leave);
    let mut daemon = scene.daemon(&["vm1"]);
    daemon.wait_for("guest vm1: established");
    qmp.say(r#"{"event":"COMET_SIGHTED","timestamp":{"seconds":1,"microseconds":2}}"#);
    daemon.wait_for("lost: ");
    daemon.wait_for("guest vm1: qemu 99.1.0, tcg");
    daemon.wait_for("guest vm1: established");
    qmp.say("not JSON at all");
    daemon.wait_for("lost: ");
    daemon.wait_for("guest vm1: qemu 99.1.0, tcg");
    assert_eq!(daemon.status("vm1")["state"], "established");
}

#[test]
fn a_machine_without_feature_words_is_named_and_not_offered_anything() {
    let scene = Scene::new();
    let _qmp = FakeQmp::start(&scene.qmp("vm1"), Machine::OtherArchitecture);
    let mut daemon = scene.daemon(&["vm1"]);
    daemon.wait_for("guest vm1: waiting for qmp");
    assert_eq!(daemon.status("vm1")["state"], "no-qmp");
}
