//! What plays the agent on its socket.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::allow_attributes,
    reason = "what is dead differs between the test binaries"
)]
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept,
    bind, getsockopt, listen, recv, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use protocol::local::{self, FromProcess, ToProcess};

/// How long the other side may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Agent {
    listener: OwnedFd,
}

/// A process that has connected.
pub(crate) struct Connection {
    socket: OwnedFd,
    pub(crate) pid: u32,
    /// What it has registered with, once it has.
    pub(crate) eventfd: Option<File>,
}

impl Agent {
    pub(crate) fn listen(run_dir: &Path) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let path = run_dir.join("agent.sock");
        let _none_yet = std::fs::remove_file(&path);
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(128).unwrap()).unwrap();
        Self { listener }
    }

    /// The next process that connects within this time.
    pub(crate) fn accept_within(&self, time: Duration) -> Option<Connection> {
        let mut polled = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::try_from(time).unwrap()) != Ok(1) {
            return None;
        }
        let socket = accept(self.listener.as_raw_fd()).unwrap();
        // SAFETY: accept(2) has just returned it to us.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let patience = TimeVal::seconds(PATIENCE.as_secs().cast_signed());
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience).unwrap();
        let pid = getsockopt(&socket, sockopt::PeerCredentials).unwrap().pid();
        Some(Connection {
            socket,
            pid: pid.cast_unsigned(),
            eventfd: None,
        })
    }

    pub(crate) fn accept(&self) -> Connection {
        self.accept_within(PATIENCE).expect("a process connects")
    }
}

impl Connection {
    /// The next message; `None` if the process has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<FromProcess> {
        let mut packet = vec![0; local::MAX_REQUEST];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut buffers = [IoSliceMut::new(&mut packet)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let socket = self.socket.as_raw_fd();
        let received = recvmsg::<()>(socket, &mut buffers, Some(&mut space), flags);
        let received = received.expect("a packet, or an end");
        let length = received.bytes;
        if length == 0 {
            return None;
        }
        for message in received.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(descriptors) = message {
                for descriptor in descriptors {
                    // SAFETY: recvmsg(2) has just given it to us.
                    self.eventfd = Some(unsafe { OwnedFd::from_raw_fd(descriptor) }.into());
                }
            }
        }
        Some(local::decode(&packet[..length], local::MAX_REQUEST).unwrap())
    }

    /// The next message that passes; others are passed over.
    pub(crate) fn wait<T>(&mut self, mut accept: impl FnMut(FromProcess) -> Option<T>) -> T {
        loop {
            let message = self.receive().expect("the process stays connected");
            if let Some(found) = accept(message) {
                return found;
            }
        }
    }

    /// Waits for the registration and welcomes it.
    pub(crate) fn welcome(&mut self, generation: u64) {
        self.wait(|message| matches!(message, FromProcess::Register { .. }).then_some(()));
        self.say(&ToProcess::Welcome {
            version: 1,
            generation,
        });
    }

    pub(crate) fn wait_until_left(&mut self, generation: u64) {
        self.wait(|message| match message {
            FromProcess::Left { generation: left } if left >= generation => Some(()),
            _ => None,
        });
    }

    pub(crate) fn say(&self, message: &ToProcess) {
        self.say_bytes(&local::encode(message, local::MAX_REPLY).unwrap());
    }

    /// Anything. That the other side does not listen any more is no failure.
    pub(crate) fn say_bytes(&self, packet: &[u8]) {
        let _ = send(self.socket.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL);
    }

    /// Wakes the process, as for a new generation.
    pub(crate) fn ring(&self) {
        let eventfd = self.eventfd.as_ref().expect("it has registered");
        nix::unistd::write(eventfd, &1u64.to_ne_bytes()).unwrap();
    }

    /// Whether the process has closed the connection, though it may have said something before.
    pub(crate) fn is_closed(&self) -> bool {
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLHUP)];
        poll(&mut polled, PollTimeout::ZERO) == Ok(1)
    }

    /// Whether it has said something that was not received.
    pub(crate) fn has_said_something(&self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        recv(self.socket.as_raw_fd(), &mut [0; 1], flags).is_ok_and(|length| length > 0)
    }
}

/// Waits for something that comes by itself.
pub(crate) fn wait_for(what: &str, mut has_come: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !has_come() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}
