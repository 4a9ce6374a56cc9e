//! Agents that die, that are none, or that talk nonsense: the program goes on at what it knows, says
//! so, does not turn in circles, and follows the next real one.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "support/socket.rs"]
mod agent;
mod support;

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use agent::{Agent, Connection, wait_for};
use isa::features;
use protocol::Text;
use protocol::local::{self, FromProcess, ToProcess};
use support::{Deadline, Program, last_number};

/// The program `follower.c`, and a folder in which there may be an agent.
struct Follower {
    program: Program,
    child: Child,
    deadline: Deadline,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    /// Its page is at generation 5.
    fn start(how: &str, prepare: impl FnOnce(&Program)) -> Self {
        let program = Program::build("libisahotplug/tests/programs/follower.c");
        program.publish(5, isa::detect());
        prepare(&program);
        let mut command = program.here();
        command
            .arg(how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let (mut child, deadline) = Deadline::start(&mut command);
        let (questions, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            program,
            child,
            deadline,
            questions,
            answers: BufReader::new(answers).lines(),
        }
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.questions, "{question}").unwrap();
        self.answers.next().expect("an answer").unwrap()
    }

    fn look(&mut self) -> String {
        self.ask("look")
    }

    fn wait_for_state(&mut self, state: &str) {
        wait_for(state, || {
            self.look().split_once("state=").unwrap().1.contains(state)
        });
    }

    /// Publishes without SSE3 and waits until the callback knows.
    fn is_told(&mut self, agent: &mut Connection, generation: u64) {
        let lost = features![Sse3];
        let available = if generation.is_multiple_of(2) {
            isa::detect() - lost
        } else {
            isa::detect()
        };
        self.program.publish_again(generation, available);
        agent.ring();
        wait_for("the event", || {
            last_number(&self.look(), "last") == generation
        });
        agent.wait_until_left(generation);
    }

    /// Milliseconds of the CPU's.
    fn cpu(&mut self) -> u64 {
        last_number(&self.look(), "cpu_ms")
    }

    fn end(mut self) {
        drop(self.questions);
        let last = self.answers.next().expect("a last line").unwrap();
        assert_eq!(last, "ok");
        assert!(self.child.wait().unwrap().success());
        assert!(self.deadline.was_kept());
    }
}

const BOTH: [&str; 2] = ["thread", "poll"];

#[test]
fn an_agent_that_is_gone_is_waited_for_and_the_next_is_followed() {
    for how in BOTH {
        let mut first = None;
        let mut follower = Follower::start(how, |program| {
            first = Some(Agent::listen(program.run_dir()));
        });
        let agent = first.take().unwrap();
        let mut connection = agent.accept();
        connection.welcome(5);
        follower.wait_for_state("registered with the agent");
        follower.is_told(&mut connection, 6);
        drop((connection, agent));
        follower.wait_for_state("going by what was published last");
        assert_eq!(last_number(&follower.look(), "generation"), 6);
        let agent = Agent::listen(follower.program.run_dir());
        let mut connection = agent.accept();
        connection.welcome(6);
        follower.wait_for_state("registered with the agent");
        follower.is_told(&mut connection, 7);
        follower.end();
    }
}

/// For so long an impostor plays his game.
const A_WHILE: Duration = Duration::from_secs(2);

/// Meets the program for a while; how often it came.
fn meet(agent: &Agent, mut treat: impl FnMut(Connection)) -> usize {
    let end = Instant::now() + A_WHILE;
    let mut count = 0;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if let Some(connection) = agent.accept_within(left) {
            count += 1;
            treat(connection);
        }
    }
    count
}

/// What an impostor does does not make the program turn in circles, and a real agent is found after it.
fn outlives(how: &str, most: usize, treat: impl FnMut(Connection)) {
    let mut impostor = None;
    let mut follower = Follower::start(how, |program| {
        impostor = Some(Agent::listen(program.run_dir()));
    });
    let impostor = impostor.take().unwrap();
    let before = follower.cpu();
    let count = meet(&impostor, treat);
    let spent = follower.cpu() - before;
    assert!((1..=most).contains(&count), "{how}: {count} connections");
    assert!(spent < 200, "{how}: {spent} ms of CPU time in {A_WHILE:?}");
    assert_eq!(last_number(&follower.look(), "generation"), 5);
    drop(impostor);
    let agent = Agent::listen(follower.program.run_dir());
    // What had connected to the impostor ends with it.
    let mut connection = agent.accept();
    connection.welcome(5);
    follower.is_told(&mut connection, 6);
    follower.end();
}

