//! Waking processes: writing 1 to an eventfd that somebody else shares.
//!
//! An eventfd blocks its writer when its counter is full, unless O_NONBLOCK is
//! set; and the flag belongs to the open file, which the process shares with
//! us and can change at any time. So
//!
//! 1. `poll` says which of a batch would take a write; a full one is left out,
//!    for a counter that is not 0 wakes its owner anyway;
//! 2. between `poll` and `write` an ill-meaning process may still fill the
//!    counter and clear the flag. For as long as a batch lasts a timer sends
//!    SIGALRM again and again, its handler does nothing and is installed
//!    without SA_RESTART, and so a write that blocks ends with EINTR.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction,
};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;

/// The longest that one process can hold the agent up.
const PATIENCE: Duration = Duration::from_millis(2);

/// Wakes, on the thread that made it.
#[derive(Debug)]
pub(crate) struct Waker(Timer);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let action = SigAction::new(
            SigHandler::Handler(nothing),
            SaFlags::empty(),
            SigSet::empty(),
        );
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGALRM, &action)? };
        let thread_id = gettid().as_raw();
        let notify = SigevNotify::SigevThreadId {
            signal: Signal::SIGALRM,
            thread_id,
            si_value: 0,
        };
        Ok(Self(Timer::new(
            ClockId::CLOCK_MONOTONIC,
            SigEvent::new(notify),
        )?))
    }

    /// Writes 1 to each. Returns the indices of those that blocked, whose
    /// owners mean ill.
    pub(crate) fn wake(&mut self, eventfds: &[BorrowedFd<'_>]) -> Vec<usize> {
        let mut polled: Vec<PollFd<'_>> = eventfds
            .iter()
            .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLOUT))
            .collect();
        if polled.is_empty() || poll(&mut polled, PollTimeout::ZERO).is_err() {
            return Vec::new();
        }
        let takes = |fd: &PollFd<'_>| fd.revents().is_some_and(|r| r.contains(PollFlags::POLLOUT));
        self.alarm(PATIENCE);
        let writable = polled
            .iter()
            .enumerate()
            .filter(|(_, fd)| takes(fd))
            .map(|(at, _)| at);
        let blocked = writable
            .filter(|at| write_one(eventfds[*at]) == Err(Errno::EINTR))
            .collect();
        self.alarm(Duration::ZERO);
        blocked
    }

    /// SIGALRM to this thread each time after `every`; zero ends it.
    fn alarm(&mut self, every: Duration) {
        let time = TimeSpec::from_duration(every);
        let expiration = if every.is_zero() {
            Expiration::OneShot(time)
        } else {
            Expiration::Interval(time)
        };
        self.0
            .set(expiration, TimerSetTimeFlags::empty())
            .expect("the timer and its time are valid");
    }
}

/// Writes 1. EINTR: it blocked until the alarm.
fn write_one(eventfd: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::unistd::write(eventfd, &1u64.to_ne_bytes()).map(drop)
}

extern "C" fn nothing(_signal: libc::c_int) {}

#[cfg(test)]
mod tests {
    use nix::sys::eventfd::{EfdFlags, EventFd};

    use super::*;

    fn full() -> EventFd {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
        eventfd.write(u64::MAX - 1).unwrap();
        eventfd
    }

    #[test]
    fn a_full_eventfd_is_passed_over_and_the_others_are_woken() {
        let mut waker = Waker::new().unwrap();
        let (full, free) = (full(), EventFd::new().unwrap());
        assert_eq!(waker.wake(&[full.as_fd(), free.as_fd()]), [0usize; 0]);
        assert_eq!(free.read().unwrap(), 1);
    }

    /// What happens when a process fills its eventfd after `poll`: here the
    /// first write does.
    #[test]
    fn a_write_that_blocks_after_all_is_ended_by_the_alarm() {
        let mut waker = Waker::new().unwrap();
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
        eventfd.write(u64::MAX - 2).unwrap();
        assert_eq!(waker.wake(&[eventfd.as_fd(), eventfd.as_fd()]), [1]);
    }
}
