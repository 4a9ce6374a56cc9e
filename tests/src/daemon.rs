//! Programs on the test machine itself, with what they log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, HarnessError, Result};
use crate::guest::Output;
use crate::port::Line;
use crate::watched::Watched;
use crate::wire::{Status, Stream};

/// How long a program that was told to end may take.
const END: Duration = Duration::from_secs(30);

/// A program that runs beside the test. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    child: Child,
    shared: Arc<Shared>,
    /// Lines that [`Daemon::wait_for_line`] has passed.
    read: usize,
}

#[derive(Debug)]
struct Shared {
    state: Watched<State>,
    log: Mutex<File>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// Streams that have ended, of two.
    closed: u32,
}

impl Daemon {
    /// Starts a program. What it writes is kept and also goes to `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).doing(|| format!("making {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = crate::spawn::spawn(command).doing(|| format!("starting {name}"))?;
        let shared = Arc::new(Shared {
            state: Watched::default(),
            log: Mutex::new(file),
        });
        if let Some(stdout) = child.stdout.take() {
            read_in_background(&shared, Stream::Stdout, stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            read_in_background(&shared, Stream::Stderr, stderr);
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            shared,
            read: 0,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.shared.state.lock().lines.clone()
    }

    /// Waits for the next line that passes the test; those before it are not
    /// seen again.
    pub(crate) fn wait_for_line(
        &mut self,
        mut accept: impl FnMut(&str) -> bool,
        within: Duration,
    ) -> Result<Line> {
        let mut read = self.read;
        let found = self.shared.state.wait(within, |state| {
            while let Some(line) = state.lines.get(read) {
                read += 1;
                if accept(&line.text) {
                    return Some(Some(line.clone()));
                }
            }
            // Of a program that has ended no other line will come.
            (state.closed == 2).then_some(None)
        });
        if let Some(line) = found.flatten() {
            self.read = read;
            return Ok(line);
        }
        let lines = self.lines();
        let last = lines.last().map(|line| line.text.as_str());
        Err(HarnessError::Timeout {
            what: format!(
                "a line of {}; the last was {:?}",
                self.name,
                last.unwrap_or_default()
            ),
            after: within,
        })
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it by SIGTERM, and waits until it ended.
    pub(crate) fn terminate(&mut self) -> Result<Status> {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself; then there is nothing to tell it.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        self.wait_closed()?;
        let ended = self
            .child
            .wait()
            .doing(|| format!("waiting for {}", self.name))?;
        Ok(status(ended))
    }

    /// Waits until both streams ended, which they do with the program.
    fn wait_closed(&self) -> Result<()> {
        let closed = |state: &mut State| (state.closed == 2).then_some(());
        self.shared
            .state
            .wait(END, closed)
            .ok_or_else(|| HarnessError::Timeout {
                what: format!("{} to end", self.name),
                after: END,
            })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program of the test machine to its end.
pub(crate) fn run(mut command: Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .doing(|| format!("starting {program}"))?;
    Ok(Output {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: status(output.status),
    })
}

fn status(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Exited(code.unsigned_abs()),
        (None, signal) => Status::Signaled(signal.unwrap_or_default().unsigned_abs()),
    }
}

fn read_in_background(shared: &Arc<Shared>, stream: Stream, pipe: impl Read + Send + 'static) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            let text = String::from_utf8_lossy(&line).into_owned();
            {
                let mut log = shared.log.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = writeln!(log, "{text}");
            }
            let at = Instant::now();
            let line = Line { at, stream, text };
            shared.state.change(|state| state.lines.push(line));
        }
        shared.state.change(|state| state.closed += 1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Daemon {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Daemon::start("sh", command, Path::new("/dev/null")).unwrap()
    }

    #[test]
    fn lines_are_waited_for_and_passed() {
        let soon = Duration::from_secs(10);
        let mut daemon = shell("echo one; echo two >&2; exec sleep 1000");
        daemon.wait_for_line(|line| line == "one", soon).unwrap();
        let again = daemon
            .wait_for_line(|line| line == "one", Duration::ZERO)
            .unwrap_err();
        assert!(again.is_timeout());
        assert_eq!(daemon.terminate().unwrap(), Status::Signaled(15));
    }

    #[test]
    fn a_daemon_that_ended_is_not_waited_for() {
        let mut daemon = shell("echo one");
        let hour = Duration::from_secs(3600);
        daemon
            .wait_for_line(|line| line == "two", hour)
            .unwrap_err();
    }
}
