//! What isahp_poll() costs when there is no news.

mod support;

use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use support::{Program, finish, last_number, stdout};

/// Without an agent, whom it looks for now and then.
#[test]
fn polling_without_news_makes_no_system_call() {
    let program = Program::build("libisahotplug/tests/programs/polling.c");
    let text = stdout(&finish(&mut program.here()));
    let (poll, call) = (last_number(&text, "poll"), last_number(&text, "call"));
    assert!(
        poll < call,
        "hundredths of nanoseconds: a poll takes {poll}, a system call {call}"
    );
}

/// One that is called by the thread after one that is called by isahp_poll() after one by the thread:
/// each side has to wake the other, and only when there is something to do.
#[test]
fn those_who_poll_and_the_thread_wake_each_other_in_turn() {
    let program = Program::build("libisahotplug/tests/programs/order.c");
    // An agent that says nothing: without one the thread would wake to look for it.
    let flags = SockFlag::SOCK_CLOEXEC;
    let agent = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    let address = UnixAddr::new(&program.run_dir().join("agent.sock")).unwrap();
    bind(agent.as_raw_fd(), &address).unwrap();
    listen(&agent, Backlog::new(1).unwrap()).unwrap();
    let text = stdout(&finish(&mut program.here()));
    assert!(text.starts_with("order=abc "), "{text}");
    let polls = last_number(&text, "meanwhile");
    assert!(polls < 20, "{polls} polls in vain while a callback ran");
}
