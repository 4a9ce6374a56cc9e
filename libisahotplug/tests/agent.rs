//! The library and an agent that says what the test wants.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Stdio;

use isa::features;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, listen, recv,
    send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use protocol::local::{self, FromProcess, ToProcess};
use support::{Program, skip};

/// How long the other side may take.
const PATIENCE_S: i64 = 30;

struct Agent {
    listener: OwnedFd,
}

struct Connection(OwnedFd);

impl Agent {
    fn listen(program: &Program) -> Self {
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

    fn accept(&self) -> Connection {
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
    fn receive(&self) -> FromProcess {
        let mut packet = vec![0; local::MAX_REQUEST];
        let length = recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()).expect("a packet");
        local::decode(&packet[..length], local::MAX_REQUEST).unwrap()
    }

    fn say(&self, message: &ToProcess) {
        let packet = local::encode(message, local::MAX_REPLY).unwrap();
        send(self.0.as_raw_fd(), &packet, MsgFlags::empty()).unwrap();
    }

    /// The next message that passes; others are passed over.
    fn wait<T>(&self, mut accept: impl FnMut(FromProcess) -> Option<T>) -> T {
        loop {
            if let Some(found) = accept(self.receive()) {
                return found;
            }
        }
    }
}

/// The guest went to a lesser host and back before the agent could look.
#[test]
fn what_the_agent_finds_present_after_a_trap_is_used_again() {
    let test = "what_the_agent_finds_present_after_a_trap_is_used_again";
    let program = Program::build("examples/c/demo.c");
    let wide = features![Avx2, Fma, F16c, Bmi2];
    program.publish(5, isa::detect() | wide);
    let agent = Agent::listen(&program);
    let Some(mut command) = program.on_lesser_cpu() else {
        return skip(test, "no qemu-x86_64");
    };
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let connection = agent.accept();
    let (interest, eager) = connection.wait(|message| match message {
        FromProcess::Register {
            interest,
            eager,
            name,
            ..
        } => {
            assert_eq!(name.as_str(), "demo");
            Some((interest, eager))
        }
        _ => None,
    });
    assert_eq!((interest, eager), (wide, true));
    connection.say(&ToProcess::Welcome {
        version: 1,
        generation: 5,
    });
    let lost = connection.wait(|message| match message {
        FromProcess::Trapped { features, address } => {
            assert_ne!(address, 0);
            Some(features)
        }
        _ => None,
    });
    assert!(!lost.is_disjoint(&wide), "{lost}");
    connection.say(&ToProcess::Present { features: lost });
    let output = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let paths: Vec<String> = output
        .filter(|line| line.starts_with("event"))
        .map(|line| line.split("path=").nth(1).unwrap()[..4].to_owned())
        .take(2)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        paths,
        ["sse2", "avx2"],
        "left at the trap, taken again at the agent's word"
    );
}
