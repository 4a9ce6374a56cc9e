//! Planned removals: who is waited for, and what the host is answered.

use std::time::Duration;

use isa::{FeatureSet, features};
use protocol::availability::Cause;
use protocol::host::Answer;
use protocol::local::FromProcess;
use protocol::{Holder, Text};

use crate::daemon::Guest;

const GONE: FeatureSet = features![Ssse3, Sse41];
/// Long enough that no test gets there.
const LONG: Duration = Duration::from_secs(60);
/// What a test waits for to pass. A tenth of it is what a busy machine may
/// take to let an answer through.
const SHORT: Duration = Duration::from_secs(3);

/// It has seen them in a page that is no more.
#[test]
fn generations_that_were_never_published_are_no_acknowledgement() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let (one, two) = (guest.process(), guest.process());
    two.register("two", FeatureSet::EMPTY, true, 1);
    host.prepare(GONE, LONG);
    two.wait();
    one.register("one", GONE, true, 57);
    two.left(2);
    one.left(57);
    let prepare = one.status().prepare.unwrap();
    assert!(prepare.as_str().contains("waiting for one["), "{prepare}");
    one.left(2);
    assert_eq!(host.wait_for_answer(), Answer::Ready(2));
}

#[test]
fn ready_is_said_when_all_eager_ones_have_left() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let (one, two, lazy) = (guest.process(), guest.process(), guest.process());
    one.register("one", GONE, true, 1);
    two.register("two", FeatureSet::EMPTY, true, 1);
    lazy.register("lazy", GONE, false, 1);
    let id = host.prepare(GONE, LONG);
    one.wait();
    two.wait();
    let page = guest.page();
    let published = page.read().unwrap();
    assert_eq!((published.generation, published.cause), (2, Cause::Prepare));
    assert!(published.available.is_disjoint(&GONE));
    one.left(2);
    let report = one.status();
    let prepare = report.prepare.unwrap();
    assert!(prepare.as_str().contains("waiting for two["), "{prepare}");
    two.left(1);
    // The host says it again until it is answered.
    host.listen_for(protocol::host::PREPARE_REPEAT * 2);
    two.left(2);
    assert_eq!(host.wait_for_answer(), Answer::Ready(2));
    let waiting = daemon.wait_for(&format!("prepare {id} from host host1: lost ssse3 sse4_1"));
    assert!(
        waiting.contains("waiting for one[") && !waiting.contains("lazy["),
        "{waiting}"
    );
    let ready = daemon.wait_for(&format!("prepare {id}: "));
    let micros = ready
        .split("ready, after ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(
        micros.parse::<u64>().unwrap() > 1_000_000,
        "since the first time: {ready}"
    );
}

#[test]
fn ready_is_said_at_once_when_nobody_is_concerned() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let other = guest.process();
    other.register("other", features![Avx2], true, 1);
    host.prepare(GONE, LONG);
    assert_eq!(host.wait_for_answer(), Answer::Ready(2));
}

#[test]
fn who_has_not_left_shortly_before_the_deadline_is_named() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let stubborn = guest.process();
    stubborn.register("stubborn", GONE, true, 1);
    let id = host.prepare(GONE, SHORT);
    let Answer::Busy(busy) = host.wait_for_answer() else {
        panic!("not busy")
    };
    let pid = std::process::id();
    assert_eq!(
        busy.holders,
        [Holder {
            pid,
            name: Text::lossy("stubborn")
        }]
    );
    daemon.wait_for(&format!("prepare {id}: busy: stubborn[{pid}]"));
    // The host took it back.
    daemon.wait_for(&format!("prepare {id}: aborted by the host"));
}

#[test]
fn a_refusal_is_passed_on_with_the_name_of_who_refused() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let (busy, solver) = (guest.process(), guest.process());
    busy.register("busy", GONE, true, 1);
    solver.register("solver", GONE, true, 1);
    // Nobody has asked yet.
    solver.send(&FromProcess::Refuse {
        generation: 1,
        reason: Text::lossy("too early"),
    });
    host.prepare(GONE, LONG);
    solver.wait();
    solver.send(&FromProcess::Refuse {
        generation: 2,
        reason: Text::lossy("in mid-step"),
    });
    let pid = std::process::id();
    let reason = Text::lossy(&format!("solver[{pid}]: in mid-step"));
    assert_eq!(host.wait_for_answer(), Answer::Refused(reason));
}

