//! Connected processes: the socket, who they are, and how many there may be.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen, socket,
};
use protocol::local::{self, MAX_REPLY, ToProcess};
use protocol::{Moment, Text};
use tracing::Level;

use crate::log::Log;
use crate::packet::{self, Packet};
use crate::poller::{ClientId, Poller, Token};

/// The socket's file in the run directory.
pub(crate) const SOCKET: &str = "agent.sock";
/// Most connections, however many descriptors the system allows.
const MOST: usize = 65_536;
/// Descriptors that the agent needs for itself.
const OWN_DESCRIPTORS: u64 = 32;
/// Most descriptors of one connection: its socket and its eventfd.
const DESCRIPTORS_EACH: usize = 2;
/// Most connections accepted before others get their turn.
const ACCEPTED_AT_ONCE: usize = 64;

/// One connected process.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    pub(crate) pid: u32,
    uid: u32,
    /// What the kernel calls it.
    comm: String,
    /// Its eventfd, once it is registered.
    eventfd: Option<OwnedFd>,
    /// It is registered and has no eventfd.
    is_lazy: bool,
    /// Traps that it reports are looked into from this moment on…
    pub(crate) deaf_until: Moment,
    /// …because it has reported so many false ones.
    pub(crate) false_traps: u32,
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.pid, self.comm)
    }
}

/// Most lines in the log that one user can cause in a while.
const LINES: u32 = 20;

impl Client {
    /// Logs something that the process did, without letting its user flood.
    pub(crate) fn log(&self, log: &mut Log, level: Level, what: &str, text: &str) {
        log.limited(
            level,
            format!("{what} of uid {}", self.uid),
            LINES,
            format!("{self}: {text}"),
        );
    }

    /// Receives a packet; `None` if there is none now.
    pub(crate) fn receive(&self) -> io::Result<Option<Packet>> {
        match packet::receive(self.socket.as_fd()) {
            Ok(packet) => Ok(Some(packet)),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &ToProcess) -> io::Result<()> {
        let packet = local::encode(message, MAX_REPLY).map_err(io::Error::other)?;
        packet::reply(self.socket.as_fd(), &packet)
    }
}

/// The socket, and everybody connected to it.
#[derive(Debug)]
pub(crate) struct Clients {
    listener: OwnedFd,
    path: PathBuf,
    connected: BTreeMap<ClientId, Client>,
    by_user: BTreeMap<u32, usize>,
    next: u64,
    /// How many descriptors connections may use.
    descriptors: usize,
    /// Those that need no eventfd.
    lazy: usize,
    most: usize,
    most_a_user: usize,
    /// Given up to accept and refuse when there is no descriptor left.
    reserve: Option<File>,
}

impl Clients {
    /// Listens in the run directory. The caller holds its lock, so that a
    /// socket that is there already is left over from an earlier agent.
    pub(crate) fn listen(run_dir: &Path, poller: &Poller) -> io::Result<Self> {
        let path = run_dir.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(&path)?)?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        listen(&listener, Backlog::new(4096)?)?;
        poller.watch(&listener, Token::Listener)?;
        let descriptors = usize::try_from(descriptors()? - OWN_DESCRIPTORS);
        let descriptors = descriptors.unwrap_or(usize::MAX).max(4 * DESCRIPTORS_EACH);
        let most = descriptors.min(MOST);
        Ok(Self {
            listener,
            path,
            connected: BTreeMap::new(),
            by_user: BTreeMap::new(),
            next: 0,
            descriptors,
            lazy: 0,
            most,
            most_a_user: most / 4 / DESCRIPTORS_EACH,
            reserve: File::open("/dev/null").ok(),
        })
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<&Client> {
        self.connected.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.connected.get_mut(&id)
    }

    /// The eventfd of a registered process.
    pub(crate) fn eventfd(&self, id: ClientId) -> Option<BorrowedFd<'_>> {
        self.connected.get(&id)?.eventfd.as_ref().map(AsFd::as_fd)
    }

