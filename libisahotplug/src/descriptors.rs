//! The descriptors of a process that follows an agent.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::agent::Connection;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// Written by the agent, by the trap handler, and whenever something changes.
    pub(crate) wake: EventFd,
    timer: TimerFd,
    /// What the keeper waits for: `wake`, `timer` and the connection.
    keeper: Epoll,
    /// Written when those who poll have something to do, though they are not the keeper.
    poll_wake: EventFd,
    /// What those who poll wait for: `poll_wake`, and `keeper` if there is no thread.
    polled: Epoll,
    nested: AtomicBool,
}

fn readable() -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, 0)
}

fn eventfd() -> nix::Result<EventFd> {
    EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
}

impl Descriptors {
    pub(crate) fn new() -> nix::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let new = Self {
            wake: eventfd()?,
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?,
            keeper: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            poll_wake: eventfd()?,
            polled: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            nested: AtomicBool::new(false),
        };
        new.connect()?;
        Ok(new)
    }

    fn connect(&self) -> nix::Result<()> {
        self.keeper.add(&self.wake, readable())?;
        self.keeper.add(&self.timer, readable())?;
        self.polled.add(&self.poll_wake, readable())
    }

    pub(crate) fn polled_fd(&self) -> i32 {
        self.polled.0.as_raw_fd()
    }

    /// The keeper waits until there may be something to do.
    pub(crate) fn wait(&self, timeout: EpollTimeout) {
        let mut events = [EpollEvent::empty(); 3];
        let _ = self.keeper.wait(&mut events, timeout);
    }

    pub(crate) fn add(&self, connection: &Connection) -> nix::Result<()> {
        self.keeper.add(connection, readable())
    }

    /// Before it is closed: it would not take itself out if the child of a fork that libc knows
    /// nothing of has it open, too. Not in a child, whose epoll instance is still the parent's.
    pub(crate) fn remove(&self, connection: &Connection) {
        let _ = self.keeper.delete(connection);
    }

    pub(crate) fn ring(&self) {
        let _ = self.wake.write(1);
    }

    pub(crate) fn ring_polled(&self) {
        let _ = self.poll_wake.write(1);
    }

    /// Takes the rings in, and the alarm.
    pub(crate) fn drain(&self) {
        let _ = self.wake.read();
        let mut ticks = [0; 8];
        let _ = nix::unistd::read(&self.timer, &mut ticks);
    }

    pub(crate) fn drain_polled(&self) {
        let _ = self.poll_wake.read();
    }

    /// The alarm rings after this time; `None` for never.
    pub(crate) fn arm(&self, after: Option<Duration>) {
        let _ = match after {
            // Zero would disarm it.
            Some(after) => self.timer.set(
                Expiration::OneShot(TimeSpec::from_duration(after.max(Duration::from_nanos(1)))),
                TimerSetTimeFlags::empty(),
            ),
            None => self.timer.unset(),
        };
    }

    /// Those who poll are the keeper.
    pub(crate) fn nest(&self) -> nix::Result<()> {
        if self.nested.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.polled.add(self.keeper.0.as_fd(), readable())
    }

    /// A thread is the keeper.
    pub(crate) fn unnest(&self) {
        if self.nested.swap(false, Ordering::AcqRel) {
            let _ = self.polled.delete(self.keeper.0.as_fd());
        }
    }

    /// In the child of a fork they are the parent's: it gets others, under the same numbers.
    /// Where that fails they lead nowhere.
    pub(crate) fn forked(&self) {
        let Ok(new) = Self::new() else {
            return;
        };
        let pairs = [
            (new.wake.as_fd().as_raw_fd(), self.wake.as_fd().as_raw_fd()),
            (
                new.timer.as_fd().as_raw_fd(),
                self.timer.as_fd().as_raw_fd(),
            ),
            (new.keeper.0.as_raw_fd(), self.keeper.0.as_raw_fd()),
            (
                new.poll_wake.as_fd().as_raw_fd(),
                self.poll_wake.as_fd().as_raw_fd(),
            ),
            (new.polled.0.as_raw_fd(), self.polled.0.as_raw_fd()),
        ];
        for (from, to) in pairs {
            // SAFETY: dup3(2) replaces a descriptor of this library's by another one.
            unsafe { libc::dup3(from, to, libc::O_CLOEXEC) };
        }
        // An epoll instance knows its descriptors by number and file: once more, by the new ones.
        drop(new);
        let _ = self.connect();
        if self.nested.swap(false, Ordering::AcqRel) {
            let _ = self.nest();
        }
    }
}
