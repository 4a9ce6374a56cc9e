//! A guest and the programs in it, wherever the guest is.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{HarnessError, Result};
use crate::host::Host;
use crate::image::BuiltImage;
use crate::migration::{Hold, Migration, Moved};
use crate::port::{Line, Port, Process};
use crate::qmp::Qmp;
use crate::vm::{Sockets, Vm};
use crate::wire::{Request, Status};

/// How long [`Guest::run`] waits for a program to end.
const RUN: Duration = Duration::from_secs(60);

/// A virtual machine from boot to its end, over all its migrations.
#[derive(Debug)]
pub struct Guest(Arc<Inner>);

/// What a guest shares with the handles of its processes.
#[derive(Debug)]
struct Inner {
    name: String,
    image: BuiltImage,
    place: Mutex<Place>,
    port: Port,
}

/// Where the guest is now.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) host: Host,
    pub(crate) vm: Arc<Vm>,
}

/// How a program in the guest ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How it ended.
    pub status: Status,
}

impl Output {
    /// Whether the program ended by itself with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == Status::Exited(0)
    }

    /// The signal that ended the program, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<u32> {
        match self.status {
            Status::Signaled(signal) => Some(signal),
            Status::Exited(_) => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "status {code}"),
            Self::Signaled(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl Guest {
    pub(crate) fn new(name: &str, host: &Host, image: BuiltImage, vm: Vm, port: Port) -> Self {
        let place = Place {
            host: host.clone(),
            vm: Arc::new(vm),
        };
        Self(Arc::new(Inner {
            name: name.to_owned(),
            image,
            place: Mutex::new(place),
            port,
        }))
    }

    /// The name given at boot.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The host that the guest is on.
    #[must_use]
    pub fn host(&self) -> Host {
        self.place().host
    }

    /// The sockets of the machine that the guest is on.
    #[must_use]
    pub fn sockets(&self) -> Sockets {
        self.place().vm.sockets.clone()
    }

    /// The process id of the QEMU that the guest is in.
    #[must_use]
    pub fn qemu_pid(&self) -> u32 {
        self.place().vm.pid()
    }

    /// What the kernel and PID 1 wrote to the console of the machine that the
    /// guest is on, since it is there.
    #[must_use]
    pub fn console(&self) -> String {
        self.place().vm.console()
    }

    /// Uses the control channel of the QEMU that the guest is in.
    ///
    /// # Errors
    /// Those of `talk`.
    pub fn with_qmp<T>(&self, talk: impl FnOnce(&Qmp) -> Result<T>) -> Result<T> {
        let vm = self.place().vm;
        self.noted(talk(&vm.qmp))
    }

    /// Runs a program to its end, with empty standard input.
    ///
    /// # Errors
    /// When the program cannot be started, or does not end within a minute.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.spawn(program, arguments)?.wait(RUN)
    }

    /// Runs a program that has to end with status 0; returns its standard
    /// output.
    ///
    /// # Errors
    /// [`HarnessError::Program`] when it ends otherwise; else as [`Guest::run`].
    pub fn check(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.run(program, arguments)?;
        if output.success() {
            return Ok(output.stdout);
        }
        self.noted(Err(HarnessError::Program {
            program: [&[program], arguments].concat().join(" "),
            status: output.status.to_string(),
            stdout: output.stdout,
            stderr: output.stderr,
        }))
    }

    /// Runs a command line of the shell, as [`Guest::check`] does.
    ///
    /// # Errors
    /// As [`Guest::check`].
    pub fn shell(&self, command: &str) -> Result<String> {
        self.check("sh", &["-c", command])
    }

    /// Starts a program with empty standard input.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when it cannot be started.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Result<GuestProcess> {
        self.spawn_with(program, arguments, &[], false)
    }

    /// Starts a program with changes to its environment (`NAME=value` sets,
    /// `NAME` removes) and, if wanted, a standard input that can be written.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when it cannot be started.
    pub fn spawn_with(
        &self,
        program: &str,
        arguments: &[&str],
        env: &[&str],
        stdin: bool,
    ) -> Result<GuestProcess> {
        let bytes = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let request = Request::Spawn {
            argv: bytes(&[&[program], arguments].concat()),
            env: bytes(env),
            stdin,
        };
        let (number, pid) = self.noted(self.0.port.request(&request))?;
        let guest = Arc::clone(&self.0);
        Ok(GuestProcess {
            guest,
            number,
            pid,
            name: program.to_owned(),
            read: 0,
        })
    }

    /// Creates or replaces a file in the guest.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when the guest cannot write it.
    pub fn write_file(&self, path: &str, bytes: &[u8], permissions: u32) -> Result<()> {
        let request = Request::WriteFile {
            path: path.as_bytes().to_vec(),
            mode: permissions,
            bytes: bytes.to_vec(),
        };
        self.noted(self.0.port.request(&request)).map(drop)
    }

    /// Live-migrates the guest and waits until it runs on the other host.
    ///
    /// # Errors
    /// [`HarnessError::Migration`] when QEMU could not; the guest is then still where
    /// it was.
    pub fn migrate_to(&self, destination: &Host) -> Result<Moved> {
        self.start_migration(destination, Hold::Nowhere)?.finish()
    }

    /// Begins a live migration that stops where `hold` says until it is
    /// finished, cancelled or dropped.
    ///
    /// # Errors
    /// When the destination cannot be started or QEMU refuses.
    pub fn start_migration(&self, destination: &Host, hold: Hold) -> Result<Migration<'_>> {
        self.noted(Migration::start(self, destination, hold))
    }

    /// Ends the guest's QEMU by SIGKILL, as a host that fails does.
    pub fn kill(&self) {
        self.place().vm.kill();
    }

    pub(crate) fn place(&self) -> Place {
        self.0.place()
    }

    /// The guest is now there. Returns where it was.
    pub(crate) fn arrive(&self, place: Place) -> Place {
        std::mem::replace(&mut *self.0.lock(), place)
    }

    pub(crate) fn image(&self) -> &BuiltImage {
        &self.0.image
    }

    pub(crate) fn port(&self) -> &Port {
        &self.0.port
    }

    pub(crate) fn noted<T>(&self, result: Result<T>) -> Result<T> {
        self.0.noted(result)
    }
}

