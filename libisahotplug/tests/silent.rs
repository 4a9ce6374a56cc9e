//! Features whose loss does not fault: variants that use them are in force only while a planned
//! removal would wait for the process.

mod support;

use isa::{Feature, features};
use protocol::local::{FromProcess, ToProcess, Urgency};
use support::agent::{Agent, Connection};
use support::{Dialogue, Program};

const WELCOME: ToProcess = ToProcess::Welcome {
    version: 1,
    generation: 5,
};

/// The process, which has registered for SSE3 alone, and its agent's end.
fn registered(program: &Program) -> (Dialogue, Connection) {
    program.publish(5, isa::detect() | features![Abm]);
    let agent = Agent::listen(program);
    let mut dialogue = Dialogue::start(&mut program.here());
    assert_eq!(dialogue.ask("poll"), "nothing");
    let connection = agent.accept();
    let FromProcess::Register {
        interest, urgency, ..
    } = connection.receive()
    else {
        panic!("the first packet is no registration")
    };
    assert_eq!((interest, urgency), (features![Sse3], Urgency::Eager));
    connection.say(&WELCOME);
    (dialogue, connection)
}

/// The agent may answer a prepare at any moment, and does so without a process that wants to hear
/// of other features.
#[test]
fn a_new_slot_does_not_use_a_silent_feature_before_the_agent_knows_of_it() {
    let program = Program::build("libisahotplug/tests/programs/silent.c");
    let (mut dialogue, connection) = registered(&program);
    assert_eq!(dialogue.ask("welcome"), "nothing");
    assert_eq!(dialogue.ask("slot"), "plain");
    assert_eq!(dialogue.ask("poll"), "plain");
    connection.wait(|message| match message {
        FromProcess::Register { interest, .. } => interest.contains(Feature::Abm).then_some(()),
        _ => None,
    });
    assert_eq!(dialogue.ask("poll"), "plain");
    connection.say(&WELCOME);
    assert_eq!(dialogue.ask("await"), "silent");
    dialogue.end();
}

#[test]
fn a_slot_that_is_released_does_not_go_on_with_a_silent_feature() {
    let program = Program::build("libisahotplug/tests/programs/silent.c");
    // Without an agent there is nobody to wait for anybody.
    let mut dialogue = Dialogue::start(&mut program.here());
    if !isa::detect().contains(Feature::Abm) {
        return support::skip(
            "a_slot_that_is_released_does_not_go_on_with_a_silent_feature",
            "the CPU has no LZCNT",
        );
    }
    assert_eq!(dialogue.ask("slot"), "silent");
    assert_eq!(dialogue.ask("release"), "plain");
    dialogue.end();
}

/// There would be no way to leave it.
#[test]
fn a_slot_with_nothing_but_a_silent_variant_is_refused() {
    let program = Program::build("libisahotplug/tests/programs/silent.c");
    let mut dialogue = Dialogue::start(&mut program.here());
    assert_eq!(dialogue.ask("alone"), "invalid argument");
    dialogue.end();
}
