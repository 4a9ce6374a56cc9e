//! CPUID faulting: the CPU raises a fault at CPUID in user mode.
//!
//! `arch_prctl(ARCH_SET_CPUID, 0)` asks for it (arch_prctl(2); Linux
//! arch/x86/kernel/process.c). Threads and children inherit it, a new program
//! loses it, so it is asked for again after each execve, on behalf of the
//! process. Intel's CPUs since Ivy Bridge have it, and guests that KVM shows it
//! to; elsewhere the answer is ENODEV.

use std::io;

use nix::sys::ptrace;
use nix::unistd::Pid;

use super::mappings::Memory;
use super::tracee::{self, Stop, Until};

/// asm/prctl.h.
const ARCH_SET_CPUID: u64 = 0x1012;
/// The instruction SYSCALL.
const SYSCALL: [u8; 2] = [0x0F, 0x05];

/// Whether this machine has it.
#[must_use]
pub fn is_there() -> bool {
    // SAFETY: arch_prctl reads no memory; 1 leaves CPUID enabled, as it is.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_CPUID, 1) == 0 }
}

/// Makes CPUID fault in a process that has just been given a new program.
///
/// # Errors
/// ENODEV where the CPU has no such thing; ESRCH if the process ended.
pub(super) fn enable(pid: Pid) -> io::Result<()> {
    let call = libc::SYS_arch_prctl.cast_unsigned();
    match call_in(pid, call, [ARCH_SET_CPUID, 0])? {
        0 => Ok(()),
        error => {
            Err(i32::try_from(-error).map_or_else(io::Error::other, io::Error::from_raw_os_error))
        }
    }
}

/// Makes a system call on behalf of a process that stands at [`Stop::Exec`], and
/// gives what the kernel answers.
///
/// The tracee is in its execve: it is led to the end of it, then through a SYSCALL
/// that is put at the program's first instruction, and comes out as it was. No
/// signal is delivered meanwhile.
fn call_in(pid: Pid, number: u64, arguments: [u64; 2]) -> io::Result<i64> {
    step(pid)?;
    let memory = Memory::of(pid)?;
    let (before, mask) = (ptrace::getregs(pid)?, tracee::signal_mask(pid)?);
    let code: [u8; 2] = memory.read(before.rip)?;
    memory.write(before.rip, &SYSCALL)?;
    tracee::set_signal_mask(pid, u64::MAX)?;
    let mut call = before;
    call.rax = number;
    [call.rdi, call.rsi] = arguments;
    ptrace::setregs(pid, call)?;
    step(pid)?;
    step(pid)?;
    let result = ptrace::getregs(pid)?.rax.cast_signed();
    memory.write(before.rip, &code)?;
    ptrace::setregs(pid, before)?;
    tracee::set_signal_mask(pid, mask)?;
    Ok(result)
}

/// To the next beginning or end of a system call.
fn step(pid: Pid) -> io::Result<()> {
    loop {
        tracee::resume(pid, Until::Syscall, 0)?;
        match tracee::wait(Some(pid))? {
            Some((_, Stop::Syscall)) => return Ok(()),
            None | Some((_, Stop::Exited(_) | Stop::Killed(_))) => {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            // All signals are blocked; what is left is a stop of its group.
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::getpid;

    use super::super::tracer::{TracerError, start};
    use super::*;

    #[test]
    fn a_call_is_made_for_a_new_program_which_then_runs_as_if_nothing_had_been() {
        let program = ["sh", "-c", "exit 7"].map(Into::into);
        let pid = match start(&program) {
            Ok(pid) => pid,
            Err(TracerError::Refused(why)) => return crate::skip(&why.to_string()),
            Err(error) => panic!("{error}"),
        };
        let next = || tracee::wait(Some(pid)).unwrap().unwrap().1;
        assert_eq!(next(), Stop::Exec);
        let call = libc::SYS_getppid.cast_unsigned();
        let parent = call_in(pid, call, [0; 2]).unwrap();
        assert_eq!(parent, i64::from(getpid().as_raw()));
        tracee::resume(pid, Until::Event, 0).unwrap();
        // A shell may fork; nobody waits for what it makes.
        let end = std::iter::repeat_with(next)
            .inspect(|stop| match stop {
                Stop::Exited(_) | Stop::Killed(_) => {}
                Stop::Signal(signal) => tracee::resume(pid, Until::Event, *signal).unwrap(),
                _ => tracee::resume(pid, Until::Event, 0).unwrap(),
            })
            .find(|stop| matches!(stop, Stop::Exited(_) | Stop::Killed(_)));
        assert_eq!(end, Some(Stop::Exited(7)));
    }
}