#[test]
fn a_process_that_dies_holds_nothing_up() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let mortal = guest.process();
    mortal.register("mortal", GONE, true, 1);
    host.prepare(GONE, LONG);
    mortal.wait();
    drop(mortal);
    assert_eq!(host.wait_for_answer(), Answer::Ready(2));
    daemon.wait_for("gone, was registered as mortal, the prepare waits for it no longer");
}

#[test]
fn who_registers_late_with_an_old_generation_is_waited_for() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let early = guest.process();
    early.register("early", GONE, true, 1);
    host.prepare(GONE, LONG);
    early.wait();
    let late = guest.process();
    assert_eq!(late.register("late", GONE, true, 1), 2);
    late.wait();
    early.left(2);
    assert!(
        early
            .status()
            .prepare
            .unwrap()
            .as_str()
            .contains("waiting for late[")
    );
    late.left(2);
    assert_eq!(host.wait_for_answer(), Answer::Ready(2));
}

#[test]
fn a_prepare_that_takes_nothing_away_is_acknowledged_too() {
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let process = guest.process();
    process.register("demo", features![Hle], true, 0);
    process.wait();
    host.prepare(features![Hle], LONG);
    process.wait();
    assert_eq!(guest.page().generation(), 1);
    process.left(1);
    assert_eq!(host.wait_for_answer(), Answer::Ready(1));
}

#[test]
fn at_the_deadline_faulting_features_come_back_by_themselves() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let process = guest.process();
    process.register("demo", GONE, true, 1);
    let id = host.prepare(GONE, SHORT);
    process.wait();
    process.left(2);
    assert_eq!(host.wait_for_answer(), Answer::Ready(2));
    process.wait();
    let published = guest.page().read().unwrap();
    assert_eq!(
        (published.generation, published.cause),
        (3, Cause::Deadline)
    );
    assert_eq!(published.available, isa::detect());
    daemon.wait_for(&format!("prepare {id}: deadline passed, withheld none"));
}

#[test]
fn an_abort_gives_everything_back() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let process = guest.process();
    process.register("demo", GONE, true, 1);
    let id = host.prepare(GONE, LONG);
    process.wait();
    host.abort();
    process.wait();
    let published = guest.page().read().unwrap();
    assert_eq!((published.generation, published.cause), (3, Cause::Abort));
    assert_eq!(published.available, isa::detect());
    daemon.wait_for(&format!("prepare {id}: aborted by the host"));
    assert_eq!(process.status().prepare, None);
}

/// Those that an earlier agent knew come back within moments; until then nobody says for them that
/// they have left what would be lost in silence.
#[test]
fn a_new_agent_does_not_speak_for_processes_that_may_not_have_come_back() {
    let silent = isa::detect().intersection(features![Abm, Bmi1]);
    if silent.is_empty() {
        return crate::skip(
            "a_new_agent_does_not_speak_for_processes_that_may_not_have_come_back",
            "this CPU has neither LZCNT nor TZCNT",
        );
    }
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    host.prepare(silent, Duration::from_secs(1));
    let Answer::Busy(busy) = host.wait_for_answer() else {
        panic!("not busy");
    };
    assert_eq!(
        busy.holders[0].name.as_str(),
        "processes that may not have registered yet"
    );
    // What faults is another matter: it can be emulated.
    host.prepare(GONE, LONG);
    assert!(matches!(host.wait_for_answer(), Answer::Ready(_)));
    host.abort();
    // Once they have had the time it is all one.
    host.prepare(silent, LONG);
    assert!(matches!(host.wait_for_answer(), Answer::Ready(_)));
}

#[test]
fn who_closes_the_connection_and_lives_has_not_left_what_is_lost_in_silence() {
    let silent = isa::detect().intersection(features![Abm, Bmi1]);
    if silent.is_empty() {
        return crate::skip(
            "who_closes_the_connection_and_lives_has_not_left_what_is_lost_in_silence",
            "this CPU has neither LZCNT nor TZCNT",
        );
    }
    let guest = Guest::new();
    let (_daemon, mut host) = guest.start_with_host();
    let process = guest.process();
    process.register("restless", silent, true, 1);
    host.prepare(silent, LONG);
    process.wait();
    // The test goes on after this.
    drop(process);
    let Answer::Busy(busy) = host.wait_for_answer() else {
        panic!("not busy");
    };
    let pid = std::process::id();
    let name = Text::lossy("restless");
    assert_eq!(busy.holders, [Holder { pid, name }]);
}
