//! The channel to the host: a virtio-serial port, found and kept open.
//!
//! What the kernel's driver (`drivers/char/virtio_console.c`) does, and what
//! follows from it:
//!
//! - A port can be opened by one process at a time; others get EBUSY.
//! - While no host is connected `poll` says EPOLLHUP *and* EPOLLIN, `read`
//!   returns 0 and a non-blocking `write` EAGAIN. None of it is final: when the
//!   host connects, the driver wakes its wait queue, which gives one event to
//!   an edge-triggered watch. So the port is kept open and nothing is done
//!   until that event.
//! - A `write` takes the whole buffer (up to 32 KiB) or nothing. Room for
//!   output and input each give an event too.
//! - After a hot-unplug `read` says ENODEV: close, and look for it again.
//! - A migration is not visible here, unless the destination's host side is
//!   not connected when the source's was.
//!
//! Where there is no virtio the channel may be a terminal device (a serial
//! port) or a unix stream socket; for these an end of file is final.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::epoll::EpollFlags;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use protocol::Moment;
use tracing::Level;

use crate::log::Log;
use crate::outgoing::Outgoing;
use crate::poller::{Poller, Token};

/// A port that is not there is looked for after this time, then each time
/// after twice as long…
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// …up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After a peer that does not speak the protocol.
pub(crate) const PAUSE_AFTER_DROP: Duration = Duration::from_secs(1);
/// Most bytes that are read before others get their turn.
const READ: usize = 16 * 1024;

/// Where the channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The virtio port with this name.
    Name(String),
    /// A device or a unix stream socket at this path.
    Path(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The channel, open or not.
#[derive(Debug)]
pub(crate) struct Port {
    place: Place,
    link: Link,
    outgoing: Outgoing,
    pause: Duration,
}

#[derive(Debug)]
enum Link {
    Closed {
        retry_at: Moment,
        problem: Option<String>,
    },
    Open(Open),
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    fd: OwnedFd,
    kind: Kind,
    /// Something may be there to read.
    readable: bool,
    /// A virtio port whose host side is connected, as its latest event said;
    /// always so for the others.
    connected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Virtio,
    Terminal,
    Socket,
}

impl Port {
    pub(crate) fn new(place: Place, now: Moment) -> Self {
        let link = Link::Closed {
            retry_at: now,
            problem: None,
        };
        Self {
            place,
            link,
            outgoing: Outgoing::default(),
            pause: FIRST_PAUSE,
        }
    }

    /// When [`open_if_due`](Self::open_if_due) must be called.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match &self.link {
            Link::Closed { retry_at, .. } => Some(*retry_at),
            Link::Open(open) => open.readable.then_some(Moment::default()),
        }
    }

    /// Opens the port if it is closed and it is time to try; whether it did.
    pub(crate) fn open_if_due(&mut self, poller: &Poller, log: &mut Log, now: Moment) -> bool {
        let Link::Closed { retry_at, problem } = &mut self.link else {
            return false;
        };
        if *retry_at > now {
            return false;
        }
        match open(&self.place).and_then(|open| {
            poller
                .watch_changes(&open.fd, Token::Port)
                .map_err(|e| e.to_string())?;
            Ok(open)
        }) {
            Ok(open) => {
                log.limited(
                    Level::INFO,
                    "channel opened",
                    5,
                    format!("channel {}: opened {}", self.place, open.path.display()),
                );
                self.link = Link::Open(open);
                true
            }
            Err(found) => {
                *retry_at = now.after(self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                if problem.as_ref() != Some(&found) {
                    let text = format!(
                        "channel {}: {found}; processes are served without it, and it is looked for on",
                        self.place
                    );
                    log.limited(Level::WARN, "channel not there", 5, text);
                    *problem = Some(found);
                }
                false
            }
        }
    }

    /// The poller saw something.
    pub(crate) fn ready(&mut self, flags: EpollFlags, log: &mut Log, now: Moment) {
        let Link::Open(open) = &mut self.link else {
            return;
        };
        open.readable |=
            flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        if open.kind == Kind::Virtio {
            open.set_connected(!flags.contains(EpollFlags::EPOLLHUP), &self.place, log);
        }
        self.flush(log, now);
    }

    /// Reads what there is, up to a limit; empty if there is nothing now.
    pub(crate) fn read(&mut self, log: &mut Log, now: Moment) -> Vec<u8> {
        let Link::Open(open) = &mut self.link else {
            return Vec::new();
        };
        if !open.readable {
            return Vec::new();
        }
        let mut buffer = vec![0; READ];
        loop {
            match nix::unistd::read(&open.fd, &mut buffer).map_err(io::Error::from) {
                Ok(0) if open.kind == Kind::Virtio => {
                    open.readable = false;
                    open.set_connected(false, &self.place, log);
                    return Vec::new();
                }
                Ok(0) => {
                    self.close("the other end closed it", FIRST_PAUSE, log, now);
                    return Vec::new();
                }
                Ok(count) => {
                    self.pause = FIRST_PAUSE;
                    buffer.truncate(count);
                    return buffer;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    open.readable = false;
                    return Vec::new();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.close(&error.to_string(), FIRST_PAUSE, log, now);
                    return Vec::new();
                }
            }
        }
    }

    /// Sends a whole frame, now or when there is room.
    pub(crate) fn send(&mut self, frame: Vec<u8>, log: &mut Log, now: Moment) {
        if !matches!(self.link, Link::Open(_)) {
            return;
        }
        if self.outgoing.push(frame) {
            let text = format!(
                "channel {}: the host does not read, dropped the oldest frame",
                self.place
            );
            log.limited(Level::WARN, "frames dropped", 1, text);
        }
        self.flush(log, now);
    }

    /// Closes the channel, to be opened again after `pause` or longer.
    pub(crate) fn close(&mut self, why: &str, pause: Duration, log: &mut Log, now: Moment) {
        let problem = why.to_owned();
        let text = format!("channel {}: closed: {why}", self.place);
        log.limited(Level::WARN, "channel closed", 5, text);
        let retry_at = now.after(pause.max(self.pause));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.link = Link::Closed {
            retry_at,
            problem: Some(problem),
        };
        self.outgoing.clear();
    }

    /// How it stands, for people.
    pub(crate) fn describe(&self) -> String {
        match &self.link {
            Link::Closed { problem: None, .. } => format!("{}: not yet open", self.place),
            Link::Closed {
                problem: Some(problem),
                ..
            } => format!("{}: {problem}", self.place),
            Link::Open(open) if open.connected => format!("{}: open", open.path.display()),
            Link::Open(open) => format!("{}: open, no host connected", open.path.display()),
        }
    }

    /// Whether a host could be heard.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(&self.link, Link::Open(open) if open.connected)
    }

    fn flush(&mut self, log: &mut Log, now: Moment) {
        let Link::Open(open) = &self.link else { return };
        let write = |bytes: &[u8]| Ok(nix::unistd::write(&open.fd, bytes)?);
        if let Err(error) = self.outgoing.flush(write) {
            self.close(&error.to_string(), FIRST_PAUSE, log, now);
        }
    }
}

