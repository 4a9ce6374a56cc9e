//! The library in the child of a fork.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "support/socket.rs"]
mod agent;
mod support;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::LazyLock;

use agent::{Agent, Connection};
use isa::{Feature, features};
use support::{Deadline, Program, finish, skip, stdout};

static PROGRAM: LazyLock<Program> = LazyLock::new(build);

/// Its page is at generation 5.
fn build() -> Program {
    let program = Program::build("libisahotplug/tests/programs/forks.c");
    program.publish(5, isa::detect() | features![Sse3]);
    program
}

const BOTH: [&str; 2] = ["thread", "poll"];

/// A case without an agent.
fn succeeds(case: &str) {
    for how in BOTH {
        let output = finish(PROGRAM.here().args([case, how]));
        assert_eq!(stdout(&output), "parent ok\n", "{how}: {}", output.status);
        assert!(output.status.success(), "{how}: {}", output.status);
    }
}

#[test]
fn a_callback_may_fork_and_its_child_may_return() {
    succeeds("in-callback");
}

#[test]
fn a_child_waits_for_no_callback_of_its_parents_other_threads() {
    succeeds("running");
}

#[test]
fn a_program_that_is_executed_has_nothing_of_the_library_open() {
    succeeds("executed");
}

#[test]
fn a_child_finds_every_lock_free() {
    succeeds("hammer");
}

/// A program and its child with this agent.
struct Family {
    program: Program,
    agent: Agent,
    parent: Child,
    deadline: Deadline,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Family {
    fn start(case: &str, how: &str) -> Self {
        let program = build();
        let agent = Agent::listen(program.run_dir());
        let mut command = program.here();
        command.args([case, how]).stdout(Stdio::piped());
        let (mut parent, deadline) = Deadline::start(&mut command);
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        Self {
            program,
            agent,
            parent,
            deadline,
            lines,
        }
    }

    /// The connection of the parent, or of another process.
    fn accept(&self, is_parents: bool, generation: u64) -> Connection {
        let mut connection = self.agent.accept();
        assert_eq!(connection.pid == self.parent.id(), is_parents);
        connection.welcome(generation);
        connection
    }

    /// Generation 5 has SSE3, 6 has not, and so on.
    fn publish(&self, generation: u64) {
        let all = isa::detect() | features![Sse3];
        let lost = if generation.is_multiple_of(2) {
            features![Sse3]
        } else {
            features![]
        };
        self.program.publish_again(generation, all - lost);
    }

    fn says(&mut self, line: &str) {
        let said = self.lines.next().expect("another line").unwrap();
        assert_eq!(said, line);
    }

    fn end(mut self) {
        self.says("parent ok");
        assert!(self.parent.wait().unwrap().success());
        assert!(self.deadline.was_kept());
    }
}

/// Each is woken by its own ring, by the other's it is not.
#[test]
fn parent_and_child_follow_each_by_its_own_descriptors() {
    for how in BOTH {
        let mut family = Family::start("both", how);
        let mut parent = family.accept(true, 5);
        family.publish(6);
        parent.ring();
        family.says("parent 6");
        parent.wait_until_left(6);
        family.says("child forked");
        let mut child = family.accept(false, 6);
        family.publish(7);
        child.ring();
        family.says("child 7");
        child.wait_until_left(7);
        assert!(!parent.has_said_something(), "the parent was not woken");
        parent.ring();
        family.says("parent 7");
        parent.wait_until_left(7);
        family.publish(8);
        parent.ring();
        family.says("parent 8");
        parent.wait_until_left(8);
        assert!(!child.has_said_something(), "the child was not woken");
        child.ring();
        family.says("child 8");
        family.says("child done");
        // The child's end is not the parent's.
        family.publish(9);
        parent.ring();
        family.says("parent 9");
        family.end();
    }
}

#[test]
fn a_child_that_nobody_waits_for_uses_no_silent_feature() {
    let test = "a_child_that_nobody_waits_for_uses_no_silent_feature";
    if !isa::detect().contains(Feature::Abm) {
        return skip(test, "this CPU lacks LZCNT");
    }
    for how in BOTH {
        let mut family = Family::start("silent", how);
        let _parent = family.accept(true, 5);
        family.says("child forked");
        let _child = family.accept(false, 5);
        family.end();
    }
}

#[test]
fn a_child_may_end_the_library_and_begin_anew() {
    for how in BOTH {
        let mut family = Family::start("anew", how);
        let mut parent = family.accept(true, 5);
        family.publish(6);
        parent.ring();
        family.says("parent 6");
        family.says("child forked");
        let child = family.accept(false, 6);
        family.publish(7);
        child.ring();
        family.says("child 7");
        // The parent waits for its child's end, then for its own event.
        parent.wait_until_left(6);
        parent.ring();
        family.says("parent 7");
        family.end();
    }
}
