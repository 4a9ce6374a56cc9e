//! PID 1 of the test guest: loads the modules, names the virtio ports, and
//! does what the harness asks for over the port `org.isahotplug.harness`.
//!
//! It has to outlive every migration of the guest, so it uses nothing that
//! picks its instructions at start: glibc's string functions are held at the
//! baseline by `GLIBC_TUNABLES` on the kernel command line, and the crates in
//! it have no run-time detection.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use isahotplug_tests::wire::{FrameReader, HARNESS_PORT, Report, Request, Status, Stream};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// One module a line, in the order of their dependencies.
const MODULES: &str = "/lib/modules/order";
/// Set on the kernel command line: the ports to wait for, with commas between.
const PORTS: &str = "ISAHOTPLUG_GUEST_PORTS";
/// Above this many unsent bytes the output of processes stays in their pipes.
const UNSENT_LIMIT: usize = 256 << 10;
/// While the host's end of the port is closed, poll(2) reports nothing but
/// that; the port is then looked at again after this many milliseconds.
const CLOSED_PORT_RETRY_MS: u8 = 20;

fn main() -> io::Result<()> {
    mount_filesystems()?;
    let uevents = uevent_socket()?;
    load_modules()?;
    // The kernel draws it at the first read: restored guests would each draw their own.
    fs::read("/proc/sys/kernel/random/boot_id")?;
    let ports = std::env::var(PORTS).unwrap_or_else(|_| HARNESS_PORT.to_owned());
    name_ports_until_all_are_there(&uevents, &ports)?;

    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(Path::new("/dev/virtio-ports").join(HARNESS_PORT))?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let children = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    Init {
        port,
        uevents,
        children,
        incoming: FrameReader::default(),
        unsent: VecDeque::new(),
        processes: BTreeMap::new(),
        hushed: false,
        port_is_closed: false,
    }
    .run()
}

fn mount_filesystems() -> io::Result<()> {
    for (kind, at) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        fs::create_dir_all(at)?;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)?;
    }
    fs::create_dir_all("/dev/virtio-ports")
}

fn load_modules() -> io::Result<()> {
    for module in fs::read_to_string(MODULES)?.lines() {
        let file = File::open(Path::new("/lib/modules").join(module))?;
        finit_module(&file, c"", ModuleInitFlags::empty())
            .map_err(|error| io::Error::other(format!("{module}: {error}")))?;
    }
    Ok(())
}

/// The kernel's announcements of new devices; there is no udev here.
fn uevent_socket() -> io::Result<OwnedFd> {
    let uevents = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&uevents),
        &NetlinkAddr::new(0, 1),
    )?;
    Ok(uevents)
}

fn name_ports_until_all_are_there(uevents: &OwnedFd, ports: &str) -> io::Result<()> {
    loop {
        name_ports()?;
        let all = ports
            .split(',')
            .all(|port| Path::new("/dev/virtio-ports").join(port).exists());
        if all {
            return Ok(());
        }
        // The kernel sends a "change" event when it has learnt a port's name.
        swallow_uevent(uevents, MsgFlags::empty())?;
    }
}

/// Gives each port that has a name its link in /dev/virtio-ports.
fn name_ports() -> io::Result<()> {
    let Ok(ports) = fs::read_dir("/sys/class/virtio-ports") else {
        return Ok(());
    };
    for port in ports {
        let port = port?;
        let Ok(name) = fs::read_to_string(port.path().join("name")) else {
            continue;
        };
        let link = Path::new("/dev/virtio-ports").join(name.trim_end());
        let device = Path::new("../").join(port.file_name());
        if fs::read_link(&link).ok().as_deref() != Some(&device) {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(device, link)?;
        }
    }
    Ok(())
}

