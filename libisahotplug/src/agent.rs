//! The connection to the guest agent.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, sendmsg,
    socket,
};
use protocol::local::{self, FromProcess, PacketError, ToProcess};

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// The agent does not read; say it again later.
    Later,
    /// The agent is gone.
    Gone,
}

/// What there is to read.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
pub(crate) enum Received {
    Message(ToProcess),
    Nothing,
    /// The agent is gone, or it is no agent.
    Gone(String),
}

/// A connected socket. Never blocks.
#[derive(Debug)]
pub(crate) struct Connection(OwnedFd);

impl Connection {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self(socket))
    }

    pub(crate) fn send(&self, message: &FromProcess, with: Option<BorrowedFd<'_>>) -> Sent {
        let Ok(packet) = local::encode(message, local::MAX_REQUEST) else {
            return Sent::Gone;
        };
        let raw = with.map(|fd| [fd.as_raw_fd()]);
        let rights: Vec<_> = raw
            .iter()
            .map(|fds| ControlMessage::ScmRights(fds))
            .collect();
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match sendmsg::<()>(
            self.0.as_raw_fd(),
            &[IoSlice::new(&packet)],
            &rights,
            flags,
            None,
        ) {
            Ok(_) => Sent::Yes,
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Sent::Later,
            Err(_) => Sent::Gone,
        }
    }

    pub(crate) fn receive(&self) -> Received {
        let mut packet = vec![0; local::MAX_REPLY];
        match recv(self.0.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Received::Gone("the agent closed the connection".into()),
            Ok(n) => match local::decode(&packet[..n], local::MAX_REPLY) {
                Ok(message) => Received::Message(message),
                Err(error) => Received::Gone(not_an_agent(&error)),
            },
            Err(Errno::EAGAIN | Errno::EINTR) => Received::Nothing,
            Err(error) => Received::Gone(error.to_string()),
        }
    }
}

fn not_an_agent(error: &PacketError) -> String {
    format!("what listens there is not an agent that we understand: {error}")
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
