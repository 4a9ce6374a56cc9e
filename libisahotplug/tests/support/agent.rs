//! An agent that says what the test wants.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept,
    bind, listen, recv, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use protocol::local::{self, FromProcess, ToProcess};

use super::Program;

/// How long the other side may take.
const PATIENCE_S: i64 = 30;

pub(crate) struct Agent {
    listener: OwnedFd,
}

pub(crate) struct Connection(OwnedFd);

impl Agent {
    pub(crate) fn listen(program: &Program) -> Self {
        let listener = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        let address = UnixAddr::new(&program.run_dir().join("agent.sock")).unwrap();
        bind(listener.as_raw_fd(), &address).unwrap();
        listen(&listener, Backlog::new(4).unwrap()).unwrap();
        let patience = TimeVal::seconds(PATIENCE_S);
        setsockopt(&listener, sockopt::ReceiveTimeout, &patience).unwrap();
        Self { listener }
    }

    pub(crate) fn accept(&self) -> Connection {
        let socket = accept(self.listener.as_raw_fd()).expect("the process connects");
        // SAFETY: accept(2) has just returned it to us.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::seconds(PATIENCE_S),
        )
        .unwrap();
        Connection(socket)
    }
}

impl Connection {
    pub(crate) fn receive(&self) -> FromProcess {
        let mut packet = vec![0; local::MAX_REQUEST];
        let length = recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()).expect("a packet");
        local::decode(&packet[..length], local::MAX_REQUEST).unwrap()
    }

    /// `None` when the process is gone, or silent for too long.
    fn try_receive(&self) -> Option<FromProcess> {
        let mut packet = vec![0; local::MAX_REQUEST];
        let length = recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()).ok()?;
        local::decode(packet.get(..length)?, local::MAX_REQUEST).ok()
    }

    pub(crate) fn receive_with_eventfd(&self) -> (FromProcess, Option<OwnedFd>) {
        let mut packet = vec![0; local::MAX_REQUEST];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut buffers = [IoSliceMut::new(&mut packet)];
        let received = recvmsg::<()>(
            self.0.as_raw_fd(),
            &mut buffers,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .expect("a packet");
        let descriptor = received.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
            _ => None,
        });
        let length = received.bytes;
        // SAFETY: recvmsg(2) has just given it to us.
        let descriptor = descriptor.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        (
            local::decode(&packet[..length], local::MAX_REQUEST).unwrap(),
            descriptor,
        )
    }

    pub(crate) fn say(&self, message: &ToProcess) {
        let packet = local::encode(message, local::MAX_REPLY).unwrap();
        send(self.0.as_raw_fd(), &packet, MsgFlags::empty()).unwrap();
    }

    /// The next message that passes; others are passed over.
    pub(crate) fn wait<T>(&self, mut accept: impl FnMut(FromProcess) -> Option<T>) -> T {
        loop {
            if let Some(found) = accept(self.receive()) {
                return found;
            }
        }
    }
}

/// A process that has registered with an agent, which welcomes it as often as it says what it wants
/// to hear, and keeps what else it says.
pub(crate) struct Registered {
    eventfd: OwnedFd,
    said: Receiver<FromProcess>,
}

impl Registered {
    /// Waits for the process, and welcomes it.
    pub(crate) fn welcome(agent: &Agent, generation: u64) -> Self {
        let connection = agent.accept();
        let (message, eventfd) = connection.receive_with_eventfd();
        assert!(
            matches!(message, FromProcess::Register { .. }),
            "{message:?}"
        );
        let welcome = ToProcess::Welcome {
            version: 1,
            generation,
        };
        connection.say(&welcome);
        let (sender, said) = channel();
        std::thread::spawn(move || {
            // Until the process is gone, or the test.
            while let Some(message) = connection.try_receive() {
                if matches!(message, FromProcess::Register { .. }) {
                    connection.say(&welcome);
                } else if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self {
            eventfd: eventfd.expect("an eventfd comes with it"),
            said,
        }
    }

    /// Wakes the process, as an agent does that has published something.
    pub(crate) fn wake(&self) {
        nix::unistd::write(&self.eventfd, &1u64.to_ne_bytes()).unwrap();
    }

    /// What the process says next of this generation: "left", "refuse REASON" or "needs MS".
    pub(crate) fn verdict(&self, of: u64) -> String {
        let patience = Duration::from_secs(PATIENCE_S.unsigned_abs());
        loop {
            match self.said.recv_timeout(patience).expect("a verdict") {
                FromProcess::Left { generation } if generation == of => return "left".into(),
                FromProcess::Refuse { generation, reason } if generation == of => {
                    return format!("refuse {}", reason.as_str());
                }
                FromProcess::Needs { generation, ms, .. } if generation == of => {
                    return format!("needs {ms}");
                }
                _ => {}
            }
        }
    }
}
