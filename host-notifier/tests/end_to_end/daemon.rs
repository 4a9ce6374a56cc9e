//! A `host-notifier serve` process, its log, and the commands that ask it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Nothing in these tests takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const BINARY: &str = env!("CARGO_BIN_EXE_host-notifier");

pub(crate) struct Daemon {
    child: Child,
    pub(crate) control: PathBuf,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// Lines before this were waited for already.
    cursor: usize,
}

impl Daemon {
    /// Starts it with these guests (as `--guest` takes them) and waits until
    /// it serves.
    pub(crate) fn start(control: &Path, guests: &[String]) -> Self {
        Self::start_with(control, guests, &[])
    }

    /// The same, with more flags.
    pub(crate) fn start_with(control: &Path, guests: &[String], flags: &[String]) -> Self {
        let mut command = Command::new(BINARY);
        command
            .arg("serve")
            .arg("--control")
            .arg(control)
            .args(flags);
        command.args([
            "--host-id",
            "00112233445566778899aabbccddeeff",
            "--host-name",
            "here",
        ]);
        for guest in guests {
            command.args(["--guest", guest]);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut daemon = Self {
            child,
            control: control.into(),
            lines,
            seen: Vec::new(),
            cursor: 0,
        };
        daemon.wait_for("control at");
        daemon
    }

    /// Waits for a line with `text` in it, after the one waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(line) = self.seen.get(self.cursor) {
                self.cursor += 1;
                if line.contains(text) {
                    return line.clone();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no line {text:?} ({error}) in:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Whether a line with `text` in it came so far.
    pub(crate) fn has_logged(&mut self, text: &str) -> bool {
        self.seen.extend(self.lines.try_iter());
        self.seen.iter().any(|line| line.contains(text))
    }

    /// `kill -9`
    pub(crate) fn kill(mut self) -> PathBuf {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.control.clone()
    }

    /// `kill`; how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(&self.control, arguments)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        finish(self.command(arguments))
    }

    /// What `status --json` says of the guest.
    pub(crate) fn status(&self, guest: &str) -> Value {
        let output = self.run(&["status", guest, "--json"]);
        assert!(output.status.success(), "{output:?}");
        let mut all: Value = serde_json::from_slice(&output.stdout).unwrap();
        all[0].take()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.seen.extend(self.lines.try_iter());
            eprintln!("the daemon's log:\n{}", self.seen.join("\n"));
        }
    }
}

/// `host-notifier ARGUMENTS`, which finds the daemon by the environment.
pub(crate) fn command(control: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments.iter().map(OsStr::new))
        .env("ISAHOTPLUG_CONTROL", control);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end, but not for ever.
pub(crate) fn finish(mut command: Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    ended.recv_timeout(PATIENCE).map_or_else(
        |error| {
            kill(pid, Signal::SIGKILL).unwrap();
            panic!("{command:?}: {error}")
        },
        Result::unwrap,
    )
}
