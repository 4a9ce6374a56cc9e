//! Which descriptors are ready: one epoll instance, seen by tokio as one
//! descriptor.
//!
//! tokio's own registration of a descriptor cannot be used for a virtio port:
//! it takes EPOLLHUP as final and never clears it, but a port has EPOLLHUP
//! whenever no host is connected, and gets over it. Here the port is watched
//! edge-triggered: one event when something changes, and none while nothing
//! does, so that an absent host costs nothing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Who an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Token {
    /// The channel to the host.
    Port,
    /// The socket that processes connect to.
    Listener,
    /// A connected process.
    Client(ClientId),
}

/// Names a connection; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u64);

const PORT: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

impl Token {
    const fn number(self) -> u64 {
        match self {
            Self::Port => PORT,
            Self::Listener => LISTENER,
            Self::Client(ClientId(id)) => id,
        }
    }

    const fn from_number(number: u64) -> Self {
        match number {
            PORT => Self::Port,
            LISTENER => Self::Listener,
            id => Self::Client(ClientId(id)),
        }
    }
}

/// The epoll instance.
#[derive(Debug)]
pub(crate) struct Poller(Epoll);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// The instance as a descriptor, which is readable when anything is ready.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.0.try_clone()
    }

    /// Watches for input as long as there is any.
    pub(crate) fn watch(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(self
            .0
            .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token.number()))?)
    }

    /// Watches for changes, of input and of room for output.
    pub(crate) fn watch_changes(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        Ok(self.0.add(fd, EpollEvent::new(flags, token.number()))?)
    }

    /// Ends the watch. Closing a descriptor that nobody else holds does too;
    /// one that was passed to us may be held by others.
    pub(crate) fn forget(&self, fd: impl AsFd) {
        // An error means that it was not watched.
        let _unwatched = self.0.delete(fd);
    }

    /// What is ready now, at most 64 at a time; does not wait.
    pub(crate) fn ready(&self) -> io::Result<Vec<(Token, EpollFlags)>> {
        let mut events = [EpollEvent::empty(); 64];
        let count = self.0.wait(&mut events, EpollTimeout::ZERO)?;
        let ready = events[..count].iter();
        Ok(ready
            .map(|event| (Token::from_number(event.data()), event.events()))
            .collect())
    }
}
