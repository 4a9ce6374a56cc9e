//! The #UD handler: finishes the instruction, then lets it be known.
//!
//! Everything reachable from [`on_sigill`] keeps the rules of a trap handler:
//! no allocation, no lock, no libc function that is an IFUNC, no thread-local
//! storage, no panic. What it learnt it leaves in [`TRAPS`] and rings the
//! runtime's eventfd.

mod access;
mod frame;
mod stack;
mod sys;

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::io;
use std::sync::{Mutex, PoisonError};

use emulator::{Fault, FaultKind, Memory, State, exception};
use isa::{FeatureSet, WORDS};

use crate::page;
use access::OwnMemory;
use frame::Frame;

/// What the handler did so far.
#[derive(Debug)]
pub(crate) struct Traps {
    /// Instructions emulated.
    emulated: AtomicU64,
    /// SIGILLs passed on to whoever was there before.
    passed_on: AtomicU64,
    /// Features of the instructions emulated since the page's generation was
    /// `lost_at`; void at any other generation.
    lost: [AtomicU64; WORDS],
    lost_at: AtomicU64,
    /// Address of the latest emulated instruction.
    address: AtomicU64,
    /// `CLOCK_MONOTONIC` of the first emulated instruction since `lost` was
    /// last taken, in nanoseconds; 0 if there is none.
    first_ns: AtomicU64,
    /// Rung when `lost` grows; −1 for nobody.
    eventfd: AtomicI32,
    /// Handlers running now, by the phase in which each began.
    running: [AtomicU32; 2],
    phase: AtomicUsize,
}

/// See [`Traps`].
pub(crate) static TRAPS: Traps = Traps {
    emulated: AtomicU64::new(0),
    passed_on: AtomicU64::new(0),
    lost: [const { AtomicU64::new(0) }; WORDS],
    lost_at: AtomicU64::new(0),
    address: AtomicU64::new(0),
    first_ns: AtomicU64::new(0),
    eventfd: AtomicI32::new(-1),
    running: [const { AtomicU32::new(0) }; 2],
    phase: AtomicUsize::new(0),
};

impl Traps {
    pub(crate) fn emulated(&self) -> u64 {
        self.emulated.load(Ordering::Relaxed)
    }

    pub(crate) fn passed_on(&self) -> u64 {
        self.passed_on.load(Ordering::Relaxed)
    }

    pub(crate) fn address(&self) -> u64 {
        self.address.load(Ordering::Relaxed)
    }

    /// When the first of the instructions that led to the present `lost` was
    /// emulated, `CLOCK_MONOTONIC` nanoseconds.
    pub(crate) fn first_ns(&self) -> u64 {
        self.first_ns.load(Ordering::Relaxed)
    }

    /// The features of the instructions that this process has seen trap, as
    /// far as the published generation does not know of it: a new one is made
    /// from what the agent found, and if it is wrong the next trap says so.
    pub(crate) fn lost(&self) -> FeatureSet {
        if self.lost_at.load(Ordering::Acquire) != page::current().generation() {
            return FeatureSet::EMPTY;
        }
        FeatureSet::from_words(core::array::from_fn(|i| {
            self.lost[i].load(Ordering::Acquire)
        }))
    }

    /// The agent has tried these on every CPU and found them there: the guest
    /// has moved on meanwhile.
    pub(crate) fn forget(&self, present: FeatureSet) {
        for (word, back) in self.lost.iter().zip(present.words()) {
            word.fetch_and(!back, Ordering::AcqRel);
        }
        self.first_ns.store(0, Ordering::Relaxed);
    }

    pub(crate) fn ring(&self, eventfd: i32) {
        self.eventfd.store(eventfd, Ordering::Release);
    }

    /// Waits until no handler runs that may still look at something that was
    /// just unlinked. Must not be called from a handler.
    ///
    /// Twice, for a handler may have read the phase and not yet counted itself;
    /// those that begin meanwhile count in the other phase, so that threads that
    /// trap all the time cannot hold this up.
    pub(crate) fn wait_for_handlers(&self) {
        for _ in 0..2 {
            let old = self.phase.fetch_xor(1, Ordering::SeqCst) & 1;
            while self.running[old].load(Ordering::SeqCst) != 0 {
                std::thread::yield_now();
            }
        }
    }

