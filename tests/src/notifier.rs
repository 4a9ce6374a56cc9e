//! `host-notifier`, on the test machine in the place of a hypervisor host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::daemon::{self, Daemon};
use crate::error::{Doing, Result};
use crate::guest::Output;
use crate::host::Host;
use crate::places;
use crate::port::Line;
use crate::wire::Status;

/// A running `host-notifier serve`. Dropping it kills it.
#[derive(Debug)]
pub struct Notifier {
    host: Host,
    program: PathBuf,
    config: PathBuf,
    daemon: Daemon,
}

impl Notifier {
    /// Starts the notifier of a host with this configuration (TOML).
    ///
    /// # Errors
    /// [`crate::HarnessError::Missing`] when it was not built.
    pub fn start(host: &Host, config: &str) -> Result<Self> {
        let start = || {
            let program = places::product("host-notifier")?;
            let path = host.folder()?.join("host-notifier.toml");
            fs::write(&path, config).doing(|| format!("writing {}", path.display()))?;
            let daemon = serve(host, &program, &path)?;
            Ok(Self {
                host: host.clone(),
                program,
                config: path,
                daemon,
            })
        };
        host.run().note_failure(start())
    }

    /// Runs a command of the operator, such as `["status"]`, to its end.
    ///
    /// # Errors
    /// [`crate::HarnessError::Io`] when it cannot be started.
    pub fn control(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        daemon::run(command)
    }

    /// Waits for the next line of its log that passes the test.
    ///
    /// # Errors
    /// [`crate::HarnessError::Timeout`], at once when the notifier has ended.
    pub fn wait_for_log_line(
        &mut self,
        accept: impl FnMut(&str) -> bool,
        within: Duration,
    ) -> Result<Line> {
        let found = self.daemon.wait_for_line(accept, within);
        self.host.run().note_failure(found)
    }

    /// All that it has logged since it was last started.
    #[must_use]
    pub fn log_lines(&self) -> Vec<Line> {
        self.daemon.lines()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Ends it by SIGTERM and waits until it ended.
    ///
    /// # Errors
    /// [`crate::HarnessError::Timeout`] when it does not obey.
    pub fn terminate(&mut self) -> Result<Status> {
        let ended = self.daemon.terminate();
        self.host.run().note_failure(ended)
    }

    /// Starts it again with the same configuration; ends it first by SIGKILL
    /// if it still runs.
    ///
    /// # Errors
    /// As [`Notifier::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.kill();
        self.daemon =
            self.host
                .run()
                .note_failure(serve(&self.host, &self.program, &self.config))?;
        Ok(())
    }
}

fn serve(host: &Host, program: &Path, config: &Path) -> Result<Daemon> {
    let name = format!("{}-host-notifier", host.name());
    let run = host.run();
    let log = run.logs().join(format!("{:02}-{name}.log", run.number()));
    let mut command = Command::new(program);
    command.args(["serve", "--config"]).arg(config);
    Daemon::start(&name, command, &log)
}
