//! A hypervisor host, played with the protocol's own session on a unix socket.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use isa::FeatureSet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::host::{Answer, Event, Output};
use protocol::{HostIdentity, HostSession, Moment, Text};

use crate::PATIENCE;

/// A byte stream to the agent.
pub(crate) trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

pub(crate) struct Host {
    listener: Option<UnixListener>,
    wire: Option<Box<dyn Wire>>,
    session: HostSession,
    events: VecDeque<Event>,
    origin: Instant,
    tokens: u64,
}

impl Host {
    pub(crate) fn listen(path: &Path, number: u8) -> Self {
        let _none_yet = std::fs::remove_file(path);
        let mut host = Self::unconnected(number);
        host.listener = Some(UnixListener::bind(path).unwrap());
        host
    }

    pub(crate) fn unconnected(number: u8) -> Self {
        let identity = HostIdentity {
            machine: [number; 16],
            boot: [number; 16],
        };
        let name = Text::lossy(&format!("host{number}"));
        Self {
            listener: None,
            wire: None,
            session: HostSession::new(identity, name, 1000),
            events: VecDeque::new(),
            origin: Instant::now(),
            tokens: u64::from(number) << 32,
        }
    }

    /// Waits for the agent, and for its answer to our hello.
    pub(crate) fn accept(&mut self) {
        let stream = self.accept_raw();
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        self.connect(stream);
    }

    pub(crate) fn connect(&mut self, wire: impl Wire + 'static) {
        self.wire = Some(Box::new(wire));
        let (token, now) = (self.token(), self.now());
        self.session.connected(token, now);
        self.carry_out();
        self.wait_for("the agent's hello", |e| {
            matches!(e, Event::Established { .. })
        });
    }

    pub(crate) fn disconnect(&mut self) {
        self.wire = None;
        self.session.disconnected();
    }

    pub(crate) fn offer(&mut self, available: FeatureSet) {
        let now = self.now();
        self.session.set_available(available, now);
        self.carry_out();
    }

    pub(crate) fn prepare(&mut self, lost: FeatureSet, allowed: Duration) -> u64 {
        let now = self.now();
        let id = self.session.prepare(lost, allowed, now).unwrap();
        self.carry_out();
        id
    }

    pub(crate) fn abort(&mut self) {
        assert!(self.session.abort());
        self.carry_out();
    }

    /// Bytes that the session would not send.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.wire.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The bare stream, to be abused.
    pub(crate) fn accept_raw(&self) -> UnixStream {
        let listener = self.listener.as_ref().unwrap();
        let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert_eq!(
            poll(&mut polled, patience),
            Ok(1),
            "the agent does not connect"
        );
        listener.accept().unwrap().0
    }

    /// The generation that the next acknowledgement names.
    pub(crate) fn wait_for_ack(&mut self) -> u64 {
        let event = self.wait_for("an acknowledgement", |e| {
            matches!(e, Event::Acknowledged { .. })
        });
        let Event::Acknowledged { generation, .. } = event else {
            unreachable!()
        };
        generation
    }

    pub(crate) fn wait_for_answer(&mut self) -> Answer {
        let event = self.wait_for("an answer", |e| matches!(e, Event::Prepared { .. }));
        let Event::Prepared { answer, .. } = event else {
            unreachable!()
        };
        answer
    }

    /// The agent lost the thread and asked for everything anew.
    pub(crate) fn wait_for_hello(&mut self) {
        self.wait_for("a hello", |e| matches!(e, Event::Established { .. }));
    }

    /// The next event that is `wanted`; those before are forgotten.
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let end = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.events.pop_front() {
                if wanted(&event) {
                    return event;
                }
            }
            assert!(
                Instant::now() < end,
                "the host has waited in vain for {what}"
            );
            self.listen_once();
        }
    }

    /// Lets time pass.
    pub(crate) fn listen_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.listen_once();
        }
    }

    fn listen_once(&mut self) {
        let mut buffer = [0; 4096];
        let count = match self.wire.as_mut().unwrap().read(&mut buffer) {
            Ok(count) => count,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(error) => panic!("the agent has closed the channel: {error}"),
        };
        let (token, now) = (self.token(), self.now());
        self.session.receive(&buffer[..count], now);
        self.session.tick(token, now);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Transmit(bytes) => {
                    if let Some(wire) = &mut self.wire {
                        wire.write_all(&bytes).unwrap();
                    }
                }
                Output::Event(event) => {
                    assert!(
                        !matches!(event, Event::BadFrame(_)),
                        "the agent sent {event:?}"
                    );
                    self.events.push_back(event);
                }
                Output::Drop => panic!("the agent does not speak the protocol"),
            }
        }
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn now(&self) -> Moment {
        Moment::from_micros(self.origin.elapsed().as_micros().try_into().unwrap())
    }
}