    fn enter(&self) -> usize {
        let phase = self.phase.load(Ordering::SeqCst) & 1;
        self.running[phase].fetch_add(1, Ordering::SeqCst);
        phase
    }

    fn leave(&self, phase: usize) {
        self.running[phase & 1].fetch_sub(1, Ordering::SeqCst);
    }

    /// In the child of a fork no other thread is in a handler.
    pub(crate) fn forked(&self) {
        self.eventfd.store(-1, Ordering::SeqCst);
        for running in &self.running {
            running.store(0, Ordering::SeqCst);
        }
        stack::forked();
    }

    fn note(&self, features: FeatureSet, address: u64) {
        self.emulated.fetch_add(1, Ordering::Relaxed);
        self.address.store(address, Ordering::Relaxed);
        let mut grown = false;
        let generation = page::current().generation();
        if self.lost_at.swap(generation, Ordering::AcqRel) != generation {
            for word in &self.lost {
                word.store(0, Ordering::Release);
            }
            self.first_ns.store(0, Ordering::Relaxed);
        }
        for (word, new) in self.lost.iter().zip(features.words()) {
            if word.load(Ordering::Relaxed) & new != new {
                grown |= word.fetch_or(new, Ordering::AcqRel) & new != new;
            }
        }
        if grown {
            let now = sys::monotonic_ns();
            let _ = self
                .first_ns
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
            crate::slots::after_trap();
            let eventfd = self.eventfd.load(Ordering::Acquire);
            if eventfd >= 0 {
                sys::signal_eventfd(eventfd);
            }
        }
    }
}

/// What was installed before, for the signals that the handler takes.
static PREVIOUS: [(i32, AtomicPtr<libc::sigaction>); 3] = [
    (libc::SIGILL, AtomicPtr::new(core::ptr::null_mut())),
    (libc::SIGSEGV, AtomicPtr::new(core::ptr::null_mut())),
    (libc::SIGBUS, AtomicPtr::new(core::ptr::null_mut())),
];

/// Installs the handlers of SIGILL, SIGSEGV and SIGBUS, once.
///
/// # Errors
/// What sigaction(2) says.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    emulator::init();
    frame::init();
    // SIGILL last: an emulated access may fault at once.
    for (signal, previous) in PREVIOUS.iter().rev() {
        let handler = if *signal == libc::SIGILL {
            on_sigill
        } else {
            on_memory_fault
        };
        install_one(*signal, handler, previous)?;
    }
    *installed = true;
    Ok(())
}

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

