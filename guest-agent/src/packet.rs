//! Packets on the agent's socket, with the descriptors that travel along.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{MsgFlags, send};
use protocol::local::MAX_REQUEST;

/// A packet from a process.
#[derive(Debug)]
pub(crate) struct Packet {
    /// What it holds; of one that is too long, the beginning.
    pub(crate) bytes: Vec<u8>,
    /// How long it was.
    pub(crate) len: usize,
    /// The descriptors that came with it; those beyond a few the kernel has
    /// closed already.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Room for one descriptor, as the kernel aligns it.
#[repr(C, align(8))]
struct Control([u8; 24]);

/// Receives a packet if there is one. An empty one is the end, or an empty
/// packet, which no message is either.
///
/// # Errors
/// `WouldBlock` if there is none.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Packet> {
    let mut bytes = vec![0; MAX_REQUEST + 1];
    let mut control = Control([0; 24]);
    let mut iov = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all zeroes is a valid msghdr: no name, no buffers.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<Control>();
    // With MSG_TRUNC the length is that of the whole packet.
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | libc::MSG_TRUNC;
    // SAFETY: the header and what it points to are valid for the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let descriptors = descriptors(&header);
    bytes.truncate(len);
    Ok(Packet {
        bytes,
        len,
        descriptors,
    })
}

/// Takes over every descriptor in the control messages that the kernel wrote.
fn descriptors(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut taken = Vec::new();
    // SAFETY: the header is as recvmsg left it, so that the walk stays within
    // the control buffer; each descriptor in it is new and nobody else's.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            let message = &*at;
            if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let start = libc::CMSG_DATA(at).cast::<libc::c_int>();
                let bytes = message.cmsg_len - libc::CMSG_LEN(0) as usize;
                for n in 0..bytes / size_of::<libc::c_int>() {
                    taken.push(OwnedFd::from_raw_fd(start.add(n).read_unaligned()));
                }
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    taken
}

/// Sends a packet; a process that does not read is an error.
pub(crate) fn reply(socket: BorrowedFd<'_>, packet: &[u8]) -> io::Result<()> {
    send(
        socket.as_raw_fd(),
        packet,
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
    )?;
    Ok(())
}

/// Whether a descriptor is an eventfd: writing to anything else could block,
/// or do harm in our name.
pub(crate) fn is_eventfd(fd: BorrowedFd<'_>) -> bool {
    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    link.is_ok_and(|target| target == Path::new("anon_inode:[eventfd]"))
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read};
    use std::os::fd::AsFd;

    use nix::sys::eventfd::EventFd;
    use nix::sys::socket::{
        AddressFamily, ControlMessage, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
    };

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap()
    }

    #[test]
    fn of_many_descriptors_few_arrive_and_all_are_closed() {
        let (theirs, ours) = pair();
        let (mut reader, writer) = io::pipe().unwrap();
        let all = [writer.as_raw_fd(); 200];
        let iov = [IoSlice::new(b"x")];
        let rights = [ControlMessage::ScmRights(&all)];
        sendmsg::<UnixAddr>(theirs.as_raw_fd(), &iov, &rights, MsgFlags::empty(), None).unwrap();
        let packet = receive(ours.as_fd()).unwrap();
        assert!((1..3).contains(&packet.descriptors.len()));
        drop((packet, writer));
        // The pipe ends only when the last descriptor of its writer is closed.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn the_length_of_a_packet_that_is_too_long_is_known() {
        let (theirs, ours) = pair();
        reply(theirs.as_fd(), &[7; 3000]).unwrap();
        let packet = receive(ours.as_fd()).unwrap();
        assert_eq!((packet.len, packet.bytes.len()), (3000, MAX_REQUEST + 1));
        let error = receive(ours.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_no_eventfd_is_seen() {
        assert!(is_eventfd(EventFd::new().unwrap().as_fd()));
        let (socket, _other) = pair();
        assert!(!is_eventfd(socket.as_fd()));
        assert!(!is_eventfd(fs::File::open("/dev/null").unwrap().as_fd()));
    }
}
