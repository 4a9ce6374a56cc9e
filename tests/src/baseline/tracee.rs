//! One stopped thread of a traced process (ptrace(2)).
//!
//! nix has no real-time signals, which glibc sends itself, and drops a stop that
//! it cannot name; so waiting and resuming are done here.

use std::io;

use nix::sys::ptrace;
use nix::unistd::Pid;

/// Set in the signal of a stop at a system call (PTRACE_O_TRACESYSGOOD).
const SYSCALL: i32 = 0x80;

/// `si_code` of a signal that the kernel raised itself (asm-generic/siginfo.h).
const SI_KERNEL: i32 = 0x80;

/// What waitpid(2) reports of a traced thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It ended with this exit status.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// It enters or leaves a system call.
    Syscall,
    /// A new program has been loaded, and nothing of it has run.
    Exec,
    /// It stops as job control asks for.
    Group,
    /// It, or a thread or process that it made, is traced from now on.
    Begin,
    /// This signal is about to be delivered.
    Signal(i32),
}

/// How to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Until something is to be reported.
    Event,
    /// Until the next system call, too.
    Syscall,
}

/// Waits for any tracee, or for this one. `None` when there is no tracee left.
pub(super) fn wait(which: Option<Pid>) -> io::Result<Option<(Pid, Stop)>> {
    let which = which.map_or(-1, Pid::as_raw);
    loop {
        let mut status = 0;
        // SAFETY: waitpid(2) writes the status to an integer of ours.
        let pid = unsafe { libc::waitpid(which, &raw mut status, libc::__WALL) };
        if pid > 0 {
            return Ok(Some((Pid::from_raw(pid), Stop::of(status))));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    }
}

impl Stop {
    fn of(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            return Self::Exited(libc::WEXITSTATUS(status));
        }
        if libc::WIFSIGNALED(status) {
            return Self::Killed(libc::WTERMSIG(status));
        }
        let signal = libc::WSTOPSIG(status);
        let by_job_control = matches!(
            signal,
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU
        );
        match status >> 16 {
            libc::PTRACE_EVENT_EXEC => Self::Exec,
            libc::PTRACE_EVENT_STOP if by_job_control => Self::Group,
            0 if signal == libc::SIGTRAP | SYSCALL => Self::Syscall,
            0 => Self::Signal(signal),
            _ => Self::Begin,
        }
    }
}

/// Lets a thread go on, with a signal or without (0).
pub(super) fn resume(pid: Pid, until: Until, signal: i32) -> io::Result<()> {
    let request = match until {
        Until::Event => libc::PTRACE_CONT,
        Until::Syscall => libc::PTRACE_SYSCALL,
    };
    call(request, pid, 0, signal.cast_unsigned() as usize)
}

/// Leaves a thread stopped, as its group is, until SIGCONT.
pub(super) fn stay_stopped(pid: Pid) -> io::Result<()> {
    call(libc::PTRACE_LISTEN, pid, 0, 0)
}

/// The signals that the thread blocks.
pub(super) fn signal_mask(pid: Pid) -> io::Result<u64> {
    let mut mask = 0u64;
    call(
        libc::PTRACE_GETSIGMASK as _,
        pid,
        size_of::<u64>(),
        (&raw mut mask) as usize,
    )?;
    Ok(mask)
}

/// Sets the signals that the thread blocks.
pub(super) fn set_signal_mask(pid: Pid, mask: u64) -> io::Result<()> {
    call(
        libc::PTRACE_SETSIGMASK as _,
        pid,
        size_of::<u64>(),
        (&raw const mask) as usize,
    )
}

/// Whether the signal that is about to be delivered is one that an instruction
/// of the thread's own raised, rather than one that somebody sent.
pub(super) fn is_from_the_cpu(pid: Pid) -> io::Result<bool> {
    Ok(ptrace::getsiginfo(pid)?.si_code == SI_KERNEL)
}

fn call(request: libc::c_uint, pid: Pid, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: of the requests above GETSIGMASK writes, and SETSIGMASK reads, a
    // u64 that lives until the call is over; the others pass numbers.
    let result = unsafe { libc::ptrace(request, pid.as_raw(), address, data) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
