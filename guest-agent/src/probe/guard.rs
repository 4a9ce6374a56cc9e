//! The guard under which probes run: a fault in a probe becomes its answer.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::instructions::{self, Probe};

/// What an instruction that the CPU, the hypervisor or an emulator refuses can
/// end in.
const SIGNALS: [c_int; 3] = [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS];

/// Handlers belong to the whole process, so there is one guard at a time.
static ONE: Mutex<()> = Mutex::new(());

/// While it lives, a fault in a probe does not kill.
#[derive(Debug)]
pub(super) struct Guard {
    _one: MutexGuard<'static, ()>,
    before: [libc::sigaction; SIGNALS.len()],
}

impl Guard {
    /// Installs the handler, and lets the signals through on this thread.
    pub(super) fn new() -> io::Result<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = [EMPTY_ACTION; SIGNALS.len()];
        let action = libc::sigaction {
            sa_sigaction: on_fault as *const () as usize,
            sa_flags: libc::SA_SIGINFO | libc::SA_ONSTACK,
            ..EMPTY_ACTION
        };
        for (at, signal) in SIGNALS.into_iter().enumerate() {
            // SAFETY: both point to whole structures; the handler keeps to what
            // is async-signal-safe.
            if unsafe { libc::sigaction(signal, &raw const action, &raw mut before[at]) } != 0 {
                let error = io::Error::last_os_error();
                restore(&before[..at]);
                return Err(error);
            }
        }
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set that the others then use.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in SIGNALS {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
        }
        Ok(Self { _one: one, before })
    }

    /// Whether the CPU executes the probe, with the right result.
    pub(super) fn run(&self, probe: Probe) -> bool {
        // SAFETY: a probe is a leaf function that keeps the C ABI, and the
        // guard turns a fault in it into a return.
        unsafe { probe() != 0 }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

const EMPTY_ACTION: libc::sigaction = {
    // SAFETY: all zeroes is a valid sigaction: SIG_DFL, no flags, empty mask.
    unsafe { MaybeUninit::zeroed().assume_init() }
};

fn restore(before: &[libc::sigaction]) {
    for (signal, action) in SIGNALS.into_iter().zip(before) {
        // SAFETY: `action` is what the kernel gave us for this signal.
        unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
    }
}

/// Continues a probe that faulted at `refused`, which returns 0 for it. A probe
/// has not touched the stack, so that the return address is where it was.
///
/// Calls nothing that glibc chose by CPUID, and cannot panic.
extern "C" fn on_fault(signal: c_int, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext_t to a handler with SA_SIGINFO.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let at = &mut context.uc_mcontext.gregs[REG_RIP];
    if instructions::is_probe(*at) {
        *at = instructions::refused();
    } else {
        // Not ours. The instruction runs again and ends the process, at the
        // right place for the core dump.
        // SAFETY: signal(2) is async-signal-safe.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

const REG_RIP: usize = libc::REG_RIP as usize;