    /// Takes the eventfd of a process, or that it has none.
    pub(crate) fn set_eventfd(&mut self, id: ClientId, eventfd: Option<OwnedFd>) {
        if let Some(client) = self.connected.get_mut(&id) {
            self.lazy -= usize::from(client.is_lazy);
            client.is_lazy = eventfd.is_none();
            self.lazy += usize::from(client.is_lazy);
            client.eventfd = eventfd;
        }
    }

    /// Lets in who waits at the door.
    pub(crate) fn accept(&mut self, poller: &Poller, log: &mut Log) {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.accept_one(poller, log) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.refuse_without_descriptor();
                    let text = format!("a connection was refused: {error}");
                    log.limited(Level::WARN, "connections refused", 1, text);
                }
            }
        }
    }

    /// Ends a connection.
    pub(crate) fn remove(&mut self, id: ClientId, poller: &Poller) -> Option<Client> {
        let client = self.connected.remove(&id)?;
        self.lazy -= usize::from(client.is_lazy);
        poller.forget(&client.socket);
        if let Some(count) = self.by_user.get_mut(&client.uid) {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(&client.uid);
            }
        }
        Some(client)
    }

    fn accept_one(&mut self, poller: &Poller, log: &mut Log) -> io::Result<bool> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = match accept4(self.listener.as_raw_fd(), flags).map_err(io::Error::from) {
            // SAFETY: accept4 has just made it, and it is nobody else's.
            Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // Who was at the door has gone away.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => return Ok(true),
            Err(error) => return Err(error),
        };
        let peer = getsockopt(&socket, PeerCredentials)?;
        let pid = u32::try_from(peer.pid()).unwrap_or(0);
        let client = Client {
            socket,
            pid,
            uid: peer.uid(),
            comm: comm(pid),
            eventfd: None,
            is_lazy: false,
            deaf_until: Moment::default(),
            false_traps: 0,
        };
        let of_user = self.by_user.get(&client.uid).copied().unwrap_or(0);
        // Root must get in to look, and could do any harm anyway.
        // Whoever has not registered yet may want an eventfd.
        let used = self.connected.len() * DESCRIPTORS_EACH - self.lazy;
        let is_full = used + DESCRIPTORS_EACH > self.descriptors;
        let full = if is_full || self.connected.len() >= self.most {
            Some(format!(
                "{} connections are open, as many as there can be",
                self.connected.len()
            ))
        } else if of_user >= self.most_a_user && client.uid != 0 {
            Some(format!(
                "uid {} has {of_user} connections open, the most allowed",
                client.uid
            ))
        } else {
            None
        };
        if let Some(reason) = full {
            client.log(log, Level::WARN, "refusals", &format!("refused: {reason}"));
            let reason = Text::lossy(&reason);
            // It is gone whether it hears it or not.
            let _unheard = client.send(&ToProcess::Rejected { reason });
            return Ok(true);
        }
        let id = ClientId(self.next);
        self.next += 1;
        poller.watch(&client.socket, Token::Client(id))?;
        *self.by_user.entry(client.uid).or_default() += 1;
        self.connected.insert(id, client);
        Ok(true)
    }

    /// Out of descriptors: who waits at the door would make us spin, so it is
    /// let in by giving up a descriptor kept for this, and closed at once.
    fn refuse_without_descriptor(&mut self) {
        self.reserve = None;
        if let Ok(fd) = accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4 has just made it, and it is nobody else's.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        self.reserve = File::open("/dev/null").ok();
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // A socket that stays behind is removed by the next agent.
        let _left_over = fs::remove_file(&self.path);
    }
}

/// Raises the limit of open descriptors as far as it goes, and returns it.
fn descriptors() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard.max(OWN_DESCRIPTORS))
}

/// The name of a process, fit for a log line.
fn comm(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match Text::<64>::lossy(name.trim_end_matches('\n')).as_str() {
        "" => "unknown".into(),
        name => name.into(),
    }
}
