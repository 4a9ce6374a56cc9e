//! A host's end of the channel spoken by hand, to say what no notifier would.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use isa::FeatureSet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::frame::Decoder;
use protocol::{
    Abort, Epoch, GuestHello, HostHello, HostIdentity, Offer, Prepare, Text, ToGuest, ToHost,
    Versions, frame,
};

use crate::error::{Doing, HarnessError, Result};
use crate::vm::Sockets;

const SOON: Duration = Duration::from_secs(20);

/// A connection to a guest's channel that writes what it is told to.
#[derive(Debug)]
pub struct RawHost {
    stream: UnixStream,
    decoder: Decoder,
    identity: HostIdentity,
}

impl RawHost {
    /// Connects to the channel of a machine; nobody else may be connected.
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn connect(sockets: &Sockets, machine: u8) -> Result<Self> {
        let path = sockets.channel();
        let doing = || format!("connecting to {}", path.display());
        let stream = UnixStream::connect(&path).doing(doing)?;
        Self::on(stream, machine)
    }

    /// Waits for an agent whose channel is a unix stream socket.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`] when none connects.
    pub fn accept(listener: &UnixListener, machine: u8) -> Result<Self> {
        let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(SOON).unwrap_or(PollTimeout::MAX);
        let doing = || "waiting for an agent".into();
        if poll(&mut polled, patience).doing(doing)? == 0 {
            return Err(HarnessError::Timeout {
                what: "an agent to connect".into(),
                after: SOON,
            });
        }
        let (stream, _) = listener.accept().doing(doing)?;
        Self::on(stream, machine)
    }

    fn on(stream: UnixStream, machine: u8) -> Result<Self> {
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .doing(|| "setting up the channel".into())?;
        let identity = HostIdentity {
            machine: [machine; 16],
            boot: [machine; 16],
        };
        Ok(Self {
            stream,
            decoder: Decoder::new(),
            identity,
        })
    }

    /// Says hello and returns the guest's answer.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn hello(&mut self, token: u64) -> Result<GuestHello> {
        let hello = HostHello {
            versions: Versions::SUPPORTED,
            token,
            host: self.identity,
            name: Text::lossy("by hand"),
        };
        self.write(&encoded(&ToGuest::Hello(hello)))?;
        self.wait("the answer to a hello", |message| match message {
            ToHost::Hello(answer) if answer.token == token => Some(answer),
            _ => None,
        })
    }

    /// The bytes of an offer.
    #[must_use]
    pub fn offer(&self, nonce: u64, sequence: u64, available: FeatureSet) -> Vec<u8> {
        let epoch = Epoch {
            host: self.identity,
            sequence,
        };
        encoded(&ToGuest::Offer(Offer {
            nonce,
            epoch,
            available,
        }))
    }

    /// Makes an offer and waits until it is acknowledged.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn settle(&mut self, nonce: u64, sequence: u64, available: FeatureSet) -> Result<()> {
        let offer = self.offer(nonce, sequence, available);
        self.write(&offer)?;
        self.wait("an acknowledgement", |message| match message {
            ToHost::Ack(ack) if ack.sequence == sequence => Some(()),
            _ => None,
        })
    }

    /// The bytes of a prepare.
    #[must_use]
    pub fn prepare(&self, nonce: u64, id: u64, lost: FeatureSet, allowed: Duration) -> Vec<u8> {
        let deadline_ms = u32::try_from(allowed.as_millis()).unwrap_or(u32::MAX);
        encoded(&ToGuest::Prepare(Prepare {
            nonce,
            id,
            lost,
            deadline_ms,
        }))
    }

    /// The bytes of an abort.
    #[must_use]
    pub fn abort(&self, nonce: u64, id: u64) -> Vec<u8> {
        encoded(&ToGuest::Abort(Abort { nonce, id }))
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// [`HarnessError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .doing(|| "writing to the channel".into())
    }

    /// Waits for a message that passes the test.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn wait<T>(
        &mut self,
        what: &str,
        mut accept: impl FnMut(ToHost) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + SOON;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            let read = match self.stream.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(source) => {
                    return Err(HarnessError::Io {
                        doing: "reading the channel".into(),
                        source,
                    });
                }
            };
            for frame in self.decoder.push(&buffer[..read]).into_iter().flatten() {
                if let Some(found) = frame.message().ok().and_then(&mut accept) {
                    return Ok(found);
                }
            }
        }
        Err(HarnessError::Timeout {
            what: what.into(),
            after: SOON,
        })
    }
}

/// A message as bytes.
fn encoded(message: &ToGuest) -> Vec<u8> {
    frame::encode(message).expect("these messages are short")
}
