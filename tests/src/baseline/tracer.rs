//! Catches CPUID in a process and in all that it starts.
//!
//! Where the CPU can fault at CPUID, it does: see [`faulting`].
//! Elsewhere each CPUID instruction that [`sites`](super::sites) finds is replaced
//! by HLT, at which every CPU faults in user mode, in the same way: those of the
//! program and of its dynamic linker when the program has been loaded and nothing
//! of it has run, those of other objects when they are mapped. So it costs a stop
//! at each CPUID and, for replacing, two at each system call.
//!
//! # Limits
//! - The kernel's own view stays: `/proc/cpuinfo`, and AT_HWCAP and AT_HWCAP2 in
//!   the auxiliary vector.
//! - With replacing: code that is made at run time, and what the log names as a
//!   blind spot, sees the machine. A program that reads its own code finds HLT
//!   where CPUID was.
//! - A thread that blocks or ignores SIGSEGV and executes CPUID finds it neither
//!   blocked nor ignored afterwards: so the kernel delivers faults.
//! - A traced program cannot trace, and set-user-ID programs get no privileges.
//! - 32-bit programs are not caught; they are blind spots.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, pipe2, read, write};

use super::cpuid::Baseline;
use super::faulting;
use super::mappings::{self, Files, Mapping, Memory};
use super::tracee::{self, Stop, Until};

/// A privileged instruction of one byte, which raises #GP in user mode.
const HLT: u8 = 0xF4;
/// CPUID without prefixes.
const CPUID: [u8; 2] = [0x0F, 0xA2];
/// The code segment of 64-bit programs (`__USER_CS`, asm/segment.h).
const CODE_64_BIT: u64 = 0x33;
/// What a shell says of a program that cannot be started.
const NOT_FOUND: i32 = 127;

/// How CPUID is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The CPU faults.
    Faulting,
    /// Each instruction is replaced by one that faults on every CPU.
    Replacing,
}

impl Way {
    /// The better one of those that this machine has.
    #[must_use]
    pub fn here() -> Self {
        if faulting::is_there() {
            Self::Faulting
        } else {
            Self::Replacing
        }
    }
}

/// Starts a program and answers for the CPU.
#[derive(Debug)]
pub struct Tracer {
    baseline: Baseline,
    way: Way,
    log: Option<File>,
    files: Files,
}

