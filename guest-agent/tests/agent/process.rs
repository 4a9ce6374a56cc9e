//! A process that registers with the agent, and its view of the page.

use std::fs::File;
use std::io::IoSlice;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use isa::FeatureSet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, sendmsg,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;
use protocol::local::{self, FromProcess, MAX_REPLY, MAX_REQUEST, Report, ToProcess, Urgency};
use protocol::page::{Page, SIZE};
use protocol::{Text, Versions};

use crate::PATIENCE;

pub(crate) struct Process {
    pub socket: OwnedFd,
    pub eventfd: EventFd,
}

impl Process {
    pub(crate) fn connect(run_dir: &Path) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let address = UnixAddr::new(&run_dir.join("agent.sock")).unwrap();
        connect(socket.as_raw_fd(), &address).unwrap();
        let patience = TimeVal::new(PATIENCE.as_secs().try_into().unwrap(), 0);
        setsockopt(&socket, ReceiveTimeout, &patience).unwrap();
        let eventfd = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        Self { socket, eventfd }
    }

    /// Registers, and returns the generation of the welcome.
    pub(crate) fn register(
        &self,
        name: &str,
        interest: FeatureSet,
        eager: bool,
        generation: u64,
    ) -> u64 {
        self.send_register(
            name,
            interest,
            eager,
            generation,
            &[self.eventfd.as_fd().as_raw_fd()],
        );
        match self.receive() {
            ToProcess::Welcome {
                version: 1,
                generation,
            } => generation,
            other => panic!("not a welcome: {other:?}"),
        }
    }

    /// Registers as one that is not to be woken, without an eventfd.
    pub(crate) fn register_lazily(&self, name: &str) {
        let message = FromProcess::Register {
            versions: Versions::SUPPORTED,
            name: Text::lossy(name),
            interest: FeatureSet::EMPTY,
            urgency: Urgency::Lazy,
            generation: 0,
        };
        self.send_raw(&local::encode(&message, MAX_REQUEST).unwrap(), &[]);
        let answer = self.receive();
        assert!(matches!(answer, ToProcess::Welcome { .. }), "{answer:?}");
    }

    pub(crate) fn send_register(
        &self,
        name: &str,
        interest: FeatureSet,
        eager: bool,
        generation: u64,
        descriptors: &[RawFd],
    ) {
        let message = FromProcess::Register {
            versions: Versions::SUPPORTED,
            name: Text::lossy(name),
            interest,
            urgency: if eager {
                Urgency::Eager
            } else {
                Urgency::Woken
            },
            generation,
        };
        self.send_raw(&local::encode(&message, MAX_REQUEST).unwrap(), descriptors);
    }

    pub(crate) fn send(&self, message: &FromProcess) {
        self.send_raw(&local::encode(message, MAX_REQUEST).unwrap(), &[]);
    }

    pub(crate) fn send_raw(&self, packet: &[u8], descriptors: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() {
            &rights[..0]
        } else {
            &rights[..]
        };
        let packet = [IoSlice::new(packet)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &packet, control, flags, None).unwrap();
    }

    pub(crate) fn receive(&self) -> ToProcess {
        let mut packet = vec![0; MAX_REPLY];
        let length = recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap();
        assert!(length > 0, "the agent has closed the connection");
        local::decode(&packet[..length], MAX_REPLY).unwrap()
    }

    /// The reason for which the agent ends the connection.
    pub(crate) fn wait_for_rejection(&self) -> String {
        let ToProcess::Rejected { reason } = self.receive() else {
            panic!("not rejected")
        };
        let end = recv(self.socket.as_raw_fd(), &mut [0; 8], MsgFlags::empty());
        assert!(
            matches!(end, Ok(0) | Err(nix::errno::Errno::ECONNRESET)),
            "{end:?}"
        );
        reason.to_string()
    }

    /// How things stand, after everything that was sent before.
    pub(crate) fn status(&self) -> Report {
        self.send(&FromProcess::Status);
        loop {
            match self.receive() {
                ToProcess::Status(report) => return report,
                // What was reported to have trapped has been tried meanwhile.
                ToProcess::Present { .. } => {}
                other => panic!("not a report: {other:?}"),
            }
        }
    }

    pub(crate) fn left(&self, generation: u64) {
        self.send(&FromProcess::Left { generation });
    }

    /// Waits to be woken.
    pub(crate) fn wait(&self) {
        let mut polled = [PollFd::new(self.eventfd.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert_eq!(
            poll(&mut polled, patience),
            Ok(1),
            "the process was not woken"
        );
        self.eventfd.read().unwrap();
    }

    /// Whether it was woken since it looked last.
    pub(crate) fn is_woken(&self) -> bool {
        self.eventfd.read().is_ok()
    }
}

/// The page, as a process maps it; or as a vandal does.
pub(crate) struct PageView(&'static Page);

impl PageView {
    pub(crate) fn open(path: &Path) -> Self {
        Self::map(&File::open(path).unwrap(), ProtFlags::PROT_READ)
    }

    pub(crate) fn open_writable(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        Self::map(&file, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    fn map(file: &File, access: ProtFlags) -> Self {
        assert_eq!(file.metadata().unwrap().len(), SIZE as u64);
        let size = NonZeroUsize::new(SIZE).unwrap();
        // SAFETY: a new mapping of a page's size, never unmapped; `Page` is
        // atomics throughout, so that any bytes and any other writer will do.
        Self(unsafe {
            mmap(None, size, access, MapFlags::MAP_SHARED, file, 0)
                .unwrap()
                .cast()
                .as_ref()
        })
    }
}

impl std::ops::Deref for PageView {
    type Target = Page;

    fn deref(&self) -> &Page {
        self.0
    }
}