fn swallow_uevent(uevents: &OwnedFd, flags: MsgFlags) -> io::Result<()> {
    let mut event = [0; 8192];
    match recv(std::os::fd::AsRawFd::as_raw_fd(uevents), &mut event, flags) {
        // An overrun of the socket is as good a reason to look again as an event.
        Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Everything PID 1 knows while it serves.
struct Init {
    port: File,
    uevents: OwnedFd,
    children: SignalFd,
    incoming: FrameReader,
    unsent: VecDeque<u8>,
    /// By the number of their `Spawn` request.
    processes: BTreeMap<u64, Process>,
    hushed: bool,
    port_is_closed: bool,
}

struct Process {
    pid: Pid,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    ended: Option<Status>,
}

/// What poll(2) looks at.
#[derive(Clone, Copy)]
enum Source {
    Port,
    Uevents,
    Children,
    Pipe(u64, Stream),
}

impl Init {
    fn run(mut self) -> io::Result<()> {
        self.report(&Report::Ready);
        loop {
            for (source, flags) in self.wait()? {
                match source {
                    Source::Port => self.serve_port(flags),
                    Source::Uevents => {
                        swallow_uevent(&self.uevents, MsgFlags::MSG_DONTWAIT)?;
                        name_ports()?;
                    }
                    Source::Children => self.reap(),
                    Source::Pipe(process, stream) => self.drain(process, stream),
                }
            }
            if !self.hushed {
                self.report_ended();
            }
            self.send();
        }
    }

    fn wait(&mut self) -> io::Result<Vec<(Source, PollFlags)>> {
        let mut sources: Vec<(Source, BorrowedFd<'_>, PollFlags)> = vec![
            (Source::Uevents, self.uevents.as_fd(), PollFlags::POLLIN),
            (Source::Children, self.children.as_fd(), PollFlags::POLLIN),
        ];
        if !self.port_is_closed {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, !self.unsent.is_empty());
            sources.push((Source::Port, self.port.as_fd(), flags));
        }
        if !self.hushed && self.unsent.len() < UNSENT_LIMIT {
            for (&number, process) in &self.processes {
                let pipes = [
                    (&process.stdout, Stream::Stdout),
                    (&process.stderr, Stream::Stderr),
                ];
                for (pipe, stream) in pipes {
                    if let Some(pipe) = pipe {
                        let source = Source::Pipe(number, stream);
                        sources.push((source, pipe.as_fd(), PollFlags::POLLIN));
                    }
                }
            }
        }
        let mut polled: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd, flags)| PollFd::new(*fd, *flags))
            .collect();
        let timeout = if self.port_is_closed {
            PollTimeout::from(CLOSED_PORT_RETRY_MS)
        } else {
            PollTimeout::NONE
        };
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = sources
            .iter()
            .zip(&polled)
            .filter_map(|((source, ..), polled)| {
                let flags = polled.revents().filter(|flags| !flags.is_empty())?;
                Some((*source, flags))
            })
            .collect();
        self.port_is_closed = false;
        Ok(ready)
    }

    fn serve_port(&mut self, flags: PollFlags) {
        let mut bytes = [0; 16 << 10];
        match self.port.read(&mut bytes) {
            Ok(0) => self.port_is_closed = true,
            Ok(count) => self.incoming.push(&bytes[..count]),
            // The port hiccups when the host's end comes and goes.
            Err(_) => self.port_is_closed = flags.contains(PollFlags::POLLHUP),
        }
        loop {
            match self
                .incoming
                .next_frame()
                .map(|body| body.map(|body| Request::decode(&body)))
            {
                Ok(None) => break,
                Ok(Some(Ok((number, request)))) => self.answer(number, &request),
                Ok(Some(Err(error))) | Err(error) => {
                    eprintln!("guest-init: {error}");
                    self.incoming = FrameReader::default();
                    break;
                }
            }
        }
    }

    fn answer(&mut self, number: u64, request: &Request) {
        let report = match self.carry_out(number, request) {
            Ok(value) => Report::Done {
                request: number,
                value,
            },
            Err(error) => Report::Failed {
                request: number,
                why: error.to_string().into_bytes(),
            },
        };
        self.report(&report);
    }

    fn carry_out(&mut self, number: u64, request: &Request) -> io::Result<u32> {
        match request {
            Request::Spawn { argv, env, stdin } => {
                let process = Process::spawn(argv, env, *stdin)?;
                let pid = process.pid.as_raw();
                self.processes.insert(number, process);
                u32::try_from(pid).map_err(io::Error::other)
            }
            Request::Stdin { process, bytes } => {
                let process = self.process(*process)?;
                if bytes.is_empty() {
                    process.stdin = None;
                } else {
                    let stdin = process.stdin.as_mut();
                    stdin
                        .ok_or_else(|| io::Error::other("standard input is closed"))?
                        .write_all(bytes)?;
                }
                Ok(0)
            }
            Request::Kill { process, signal } => {
                let signal = i32::try_from(*signal).map_err(io::Error::other)?;
                kill(self.process(*process)?.pid, Signal::try_from(signal)?)?;
                Ok(0)
            }
            Request::WriteFile { path, mode, bytes } => {
                let path = Path::new(OsStr::from_bytes(path));
                fs::write(path, bytes)?;
                fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
                Ok(0)
            }
            Request::Hush => {
                self.hushed = true;
                Ok(0)
            }
            Request::Resume => {
                self.hushed = false;
                Ok(0)
            }
        }
    }

    fn process(&mut self, number: u64) -> io::Result<&mut Process> {
        self.processes
            .get_mut(&number)
            .filter(|process| process.ended.is_none())
            .ok_or_else(|| io::Error::other("the process has ended"))
    }

    /// Collects every child that ended, orphans too.
    fn reap(&mut self) {
        while matches!(self.children.read_signal(), Ok(Some(_))) {}
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Status::Exited(code.unsigned_abs())),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, Status::Signaled((signal as i32).unsigned_abs()))
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(_) => continue,
            };
            let process = self
                .processes
                .values_mut()
                .find(|process| process.pid == pid);
            if let Some(process) = process {
                process.ended = Some(status);
            }
        }
    }

    /// Reports the ends of processes, after the last that they wrote.
    fn report_ended(&mut self) {
        let ended: Vec<(u64, Status)> = self
            .processes
            .iter()
            .filter_map(|(&number, process)| Some((number, process.ended?)))
            .collect();
        for (process, status) in ended {
            self.drain(process, Stream::Stdout);
            self.drain(process, Stream::Stderr);
            self.report(&Report::Ended { process, status });
            self.processes.remove(&process);
        }
    }

    /// Reports what a pipe holds now.
    fn drain(&mut self, number: u64, stream: Stream) {
        let Some(process) = self.processes.get_mut(&number) else {
            return;
        };
        let pipe = match stream {
            Stream::Stdout => &mut process.stdout,
            Stream::Stderr => &mut process.stderr,
        };
        let mut reports = Vec::new();
        let mut bytes = [0; 16 << 10];
        // A pipe holds 64 KiB; a writer that is faster than the port must not
        // keep PID 1 here.
        for _ in 0..8 {
            let Some(file) = pipe else { break };
            match file.read(&mut bytes) {
                Ok(0) => *pipe = None,
                Ok(count) => reports.push(Report::Output {
                    process: number,
                    stream,
                    bytes: bytes[..count].to_vec(),
                }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        for report in reports {
            self.report(&report);
        }
    }

    fn report(&mut self, report: &Report) {
        self.unsent.extend(report.encode());
    }

    /// Sends as much as the port takes now.
    fn send(&mut self) {
        while !self.unsent.is_empty() {
            let (head, _) = self.unsent.as_slices();
            match self.port.write(head) {
                Ok(count) if count > 0 => drop(self.unsent.drain(..count)),
                // Full, or the host's end is away: what is unsent stays.
                Ok(_) | Err(_) => return,
            }
        }
    }
}

impl Process {
    fn spawn(argv: &[Vec<u8>], env: &[Vec<u8>], stdin: bool) -> io::Result<Self> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| io::Error::other("no program was named"))?;
        let mut command = Command::new(OsStr::from_bytes(program));
        command
            .args(arguments.iter().map(|argument| OsStr::from_bytes(argument)))
            .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
            .env_remove(PORTS)
            .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for word in env {
            match word.iter().position(|&byte| byte == b'=') {
                Some(at) => command.env(
                    OsStr::from_bytes(&word[..at]),
                    OsStr::from_bytes(&word[at + 1..]),
                ),
                None => command.env_remove(OsStr::from_bytes(word)),
            };
        }
        let mut child = command.spawn().map_err(|error| {
            let program = std::ffi::OsString::from_vec(program.clone());
            io::Error::other(format!("{}: {error}", program.display()))
        })?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        // `child` is never waited for: `Init::reap` collects it with the orphans.
        Ok(Self {
            pid: Pid::from_raw(pid),
            stdin: child
                .stdin
                .take()
                .map(|pipe| unblocked(pipe.into()))
                .transpose()?,
            stdout: child
                .stdout
                .take()
                .map(|pipe| unblocked(pipe.into()))
                .transpose()?,
            stderr: child
                .stderr
                .take()
                .map(|pipe| unblocked(pipe.into()))
                .transpose()?,
            ended: None,
        })
    }
}

fn unblocked(pipe: OwnedFd) -> io::Result<File> {
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(File::from(pipe))
}