/// Why a program could not be run under a tracer.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// The machine lets nobody trace, such as a container without ptrace(2), or
    /// somebody traces already.
    #[error("no process can be traced here: {0}")]
    Refused(io::Error),
    /// A system call failed.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Tracer {
    /// A tracer that answers with this baseline.
    #[must_use]
    pub fn new(baseline: Baseline, way: Way) -> Self {
        Self {
            baseline,
            way,
            log: None,
            files: Files::default(),
        }
    }

    /// Writes a line for each answer, `cpuid PID LEAF.SUBLEAF FILE+OFFSET`, and
    /// for each place where CPUID may be and is not caught, `blind PID FILE:
    /// WHY`.
    #[must_use]
    pub fn log_to(mut self, file: File) -> Self {
        self.log = Some(file);
        self
    }

    /// Runs the program and waits until it and all that it started have ended.
    /// Should the tracer end before, the kernel kills them.
    ///
    /// Everything is forked from the calling thread, and its other children
    /// would be taken for traced ones: to be called by a program with one
    /// thread and no children.
    ///
    /// # Errors
    /// [`TracerError::Refused`] before anything has run; ENODEV if the CPU has
    /// no faulting and was asked for it.
    pub fn run(mut self, program: &[OsString]) -> Result<Ended, TracerError> {
        let root = start(program)?;
        let mut ended = Ended::Exited(NOT_FOUND);
        while let Some((pid, stop)) = tracee::wait(None)? {
            match stop {
                Stop::Exited(status) if pid == root => ended = Ended::Exited(status),
                Stop::Killed(signal) if pid == root => ended = Ended::Killed(signal),
                Stop::Exited(_) | Stop::Killed(_) => {}
                stop => match self.take(pid, stop) {
                    // It was killed in the meantime; its end comes next.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    taken => taken?,
                },
            }
        }
        Ok(ended)
    }

    /// Does what a stop asks for, and lets the thread go on.
    fn take(&mut self, pid: Pid, stop: Stop) -> io::Result<()> {
        let mut signal = 0;
        match stop {
            Stop::Exec => self.executed(pid)?,
            Stop::Syscall => self.look_for_new_code(pid)?,
            Stop::Group => return tracee::stay_stopped(pid),
            Stop::Signal(number) if !self.is_answered(pid, number)? => signal = number,
            _ => {}
        }
        let until = match self.way {
            Way::Faulting => Until::Event,
            Way::Replacing => Until::Syscall,
        };
        tracee::resume(pid, until, signal)
    }

    /// A new program is in the process, and has not begun.
    fn executed(&mut self, pid: Pid) -> io::Result<()> {
        if ptrace::getregs(pid)?.cs != CODE_64_BIT {
            self.note(format_args!("blind {pid} a 32-bit program"));
            return Ok(());
        }
        match self.way {
            Way::Faulting => faulting::enable(pid),
            Way::Replacing => self.replace(pid),
        }
    }

    /// Whether an executable mapping may have been made. Nobody can have run
    /// what is in it: its address is not known before the call returns.
    fn look_for_new_code(&mut self, pid: Pid) -> io::Result<()> {
        let registers = ptrace::getregs(pid)?;
        let call = registers.orig_rax.cast_signed();
        let maps = [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect];
        // At the call's beginning RAX says so; at its end the arguments are
        // still where they were.
        let begins = registers.rax.cast_signed() == i64::from(-libc::ENOSYS);
        let executable = registers.rdx & libc::PROT_EXEC as u64 != 0;
        if maps.contains(&call) && executable && !begins {
            self.replace(pid)
        } else {
            Ok(())
        }
    }

    /// Replaces each CPUID that is still there.
    fn replace(&mut self, pid: Pid) -> io::Result<()> {
        let memory = Memory::of(pid)?;
        for mapping in mappings::executable(pid)? {
            let looked = self.files.sites(pid, &mapping);
            let sites = match looked.as_ref() {
                Ok(sites) => sites,
                Err(why) => {
                    self.note(format_args!("blind {pid} {}: {why}", mapping.name));
                    continue;
                }
            };
            for &offset in &sites.doubtful {
                if mapping.address_of(offset).is_some() {
                    let name = &mapping.name;
                    self.note(format_args!("blind {pid} {name}: perhaps at {offset:#x}"));
                }
            }
            for site in &sites.instructions {
                let Some(address) = mapping.address_of(site.offset) else {
                    continue;
                };
                // The memory decides: the file may have been replaced, or cut
                // short, which leaves nothing to read.
                let opcode = address + u64::from(site.length) - 2;
                if memory.read(opcode).is_ok_and(|bytes| bytes == CPUID) {
                    memory.write(address, &[HLT])?;
                }
            }
        }
        Ok(())
    }

    /// Answers if the signal comes from a CPUID that was caught.
    fn is_answered(&mut self, pid: Pid, signal: i32) -> io::Result<bool> {
        if signal != libc::SIGSEGV || !tracee::is_from_the_cpu(pid)? {
            return Ok(false);
        }
        let mut registers = ptrace::getregs(pid)?;
        let address = registers.rip;
        let all = mappings::executable(pid)?;
        let mapping = all.into_iter().find(|one| one.addresses.contains(&address));
        let Some(length) = mapping
            .as_ref()
            .map(|mapping| self.length_of_cpuid(pid, mapping, address))
            .transpose()?
            .flatten()
        else {
            return Ok(false);
        };
        let [leaf, subleaf] = [registers.rax, registers.rcx].map(low_half);
        let [eax, ebx, ecx, edx] = self.baseline.answer_here(leaf, subleaf).map(u64::from);
        (registers.rax, registers.rbx) = (eax, ebx);
        (registers.rcx, registers.rdx) = (ecx, edx);
        registers.rip = address + length;
        ptrace::setregs(pid, registers)?;
        if let Some(mapping) = mapping {
            let offset = mapping.offset_of(address).unwrap_or_default();
            let name = mapping.name;
            self.note(format_args!(
                "cpuid {pid} {leaf:#x}.{subleaf:#x} {name}+{offset:#x}"
            ));
        }
        Ok(true)
    }

    /// The length of the CPUID instruction that was caught at `address`; `None`
    /// if it was something else.
    fn length_of_cpuid(
        &mut self,
        pid: Pid,
        mapping: &Mapping,
        address: u64,
    ) -> io::Result<Option<u64>> {
        let memory = Memory::of(pid)?;
        match self.way {
            Way::Faulting => {
                let bytes: [u8; 2] = memory.read(address)?;
                Ok((bytes == CPUID).then_some(CPUID.len() as u64))
            }
            Way::Replacing => {
                let looked = self.files.sites(pid, mapping);
                let offset = mapping.offset_of(address);
                let site = looked.as_ref().as_ref().ok().zip(offset);
                let site = site.and_then(|(sites, offset)| sites.at(offset));
                let ours = memory.read(address)? == [HLT];
                Ok(site.filter(|_| ours).map(|site| u64::from(site.length)))
            }
        }
    }

    /// Writes a line to the log. A log that cannot be written is not worth the
    /// program's life.
    fn note(&mut self, line: std::fmt::Arguments<'_>) {
        if let Some(log) = &mut self.log {
            let _ = log.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// The lower half of a register, which is all that CPUID looks at.
const fn low_half(register: u64) -> u32 {
    let [a, b, c, d, ..] = register.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Starts the program as a tracee. Its first stop is [`Stop::Exec`].
pub(super) fn start(program: &[OsString]) -> Result<Pid, TracerError> {
    if program.is_empty() {
        return Err(io::Error::other("no program is named").into());
    }
    let words: Vec<CString> = program
        .iter()
        .map(|word| CString::new(word.as_bytes()).map_err(io::Error::from))
        .collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let (wait, go) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
    // SAFETY: the child makes system calls alone, until it is another program or
    // has failed.
    match unsafe { fork() }.map_err(io::Error::from)? {
        ForkResult::Child => {
            drop(go);
            // A byte comes when this process is traced; the end of the pipe
            // without one when the tracer has ended before.
            if read(wait.as_fd(), &mut [0]) == Ok(1) {
                // SAFETY: the words end with a zero each, the pointers with a
                // null.
                unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
                eprintln!("{}: {}", program[0].display(), Errno::last().desc());
            }
            // SAFETY: _exit(2) runs nothing of the parent's.
            unsafe { libc::_exit(NOT_FOUND) }
        }
        ForkResult::Parent { child } => {
            drop(wait);
            ptrace::seize(
                child,
                Options::PTRACE_O_EXITKILL
                    | Options::PTRACE_O_TRACESYSGOOD
                    | Options::PTRACE_O_TRACEEXEC
                    | Options::PTRACE_O_TRACEFORK
                    | Options::PTRACE_O_TRACEVFORK
                    | Options::PTRACE_O_TRACECLONE,
            )
            .map_err(|error| {
                let _ = kill(child, Signal::SIGKILL);
                TracerError::Refused(error.into())
            })?;
            write(&go, &[1]).map_err(io::Error::from)?;
            Ok(child)
        }
    }
}
