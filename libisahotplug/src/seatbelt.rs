//! The #UD handler and the emulator for a program that knows nothing of them: what
//! `libisahotplug_preload.so` is made of.
//!
//! [`install`] needs no agent, starts no thread and prints nothing; nobody is told of anything. A
//! program that links the library calls [`init`](crate::init) instead, and none of this.
//!
//! Who installs it also has to bring the program's calls of sigaction(2), sigprocmask(2) and their
//! kin here, for
//! - a handler of SIGILL, SIGSEGV or SIGBUS must not displace the library's: it is recorded, gets
//!   what is not the library's business, and is reported back;
//! - the three must not be blocked: a SIGILL that is blocked kills. They are taken out of every
//!   mask, and a program that asks sees them unblocked;
//! - where the CPU has no YMM registers their upper halves are emulated too, and each handler must
//!   find upper halves of its own, as the kernel would give it.
//!
//! The variable `ISAHOTPLUG_BURST` limits how many instructions may be emulated after one that
//! trapped; with 0 each traps by itself. `ISAHOTPLUG_STATISTICS` asks for a few lines at exit that say
//! what was finished and where: with 1 on standard error, else appended to the file that it names
//! (see [`at_exit`]).
//!
//! # Limits
//! - A program that makes the system calls itself, past libc, is not followed: if it installs a
//!   SIGILL handler that way (Go does), nothing is emulated any more. Nor is a mask in a `ucontext_t`
//!   that it makes up (`setcontext`), nor where libc blocks all signals or resets handlers by itself
//!   and then computes: threads of `timer_create` and `getaddrinfo_a`, and `posix_spawnp` while it
//!   searches the path in the child. `sigtimedwait` and `signalfd` never see the three.
//! - A thread made without libc must have thread-local storage of its own. One without is refused
//!   where the CPU has no YMM registers; one that shares its creator's would share the upper halves.
//! - Threads get an alternate signal stack of some 60 KiB (address space; memory when something
//!   traps), on which handlers with `SA_ONSTACK` run, too. Those that libc makes by itself, or the
//!   program without libc, get none, and one that gives up its alternate stack has none: there the
//!   handler needs some 9 KiB of the thread's own stack, and a coroutine on a smaller one is overrun,
//!   as by any signal handler; what the program keeps below its stack pointer and red zone is lost.
//!   An alternate stack of the program's of 8 KiB has room for one SIGSEGV or SIGBUS that somebody
//!   sends while an instruction is finished, not more.
//! - A handler of SIGSEGV or SIGBUS runs on the alternate stack, asked for or not: it must not change
//!   to another context and expect to be come back to (`swapcontext`).
//! - A sandbox (seccomp) must allow `rt_sigreturn`, as for any signal handler. A lost instruction that
//!   does not fault calls nothing else, where the kernel lets programs read the FS base (`AT_HWCAP2`)
//!   and the thread's alternate signal stack is not a small one. What else the handler calls
//!   (`arch_prctl`, `sigaltstack`, `rt_sigprocmask`, `rt_sigaction`, `rt_tgsigqueueinfo`, `getpid`,
//!   `gettid`, `getrandom`) it does without if it is refused with an error or by SIGSYS; where that
//!   costs something one line on standard error says so. A handler of SIGSYS must not execute lost
//!   instructions when one of these brings it about.
//! - `SA_RESTART` and a missing `SA_ONSTACK` have no effect on the three signals, and that they are
//!   ignored is not inherited by other programs. Hundreds of different handlers or masks are
//!   remembered, not more.
//! - Code that is protected by breakpoints in debug registers runs past them within a burst.

use core::ffi::{CStr, c_char, c_int};
use std::io;

mod alternate;
mod statistics;

use crate::{fork, page, trap};

/// A function that does what sigaction(2) does: libc's.
pub use crate::trap::handlers::Sigaction;

/// Installs the handlers of SIGILL, SIGSEGV and SIGBUS and follows [`sigaction`] from then on.
/// Again does nothing. A process with more rights than its user (AT_SECURE) is left alone.
///
/// To be called from ordinary code, best before any other.
///
/// # Errors
/// What the kernel says.
///
/// # Safety
/// `environment` must be that of the process, as `main` gets it, or null; the constructors of
/// shared objects can run before `getenv` works.
pub unsafe fn install(environment: *const *const c_char) -> io::Result<()> {
    // SAFETY: getauxval(3) only reads the process's auxiliary vector.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return Ok(());
    }
    // SAFETY: said by the caller.
    if let Some(value) = unsafe { variable(environment, trap::burst::VARIABLE) } {
        trap::burst::configure(value);
    }
    // SAFETY: said by the caller.
    if let Some(value) = unsafe { variable(environment, statistics::VARIABLE) } {
        statistics::request(value);
    }
    page::start();
    fork::follow()?;
    trap::install_seatbelt()?;
    alternate::init();
    alternate::provide();
    Ok(())
}

/// Gives the calling thread an alternate signal stack until it ends, unless it has one. To be called
/// where a thread begins. Does nothing before [`install`].
pub fn thread_begins() {
    alternate::provide();
}

/// Writes the statistics if the environment asked for them. To be called when the program ends.
///
/// They tell of this process: the child of a fork begins with zero, and a program that is executed
/// speaks for itself. A file's name is that of the directory in which the program ends. Programs that
/// end by `_exit`, by a signal, or by executing another write nothing.
///
/// Not async-signal-safe.
pub fn at_exit() {
    statistics::report();
}

/// The value of the variable `name`.
///
/// # Safety
/// `environment` must be null or an array of C strings that ends with a null pointer, all of which
/// stay as they are.
unsafe fn variable<'a>(mut environment: *const *const c_char, name: &str) -> Option<&'a [u8]> {
    if environment.is_null() {
        return None;
    }
    loop {
        // SAFETY: not past the null pointer at the end.
        let entry = unsafe { *environment };
        if entry.is_null() {
            return None;
        }
        // SAFETY: a C string.
        let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
        let value = entry.strip_prefix(name.as_bytes());
        if let Some(value) = value.and_then(|rest| rest.strip_prefix(b"=")) {
            return Some(value);
        }
        // SAFETY: the null pointer is still to come.
        environment = unsafe { environment.add(1) };
    }
}

/// What a program that calls sigaction(2) gets instead; `real` is what does the rest.
///
/// Returns what it returns, or an error number for errno if it does not come to that: ENOMEM for a
/// program with hundreds of different handlers. Async-signal-safe if `real` is.
///
/// # Errors
/// The error number.
///
/// # Safety
/// As for sigaction(2).
pub unsafe fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
    real: Sigaction,
) -> Result<c_int, c_int> {
    // SAFETY: passed on from the caller.
    unsafe { trap::handlers::sigaction(signal, new, old, real) }
}

/// What of `mask` a program may really block. Async-signal-safe.
#[must_use]
pub fn blockable(mask: libc::sigset_t) -> libc::sigset_t {
    trap::handlers::blockable(mask)
}
