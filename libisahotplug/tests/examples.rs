//! Each example does what its comment says, on this CPU and, where that says more, on a lesser one.

mod support;

use isa::{Feature, FeatureSet, features};
use support::agent::{Agent, Registered};
use support::{Dialogue, Program, finish, skip, stdout};

/// As a reader of the example would, and with every warning.
const CXX11: &[&str] = &["c++", "-std=c++11", "-O2", "-Wpedantic"];

/// An example in C that runs while this is published, and the agent that it talks to.
fn started(program: &Program, available: FeatureSet) -> (Agent, Dialogue) {
    program.publish(5, available);
    let agent = Agent::listen(program);
    let dialogue = Dialogue::start(&mut program.here());
    (agent, dialogue)
}

fn lacks(needed: FeatureSet, test: &str) -> bool {
    let lacking = needed - isa::detect();
    if !lacking.is_empty() {
        skip(test, &format!("this CPU lacks {lacking}"));
    }
    !lacking.is_empty()
}

#[test]
fn callback_asks_for_time_while_jobs_run_and_says_that_it_has_left() {
    let test = "callback_asks_for_time_while_jobs_run_and_says_that_it_has_left";
    if lacks(features![Avx2], test) {
        return;
    }
    let program = Program::build("examples/c/callback.c");
    let all = isa::detect();
    let (agent, mut dialogue) = started(&program, all);
    let event = dialogue.wait_for("event");
    assert_eq!(event, "event generation=5 wide=1 busy=no attempt=0");
    let agent = Registered::welcome(&agent, 5);
    let mut asked = 0;
    for generation in [6, 8, 10] {
        dialogue.wait_for("worker takes the wide path");
        program.publish_again(generation, all - features![Avx2]);
        agent.wake();
        let event = dialogue.wait_for("event");
        assert!(
            event.starts_with(&format!("event generation={generation} wide=0")),
            "{event}"
        );
        let busy = event.contains("busy=yes");
        let first = agent.verdict(generation);
        assert!(busy || first == "left", "{event}: {first}");
        if first != "left" {
            asked += 1;
            assert_eq!(first, "needs 10000");
            assert_eq!(agent.verdict(generation), "left");
        }
        program.publish_again(generation + 1, all);
        agent.wake();
        let event = dialogue.wait_for("event");
        let expected = format!(
            "event generation={} wide=1 busy=no attempt=0",
            generation + 1
        );
        assert_eq!(event, expected);
        assert_eq!(agent.verdict(generation + 1), "left");
    }
    // A worker may be quicker than the callback's answer, but not each time.
    assert!(asked > 0, "jobs take most of the time");
    dialogue.end();
}

#[test]
fn poll_loop_answers_and_follows_in_one_loop() {
    let test = "poll_loop_answers_and_follows_in_one_loop";
    if lacks(features![Sse42], test) {
        return;
    }
    let program = Program::build("examples/c/poll_loop.c");
    let all = isa::detect();
    let (agent, mut dialogue) = started(&program, all);
    // The first turn of the loop is what says the first event.
    dialogue.say("123456789");
    assert_eq!(dialogue.wait_for("event"), "event generation=5 path=sse4_2");
    let answer = dialogue.wait_for("crc");
    let agent = Registered::welcome(&agent, 5);
    for (generation, available, path) in [(6, all - features![Sse42], "plain"), (7, all, "sse4_2")]
    {
        program.publish_again(generation, available);
        // Nothing but the descriptor wakes it.
        agent.wake();
        let event = dialogue.wait_for("event");
        assert_eq!(event, format!("event generation={generation} path={path}"));
        assert_eq!(agent.verdict(generation), "left");
        assert_eq!(dialogue.ask("123456789"), answer);
    }
    dialogue.end();
}

#[test]
fn slot_uses_lzcnt_only_while_an_agent_waits_for_it() {
    let test = "slot_uses_lzcnt_only_while_an_agent_waits_for_it";
    if lacks(features![Abm, Avx2], test) {
        return;
    }
    let program = Program::build("examples/c/slot.c");
    let all = isa::detect();
    let (agent, mut dialogue) = started(&program, all);
    let first = dialogue.hear().unwrap_or_default();
    assert_eq!(first, "careless=21 slot=21 by=plain sum=36 by=avx2");
    let agent = Registered::welcome(&agent, 5);
    // It takes the agent's word in on a thread of its own.
    while dialogue.ask("") != "careless=21 slot=21 by=lzcnt sum=36 by=avx2" {}
    program.publish_again(6, all - features![Abm]);
    agent.wake();
    assert_eq!(agent.verdict(6), "left");
    assert_eq!(
        dialogue.ask(""),
        "careless=21 slot=21 by=plain sum=36 by=avx2"
    );
    dialogue.end();
}

