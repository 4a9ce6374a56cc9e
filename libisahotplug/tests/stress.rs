//! Many threads, many generations: no wrong result, no lost final state, nothing left behind.
//!
//! The program (`programs/stress.c`) says what it checks. Here is its agent: it publishes, wakes the
//! process, and now and then waits for its word that the lost paths are left.
//!
//! `ISAHOTPLUG_CASES` multiplies the generations: 10000 cases are ten times as many as 1000, which is
//! as without it.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isa::{Feature, FeatureSet, features};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept,
    bind, getsockopt, listen, recv, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use protocol::availability::{Cause, Publication};
use protocol::local::{self, FromProcess, ToProcess};
use protocol::page::{Page, SIZE};
use support::{Deadline, Program, skip};

/// Every so many generations the agent waits for the process.
const AWAITED: u64 = 100;

fn map<T>(path: &Path, size: usize) -> &'static T {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let length = NonZeroUsize::new(size).unwrap();
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping of a file of `size` bytes that is never unmapped; both types that are
    // mapped are atomics throughout, so that any bytes will do.
    unsafe {
        mmap(None, length, access, MapFlags::MAP_SHARED, file, 0)
            .unwrap()
            .cast()
            .as_ref()
    }
}

/// What plays the agent.
struct Agent {
    page: &'static Page,
    quiet: &'static AtomicU64,
    socket: OwnedFd,
    eventfd: File,
}

fn receive(socket: &OwnedFd) -> (FromProcess, Option<OwnedFd>) {
    let mut packet = vec![0; local::MAX_REQUEST];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut buffers = [std::io::IoSliceMut::new(&mut packet)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received =
        recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags).expect("a packet");
    let descriptor = received.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    let length = received.bytes;
    assert_ne!(length, 0, "the process has closed the connection");
    // SAFETY: recvmsg(2) has just given it to us.
    let descriptor = descriptor.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let message = local::decode(&packet[..length], local::MAX_REQUEST).unwrap();
    (message, descriptor)
}

impl Agent {
    /// Listens for the program; what it returns waits for it.
    fn listen(run_dir: &Path) -> impl FnOnce(u32) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let address = UnixAddr::new(&run_dir.join("agent.sock")).unwrap();
        bind(listener.as_raw_fd(), &address).unwrap();
        listen(&listener, Backlog::new(64).unwrap()).unwrap();
        let patience = TimeVal::seconds(60);
        setsockopt(&listener, sockopt::ReceiveTimeout, &patience).unwrap();
        let page = map(&run_dir.join("page"), SIZE);
        let quiet = map(&run_dir.join("quiet"), 8);
        move |pid| {
            // The children of its forks knock, too; nobody answers them.
            let mut children = Vec::new();
            let socket = loop {
                let socket = accept(listener.as_raw_fd()).expect("the process connects");
                // SAFETY: accept(2) has just returned it to us.
                let socket = unsafe { OwnedFd::from_raw_fd(socket) };
                let peer = getsockopt(&socket, sockopt::PeerCredentials).unwrap();
                if peer.pid().cast_unsigned() == pid {
                    break socket;
                }
                children.push(socket);
            };
            setsockopt(&socket, sockopt::ReceiveTimeout, &patience).unwrap();
            let (message, eventfd) = receive(&socket);
            assert!(matches!(message, FromProcess::Register { .. }));
            let agent = Self {
                page,
                quiet,
                socket,
                eventfd: eventfd.expect("an eventfd comes with it").into(),
            };
            // It stays open, so that connecting does not fail.
            std::mem::drop(std::thread::spawn(move || {
                while let Ok(child) = accept(listener.as_raw_fd()) {
                    // SAFETY: accept(2) has just returned it to us.
                    children.push(unsafe { OwnedFd::from_raw_fd(child) });
                    children.truncate(8);
                }
            }));
            agent.welcome();
            agent
        }
    }

    fn welcome(&self) {
        let welcome = ToProcess::Welcome {
            version: 1,
            generation: self.page.generation(),
        };
        let packet = local::encode(&welcome, local::MAX_REPLY).unwrap();
        send(self.socket.as_raw_fd(), &packet, MsgFlags::empty()).unwrap();
    }

    fn publish(&self, generation: u64, available: FeatureSet) {
        self.page.publish(&Publication {
            generation,
            available,
            visible: isa::detect(),
            cause: Cause::Offer,
            ..Publication::default()
        });
        nix::unistd::write(&self.eventfd, &1u64.to_ne_bytes()).unwrap();
    }

    /// Waits until the process has said that it has left what `generation` lacks.
    fn wait_until_left(&self, generation: u64) {
        loop {
            match receive(&self.socket).0 {
                FromProcess::Left { generation: left } if left >= generation => return,
                FromProcess::Register { .. } => self.welcome(),
                _ => {}
            }
        }
    }

    /// Takes in what the process has said, without waiting.
    fn listen_to_it(&self) {
        let mut packet = vec![0; local::MAX_REQUEST];
        while let Ok(length @ 1..) =
            recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT)
        {
            let message = local::decode(&packet[..length], local::MAX_REQUEST).unwrap();
            if matches!(message, FromProcess::Register { .. }) {
                self.welcome();
            }
        }
    }
}

/// How long the program may run.
const LIMIT: Duration = Duration::from_secs(100);

/// How many times as much as usual.
fn multiplier() -> u32 {
    let cases = std::env::var("ISAHOTPLUG_CASES").ok();
    let cases: u32 = cases.map_or(1000, |cases| cases.parse().unwrap());
    (cases / 1000).max(1)
}

struct Run {
    threads: u64,
    generations: u64,
    /// Variants that trap are among the slots'.
    xop: bool,
}