#[test]
fn one_that_closes_every_connection_is_left_alone_for_longer_and_longer() {
    for how in BOTH {
        outlives(how, 10, drop);
    }
}

#[test]
fn one_that_welcomes_and_closes_is_not_asked_without_a_pause() {
    for how in BOTH {
        outlives(how, 50, |mut connection| connection.welcome(5));
    }
}

#[test]
fn garbage_is_no_agent() {
    let oversized = vec![1; 100_000];
    let trailing = [
        local::encode(
            &ToProcess::Present {
                features: features![],
            },
            local::MAX_REPLY,
        )
        .unwrap(),
        vec![0; 9],
    ]
    .concat();
    let packets: [&[u8]; 7] = [
        &[0],
        &[1],
        &[9, 9, 9],
        &[1, 77, 1, 2, 3],
        &[1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        &oversized,
        &trailing,
    ];
    for how in BOTH {
        let mut turn = 0;
        outlives(how, 10, |connection| {
            connection.say_bytes(packets[turn % packets.len()]);
            turn += 1;
            wait_for("the end of the connection", || connection.is_closed());
        });
    }
}

#[test]
fn one_that_refuses_us_is_believed_and_asked_again_later() {
    for how in BOTH {
        outlives(how, 10, |connection| {
            let reason = Text::lossy("not today");
            connection.say(&ToProcess::Rejected { reason });
        });
    }
}

/// One that takes the connection and then neither reads nor says anything.
#[test]
fn one_that_says_nothing_costs_nothing() {
    for how in BOTH {
        let mut silent = None;
        let mut follower = Follower::start(how, |program| {
            silent = Some(Agent::listen(program.run_dir()));
        });
        let silent = silent.take().unwrap();
        let mut connections = Vec::new();
        for _ in 0..10 {
            // What it would say fills every buffer.
            follower.ask("churn");
        }
        let before = follower.cpu();
        assert!(meet(&silent, |connection| connections.push(connection)) <= 1);
        let spent = follower.cpu() - before;
        assert!(spent < 200, "{how}: {spent} ms of CPU time in {A_WHILE:?}");
        drop((silent, connections));
        let agent = Agent::listen(follower.program.run_dir());
        let mut connection = agent.accept();
        connection.welcome(5);
        follower.is_told(&mut connection, 6);
        follower.end();
    }
}

/// More than can be read: whoever asks the library for something is answered all the same.
#[test]
fn one_that_talks_without_end_does_not_hold_up_the_program() {
    for how in BOTH {
        let mut talker = None;
        let mut follower = Follower::start(how, |program| {
            talker = Some(Agent::listen(program.run_dir()));
        });
        let talker = talker.take().unwrap();
        let connection = talker.accept();
        let present = ToProcess::Present {
            features: features![Avx2],
        };
        let packet = local::encode(&present, local::MAX_REPLY).unwrap();
        std::thread::scope(|scope| {
            let talking = scope.spawn(|| {
                // Until the program ends.
                while !connection.is_closed() {
                    connection.say_bytes(&packet);
                }
            });
            for _ in 0..20 {
                assert_eq!(last_number(&follower.look(), "generation"), 5);
            }
            follower.ask("churn");
            follower.end();
            talking.join().unwrap();
        });
    }
}

#[test]
fn a_page_that_is_none_leaves_the_old_one_in_force() {
    for how in BOTH {
        let mut first = None;
        let mut follower = Follower::start(how, |program| {
            first = Some(Agent::listen(program.run_dir()));
        });
        let agent = first.take().unwrap();
        let mut connection = agent.accept();
        connection.welcome(5);
        follower.is_told(&mut connection, 6);
        let page = follower.program.run_dir().join("page");
        let good = follower.program.run_dir().join("good");
        std::fs::rename(&page, &good).unwrap();
        for garbage in [vec![], vec![0xff; 4096], vec![0; 4096], vec![0; 9999]] {
            std::fs::write(&page, garbage).unwrap();
            drop(connection);
            // Each new connection looks at the page anew.
            connection = agent.accept();
            connection
                .wait(|message| matches!(message, FromProcess::Register { .. }).then_some(()));
            assert_eq!(last_number(&follower.look(), "generation"), 6);
        }
        std::fs::rename(&good, &page).unwrap();
        follower.is_told(&mut connection, 7);
        follower.end();
    }
}
