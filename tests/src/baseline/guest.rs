//! A guest in the mode *baseline + bonus*, without a virtual machine: its
//! processes are this machine's, under the tracer, and its host is the test.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use isa::FeatureSet;

use super::cpuid::{Baseline, Level};
use crate::daemon;
use crate::error::{Doing, HarnessError, Result};
use crate::guest::Output;
use crate::local::{LocalGuest, LocalProcess};
use crate::places::product;
use crate::port::Line;
use crate::run::Run;
use crate::wire::Status;

/// What `under-baseline` ends with where no process can be traced.
const REFUSED: Status = Status::Exited(126);

/// A pool of hosts that all have this level, and no more in common.
#[derive(Debug, Clone)]
pub struct Pool {
    level: Level,
    /// The program `under-baseline`.
    tracer: PathBuf,
}

impl Pool {
    /// A pool, with the place of `under-baseline`: cargo tells tests of this
    /// package as `CARGO_BIN_EXE_under-baseline`.
    #[must_use]
    pub fn new(level: Level, tracer: &str) -> Self {
        Self {
            level,
            tracer: tracer.into(),
        }
    }

    /// Why this machine cannot show a baseline; `None` if it can.
    ///
    /// # Errors
    /// As [`check`](Self::check): whatever else is wrong with the tracer is no
    /// reason to skip a test.
    pub fn problem(&self) -> Result<Option<String>> {
        let output = daemon::run(self.command("true"))?;
        if output.status == REFUSED {
            return Ok(Some(output.stderr.trim_end().to_owned()));
        }
        succeeded("true", output).map(|_| None)
    }

    /// The command that runs a program at the baseline.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_with::<&str>(&[], program)
    }

    /// As [`command`](Self::command), with more options of `under-baseline`.
    #[must_use]
    pub fn command_with<T: AsRef<OsStr>>(
        &self,
        options: &[T],
        program: impl AsRef<OsStr>,
    ) -> Command {
        let mut command = Command::new(&self.tracer);
        command.args(["--level", self.level.name()]).args(options);
        command.arg("--").arg(program);
        command
    }

    /// Runs a program at the baseline to its end.
    ///
    /// # Errors
    /// [`HarnessError::Io`] if it cannot be started, [`HarnessError::Program`]
    /// if it fails.
    pub fn check(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(program);
        command.args(arguments);
        let output = daemon::run(command)?;
        succeeded(&program.to_string_lossy(), output)
    }

    /// What CPUID shows of this machine in this pool.
    #[must_use]
    pub fn visible(&self) -> FeatureSet {
        let baseline = Baseline::of(self.level);
        FeatureSet::from_cpuid(
            |leaf, subleaf| Some(baseline.answer_here(leaf, subleaf)),
            Some(isa::xcr0().unwrap_or(0)),
        )
    }
}

/// A guest with a running agent that has been made its first offer.
#[derive(Debug)]
pub struct BaselineGuest {
    pool: Pool,
    guest: LocalGuest,
    /// What the tracer writes of the agent.
    cpuid: PathBuf,
}

impl BaselineGuest {
    /// Starts the agent, on a host that offers what is visible.
    ///
    /// # Errors
    /// [`HarnessError::Missing`] when the agent was not built.
    pub fn start(pool: &Pool) -> Result<Self> {
        // The folder of logs goes with the last one that holds it: the guest, from below on.
        let run = Run::current()?;
        let cpuid = run.new_log("agent-cpuid");
        let options = [OsStr::new("--log"), cpuid.as_os_str()];
        let command = pool.command_with(&options, product("guest-agent")?);
        let mut guest = LocalGuest::start_as(command)?;
        guest.offer(pool.visible())?;
        Ok(Self {
            pool: pool.clone(),
            guest,
            cpuid,
        })
    }

    /// As [`LocalGuest::offer`].
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn offer(&mut self, available: FeatureSet) -> Result<()> {
        self.guest.offer(available)
    }

    /// As [`LocalGuest::prepare`].
    ///
    /// # Errors
    /// [`HarnessError::Timeout`]; [`HarnessError::Guest`] if somebody has not left.
    pub fn prepare(&mut self, lost: FeatureSet) -> Result<u64> {
        self.guest.prepare(lost)
    }

    /// As [`LocalGuest::abort`].
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn abort(&mut self, id: u64) -> Result<()> {
        self.guest.abort(id)
    }

    /// The features of one list of `guest-agent status --json`, such as
    /// `bonus`.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when the agent does not answer.
    pub fn status(&self, list: &str) -> Result<FeatureSet> {
        let status = self.guest.status()?;
        let unreadable = || HarnessError::Guest(format!("the agent's status is {status}"));
        let names = status[list].as_array().ok_or_else(unreadable)?;
        let names: Vec<&str> = names.iter().filter_map(|name| name.as_str()).collect();
        names.join(" ").parse().map_err(|_| unreadable())
    }

    /// As [`LocalGuest::wait_for_log_line`].
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn wait_for_log_line(&mut self, text: &str) -> Result<Line> {
        self.guest.wait_for_log_line(text)
    }

    /// Starts a program at the baseline, with the library in `library`.
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn spawn(&self, program: &Path, library: &Path) -> Result<LocalProcess> {
        self.guest
            .spawn_as(self.pool.command(program), program, library)
    }

    /// What CPUID the agent has executed: a line for each, as the tracer writes
    /// them.
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn agents_cpuid(&self) -> Result<String> {
        let path = &self.cpuid;
        fs::read_to_string(path).doing(|| format!("reading {}", path.display()))
    }
}

fn succeeded(program: &str, output: Output) -> Result<Output> {
    if output.success() {
        return Ok(output);
    }
    Err(HarnessError::Program {
        program: program.to_owned(),
        status: output.status.to_string(),
        stdout: output.stdout,
        stderr: output.stderr,
    })
}