/// Runs the program of `program` by `command` and plays its agent.
fn stress(program: &Program, mut command: Command, run: &Run) {
    let (multiplier, generations) = (multiplier(), run.generations * u64::from(multiplier()));
    let (wide, less) = {
        let all = isa::detect() | features![Sse3, Ssse3];
        let all = if run.xop { all | features![Xop] } else { all };
        (all, all - features![Sse3])
    };
    // Odd generations have SSE3; the last is odd, and lacks XOP.
    let last = generations | 1;
    program.publish(1, wide);
    std::fs::write(program.run_dir().join("quiet"), [0; 8]).unwrap();
    let connected = Agent::listen(program.run_dir());
    command
        .args([run.threads.to_string(), last.to_string()])
        .arg(if run.xop { "xop" } else { "no-xop" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut child, deadline) = Deadline::start_within(&mut command, LIMIT * multiplier);
    let errors = {
        let mut stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        })
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next();
    let agent = match &first {
        Some(Ok(line)) if line == "ready" => connected(child.id()),
        _ => panic!("{first:?} {}", errors.join().unwrap()),
    };
    for generation in 2..last {
        let available = if generation % 2 == 0 { less } else { wide };
        agent.publish(generation, available);
        if generation % AWAITED == 0 {
            agent.wait_until_left(generation);
            agent.quiet.store(generation, Ordering::SeqCst);
            // Long enough for many calls.
            for _ in 0..200 {
                std::thread::yield_now();
            }
        } else {
            agent.listen_to_it();
            std::thread::yield_now();
        }
    }
    let still = lines.next();
    let is_still = matches!(&still, Some(Ok(line)) if line == "still");
    agent.publish(last, wide - features![Xop]);
    let first = still.filter(|_| !is_still).and_then(Result::ok);
    let rest: Vec<String> = first
        .into_iter()
        .chain(lines.map_while(Result::ok))
        .collect();
    let status = child.wait().unwrap();
    let errors = errors.join().unwrap();
    assert!(deadline.was_kept(), "hangs");
    let said = format!("{status}\n{}\n{errors}", rest.join("\n"));
    assert!(status.success(), "{said}");
    assert_eq!(rest.last().map(String::as_str), Some("ok"), "{said}");
    println!("{}", rest.join("\n"));
}

fn has_xop() -> bool {
    isa::detect().contains(Feature::Xop)
}

#[test]
fn sixty_four_threads_and_ten_thousand_generations() {
    let test = "sixty_four_threads_and_ten_thousand_generations";
    let program = Program::build("libisahotplug/tests/programs/stress.c");
    if has_xop() {
        skip(test, "this CPU has XOP: nothing traps, the rest is run");
    }
    let run = Run {
        threads: 64,
        generations: 10_000,
        xop: !has_xop(),
    };
    stress(&program, program.here(), &run);
}

/// The C code is instrumented, the library is not: what it does between threads is unknown to the
/// sanitizer, and `stress.c` says where its documentation promises an order.
#[test]
fn the_thread_sanitizer_finds_nothing() {
    let test = "the_thread_sanitizer_finds_nothing";
    if !can_compile("-fsanitize=thread") {
        return skip(test, "the C compiler has no thread sanitizer");
    }
    let program = Program::build_with(
        "libisahotplug/tests/programs/stress.c",
        &["-fsanitize=thread"],
    );
    // What it sees of the library are the calls of malloc(3) and free(3): these alone are left out.
    let suppressions = program.run_dir().join("suppressions");
    std::fs::write(&suppressions, "called_from_lib:libisahotplug.so\n").unwrap();
    let options = format!(
        "halt_on_error=1 die_after_fork=0 suppressions={}",
        suppressions.display()
    );
    let mut command = program.here();
    command.env("TSAN_OPTIONS", options);
    let run = Run {
        threads: 16,
        generations: 1000,
        xop: !has_xop(),
    };
    stress(&program, command, &run);
}

/// Also what the library allocates and does not give back: the leak check comes with it.
#[test]
fn the_address_sanitizer_finds_nothing() {
    let test = "the_address_sanitizer_finds_nothing";
    if !can_compile("-fsanitize=address") {
        return skip(test, "the C compiler has no address sanitizer");
    }
    let program = Program::build_with(
        "libisahotplug/tests/programs/stress.c",
        &["-fsanitize=address,undefined"],
    );
    let mut command = program.here();
    command.env("ASAN_OPTIONS", "detect_stack_use_after_return=1");
    let run = Run {
        threads: 32,
        generations: 2000,
        xop: !has_xop(),
    };
    stress(&program, command, &run);
}

/// Without traps: valgrind has no signal frame of the kind that the handler works on.
#[test]
fn valgrind_finds_no_leak() {
    let test = "valgrind_finds_no_leak";
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skip(test, "no valgrind");
    }
    let program = Program::build("libisahotplug/tests/programs/stress.c");
    let native = program.here();
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite"])
        .args(["--errors-for-leak-kinds=definite", "--error-exitcode=9"])
        .args(["--fair-sched=yes", "--child-silent-after-fork=yes"])
        .arg(native.get_program())
        .env("ISAHOTPLUG_RUN_DIR", program.run_dir());
    let run = Run {
        threads: 4,
        generations: 200,
        xop: false,
    };
    stress(&program, command, &run);
}

/// Whether the C compiler links a program with this option.
fn can_compile(option: &str) -> bool {
    let folder = tempfile::TempDir::new().unwrap();
    let source = folder.path().join("empty.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut command = Command::new("cc");
    command.arg(option).arg(source).arg("-o");
    let output = command.arg(folder.path().join("empty")).output();
    output.is_ok_and(|output| output.status.success())
}