/// What would go wrong otherwise, for real: LZCNT runs as BSR and nothing faults.
#[test]
fn slot_is_right_where_a_decision_made_once_is_wrong() {
    let test = "slot_is_right_where_a_decision_made_once_is_wrong";
    let program = Program::build("examples/c/slot.c");
    let run = |cpu: &str| Some(stdout(&finish(&mut program.on_cpu(cpu)?)));
    let Some(lesser) = run("max,-abm,-bmi1,-bmi2") else {
        return skip(test, "no qemu-x86_64");
    };
    assert_eq!(lesser, "careless=10 slot=21 by=plain sum=36 by=avx2\n");
    let full = run("max").unwrap_or_default();
    assert_eq!(full, "careless=21 slot=21 by=lzcnt sum=36 by=avx2\n");
    // Even with what was published on another host, as long as no agent waits for this process;
    // AVX2 is used once, and emulated.
    program.publish(5, isa::detect() | features![Abm, Bmi1, Avx2]);
    let stale = run("max,-abm,-bmi1,-bmi2,-avx2").unwrap_or_default();
    assert_eq!(stale, "careless=10 slot=21 by=plain sum=36 by=plain\n");
}

/// The sum of x[i] * (i % 7) for 100 terms, as the example has it.
fn dot() -> String {
    let sum: u32 = (0..100).map(|i| i * (i % 7)).sum();
    format!("dot={sum}")
}

#[test]
fn cpp_dot_follows_and_renews_its_plans() {
    let test = "cpp_dot_follows_and_renews_its_plans";
    let Some(program) = Program::build_as(CXX11, "examples/cpp/dot.cc") else {
        return skip(test, "no c++");
    };
    if lacks(features![Avx2, Fma], test) {
        return;
    }
    let all = isa::detect();
    let (agent, mut dialogue) = started(&program, all);
    assert_eq!(dialogue.wait_for("event"), "event generation=5 path=avx2");
    assert_eq!(dialogue.ask(""), dot());
    let agent = Registered::welcome(&agent, 5);
    for (generation, available, path) in [(6, all - features![Fma], "plain"), (7, all, "avx2")] {
        program.publish_again(generation, available);
        agent.wake();
        let event = dialogue.wait_for("event");
        assert_eq!(event, format!("event generation={generation} path={path}"));
        assert_eq!(agent.verdict(generation), "left");
        assert_eq!(dialogue.ask(""), dot());
    }
    dialogue.end();
}

#[test]
fn cpp_dot_is_right_where_what_was_published_is_not() {
    let test = "cpp_dot_is_right_where_what_was_published_is_not";
    let Some(program) = Program::build_as(CXX11, "examples/cpp/dot.cc") else {
        return skip(test, "no c++");
    };
    program.publish(5, isa::detect() | features![Avx2, Fma]);
    let Some(mut command) = program.on_lesser_cpu() else {
        return skip(test, "no qemu-x86_64");
    };
    let mut dialogue = Dialogue::start(&mut command);
    assert_eq!(dialogue.wait_for("event"), "event generation=5 path=avx2");
    dialogue.say("");
    // The library's thread may be quicker than the emulator.
    let mut two = [0, 1].map(|_| dialogue.hear().unwrap_or_default());
    two.sort();
    let expected = [dot(), "event generation=5 path=plain".to_owned()];
    assert_eq!(
        two, expected,
        "the first call is emulated, and the library knows"
    );
    assert_eq!(dialogue.ask(""), dot());
    dialogue.end();
}

/// The examples hold no feature that is silent but where they say so.
#[test]
fn what_the_examples_call_silent_is() {
    let silent = |feature: Feature| feature.class() == isa::RemovalClass::Silent;
    assert!(silent(Feature::Abm) && silent(Feature::Bmi1));
    assert!(
        ![Feature::Avx2, Feature::Fma, Feature::Sse42, Feature::Popcnt]
            .into_iter()
            .any(silent)
    );
}
