//! A guest that this test plays: the listener that QEMU would have, with a
//! real guest session behind it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use host_notifier::clock;
use isa::FeatureSet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::guest::{Environment, Note, Output};
use protocol::{Availability, GuestIdentity, GuestSession, Holder, Text};

use crate::daemon::PATIENCE;

/// What a guest does when a removal is announced.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    Leave,
    Busy(Vec<(u32, &'static str)>),
    Refuse(&'static str),
    SayNothing,
}

pub(crate) struct Guest {
    seen: Receiver<Output>,
    ended: Arc<AtomicBool>,
    muted: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Guest {
    /// A guest behind the socket `path` whose CPUID shows `visible`.
    pub(crate) fn start(path: &Path, visible: FeatureSet, manner: Manner) -> Self {
        // QEMU replaces what is left of an earlier one, too.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (sender, seen) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let muted = Arc::new(AtomicBool::new(false));
        let actor = Actor {
            session: GuestSession::new(
                GuestIdentity { boot: [7; 16] },
                Availability::new(visible, clock::now()),
            ),
            manner,
            seen: sender,
            ended: Arc::clone(&ended),
            muted: Arc::clone(&muted),
        };
        let thread = thread::spawn(move || actor.serve(&listener));
        Self {
            seen,
            ended,
            muted,
            thread: Some(thread),
        }
    }

    /// From now on it reads and says nothing.
    pub(crate) fn mute(&self) {
        self.muted.store(true, Ordering::SeqCst);
    }

    /// Waits until something happens in the guest for which `pick` has a
    /// value.
    pub(crate) fn wait_for<T>(&self, what: &str, mut pick: impl FnMut(Output) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(output) => {
                    if let Some(found) = pick(output) {
                        return found;
                    }
                }
                Err(error) => panic!("the guest saw no {what}: {error}"),
            }
        }
    }

    /// Forgets what happened so far.
    pub(crate) fn forget(&self) {
        while self.seen.try_recv().is_ok() {}
    }

    /// Waits for an offer: its number and what it has.
    pub(crate) fn wait_for_offer(&self) -> (u64, FeatureSet) {
        self.wait_for("offer", |output| match output {
            Output::Note(Note::Offered { epoch, available }) => Some((epoch.sequence, available)),
            _ => None,
        })
    }

    pub(crate) fn wait_for_hello(&self) {
        self.wait_for("hello", |output| {
            matches!(output, Output::Note(Note::Hello { .. })).then_some(())
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || thread::panicking(),
                "the guest's thread panicked"
            );
        }
    }
}

struct Actor {
    session: GuestSession,
    manner: Manner,
    seen: Sender<Output>,
    ended: Arc<AtomicBool>,
    muted: Arc<AtomicBool>,
}

/// How soon the guest's thread sees that the test has ended.
const SLICE: Duration = Duration::from_millis(5);

impl Actor {
    fn serve(mut self, listener: &UnixListener) {
        while !self.ended.load(Ordering::SeqCst) {
            let mut wait = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            poll(&mut wait, PollTimeout::try_from(SLICE).unwrap()).unwrap();
            match listener.accept() {
                Ok((stream, _)) => self.converse(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("accept: {error}"),
            }
        }
    }

    fn converse(&mut self, mut stream: UnixStream) {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(SLICE)).unwrap();
        self.session.opened(clock::now(), &mut Trusting);
        let mut buffer = [0; 512];
        while !self.ended.load(Ordering::SeqCst) {
            let now = clock::now();
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) if self.muted.load(Ordering::SeqCst) => {}
                Ok(n) => self.session.receive(&buffer[..n], now, &mut Trusting),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.session.tick(now, &mut Trusting);
                }
                Err(_) => return,
            }
            while let Some(output) = self.session.poll() {
                match &output {
                    Output::Transmit(bytes) if stream.write_all(bytes).is_err() => return,
                    Output::Prepare(_) => self.answer(),
                    _ => {}
                }
                // The test may have seen enough.
                let _ = self.seen.send(output);
            }
        }
    }

    fn answer(&mut self) {
        match &self.manner {
            Manner::Leave => self.session.left(),
            Manner::Refuse(reason) => self.session.refuse(reason),
            Manner::SayNothing => {}
            Manner::Busy(holders) => {
                let holder = |&(pid, name): &(u32, &str)| Holder {
                    pid,
                    name: Text::lossy(name),
                };
                let holders = holders.iter().map(holder).collect();
                self.session.busy(holders);
            }
        }
    }
}

/// Believes every offer.
struct Trusting;

impl Environment for Trusting {
    fn nonce(&mut self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::SeqCst)
    }

    fn executable(&mut self, candidates: FeatureSet) -> FeatureSet {
        candidates
    }
}
