//! Who is called when, and by whom: what `isahotplug.h` and docs/guide.md say of the order of
//! callbacks.

mod support;

use isa::features;
use support::agent::{Agent, Registered};
use support::{Dialogue, Program};

/// Observers, then by priority, those of the same priority as they were registered; but each after
/// what it builds upon.
const ADDED: &str = "observer+ high+ base+ slow+ top+ second+ low+";
/// Before what it builds upon, once the others have answered: "slow" asks for time, and meanwhile
/// those are called who have nothing to do with it.
const REMOVED: &str = "observer- high- top- slow- second- low- slow- base-";

fn program() -> Program {
    let program = Program::build("libisahotplug/tests/programs/callers.c");
    program.publish(5, isa::detect());
    program
}

fn hear(dialogue: &mut Dialogue, expected: &str) {
    let count = expected.split(' ').count();
    let lines: Vec<String> = (0..count).filter_map(|_| dialogue.hear()).collect();
    assert_eq!(lines.join(" "), expected);
}

#[test]
fn a_poll_calls_in_order_of_priority_and_dependence() {
    let program = program();
    let mut dialogue = Dialogue::start(program.here().arg("poll"));
    assert_eq!(dialogue.hear().as_deref(), Some("ready"));
    for round in [6, 8] {
        program.publish_again(round, isa::detect() - features![Sse3]);
        dialogue.say("8");
        hear(&mut dialogue, &format!("{REMOVED} idle"));
        program.publish_again(round + 1, isa::detect());
        dialogue.say("7");
        hear(&mut dialogue, &format!("{ADDED} idle"));
    }
    dialogue.end();
}

#[test]
fn the_thread_calls_in_the_same_order_and_leaves_to_a_poll_what_is_its() {
    let program = program();
    let agent = Agent::listen(&program);
    let mut dialogue = Dialogue::start(program.here().arg("thread"));
    assert_eq!(dialogue.hear().as_deref(), Some("ready"));
    let agent = Registered::welcome(&agent, 5);
    for round in [6, 8] {
        program.publish_again(round, isa::detect() - features![Sse3]);
        agent.wake();
        hear(&mut dialogue, REMOVED);
        // "base", "polled" and the others are not eager: nobody waits for them.
        assert_eq!(agent.verdict(round), "needs 200");
        assert_eq!(agent.verdict(round), "left");
        dialogue.say("1");
        hear(&mut dialogue, "polled- idle");
        program.publish_again(round + 1, isa::detect());
        agent.wake();
        hear(&mut dialogue, ADDED);
        dialogue.say("1");
        hear(&mut dialogue, "polled+ idle");
        assert_eq!(agent.verdict(round + 1), "left");
    }
    dialogue.end();
}
