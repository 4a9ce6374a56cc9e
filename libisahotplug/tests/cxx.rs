//! The C++ header.

mod support;

use std::process::Stdio;

use isa::features;
use support::agent::{Agent, Registered};
use support::{Dialogue, Program, skip};

const DIALECTS: [&[&str]; 6] = [
    &["c++", "-std=c++11"],
    &["c++", "-std=c++14", "-O2", "-flto"],
    &["c++", "-std=c++17", "-O1", "-fvisibility=hidden"],
    &["c++", "-std=c++20", "-O2", "-fno-rtti"],
    &["c++", "-std=c++20", "-O0", "-fno-exceptions"],
    &["c++", "-std=c++23", "-O2"],
];

#[test]
fn the_cxx_header_keeps_its_word_in_every_dialect() {
    for dialect in DIALECTS {
        let strict = [dialect, &["-Wpedantic"]].concat();
        let source = "libisahotplug/tests/programs/cxx.cc";
        let Some(program) = Program::build_as(&strict, source) else {
            return skip("the_cxx_header_keeps_its_word_in_every_dialect", "no c++");
        };
        let throws = !dialect.contains(&"-fno-exceptions");
        tells(&program, throws);
    }
}

/// The program's callbacks answer in every way they can; nothing that they throw gets through.
fn tells(program: &Program, throws: bool) {
    let (all, less) = (isa::detect(), isa::detect() - features![Sse3]);
    program.publish(5, all);
    let agent = Agent::listen(program);
    let mut dialogue = Dialogue::start(program.here().stderr(Stdio::inherit()));
    assert_eq!(dialogue.hear().as_deref(), Some("ok"));
    // The slots' and the callbacks' interest has come together by now.
    let registered = std::cell::OnceCell::new();
    let mut generation = 5;
    let mut round = |answer: &str, available, expected: &str, said: &str| {
        generation += 1;
        program.publish_again(generation, available);
        dialogue.say(answer);
        let agent = registered.get_or_init(|| Registered::welcome(&agent, 5));
        agent.wake();
        let mut verdict = agent.verdict(generation);
        assert_eq!(verdict, said);
        if verdict.starts_with("needs") {
            verdict = agent.verdict(generation);
            assert_eq!(verdict, "left");
        }
        assert_eq!(dialogue.hear().as_deref(), Some(expected), "{answer}");
    };
    round("go", less, "ok calls=1 plus=103 observed=0-1", "left");
    round("go", all, "ok calls=2 plus=1003 observed=1-0", "left");
    round(
        "refuse",
        less,
        "ok calls=3 plus=103 observed=0-1",
        "refuse busy with x²",
    );
    round(
        "needs",
        all,
        "ok calls=5 plus=1003 observed=1-0",
        "needs 20",
    );
    if throws {
        let said = "refuse no way out of the loop";
        round("throw", less, "ok calls=6 plus=103 observed=0-1", said);
        let said = "refuse a callback has thrown something";
        round(
            "throw a number",
            all,
            "ok calls=7 plus=1003 observed=1-0",
            said,
        );
    }
    dialogue.end();
}
