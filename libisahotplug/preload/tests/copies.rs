//! Several copies of the library in one process: the shared one that a program is linked with, one
//! inside a plugin, and the preload object.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../../tests/support/socket.rs"]
mod agent;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use agent::{Agent, Connection, wait_for};
use isa::{Feature, features};
use support::{Deadline, Program, root, skip};

/// Where cargo has put this file beside the test.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join(name).canonicalize().unwrap()
}

/// Puts the plugin beside the program.
fn build_plugin(program: &Program) {
    let output = Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra"])
        .args(["-Werror", "-fPIC", "-shared", "-pthread"])
        .arg("-I")
        .arg(root().join("libisahotplug/include"))
        .arg(root().join("libisahotplug/preload/tests/programs/copies_plugin.c"))
        .arg(built("libisahotplug.a"))
        .arg("-Wl,--exclude-libs,ALL,--gc-sections")
        .args(["-ldl", "-lm", "-o"])
        .arg(program.run_dir().join("plugin.so"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

/// Runs a case, publishes whenever the program says so, and returns how many connections the agent
/// had.
fn run(case: &str, is_preloaded: bool) -> usize {
    let program = Program::build("libisahotplug/preload/tests/programs/copies.c");
    build_plugin(&program);
    let all = isa::detect() | features![Sse3, Xop];
    program.publish(7, all);
    let agent = Agent::listen(program.run_dir());
    let mut command = program.here();
    command.arg(case).stdout(Stdio::piped());
    if is_preloaded {
        command
            .arg("preloaded")
            .env("LD_PRELOAD", built("libisahotplug_preload.so"));
    }
    let (mut child, deadline) = Deadline::start(&mut command);
    let mut connections: Vec<Connection> = Vec::new();
    let mut count = 0;
    let mut generation = 7;
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line != "next" {
            said.push(line);
            continue;
        }
        generation += 1;
        let lost = if generation % 2 == 0 {
            features![Sse3]
        } else {
            features![]
        };
        program.publish_again(generation, all - lost);
        // Whoever is connected is woken; somebody must be.
        connections.retain(|connection| !connection.is_closed());
        wait_for("a connection", || {
            while let Some(mut connection) = agent.accept_within(Duration::ZERO) {
                count += 1;
                connection.welcome(generation);
                connections.push(connection);
            }
            !connections.is_empty()
        });
        connections.iter().for_each(Connection::ring);
    }
    let status = child.wait().unwrap();
    assert!(deadline.was_kept(), "hangs: {said:?}");
    assert_eq!(said, ["ok"], "{status}");
    assert!(status.success(), "{status}");
    while agent.accept_within(Duration::ZERO).is_some() {
        count += 1;
    }
    count
}

fn skips(test: &str) -> bool {
    let has = isa::detect().contains(Feature::Xop);
    if has {
        skip(test, "this CPU has XOP");
    }
    has
}

macro_rules! cases {
    ($($test:ident: $case:literal, $preloaded:literal, $connections:expr;)+) => {
        $(#[test]
        fn $test() {
            if !skips(stringify!($test)) {
                let count = run($case, $preloaded);
                let expected: Option<usize> = $connections;
                assert!(expected.is_none_or(|expected| count == expected), "{count} connections");
            }
        })+
    };
}

cases! {
    a_plugins_copy_joins_and_leaves_nothing_behind: "plugin-second", false, Some(1);
    a_plugins_copy_that_serves_stays: "plugin-first", false, Some(2);
    copies_begin_and_end_in_every_order: "orders", false, None;
    two_copies_that_are_unloaded_at_once_both_end: "at-once", false, Some(1);
    another_version_is_joined_if_it_can_be: "versions", false, Some(0);
    under_the_preload_object_a_plugins_copy_joins_it: "plugin-second", true, Some(1);
    under_the_preload_object_the_first_copy_joins_it: "plugin-first", true, Some(2);
    under_the_preload_object_copies_begin_and_end_in_every_order: "orders", true, None;
    under_the_preload_object_two_are_unloaded_at_once: "at-once", true, Some(1);
}