fn install_one(
    signal: i32,
    handler: Handler,
    previous: &AtomicPtr<libc::sigaction>,
) -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    let mut old = Box::new(MaybeUninit::<libc::sigaction>::zeroed());
    // SAFETY: all zero is a valid sigaction; sigfillset and sigdelset write
    // its mask.
    let action = unsafe {
        let a = action.as_mut_ptr();
        (*a).sa_sigaction = handler as *const () as usize;
        (*a).sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // Asynchronous signals wait until the instruction is finished; the
        // synchronous ones must come through.
        libc::sigfillset(&raw mut (*a).sa_mask);
        for synchronous in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGTRAP,
            libc::SIGSYS,
        ] {
            libc::sigdelset(&raw mut (*a).sa_mask, synchronous);
        }
        action.assume_init()
    };
    // The old action must be known before the new one can run.
    // SAFETY: both point to sigactions; a null new action only reads.
    if unsafe { libc::sigaction(signal, core::ptr::null(), old.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Kept for ever: the handler may look at it at any time.
    // SAFETY: sigaction(2) has filled it.
    previous.store(
        Box::into_raw(unsafe { old.assume_init() }),
        Ordering::Release,
    );
    // SAFETY: the handler has the signature of SA_SIGINFO and is
    // async-signal-safe.
    if unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What the handler works on.
struct Trap<'a> {
    context: &'a mut libc::ucontext_t,
    handled: bool,
}

/// SIGILL: emulates the instruction, or passes the signal on.
extern "C" fn on_sigill(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo to a handler with SA_SIGINFO.
    if unsafe { (*info).si_code } <= 0 {
        // Somebody sent it; the instruction at RIP has nothing to do with it.
        return pass_on(0, signal, info, context);
    }
    let phase = TRAPS.enter();
    // SAFETY: the kernel passes a ucontext to a handler with SA_SIGINFO.
    let interrupted = unsafe { &mut *context.cast() };
    let mut trap = Trap {
        context: interrupted,
        handled: false,
    };
    let here = (&raw const trap).addr() as u64;
    let argument = (&raw mut trap).cast();
    if stack::is_scarce(trap.context, here) {
        stack::call(work, argument);
    } else {
        work(argument, 0);
    }
    let handled = trap.handled;
    TRAPS.leave(phase);
    if !handled {
        TRAPS.passed_on.fetch_add(1, Ordering::Relaxed);
        pass_on(0, signal, info, context);
    }
}

/// The handler's work, on whichever stack.
extern "C" fn work(argument: *mut c_void, home: u64) {
    // SAFETY: `on_sigill` passes its Trap and looks at it when this has
    // returned.
    unsafe {
        let trap = &mut *argument.cast::<Trap<'_>>();
        trap.handled = finish(trap.context, home);
    }
}

/// Emulates the instruction at RIP. `false` if it is not ours.
///
/// # Safety
/// `context` must be the context of the running signal handler.
unsafe fn finish(context: &mut libc::ucontext_t, home: u64) -> bool {
    // SAFETY: passed on from the caller.
    let Some(mut frame) = (unsafe { Frame::new(context) }) else {
        return false;
    };
    frame.restore_pkru();
    let mut state = State::default();
    frame.load(&mut state);
    let address = state.rip;
    (state.fs_base, state.gs_base) = segment_bases(address, home);
    let mut memory = OwnMemory { home };
    match emulator::step(&mut state, &mut memory, emulator::EMULATED) {
        Ok(step) => {
            frame.store(&state);
            TRAPS.note(step.features, address);
        }
        Err(Fault::Unknown) => return false,
        Err(Fault::Memory(fault)) => {
            // A gather keeps what it has completed.
            frame.store(&state);
            let (signal, code) = match fault.kind {
                FaultKind::Bus => (libc::SIGBUS, BUS_ADRERR),
                FaultKind::Unmapped => (libc::SIGSEGV, access::SEGV_MAPERR),
                FaultKind::Forbidden => (libc::SIGSEGV, access::SEGV_ACCERR),
                _ => (libc::SIGSEGV, SI_KERNEL),
            };
            let at = if code == SI_KERNEL { 0 } else { fault.address };
            raise(context, signal, code, at);
        }
        Err(Fault::Alignment { .. } | Fault::Protection) => {
            raise(context, libc::SIGSEGV, SI_KERNEL, 0);
        }
        Err(Fault::Divide) => raise(context, libc::SIGFPE, FPE_INTDIV, address),
        Err(Fault::Simd { .. }) => {
            frame.store_mxcsr(state.mxcsr);
            raise(
                context,
                libc::SIGFPE,
                floating_point_code(state.mxcsr),
                address,
            );
        }
    }
    true
}

const SI_KERNEL: i32 = 0x80;
const BUS_ADRERR: i32 = 2;
const FPE_INTDIV: i32 = 1;

/// `si_code` of SIGFPE, chosen as the kernel does
/// (arch/x86/kernel/fpu/core.c, `fpu__exception_code`): from all the sticky
/// flags of MXCSR that are unmasked, those of earlier instructions too.
fn floating_point_code(mxcsr: u32) -> i32 {
    let unmasked = mxcsr & !(mxcsr >> 7);
    const FPE_FLTDIV: i32 = 3;
    const FPE_FLTOVF: i32 = 4;
    const FPE_FLTUND: i32 = 5;
    const FPE_FLTRES: i32 = 6;
    const FPE_FLTINV: i32 = 7;
    [
        (exception::INVALID, FPE_FLTINV),
        (exception::ZERO_DIVIDE, FPE_FLTDIV),
        (exception::OVERFLOW, FPE_FLTOVF),
        (exception::UNDERFLOW | exception::DENORMAL, FPE_FLTUND),
        (exception::PRECISION, FPE_FLTRES),
    ]
    .into_iter()
    .find(|(bits, _)| unmasked & bits != 0)
    .map_or(FPE_FLTINV, |(_, code)| code)
}

/// Queues a signal to this thread as the CPU's exception would have raised it.
/// It comes when the handler returns, at the instruction. A thread that blocks
/// the signal dies of it, as it would of the CPU's own exception
/// (kernel/signal.c, `force_sig_info_to_task`).
fn raise(context: &mut libc::ucontext_t, signal: i32, code: i32, address: u64) {
    let mask = mask_of(&mut context.uc_sigmask);
    let bit = 1u64 << (signal.unsigned_abs() - 1);
    if *mask & bit != 0 {
        sys::set_default(signal);
        *mask &= !bit;
    }
    let mut info = [0u32; size_of::<libc::siginfo_t>() / 4];
    // si_signo, si_errno, si_code, padding, si_addr
    // (include/uapi/asm-generic/siginfo.h).
    info[0] = signal.cast_unsigned();
    info[2] = code.cast_unsigned();
    info[4] = (address & 0xffff_ffff) as u32;
    info[5] = (address >> 32) as u32;
    // SAFETY: siginfo_t is plain data of this size; any bytes are one.
    let info = unsafe {
        core::mem::transmute::<[u32; size_of::<libc::siginfo_t>() / 4], libc::siginfo_t>(info)
    };
    // Not here and now, inside this handler, but when it returns.
    sys::block(signal);
    sys::queue_to_self(signal, &info);
}

/// The first 64 signals of a mask, all there are: the kernel's own `sigset_t`.
fn mask_of(set: &mut libc::sigset_t) -> &mut u64 {
    // SAFETY: libc's sigset_t is an array of unsigned long, longer than this.
    unsafe { &mut *core::ptr::from_mut(set).cast::<u64>() }
}

/// FS and GS base, asked for only if the instruction has such a prefix.
fn segment_bases(rip: u64, home: u64) -> (u64, u64) {
    const FS: u8 = 0x64;
    const GS: u8 = 0x65;
    let mut prefixes = [0u8; 5];
    let fetched = OwnMemory { home }.fetch(rip, &mut prefixes);
    for byte in prefixes.into_iter().take(fetched) {
        match byte {
            FS | GS => return sys::segment_bases(),
            0x26 | 0x2e | 0x36 | 0x3e | 0x66 | 0x67 | 0xf2 | 0xf3 => {}
            _ => break,
        }
    }
    (0, 0)
}

/// SIGSEGV and SIGBUS: an access of the emulator that faulted, or not ours.
extern "C" fn on_memory_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO, and
    // siginfo of these signals has an address.
    let (gregs, code, address) = unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let address = (*info).si_addr().expose_provenance() as u64;
        (&mut context.uc_mcontext.gregs, (*info).si_code, address)
    };
    let rip = gregs[frame::index(libc::REG_RIP)].cast_unsigned();
    match access::recover(rip, signal, code, address) {
        Some([rip, rax, rdx]) => {
            gregs[frame::index(libc::REG_RIP)] = rip.cast_signed();
            gregs[frame::index(libc::REG_RAX)] = rax.cast_signed();
            gregs[frame::index(libc::REG_RDX)] = rdx.cast_signed();
        }
        None => {
            let index = if signal == libc::SIGSEGV { 1 } else { 2 };
            pass_on(index, signal, info, context);
        }
    }
}