impl Drop for Guest {
    /// Ends the guest, though handles of its processes may be left.
    fn drop(&mut self) {
        self.kill();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Place {
        self.lock().clone()
    }

    /// Explains a failure by what the machine last wrote, and keeps the logs.
    fn noted<T>(&self, result: Result<T>) -> Result<T> {
        let place = self.place();
        place
            .host
            .run()
            .note_failure(result.map_err(|error| place.vm.explain(error)))
    }
}

/// A program that was started in a guest. Dropping it does not end it.
#[derive(Debug)]
pub struct GuestProcess {
    guest: Arc<Inner>,
    number: u64,
    pid: u32,
    name: String,
    /// Lines that [`GuestProcess::wait_for_line`] has passed.
    read: usize,
}

impl GuestProcess {
    /// Its process id in the guest.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the next line of either stream that passes the test; lines
    /// before it are passed over and not seen by the next call.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`]; [`HarnessError::Program`] when the program ended without
    /// writing such a line.
    pub fn wait_for_line(
        &mut self,
        mut accept: impl FnMut(&str) -> bool,
        within: Duration,
    ) -> Result<Line> {
        let mut read = self.read;
        let found = self.guest.port.wait_process(
            self.number,
            within,
            |process| {
                while let Some(line) = process.lines.get(read) {
                    read += 1;
                    if accept(&line.text) {
                        return Some(Ok(line.clone()));
                    }
                }
                process.ended.map(|status| Err(self.ended(process, status)))
            },
            |process| format!("a line of {}; the last was {:?}", self.name, last(process)),
        );
        let found = self.guest.noted(found.and_then(|found| found))?;
        self.read = read;
        Ok(found)
    }

    /// All whole lines so far, of both streams in the order of their arrival.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.guest
            .port
            .with_process(self.number, |process| process.lines.clone())
    }

    /// Waits until the program ends.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn wait(&self, within: Duration) -> Result<Output> {
        let output = self.guest.port.wait_process(
            self.number,
            within,
            |process| {
                Some(Output {
                    status: process.ended?,
                    stdout: String::from_utf8_lossy(&process.stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&process.stderr).into_owned(),
                })
            },
            |process| {
                format!(
                    "{} to end; its last line was {:?}",
                    self.name,
                    last(process)
                )
            },
        );
        self.guest.noted(output)
    }

    /// How the program ended, if it did.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.guest
            .port
            .with_process(self.number, |process| process.ended)
    }

    /// Sends a signal, by its number on Linux x86-64.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when the program has ended.
    pub fn kill(&self, signal: u32) -> Result<()> {
        self.guest
            .port
            .request(&Request::Kill {
                process: self.number,
                signal,
            })
            .map(drop)
    }

    /// Writes to standard input, as much as a pipe holds.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when the program does not read or has no such input.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        self.stdin(bytes)
    }

    /// Closes standard input.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when the program has ended.
    pub fn close_stdin(&self) -> Result<()> {
        self.stdin(&[])
    }

    fn stdin(&self, bytes: &[u8]) -> Result<()> {
        let request = Request::Stdin {
            process: self.number,
            bytes: bytes.to_vec(),
        };
        self.guest.port.request(&request).map(drop)
    }

    fn ended(&self, process: &Process, status: Status) -> HarnessError {
        HarnessError::Program {
            program: self.name.clone(),
            status: status.to_string(),
            stdout: String::from_utf8_lossy(&process.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&process.stderr).into_owned(),
        }
    }
}

fn last(process: &Process) -> Option<&str> {
    process.lines.last().map(|line| line.text.as_str())
}