impl Open {
    fn set_connected(&mut self, connected: bool, place: &Place, log: &mut Log) {
        if std::mem::replace(&mut self.connected, connected) != connected {
            let state = if connected {
                "host connected"
            } else {
                "no host connected"
            };
            log.limited(
                Level::INFO,
                "channel state",
                20,
                format!("channel {place}: {state}"),
            );
        }
    }
}

/// Opens the channel without waiting; the error is for people.
fn open(place: &Place) -> Result<Open, String> {
    let path = match place {
        Place::Path(path) => path.clone(),
        Place::Name(name) => find(
            name,
            Path::new("/dev"),
            Path::new("/sys/class/virtio-ports"),
        )
        .ok_or("no such port")?,
    };
    let problem = |error: &io::Error| match error.raw_os_error() {
        Some(libc::EBUSY) => format!("{}: another process has the port open", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    let file_type = fs::metadata(&path).map_err(|e| problem(&e))?.file_type();
    if file_type.is_socket() {
        let socket = UnixStream::connect(&path).map_err(|e| problem(&e))?;
        socket.set_nonblocking(true).map_err(|e| problem(&e))?;
        return Ok(Open {
            path,
            fd: socket.into(),
            kind: Kind::Socket,
            readable: true,
            connected: true,
        });
    }
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(&path).map_err(|e| problem(&e))?;
    // Only a terminal has attributes.
    let kind = match tcgetattr(&file) {
        Ok(mut attributes) => {
            cfmakeraw(&mut attributes);
            tcsetattr(file.as_fd(), SetArg::TCSANOW, &attributes)
                .map_err(|e| problem(&e.into()))?;
            Kind::Terminal
        }
        Err(_) => Kind::Virtio,
    };
    Ok(Open {
        path,
        fd: file.into(),
        kind,
        readable: true,
        connected: true,
    })
}

/// The device of the port called `name`: where udev puts a link to it, or else
/// by the names in sysfs.
fn find(name: &str, dev: &Path, class: &Path) -> Option<PathBuf> {
    let link = dev.join("virtio-ports").join(name);
    if link.exists() {
        return Some(link);
    }
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let found = fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim_end_matches('\n') == name).then(|| dev.join(entry.file_name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_there_is_said_once_and_looked_for_ever_more_slowly() {
        let (poller, mut log) = (Poller::new().unwrap(), Log::default());
        let mut now = Moment::default();
        let mut port = Port::new(Place::Name("org.isahotplug.test-none".into()), now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert!(!port.open_if_due(&poller, &mut log, now));
            let next = port.deadline().unwrap();
            pauses.push(next.since(now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        let said = "channel org.isahotplug.test-none: no such port; \
                    processes are served without it, and it is looked for on";
        assert_eq!(log.lines(), [said]);
    }

    #[test]
    fn a_port_is_found_by_its_link_or_by_its_name_in_sysfs() {
        let root = tempfile::tempdir().unwrap();
        let (dev, class) = (root.path().join("dev"), root.path().join("class"));
        for (port, name) in [("vport0p1", "another"), ("vport2p3", "org.isahotplug.0")] {
            fs::create_dir_all(class.join(port)).unwrap();
            fs::write(class.join(port).join("name"), format!("{name}\n")).unwrap();
        }
        assert_eq!(
            find("org.isahotplug.0", &dev, &class),
            Some(dev.join("vport2p3"))
        );
        assert_eq!(find("org.isahotplug.1", &dev, &class), None);
        fs::create_dir_all(dev.join("virtio-ports")).unwrap();
        let link = dev.join("virtio-ports").join("org.isahotplug.0");
        fs::write(&link, "").unwrap();
        assert_eq!(find("org.isahotplug.0", &dev, &class), Some(link));
        assert_eq!(
            find("org.isahotplug.0", &dev, Path::new("/nowhere")),
            find("org.isahotplug.0", &dev, &class)
        );
    }
}
