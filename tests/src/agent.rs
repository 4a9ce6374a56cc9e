//! `guest-agent`, in the guest.

use std::time::Duration;

use crate::error::Result;
use crate::guest::{Guest, GuestProcess, Output};
use crate::port::Line;

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
/// How long the agent may take to end.
const END: Duration = Duration::from_secs(30);

/// A running `guest-agent run`.
#[derive(Debug)]
pub struct Agent {
    process: GuestProcess,
}

impl Agent {
    /// Starts the agent with further arguments of `run`. The guest's image
    /// has to hold it, as [`crate::GuestImage::spine`] does.
    ///
    /// # Errors
    /// [`crate::HarnessError::Guest`] when the guest cannot start it.
    pub fn start(guest: &Guest, arguments: &[&str]) -> Result<Self> {
        let arguments = [&["run"], arguments].concat();
        Ok(Self {
            process: guest.spawn("guest-agent", &arguments)?,
        })
    }

    /// Runs another command of the agent, such as `["status"]`, to its end.
    ///
    /// # Errors
    /// As [`Guest::run`].
    pub fn control(guest: &Guest, arguments: &[&str]) -> Result<Output> {
        guest.run("guest-agent", arguments)
    }

    /// Waits for the next line of its log that passes the test.
    ///
    /// # Errors
    /// As [`GuestProcess::wait_for_line`].
    pub fn wait_for_log_line(
        &mut self,
        accept: impl FnMut(&str) -> bool,
        within: Duration,
    ) -> Result<Line> {
        self.process.wait_for_line(accept, within)
    }

    /// All that it has logged.
    #[must_use]
    pub fn log_lines(&self) -> Vec<Line> {
        self.process.lines()
    }

    /// Its process in the guest.
    #[must_use]
    pub fn process(&self) -> &GuestProcess {
        &self.process
    }

    /// Ends it by SIGKILL and waits until it ended.
    ///
    /// # Errors
    /// [`crate::HarnessError::Guest`] when it has ended already.
    pub fn kill(self) -> Result<Output> {
        self.process.kill(SIGKILL)?;
        self.process.wait(END)
    }

    /// Ends it by SIGTERM and waits until it ended.
    ///
    /// # Errors
    /// [`crate::HarnessError::Timeout`] when it does not obey.
    pub fn terminate(self) -> Result<Output> {
        self.process.kill(SIGTERM)?;
        self.process.wait(END)
    }
}
