//! The example with the macro, told by an agent that says what the test wants.

#[path = "../../../libisahotplug/tests/support/mod.rs"]
mod support;

use std::process::Command;

use isa::{FeatureSet, features};
use support::agent::{Agent, Registered};
use support::{Dialogue, Program, skip};

/// Bits set in the first 99 multiples of the example's constant.
fn ones() -> u32 {
    let words = (1..=99u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.map(u64::count_ones).sum()
}

#[test]
fn slots_by_macro_follow_and_stay_right() {
    let wanted = features![Avx2, Popcnt, Abm];
    let all = isa::detect();
    if !wanted.is_subset(&all) {
        let lacking = wanted - all;
        return skip(
            "slots_by_macro_follow_and_stay_right",
            &format!("this CPU lacks {lacking}"),
        );
    }
    let program = Program::without_program();
    program.publish(5, all);
    let agent = Agent::listen(&program);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rust-slot"));
    command.env("ISAHOTPLUG_RUN_DIR", program.run_dir());
    let mut dialogue = Dialogue::start(&mut command);
    let agent = Registered::welcome(&agent, 5);
    let right = format!("ones={} zeros=21", ones());
    assert_eq!(dialogue.ask(""), right);
    let none = FeatureSet::EMPTY;
    let steps = [
        (6, features![Avx2], "ones=1"),
        (7, features![Avx2, Popcnt], "ones=2"),
        (8, none, "ones=0"),
        (9, features![Abm], "ones=0 zeros=1"),
        (10, none, "ones=0"),
    ];
    for (generation, removed, slots) in steps {
        program.publish_again(generation, all - removed);
        agent.wake();
        let event = dialogue.wait_for("event");
        let expected = format!("event generation={generation} {slots}");
        assert!(event.starts_with(&expected), "{event}, not {expected}");
        assert_eq!(agent.verdict(generation), "left");
        assert_eq!(dialogue.ask(""), right);
    }
    dialogue.end();
}