/// Does what would have happened without us.
fn pass_on(index: usize, signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS[index].1.load(Ordering::Acquire);
    // SAFETY: null or a sigaction that is kept for ever.
    let Some(previous) = (unsafe { previous.as_ref() }) else {
        return sys::set_default(signal);
    };
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (was_sent, interrupted) = unsafe {
        (
            (*info).si_code <= 0,
            &mut *context.cast::<libc::ucontext_t>(),
        )
    };
    if !matches!(previous.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
        // The mask that the kernel would have set for that handler.
        let mut own = previous.sa_mask;
        let mut mask = *mask_of(&mut interrupted.uc_sigmask) | *mask_of(&mut own);
        if previous.sa_flags & libc::SA_NODEFER == 0 {
            mask |= 1 << (signal.unsigned_abs() - 1);
        }
        sys::set_mask(mask);
    }
    match previous.sa_sigaction {
        // The instruction runs again and the default action takes place. The
        // kernel treats an ignored synchronous signal like the default, too.
        libc::SIG_IGN if was_sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            sys::set_default(signal);
            // A signal that somebody sent does not come again by itself.
            if was_sent {
                // SAFETY: as above.
                sys::queue_to_self(signal, unsafe { &*info });
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the program installed it with this signature.
            let handler = unsafe { core::mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: the program installed it with this signature.
            let handler = unsafe { core::mem::transmute::<usize, extern "C" fn(i32)>(handler) };
            handler(signal);
        }
    }
}
