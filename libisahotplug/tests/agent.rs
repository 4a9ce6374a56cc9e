//! The library and an agent that says what the test wants.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use isa::features;
use protocol::local::{FromProcess, ToProcess, Urgency};
use support::agent::Agent;
use support::{Deadline, Dialogue, Program, skip};

/// The guest went to a lesser host and back before the agent could look.
#[test]
fn what_the_agent_finds_present_after_a_trap_is_used_again() {
    let test = "what_the_agent_finds_present_after_a_trap_is_used_again";
    let program = Program::build("examples/c/demo.c");
    let wide = features![Avx2, Fma, F16c, Bmi2];
    program.publish(5, isa::detect() | wide);
    let agent = Agent::listen(&program);
    let Some(mut command) = program.on_lesser_cpu() else {
        return skip(test, "no qemu-x86_64");
    };
    let (mut child, deadline) = Deadline::start(command.stdout(Stdio::piped()));
    let connection = agent.accept();
    let (interest, urgency) = connection.wait(|message| match message {
        FromProcess::Register {
            interest,
            urgency,
            name,
            ..
        } => {
            assert_eq!(name.as_str(), "demo");
            Some((interest, urgency))
        }
        _ => None,
    });
    assert_eq!((interest, urgency), (wide, Urgency::Eager));
    connection.say(&ToProcess::Welcome {
        version: 1,
        generation: 5,
    });
    let lost = connection.wait(|message| match message {
        FromProcess::Trapped { features, address } => {
            assert_ne!(address, 0);
            Some(features)
        }
        _ => None,
    });
    assert!(!lost.is_disjoint(&wide), "{lost}");
    connection.say(&ToProcess::Present { features: lost });
    let output = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let paths: Vec<String> = output
        .filter(|line| line.starts_with("event"))
        .map(|line| line.split("path=").nth(1).unwrap()[..4].to_owned())
        .take(2)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(deadline.was_kept());
    assert_eq!(
        paths,
        ["sse2", "avx2"],
        "left at the trap, taken again at the agent's word"
    );
}

/// A program that polls is woken through the one descriptor, and tells the
/// agent what it has left.
#[test]
fn the_descriptor_wakes_a_program_that_polls() {
    let program = Program::build("libisahotplug/tests/programs/pollfd.c");
    program.publish(5, isa::detect());
    let agent = Agent::listen(&program);
    let (mut child, deadline) = Deadline::start(program.here().stdout(Stdio::piped()));
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let connection = agent.accept();
    let (message, eventfd) = connection.receive_with_eventfd();
    assert!(matches!(
        message,
        FromProcess::Register {
            urgency: Urgency::Eager,
            generation: 5,
            ..
        }
    ));
    let eventfd = eventfd.expect("an eventfd comes with it");
    connection.say(&ToProcess::Welcome {
        version: 1,
        generation: 5,
    });
    for (generation, available) in [(6, isa::detect() - features![Sse3]), (7, isa::detect())] {
        program.publish_again(generation, available);
        nix::unistd::write(&eventfd, &1u64.to_ne_bytes()).unwrap();
        assert_eq!(lines.next(), Some(format!("generation {generation}")));
        let left = connection.wait(|message| match message {
            FromProcess::Left { generation } => Some(generation),
            _ => None,
        });
        assert_eq!(left, generation);
    }
    assert!(child.wait().unwrap().success());
    assert!(deadline.was_kept());
}

/// An agent that starts anew takes a process that has acted upon a generation for one that has left.
#[test]
fn who_has_refused_has_not_acted_and_says_so_to_the_next_agent() {
    let program = Program::build("libisahotplug/tests/programs/refuse.c");
    program.publish(5, isa::detect());
    let agent = Agent::listen(&program);
    let dialogue = Dialogue::start(&mut program.here());
    let mut eventfd = None;
    for _ in 0..2 {
        let connection = agent.accept();
        let (message, given) = connection.receive_with_eventfd();
        let FromProcess::Register { generation, .. } = message else {
            panic!("the first packet is no registration")
        };
        assert_eq!(generation, 5);
        connection.say(&ToProcess::Welcome {
            version: 1,
            generation: 5,
        });
        if eventfd.is_none() {
            program.publish_again(6, isa::detect() - features![Sse3]);
            eventfd = given;
            nix::unistd::write(eventfd.as_ref().unwrap(), &1u64.to_ne_bytes()).unwrap();
        }
        let reason = connection.wait(|message| match message {
            FromProcess::Refuse { generation, reason } => {
                assert_eq!(generation, 6);
                Some(reason)
            }
            FromProcess::Left { generation } => panic!("left {generation}"),
            _ => None,
        });
        assert_eq!(reason.as_str(), "never");
    }
    dialogue.end();
}
