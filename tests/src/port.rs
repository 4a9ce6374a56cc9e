//! The harness's end of the guest's harness port.
//!
//! A migration moves the port to another QEMU and so to another socket. What
//! the guest sends is one stream: the source's socket is read to its end, then
//! the destination's goes on where it stopped, in the middle of a frame if
//! that is where the guest was cut. What the guest receives cannot be joined
//! in that way, so nothing is sent while the guest changes its machine: see
//! [`Port::hold`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Doing, HarnessError, Result};
use crate::watched::Watched;
use crate::wire::{FrameReader, Report, Request, Status, Stream};

/// How long PID 1 may take for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// The connection to PID 1 of one guest, wherever the guest is.
#[derive(Debug)]
pub(crate) struct Port {
    shared: Arc<Shared>,
    /// Where the reading thread gets the next socket from.
    next: mpsc::Sender<UnixStream>,
}

/// What the reading thread and everybody who waits share.
#[derive(Debug, Default)]
struct Shared {
    state: Watched<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The socket that requests go to.
    socket: Option<UnixStream>,
    last_request: u64,
    /// Somebody sends, or the guest is changing its machine.
    held: bool,
    ready: bool,
    answers: HashMap<u64, Result<u32, String>>,
    processes: BTreeMap<u64, Process>,
    /// Why nothing more will come.
    broken: Option<String>,
}

/// What is known of a process in the guest.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Whole lines in the order of their arrival.
    pub(crate) lines: Vec<Line>,
    /// The last line of each stream while its end has not come.
    partial: BTreeMap<Stream, Vec<u8>>,
    pub(crate) ended: Option<Status>,
    /// The guest was reverted to a snapshot in which it does not exist.
    reverted: bool,
}

/// A line that a process in the guest wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its end arrived at the harness.
    pub at: Instant,
    /// Where it was written.
    pub stream: Stream,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The processes that lived when a snapshot was taken.
#[derive(Debug, Clone)]
pub(crate) struct Living(BTreeSet<u64>);

impl Port {
    pub(crate) fn new(socket: UnixStream) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (next, sockets) = mpsc::channel();
        let readers_share = Arc::clone(&shared);
        thread::spawn(move || readers_share.read(&sockets));
        let port = Self { shared, next };
        port.attach(socket)?;
        Ok(port)
    }

    /// Makes this socket the one that is written to, and the one that is read
    /// after the present one.
    fn attach(&self, socket: UnixStream) -> Result<()> {
        let reader = socket
            .try_clone()
            .doing(|| "sharing the harness socket".into())?;
        let mut state = self.shared.state.lock();
        if self.next.send(reader).is_err() {
            return Err(HarnessError::QemuEnded(
                "the harness port's stream is broken".into(),
            ));
        }
        let previous = state.socket.replace(socket);
        drop(state);
        if let Some(previous) = previous {
            // What is queued is still read; then comes the end.
            let _ = previous.shutdown(Shutdown::Read);
        }
        Ok(())
    }

    /// Waits until PID 1 says that the guest is up.
    pub(crate) fn wait_ready(&self, within: Duration) -> Result<()> {
        self.shared.wait(
            within,
            |state| state.ready.then_some(Ok(())),
            || "the guest to boot".into(),
        )
    }

    /// Waits until nobody sends, and keeps it so.
    pub(crate) fn hold(&self) -> Result<Held<'_>> {
        self.shared.wait(
            ANSWER,
            |state| {
                let free = !state.held;
                state.held = true;
                free.then_some(Ok(()))
            },
            || "the harness port to be free (is the guest in a switch-over?)".into(),
        )?;
        Ok(Held(self))
    }

    /// Sends a request and waits for the answer. Returns the request's number
    /// and the answer's value.
    pub(crate) fn request(&self, request: &Request) -> Result<(u64, u32)> {
        self.hold()?.request(request)
    }

    /// Looks at a process, again whenever something changed, until `look`
    /// finds something.
    pub(crate) fn wait_process<T>(
        &self,
        number: u64,
        within: Duration,
        mut look: impl FnMut(&Process) -> Option<T>,
        what: impl Fn(&Process) -> String,
    ) -> Result<T> {
        let reverted = "it was reverted to a snapshot in which this process does not exist";
        self.shared
            .wait(
                within,
                |state| {
                    let process = state.processes.entry(number).or_default();
                    match look(process) {
                        None if process.reverted => Some(Err(HarnessError::Guest(reverted.into()))),
                        found => found.map(Ok),
                    }
                },
                String::new,
            )
            .map_err(|error| match error {
                HarnessError::Timeout { after, .. } => {
                    let what = self.with_process(number, |process| what(process));
                    HarnessError::Timeout { what, after }
                }
                other => other,
            })
    }

    pub(crate) fn with_process<T>(&self, number: u64, look: impl FnOnce(&Process) -> T) -> T {
        look(
            self.shared
                .state
                .lock()
                .processes
                .entry(number)
                .or_default(),
        )
    }

    pub(crate) fn living(&self) -> Living {
        let state = self.shared.state.lock();
        let living = state
            .processes
            .iter()
            .filter(|(_, process)| process.ended.is_none());
        Living(living.map(|(&number, _)| number).collect())
    }

    /// The guest is again as it was when these processes lived.
    pub(crate) fn revert(&self, living: &Living) {
        self.shared.state.change(|state| {
            for (number, process) in &mut state.processes {
                if living.0.contains(number) {
                    process.ended = None;
                    process.partial.clear();
                } else if process.ended.is_none() {
                    process.reverted = true;
                }
            }
        });
    }
}

