//! A program and the real agent, which is killed, stopped and started again.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use isahotplug_tests::{linked_c, product};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        kill(pid, signal).expect("it runs");
    }
}

fn agent(run_dir: &Path) -> Running {
    let agent = product("guest-agent").expect("the release build");
    let child = Command::new(agent)
        .args([
            "run",
            "--port-name",
            "org.isahotplug.test-none",
            "--run-dir",
        ])
        .arg(run_dir)
        .stderr(Stdio::null())
        .spawn();
    Running(child.expect("the agent starts"))
}

/// `follower.c`.
struct Follower {
    child: Running,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(run_dir: &Path, how: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../libisahotplug/tests/programs/follower.c");
        let (program, library): (PathBuf, PathBuf) = linked_c(&source).expect("it compiles");
        let mut child = Command::new(program)
            .arg(how)
            .env("LD_LIBRARY_PATH", library)
            .env("ISAHOTPLUG_RUN_DIR", run_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let questions = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self {
            child: Running(child),
            questions,
            answers,
        }
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.questions, "{question}").expect("it listens");
        self.answers.next().expect("an answer").expect("text")
    }

    fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask("look");
            if answer.contains(text) {
                return answer;
            }
            assert!(Instant::now() < end, "waited for {text:?}: {answer}");
        }
    }

    fn end(mut self) {
        drop(self.questions);
        let last = self.answers.next().expect("a line").expect("text");
        assert_eq!(last, "ok");
        assert!(self.child.0.wait().expect("it ends").success());
    }
}

fn registered(run_dir: &Path) -> bool {
    let output = Command::new(product("guest-agent").expect("the release build"))
        .args(["status", "--json", "--run-dir"])
        .arg(run_dir)
        .output()
        .expect("it starts");
    String::from_utf8_lossy(&output.stdout).contains("\"registered\": 1")
}

const REGISTERED: &str = "state=registered with the agent";
const ALONE: &str = "going by what was published last";

#[test]
fn a_killed_agent_is_missed_and_the_next_one_found() {
    for how in ["thread", "poll"] {
        let folder = TempDir::new().expect("a folder");
        let run_dir = folder.path().join("run");
        let first = agent(&run_dir);
        let mut program = Follower::start(&run_dir, how);
        program.wait_for(REGISTERED);
        assert!(registered(&run_dir));
        first.signal(Signal::SIGKILL);
        drop(first);
        let answer = program.wait_for(ALONE);
        assert!(answer.contains("generation=1 "), "{answer}");
        program.ask("churn");
        let _second = agent(&run_dir);
        program.wait_for(REGISTERED);
        assert!(registered(&run_dir));
        program.end();
    }
}

/// It takes connections (the kernel does) and answers nothing.
#[test]
fn a_stopped_agent_holds_nobody_up() {
    for how in ["thread", "poll"] {
        let folder = TempDir::new().expect("a folder");
        let run_dir = folder.path().join("run");
        let agent = agent(&run_dir);
        let mut program = Follower::start(&run_dir, how);
        program.wait_for(REGISTERED);
        agent.signal(Signal::SIGSTOP);
        let start = Instant::now();
        for _ in 0..10 {
            program.ask("churn");
        }
        // Another one starts, and ends, meanwhile.
        let mut other = Follower::start(&run_dir, how);
        let answer = other.ask("churn");
        assert!(answer.contains("generation=1 "), "{answer}");
        other.end();
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        agent.signal(Signal::SIGCONT);
        program.wait_for(REGISTERED);
        let end = Instant::now() + PATIENCE;
        while !registered(&run_dir) {
            assert!(Instant::now() < end, "the other's end reaches the agent");
        }
        program.end();
    }
}
