//! A guest without a virtual machine: the agent runs on this machine, its
//! channel is a socket, and its host is the test.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use isa::FeatureSet;
use protocol::ToHost;
use tempfile::TempDir;

use crate::daemon::{self, Daemon};
use crate::error::{Doing, HarnessError, Result};
use crate::places::product;
use crate::port::Line;
use crate::raw::RawHost;
use crate::run::Run;

/// How long a program may take for what it has to say.
const SOON: Duration = Duration::from_secs(30);
/// How long a prepare holds: longer than a test waits for anything.
const PREPARED: Duration = Duration::from_secs(120);

/// A running agent that a host has said hello to.
#[derive(Debug)]
pub struct LocalGuest {
    agent: Daemon,
    host: RawHost,
    nonce: u64,
    /// Of the latest offer, or prepare.
    sequence: u64,
    folder: TempDir,
    run: Arc<Run>,
}

/// What the agent said to a prepare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// Every process has left.
    Ready,
    /// Those have not left in time.
    Busy(Vec<String>),
    /// One will not leave.
    Refused(String),
}

impl LocalGuest {
    /// Starts the agent.
    ///
    /// # Errors
    /// [`HarnessError::Missing`] when it was not built.
    pub fn start() -> Result<Self> {
        Self::start_as(Command::new(product("guest-agent")?))
    }

    /// Starts the agent by this command, to which its arguments are added.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`] when no agent connects.
    pub fn start_as(mut command: Command) -> Result<Self> {
        let run = Run::current()?;
        let doing = || "making the guest's folder".into();
        let folder = TempDir::new_in(run.sockets()).doing(doing)?;
        let port = folder.path().join("port");
        let listener = UnixListener::bind(&port).doing(doing)?;
        command.arg("run").arg("--port").arg(&port);
        command.arg("--run-dir").arg(folder.path().join("run"));
        let agent = Daemon::start("guest-agent", command, &run.new_log("agent"))?;
        let mut host = run.note_failure(RawHost::accept(&listener, b'A'))?;
        let nonce = run.note_failure(host.hello(1))?.nonce;
        Ok(Self {
            agent,
            host,
            nonce,
            sequence: 0,
            folder,
            run,
        })
    }

    /// The directory of page and socket.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The agent's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.agent.pid()
    }

    /// The host says what it can execute; returns when the agent has published
    /// what it believes of that.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn offer(&mut self, available: FeatureSet) -> Result<()> {
        self.sequence += 1;
        let settled = self.host.settle(self.nonce, self.sequence, available);
        self.run.note_failure(settled)
    }

    /// The host announces a removal; returns its number.
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn announce(&mut self, lost: FeatureSet, allowed: Duration) -> Result<u64> {
        self.sequence += 1;
        let id = self.sequence;
        let bytes = self.host.prepare(self.nonce, id, lost, allowed);
        self.host.write(&bytes)?;
        Ok(id)
    }

    /// Waits for the answer to a prepare.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn answer(&mut self, id: u64) -> Result<Answered> {
        let answer = self
            .host
            .wait("the answer to a prepare", |message| match message {
                ToHost::Ready(ready) if ready.id == id => Some(Answered::Ready),
                ToHost::Busy(busy) if busy.id == id => Some(Answered::Busy(
                    busy.holders
                        .iter()
                        .map(|holder| holder.name.to_string())
                        .collect(),
                )),
                ToHost::Refused(refused) if refused.id == id => {
                    Some(Answered::Refused(refused.reason.to_string()))
                }
                _ => None,
            });
        self.run.note_failure(answer)
    }

    /// The host announces a removal; returns when the agent says that every
    /// process has left. The number is for [`abort`](Self::abort).
    ///
    /// # Errors
    /// [`HarnessError::Timeout`]; [`HarnessError::Guest`] if somebody has not.
    pub fn prepare(&mut self, lost: FeatureSet) -> Result<u64> {
        let id = self.announce(lost, PREPARED)?;
        match self.answer(id)? {
            Answered::Ready => Ok(id),
            other => Err(HarnessError::Guest(format!("not ready but {other:?}"))),
        }
    }

    /// The host takes an announced removal back.
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn abort(&mut self, id: u64) -> Result<()> {
        let bytes = self.host.abort(self.nonce, id);
        self.host.write(&bytes)
    }

    /// What `guest-agent status --json` prints.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when the agent does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        let mut command = Command::new(product("guest-agent")?);
        command
            .args(["status", "--json", "--run-dir"])
            .arg(self.run_dir());
        let output = daemon::run(command)?;
        serde_json::from_str(&output.stdout)
            .map_err(|_| HarnessError::Guest(format!("the agent's status is {output:?}")))
    }

    /// Waits for the next line of the agent's log with `text` in it.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn wait_for_log_line(&mut self, text: &str) -> Result<Line> {
        let line = self.agent.wait_for_line(|line| line.contains(text), SOON);
        self.run.note_failure(line)
    }

    /// Starts a program that is linked with the library in `library`.
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn spawn(&self, program: &Path, library: &Path) -> Result<LocalProcess> {
        self.spawn_with(program, &[], library)
    }

    /// The same with arguments.
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn spawn_with(
        &self,
        program: &Path,
        arguments: &[&str],
        library: &Path,
    ) -> Result<LocalProcess> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.spawn_as(command, program, library)
    }

    pub(crate) fn spawn_as(
        &self,
        mut command: Command,
        program: &Path,
        library: &Path,
    ) -> Result<LocalProcess> {
        command.env("ISAHOTPLUG_RUN_DIR", self.run_dir());
        command.env("LD_LIBRARY_PATH", library);
        let name = program.file_stem().unwrap_or_default().to_string_lossy();
        let daemon = Daemon::start(&name, command, &self.run.new_log(&name))?;
        Ok(LocalProcess {
            daemon,
            run: Arc::clone(&self.run),
        })
    }
}

/// A program in such a guest. Dropping it kills it.
#[derive(Debug)]
pub struct LocalProcess {
    daemon: Daemon,
    run: Arc<Run>,
}

impl LocalProcess {
    /// Waits for the next line that passes the test; those before are not seen
    /// again.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`], at once when the program has ended.
    pub fn wait_for_line(&mut self, accept: impl FnMut(&str) -> bool) -> Result<Line> {
        self.run
            .note_failure(self.daemon.wait_for_line(accept, SOON))
    }

    /// Every line so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.daemon.lines()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}
