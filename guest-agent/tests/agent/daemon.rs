//! A daemon under test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use tempfile::TempDir;

use crate::PATIENCE;
use crate::host::Host;
use crate::process::{PageView, Process};

/// A directory with a channel and a run directory in it.
pub(crate) struct Guest {
    dir: TempDir,
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub(crate) fn port(&self) -> PathBuf {
        self.dir.path().join("port")
    }

    pub(crate) fn page_path(&self) -> PathBuf {
        self.run_dir().join("page")
    }

    /// A host at the other end of the channel, before the agent is there.
    pub(crate) fn host(&self, number: u8) -> Host {
        Host::listen(&self.port(), number)
    }

    pub(crate) fn start(&self) -> Daemon {
        self.start_with(&["--port", self.port().to_str().unwrap()])
    }

    pub(crate) fn start_with(&self, arguments: &[&str]) -> Daemon {
        let daemon = Daemon::spawn(Command::new(PROGRAM).arg("run"), &self.run_dir(), arguments);
        daemon.wait_for("ready in");
        daemon
    }

    /// A daemon and a host that it has said hello to and that has offered
    /// what is visible, so that generation 1 is all there is.
    pub(crate) fn start_with_host(&self) -> (Daemon, Host) {
        let mut host = self.host(1);
        let daemon = self.start();
        host.accept();
        host.offer(isa::detect());
        host.wait_for_ack();
        (daemon, host)
    }

    pub(crate) fn process(&self) -> Process {
        Process::connect(&self.run_dir())
    }

    pub(crate) fn page(&self) -> PageView {
        PageView::open(&self.page_path())
    }

    /// What `guest-agent status --json` prints, and whether it succeeds.
    pub(crate) fn status(&self) -> (String, bool) {
        let mut command = Command::new(PROGRAM);
        command
            .args(["status", "--json", "--run-dir"])
            .arg(self.run_dir());
        let output = command.output().unwrap();
        (
            String::from_utf8(output.stdout).unwrap(),
            output.status.success(),
        )
    }
}

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_guest-agent");

/// The running program; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    pub(crate) fn spawn(command: &mut Command, run_dir: &Path, arguments: &[&str]) -> Self {
        command.arg("--run-dir").arg(run_dir).args(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("agent: {line}");
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line of the log with `text` in it; those before are skipped.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with {text:?} in the agent's log: {error}"),
            }
        }
    }

    /// All lines until the program ends.
    pub(crate) fn rest_of_log(&self) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        let next = || {
            let left = end.saturating_duration_since(Instant::now());
            self.lines.recv_timeout(left).ok()
        };
        std::iter::from_fn(next).collect()
    }

    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
