//! The guest's channel: opened, read, written, lost.

use std::io;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::SndBuf};
use protocol::Moment;
use tokio::io::{Interest, Ready};
use tokio::net::UnixStream;

use super::{Guest, random};
use crate::clock;

/// The socket buffer towards a guest. Small, so that the hellos that wait
/// there for an agent that is not running are few.
const SEND_BUFFER: usize = 4096;

impl Guest {
    /// When to open the channel. It waits for the monitor, so that a QEMU that
    /// was started anew is not offered what the old one could do.
    pub(super) fn wants_channel(&self) -> Option<Moment> {
        let wanted = self.channel.is_none() && self.machine.is_some() && !self.left;
        wanted.then_some(self.connect_at)
    }

    pub(super) async fn connect(&mut self, now: Moment) {
        match UnixStream::connect(&self.config.channel).await {
            Ok(stream) => {
                // Only shortens the queue; the session works with any.
                let _ = setsockopt(&stream, SndBuf, &SEND_BUFFER);
                self.info("channel connected");
                self.no_channel = None;
                self.outbox.clear();
                self.channel = Some(stream);
                self.session.connected(random(), now);
            }
            Err(error) => {
                let reason = error.to_string();
                if self.no_channel.as_ref() != Some(&reason) {
                    let path = self.config.channel.display().to_string();
                    self.info(format_args!("waiting for channel {path}: {reason}"));
                    self.no_channel = Some(reason);
                }
                self.connect_at = now.after(self.backoff.next_pause());
            }
        }
    }

    pub(super) fn disconnect(&mut self, pause: Duration) {
        self.channel = None;
        self.outbox.clear();
        self.silent = false;
        self.session.disconnected();
        self.connect_at = clock::now().after(pause);
    }

    pub(super) fn channel_ready(&mut self, ready: io::Result<Ready>, buffer: &mut [u8]) {
        let Some(channel) = &self.channel else { return };
        let read = match ready {
            Ok(ready) if ready.is_readable() => channel.try_read(buffer),
            Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        };
        match read {
            Ok(0) => {
                self.info("channel closed by QEMU");
                let pause = self.backoff.next_pause();
                self.disconnect(pause);
            }
            Ok(n) => {
                let now = clock::now();
                self.bytes.take(u64::try_from(n).unwrap_or(u64::MAX), now);
                self.session.receive(&buffer[..n], now);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.channel_failed(&error),
        }
    }

    pub(super) fn channel_failed(&mut self, error: &io::Error) {
        self.info(format_args!("channel lost: {error}"));
        let pause = self.backoff.next_pause();
        self.disconnect(pause);
    }

    pub(super) fn flush(&mut self) {
        let Some(channel) = &self.channel else {
            return self.outbox.clear();
        };
        match self.outbox.flush(|bytes| channel.try_write(bytes)) {
            Ok(sent) => {
                for offer in sent {
                    let (sequence, at, features) = (offer.sequence, offer.at, offer.features);
                    self.info(format_args!(
                        "offer {sequence} sent at {at}: {features} features"
                    ));
                }
            }
            Err(error) => self.channel_failed(&error),
        }
    }
}

/// Pends while there is nothing to wait for.
pub(super) async fn ready(
    channel: Option<&UnixStream>,
    read: bool,
    write: bool,
) -> io::Result<Ready> {
    let read = read.then_some(Interest::READABLE);
    let write = write.then_some(Interest::WRITABLE);
    let interest = match (read, write) {
        (Some(read), Some(write)) => Some(read.add(write)),
        (one, other) => one.or(other),
    };
    match (channel, interest) {
        (Some(channel), Some(interest)) => channel.ready(interest).await,
        _ => std::future::pending().await,
    }
}
