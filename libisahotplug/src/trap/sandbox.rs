//! A sandbox that refuses a system call which the handler makes (seccomp(2), with an error or a
//! signal; one that kills cannot be helped).
//!
//! The ordinary way through the handler makes none at all. The few that others need are done without
//! where that can be. Where something is given up by it one line on standard error says so, once; and
//! where the process has to end, another one.

use core::sync::atomic::{AtomicBool, Ordering};

use super::sys;

/// What is given up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// rt_sigprocmask(2): signals come in the midst of the work.
    Mask,
    /// sigaltstack(2): there is nowhere for the frame of a fault in the midst of the work.
    Stack,
    /// rt_sigaction(2): a default action cannot be brought about.
    Action,
    /// rt_tgsigqueueinfo(2): a signal cannot be raised.
    Queue,
    /// getrandom(2): RDRAND and RDSEED cannot be finished.
    Random,
    /// getcpu(2): RDPID and RDTSCP cannot be finished.
    Cpu,
}

impl Loss {
    fn line(self) -> &'static [u8] {
        match self {
            Self::Mask => {
                b"isahotplug: rt_sigprocmask is refused (a sandbox?): the masks of signal handlers \
                and threads are not always kept\n"
            }
            Self::Stack => {
                b"isahotplug: sigaltstack is refused (a sandbox?): on a thread with a small signal \
                stack a fault of an emulated instruction kills\n"
            }
            Self::Action => {
                b"isahotplug: rt_sigaction is refused (a sandbox?): ending the process by SIGILL\n"
            }
            Self::Queue => {
                b"isahotplug: rt_tgsigqueueinfo is refused (a sandbox?): ending the process by SIGILL\n"
            }
            Self::Random => {
                b"isahotplug: getrandom is refused (a sandbox?): RDRAND and RDSEED are not emulated\n"
            }
            Self::Cpu => {
                b"isahotplug: getcpu is refused (a sandbox?): RDPID and RDTSCP are not emulated\n"
            }
        }
    }
}

/// Says what is given up, unless something has been said before. Async-signal-safe.
#[cold]
pub(super) fn say(loss: Loss) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        // A closed stderr, or a write that is refused too, changes nothing.
        sys::write_to_stderr(loss.line());
    }
}

/// Ends the process by SIGILL where a default action was to end it and cannot be brought about: to go
/// on would be to come here again and again. The signal must be blocked, as it is in the handlers.
#[cold]
pub(super) fn die(loss: Loss) -> ! {
    // Even if something less was said before: it is the last word.
    sys::write_to_stderr(loss.line());
    loop {
        // SAFETY: no CPU executes it, and a blocked SIGILL that the CPU raises kills
        // (kernel/signal.c, `force_sig_info_to_task`).
        unsafe { core::arch::asm!("ud2", options(nomem, nostack)) };
    }
}
