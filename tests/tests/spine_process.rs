//! A process and the agent, both on this machine: who is registered, and for
//! how long.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use isahotplug_tests::{linked_c, product};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

/// The lines of a pipe, read in the background.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

struct Agent {
    run_dir: TempDir,
    child: Child,
    log: Receiver<String>,
}

impl Agent {
    fn start() -> Self {
        let run_dir = TempDir::new().expect("a folder");
        let mut child = Command::new(product("guest-agent").expect("the release build"))
            .args(["run", "--port-name", "org.isahotplug.none", "--run-dir"])
            .arg(run_dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let log = lines(child.stderr.take().expect("piped"));
        let mut agent = Self {
            run_dir,
            child,
            log,
        };
        agent.wait_for("ready in");
        agent
    }

    fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) if line.contains(words) => return,
                Ok(_) => {}
                Err(error) => panic!("the agent has not said {words:?}: {error}"),
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

impl Program {
    fn start(run_dir: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/registrations.c");
        let (program, libraries): (PathBuf, PathBuf) = linked_c(&source).expect("it compiles");
        let mut child = Command::new(program)
            .env("ISAHOTPLUG_RUN_DIR", run_dir)
            .env("LD_LIBRARY_PATH", libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = child.stdin.take();
        let output = lines(child.stdout.take().expect("piped"));
        Self {
            child,
            input,
            output,
        }
    }

    fn tell(&mut self, word: &str) -> String {
        let input = self.input.as_mut().expect("still open");
        writeln!(input, "{word}").expect("it reads");
        self.output.recv_timeout(SOON).expect("an answer")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_last_unregistration_ends_the_connection_and_nothing_spins() {
    let mut agent = Agent::start();
    let mut program = Program::start(agent.run_dir.path());
    agent.wait_for("registered as registrations");
    let done = program.tell("unregister");
    agent.wait_for("gone, was registered as registrations");
    let spent: u64 = done
        .rsplit('=')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    assert!(
        spent < 100,
        "half a second of waiting took {spent} ms of CPU time"
    );
}

#[test]
fn a_child_of_a_fork_does_not_keep_its_dead_parent_registered() {
    let mut agent = Agent::start();
    let mut program = Program::start(agent.run_dir.path());
    agent.wait_for("registered as registrations");
    assert_eq!(program.tell("fork"), "done");
    program.child.kill().expect("it runs");
    program.child.wait().expect("it ends");
    // The child lives, for its input is still open.
    agent.wait_for("gone, was registered as registrations");
    program.input = None;
}