impl Drop for Port {
    /// Ends the reading thread.
    fn drop(&mut self) {
        if let Some(socket) = self.shared.state.lock().socket.take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// The sole right to send, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a Port);

impl Held<'_> {
    pub(crate) fn request(&self, request: &Request) -> Result<(u64, u32)> {
        let shared = &self.0.shared;
        let number = {
            let mut state = shared.state.lock();
            state.last_request += 1;
            let number = state.last_request;
            if let Request::Spawn { .. } = request {
                state.processes.insert(number, Process::default());
            }
            let gone = || HarnessError::QemuEnded("the harness port is closed".into());
            let mut socket = state.socket.as_ref().ok_or_else(gone)?;
            socket.write_all(&request.encode(number)).map_err(|error| {
                HarnessError::QemuEnded(format!("writing to the harness port: {error}"))
            })?;
            number
        };
        let answer = shared.wait(
            ANSWER,
            |state| state.answers.remove(&number).map(Ok),
            || format!("PID 1's answer to {request:?}"),
        )?;
        answer
            .map(|value| (number, value))
            .map_err(HarnessError::Guest)
    }

    /// Goes on with the port of another machine.
    pub(crate) fn switch_to(&self, socket: UnixStream) -> Result<()> {
        self.0.attach(socket)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.shared.state.change(|state| state.held = false);
    }
}

impl Shared {
    /// Waits until `look` finds something in the state.
    fn wait<T>(
        &self,
        within: Duration,
        mut look: impl FnMut(&mut State) -> Option<Result<T>>,
        what: impl FnOnce() -> String,
    ) -> Result<T> {
        let found = self.state.wait(within, |state| {
            look(state).or_else(|| {
                let why = state.broken.clone()?;
                Some(Err(HarnessError::QemuEnded(why)))
            })
        });
        found.unwrap_or_else(|| {
            Err(HarnessError::Timeout {
                what: what(),
                after: within,
            })
        })
    }

    /// Reads one socket after the other into one stream of frames.
    fn read(&self, sockets: &mpsc::Receiver<UnixStream>) {
        let mut frames = FrameReader::default();
        let mut bytes = vec![0; 64 << 10];
        let mut next = sockets.recv().ok();
        while let Some(mut socket) = next {
            loop {
                match socket.read(&mut bytes) {
                    Ok(count) if count > 0 => frames.push(&bytes[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Ok(_) | Err(_) => break,
                }
                if let Err(error) = self.take(&mut frames) {
                    return self.break_off(format!("the harness port: {error}"));
                }
            }
            next = sockets.try_recv().ok();
        }
        self.break_off("it closed the harness port".into());
    }

    fn take(&self, frames: &mut FrameReader) -> Result<()> {
        let at = Instant::now();
        self.state.change(|state| {
            while let Some(body) = frames.next_frame()? {
                state.hear(at, Report::decode(&body)?);
            }
            Ok(())
        })
    }

    fn break_off(&self, why: String) {
        self.state.change(|state| state.broken = Some(why));
    }
}

impl State {
    fn hear(&mut self, at: Instant, report: Report) {
        match report {
            Report::Ready => self.ready = true,
            Report::Done { request, value } => {
                self.answers.insert(request, Ok(value));
            }
            Report::Failed { request, why } => {
                let why = String::from_utf8_lossy(&why).into_owned();
                self.answers.insert(request, Err(why));
            }
            Report::Output {
                process,
                stream,
                bytes,
            } => {
                let process = self.processes.entry(process).or_default();
                process.wrote(at, stream, &bytes);
            }
            Report::Ended { process, status } => {
                self.processes.entry(process).or_default().end(at, status);
            }
        }
    }
}

impl Process {
    fn wrote(&mut self, at: Instant, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
        }
        let partial = self.partial.entry(stream).or_default();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            partial.extend_from_slice(piece);
            if let Some(line) = partial.strip_suffix(b"\n") {
                let text = String::from_utf8_lossy(line).into_owned();
                self.lines.push(Line { at, stream, text });
                partial.clear();
            }
        }
    }

    fn end(&mut self, at: Instant, status: Status) {
        for (stream, rest) in std::mem::take(&mut self.partial) {
            if !rest.is_empty() {
                let text = String::from_utf8_lossy(&rest).into_owned();
                self.lines.push(Line { at, stream, text });
            }
        }
        self.ended = Some(status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cut_by_a_move_is_whole_again() {
        let (a, mut qemu_a) = UnixStream::pair().unwrap();
        let (b, mut qemu_b) = UnixStream::pair().unwrap();
        let port = Port::new(a).unwrap();
        let frame = Report::Output {
            process: 9,
            stream: Stream::Stdout,
            bytes: b"one line\n".to_vec(),
        }
        .encode();
        qemu_a.write_all(&frame[..11]).unwrap();
        port.hold().unwrap().switch_to(b).unwrap();
        qemu_b.write_all(&frame[11..]).unwrap();
        let within = Duration::from_secs(5);
        let line = port
            .wait_process(
                9,
                within,
                |process| process.lines.first().cloned(),
                |_| "a line".into(),
            )
            .unwrap();
        assert_eq!(line.text, "one line");
    }

    #[test]
    fn everybody_who_waits_is_told_that_the_machine_ended() {
        let (socket, qemu) = UnixStream::pair().unwrap();
        let port = Port::new(socket).unwrap();
        drop(qemu);
        let error = port.wait_ready(Duration::from_secs(5)).unwrap_err();
        assert!(matches!(error, HarnessError::QemuEnded(_)), "{error}");
    }
}
