//! The #UD handler: finishes the instruction, then lets it be known.
//!
//! Everything reachable from [`on_sigill`] keeps the rules of a trap handler:
//! no allocation, no lock that other code could hold, no libc function that is an
//! IFUNC, no call of `__tls_get_addr`, no panic. What it learnt it leaves in
//! [`TRAPS`] and rings the runtime's eventfd.

mod access;
mod action;
pub(crate) mod burst;
mod frame;
pub(crate) mod handlers;
mod pages;
mod rseq;
mod sandbox;
mod segments;
mod shadow;
mod stack;
mod sys;
pub(crate) mod tally;
mod thread;
mod vdso;

use core::ffi::c_void;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::io;
use std::sync::{Mutex, PoisonError};

use emulator::{Budget, Fault, FaultKind, State, exception};
use isa::{Feature, FeatureSet, WORDS};

use crate::grace::Grace;
use crate::junction::{self, Junction};
use crate::page;
use access::{OwnMemory, Reserved};
use frame::Frame;
use sandbox::Loss;
use sys::KernelAction;
use thread::Local;

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
    /// Between whoever takes something away from handlers and those that still look at it.
    pub(crate) grace: Grace,
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
    grace: Grace::new(),
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

    /// Whether `feature` is among the lost ones at `generation`.
    pub(crate) fn has_lost(&self, feature: Feature, generation: u64) -> bool {
        let id = usize::from(feature.id());
        self.lost_at.load(Ordering::Acquire) == generation
            && self
                .lost
                .get(id / 64)
                .is_some_and(|word| word.load(Ordering::Acquire) >> (id % 64) & 1 == 1)
    }

    /// The agent has tried these on every CPU and found them there: the guest
    /// has moved on meanwhile.
    pub(crate) fn forget(&self, present: FeatureSet) {
        for (word, back) in self.lost.iter().zip(present.words()) {
            word.fetch_and(!back, Ordering::AcqRel);
        }
        crate::view::void();
        self.first_ns.store(0, Ordering::Relaxed);
    }

    pub(crate) fn ring(&self, eventfd: i32) {
        self.eventfd.store(eventfd, Ordering::Release);
    }

    /// In the child of a fork no other thread is in a handler.
    pub(crate) fn forked(&self) {
        self.eventfd.store(-1, Ordering::SeqCst);
        self.grace.forked();
        stack::forked();
        burst::forked();
        tally::forked();
    }

    fn note(&self, features: FeatureSet, address: u64, instructions: u32) {
        self.emulated
            .fetch_add(instructions.into(), Ordering::Relaxed);
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
            crate::view::void();
            let eventfd = self.eventfd.load(Ordering::Acquire);
            // A sandbox may allow no call; without the runtime nobody asks for the time.
            if eventfd >= 0 {
                let now = sys::monotonic_ns();
                let _ =
                    self.first_ns
                        .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
            }
            crate::slots::after_trap();
            // A callback of the program's needs thread-local storage as the C library knows it.
            if eventfd >= 0 && Local::of_thread().is_some() {
                crate::in_trap::call(features, address, self.first_ns() / 1000);
            }
            if eventfd >= 0 {
                sys::signal_eventfd(eventfd);
            }
        }
    }
}

/// Who has the handlers now.
pub(crate) enum Installed {
    Here,
    /// Another copy of this library, which was quicker.
    Elsewhere(&'static Junction),
}

/// Installs the handlers of SIGILL, SIGSEGV and SIGBUS, unless they are.
///
/// # Errors
/// What sigaction(2) says.
pub(crate) fn install() -> io::Result<Installed> {
    install_once(|| {})
}

/// What the kernel would call for SIGILL.
pub(crate) fn installed_handler() -> Option<usize> {
    sys::action(libc::SIGILL).map(|action| action.handler)
}

/// What the handler can need of an alternate stack, with a fault in the midst of its work, in bytes.
pub(crate) fn stack_size() -> usize {
    stack::size()
}

/// Installs the handlers, once, for a program whose calls of sigaction(2) are brought here.
///
/// # Errors
/// What sigaction(2) says.
pub(crate) fn install_seatbelt() -> io::Result<()> {
    // No other copy has run yet.
    install_once(|| {
        if !frame::has_ymm() {
            shadow::take_into_use();
        }
        handlers::activate();
        // Whoever started the program may have blocked them.
        sys::unblock(action::MASK);
    })
    .map(|_| ())
}

static INSTALLED: Mutex<bool> = Mutex::new(false);

fn install_once(prepare: impl FnOnce()) -> io::Result<Installed> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(Installed::Here);
    }
    emulator::init();
    frame::init();
    stack::init();
    rseq::init();
    vdso::init();
    segments::init();
    // The old actions must be known before the new ones can run.
    if !action::SIGNALS.into_iter().all(action::remember) {
        return Err(io::Error::last_os_error());
    }
    prepare();
    // SIGILL last: an emulated access may fault at once.
    for signal in action::SIGNALS.into_iter().rev() {
        let flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // One of these does not come within the other: there may be little stack.
        let mask = if signal == libc::SIGILL {
            MASK
        } else {
            MASK | FAULTS
        };
        let action = KernelAction::new(handler(signal), flags.cast_unsigned().into(), mask);
        let Some(old) = sys::exchange_action(signal, &action) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        if signal == libc::SIGILL
            && let Some(other) = junction::behind(old.handler)
        {
            sys::set_action(signal, &old);
            give_back();
            return Ok(Installed::Elsewhere(other));
        }
    }
    *installed = true;
    Ok(Installed::Here)
}

/// Gives the signals back to those who had them, or whom the program has named since. One whose
/// handler is not this library's any more stays as it is.
///
/// The seatbelt is never taken off.
pub(crate) fn uninstall() {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed && !handlers::is_active() {
        give_back();
        *installed = false;
    }
}

fn give_back() {
    for signal in action::SIGNALS {
        let ours = sys::action(signal).is_some_and(|action| action.handler == handler(signal));
        if let Some(wanted) = action::wanted(signal).filter(|_| ours) {
            sys::set_action(signal, &wanted);
        }
    }
}

// The handler of SIGILL, with what other copies of this library know it by in front of it: see
// `junction.rs`.
core::arch::global_asm!(
    ".pushsection .text.isahp_sigill,\"ax\",@progbits",
    ".p2align 4",
    "2:  .ascii \"isahotplug #UD\\000\\001\"",
    "    .quad {junction} - 2b",
    ".globl isahp_sigill",
    ".hidden isahp_sigill",
    ".type isahp_sigill, @function",
    "isahp_sigill:",
    "    jmp {handler}",
    ".size isahp_sigill, . - isahp_sigill",
    ".popsection",
    junction = sym junction::OWN,
    handler = sym on_sigill,
);

// SAFETY: the signature of the handler that the assembler above jumps to.
unsafe extern "C-unwind" {
    fn isahp_sigill(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void);
}

/// Address of the handler of one of [`action::SIGNALS`].
fn handler(signal: i32) -> usize {
    match signal {
        libc::SIGILL => isahp_sigill as *const () as usize,
        _ => on_memory_fault as *const () as usize,
    }
}

/// Whether the kernel would call this library.
fn is_ours(address: usize) -> bool {
    action::SIGNALS
        .into_iter()
        .any(|signal| handler(signal) == address)
}

/// `signal` in the kernel's `sigset_t`.
const fn bit(signal: i32) -> u64 {
    1 << (signal.unsigned_abs() - 1)
}

/// What the handlers block: signals wait until the work is done. Only the handler's own accesses
/// may fault, and its system calls be caught by a sandbox. (The kernel never shows SIGKILL and SIGSTOP
/// blocked.)
const MASK: u64 = !(FAULTS | bit(libc::SIGSYS) | bit(libc::SIGKILL) | bit(libc::SIGSTOP));

/// The signals of the handler's own accesses.
const FAULTS: u64 = bit(libc::SIGSEGV) | bit(libc::SIGBUS);

/// Alignment check, in RFLAGS.
const AC: i64 = 1 << 18;

/// What the handler works on.
struct Trap<'a> {
    context: &'a mut libc::ucontext_t,
    /// Address of the instruction that trapped.
    address: u64,
    outcome: Outcome,
    /// The thread's block and its thread pointer, if it is a thread of the C library's.
    thread: Option<(&'static Local, u64)>,
}

/// What became of a trap.
enum Outcome {
    /// It is none of ours.
    NotOurs,
    /// The thread goes on.
    Done,
    /// The instruction raises another signal.
    Raised(Raised),
}

/// SIGILL: emulates the instruction, or passes the signal on. A handler of the program's may leave by
/// an exception (Ada's do).
pub(crate) extern "C-unwind" fn on_sigill(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if let Some(other) = junction::joined() {
        // This copy joined that one when its own handler was installed already.
        return (other.on_sigill)(signal, info, context);
    }
    // SAFETY: the kernel passes a ucontext to a handler with SA_SIGINFO.
    let interrupted = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    check_no_alignment(interrupted);
    // SAFETY: the kernel passes a siginfo to a handler with SA_SIGINFO; that of a
    // SIGILL has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr()) };
    if code <= 0 {
        // Somebody sent it; the instruction at RIP has nothing to do with it.
        return pass_on(signal, info, context);
    }
    let blocked = *mask_of(&mut interrupted.uc_sigmask) & FAULTS;
    if blocked != 0 {
        // A fault of our own accesses would kill. (One of the instruction still does: `raise`.)
        sys::unblock(blocked);
    }
    let phase = TRAPS.grace.enter();
    let mut trap = Trap {
        context: interrupted,
        address: address.expose_provenance() as u64,
        outcome: Outcome::NotOurs,
        thread: None,
    };
    let here = (&raw const trap).addr() as u64;
    let argument = (&raw mut trap).cast();
    if stack::is_scarce(trap.context, here) {
        stack::call(work, argument);
    } else {
        work(argument);
    }
    let (outcome, thread) = (trap.outcome, trap.thread);
    TRAPS.grace.leave(phase);
    if let Some((thread, _)) = thread {
        thread.release(|index, sent| come_back(DEFERRED[index & 1], sent, context));
    }
    match outcome {
        Outcome::Done => {}
        Outcome::Raised(raised) => raised.deliver(context),
        Outcome::NotOurs => {
            TRAPS.passed_on.fetch_add(1, Ordering::Relaxed);
            tally::pass_on();
            pass_on(signal, info, context);
        }
    }
}

/// Lets a signal come when this handler returns; at once, with what was interrupted, where a sandbox
/// does not let it be queued.
fn come_back(signal: i32, info: &libc::siginfo_t, context: *mut c_void) {
    let queued = sys::block(signal) && sys::queue_to_self(signal, info);
    if !queued {
        // Back at the instruction the default action would be to come here once more.
        if wanted(signal).handler == libc::SIG_DFL {
            sandbox::die(Loss::Queue);
        }
        pass_on(signal, core::ptr::from_ref(info).cast_mut(), context);
    }
}

/// Makes unaligned accesses possible: compiled code has some, this library's too.
fn check_no_alignment(interrupted: &libc::ucontext_t) {
    if interrupted.uc_mcontext.gregs[frame::index(libc::REG_EFL)] & AC != 0 {
        frame::clear_alignment_check();
    }
}

/// The handler's work, on whichever stack.
extern "C-unwind" fn work(argument: *mut c_void) {
    // SAFETY: `on_sigill` passes its Trap and looks at it when this has
    // returned.
    unsafe {
        let trap = &mut *argument.cast::<Trap<'_>>();
        trap.outcome = finish(trap);
    }
}

/// Where the handler's own frame and stack are, which instructions must not write to.
///
/// Where the thread has no alternate signal stack they lie right below what the interrupted function
/// uses of its stack, and what that calls would lay its own frame over them.
struct Here {
    /// A stack pointer of the handler on the stack that the signal was delivered on.
    bottom: u64,
    /// The lowest address of that stack, as far as is known.
    limit: u64,
    /// The end of the signal frame.
    top: u64,
}

impl Here {
    fn new(bottom: u64, alternate: &libc::stack_t, top: u64) -> Self {
        let start = alternate.ss_sp.addr() as u64;
        let is_alternate = bottom.wrapping_sub(start) < alternate.ss_size as u64;
        Self {
            bottom,
            limit: if is_alternate { start } else { 0 },
            top,
        }
    }

    /// While one instruction is carried out: what the handler has in use.
    fn in_a_step(&self) -> Reserved {
        Reserved::new(None, self.below(stack::OWN as u64), self.top)
    }

    /// In a burst also what the frame of an access that faults may take.
    fn in_a_burst(&self, sequence: Option<u64>) -> Reserved {
        Reserved::new(sequence, self.below(64 * 1024), self.top)
    }

    fn below(&self, depth: u64) -> u64 {
        self.bottom.saturating_sub(depth).max(self.limit)
    }
}

/// Emulates the instruction at RIP, and those after it as far as they can be expected to trap as
/// well.
///
/// # Safety
/// The context must be that of the running signal handler.
unsafe fn finish(trap: &mut Trap<'_>) -> Outcome {
    let trapped = trap.address;
    let (bottom, stack) = (&raw const *trap.context, trap.context.uc_stack);
    // SAFETY: passed on from the caller.
    let Some(mut frame) = (unsafe { Frame::new(trap.context) }) else {
        return Outcome::NotOurs;
    };
    frame.restore_pkru();
    frame::reset_mxcsr();
    trap.thread = Local::of_thread();
    if trap.thread.is_some_and(|(thread, _)| thread.begin()) {
        sys::unblock(FAULTS);
    }
    let here = Here::new(bottom.addr() as u64, &stack, frame.end());
    if frame.rip() != trapped {
        // The signal has aborted a restartable sequence; RIP is where that begins anew.
        return match OwnMemory::new(here.in_a_step()).is_ours(trapped) {
            true => Outcome::Done,
            false => Outcome::NotOurs,
        };
    }
    pages::learn(trapped);
    let (thread, pointer) = trap.thread.unzip();
    let mut state = State::default();
    frame.load(&mut state, thread);
    let sequence = pointer.and_then(rseq::area);
    let in_sequence = sequence.is_some_and(rseq::is_begun);
    let mut work = Work {
        state: &mut state,
        memory: OwnMemory::new(here.in_a_step()),
        pointer,
        reserved: here.in_a_burst(sequence),
        absent: FeatureSet::from_words(page::available().words().map(|word| !word)),
        cache: burst::Claimed::new(thread).filter(|_| !in_sequence),
        done: 0,
        needed: FeatureSet::EMPTY,
    };
    if work.begin() {
        work.go_on();
        work.count(trapped);
        frame.store(&state, thread);
        return Outcome::Done;
    }
    let result = work.step(&frame);
    let said = work.memory.said();
    match result {
        Ok(()) => {
            work.go_on();
            work.count(trapped);
            frame.store(&state, thread);
            if state.x87.present {
                frame.store_x87(&state.x87);
            }
        }
        Err(Fault::Unknown) => return Outcome::NotOurs,
        // The handler itself lies where the instruction stores.
        Err(Fault::Memory(fault)) if fault.kind == FaultKind::Reserved => return Outcome::NotOurs,
        Err(Fault::Memory(fault)) => {
            // A gather keeps what it has completed.
            frame.store(&state, thread);
            let by_kernel = |signal| (signal, SI_KERNEL, 0, 0);
            let (signal, code, address, key) = match (fault.kind, said) {
                (FaultKind::NonCanonicalStack, _) => by_kernel(libc::SIGBUS),
                (FaultKind::Unmapped, _) => (libc::SIGSEGV, access::SEGV_MAPERR, fault.address, 0),
                (FaultKind::NonCanonical, _) | (_, None) => by_kernel(libc::SIGSEGV),
                (_, Some(said)) => (said.signal, said.code, said.address, said.key),
            };
            return Outcome::Raised(Raised::new(signal, code, address, key));
        }
        Err(Fault::Alignment { .. } | Fault::Protection) => {
            return Outcome::Raised(Raised::new(libc::SIGSEGV, SI_KERNEL, 0, 0));
        }
        Err(Fault::Divide) => {
            return Outcome::Raised(Raised::new(libc::SIGFPE, FPE_INTDIV, trapped, 0));
        }
        Err(Fault::Simd { .. }) => {
            frame.store_mxcsr(state.mxcsr);
            let flags = state.mxcsr & !(state.mxcsr >> 7);
            let code = floating_point_code(flags);
            return Outcome::Raised(Raised::new(libc::SIGFPE, code, trapped, 0));
        }
        Err(Fault::X87) => {
            let flags = state.x87.status & !state.x87.control;
            let code = floating_point_code(flags.into());
            return Outcome::Raised(Raised::new(libc::SIGFPE, code, trapped, 0));
        }
    }
    Outcome::Done
}

/// The instructions after a trap.
struct Work<'a> {
    state: &'a mut State,
    memory: OwnMemory,
    /// The thread pointer, if there is one to be trusted.
    pointer: Option<u64>,
    /// What a burst must not write.
    reserved: Reserved,
    /// What the CPU lacks, as far as is known.
    absent: FeatureSet,
    /// Without one only the instruction that trapped is carried out.
    cache: Option<burst::Claimed>,
    /// Lost instructions that were carried out by now, and the features that they needed.
    done: u32,
    needed: FeatureSet,
}

impl Work<'_> {
    /// The quick way: carries out the instruction at RIP if it is known and known to be lost.
    fn begin(&mut self) -> bool {
        let only_lost = Budget {
            instructions: 1,
            patience: 0,
        };
        self.burst(only_lost)
    }

    /// Carries out what follows.
    fn go_on(&mut self) {
        if let Some(budget) = burst::budget() {
            self.burst(budget);
        }
    }

    /// Carries out instructions that need nothing but what a burst has. Whether there were any.
    fn burst(&mut self, budget: Budget) -> bool {
        let Some(cache) = &mut self.cache else {
            return false;
        };
        let has_cx16 = !self.absent.contains(Feature::Cx16);
        self.memory.begin_burst(self.reserved, has_cx16);
        // GS is used by so few that the system call is not worth it: those accesses fault, and
        // the CPU goes on.
        self.state.fs_base = self.pointer.unwrap_or(OwnMemory::NOWHERE);
        self.state.gs_base = OwnMemory::NOWHERE;
        self.state.shadow_stack = segments::has_shadow_stack();
        let done = emulator::burst(self.state, &mut self.memory, cache, self.absent, budget);
        if done.emulated > 0 {
            self.note(done.features, done.address, done.emulated);
        }
        done.instructions > 0
    }

    /// The slow way: carries out the instruction at RIP, whatever it needs.
    fn step(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let rip = self.state.rip;
        let code = self.memory.begin_step(rip);
        let attribution = emulator::attribute(code).ok_or(Fault::Unknown)?;
        // An instruction that every CPU has raised #UD for a reason of its own.
        if !attribution.emulated || attribution.features.is_empty() {
            return Err(Fault::Unknown);
        }
        (self.state.fs_base, self.state.gs_base) = segment_bases(code).ok_or(Fault::Unknown)?;
        let mut result = emulator::step(self.state, &mut self.memory, emulator::EMULATED);
        if result == Err(Fault::Unknown) {
            self.state.x87 = frame.load_x87();
            result = emulator::step(self.state, &mut self.memory, emulator::EMULATED);
        }
        let step = result?;
        pages::learn(rip.wrapping_add(step.length.saturating_sub(1) as u64));
        let features = step.features;
        self.note(features, rip, 1);
        self.absent = self.absent.union(features);
        Ok(())
    }

    fn note(&mut self, features: FeatureSet, address: u64, instructions: u32) {
        TRAPS.note(features, address, instructions);
        self.needed = self.needed.union(features);
        self.done = self.done.saturating_add(instructions);
    }

    /// Counts all of it for the instruction that trapped.
    fn count(&self, trapped: u64) {
        tally::count(self.needed, trapped, self.done);
    }
}

const SI_KERNEL: i32 = 0x80;
const FPE_INTDIV: i32 = 1;

/// `si_code` of SIGFPE, chosen as the kernel does
/// (arch/x86/kernel/fpu/core.c, `fpu__exception_code`): from all the sticky
/// flags of MXCSR or FSW that are unmasked, those of earlier instructions too.
fn floating_point_code(unmasked: u32) -> i32 {
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

/// A signal that the CPU's exception would have raised at an instruction.
struct Raised {
    signal: i32,
    info: libc::siginfo_t,
}

impl Raised {
    /// `key`: `si_pkey`.
    fn new(signal: i32, code: i32, address: u64, key: u32) -> Self {
        let mut info = [0u32; size_of::<libc::siginfo_t>() / 4];
        // si_signo, si_errno, si_code, padding, si_addr, …, si_pkey
        // (include/uapi/asm-generic/siginfo.h).
        info[0] = signal.cast_unsigned();
        info[2] = code.cast_unsigned();
        info[4] = (address & 0xffff_ffff) as u32;
        info[5] = (address >> 32) as u32;
        info[8] = key;
        // SAFETY: siginfo_t is plain data of this size; any bytes are one.
        let info = unsafe {
            core::mem::transmute::<[u32; size_of::<libc::siginfo_t>() / 4], libc::siginfo_t>(info)
        };
        Self { signal, info }
    }

    /// It comes when the handler returns, at the instruction, not here and now, inside the handler. A
    /// thread that blocks or ignores the signal dies of it, as it would of the CPU's own exception
    /// (kernel/signal.c, `force_sig_info_to_task`).
    fn deliver(&self, context: *mut c_void) {
        let signal = self.signal;
        // SAFETY: the ucontext of the running handler.
        let mask = mask_of(unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_sigmask });
        if *mask & bit(signal) != 0 || wanted(signal).handler == libc::SIG_IGN {
            if !sys::set_default(signal) {
                sandbox::die(Loss::Action);
            }
            *mask &= !bit(signal);
        }
        come_back(signal, &self.info, context);
    }
}

/// The first 64 signals of a mask, all there are: the kernel's own `sigset_t`.
fn mask_of(set: &mut libc::sigset_t) -> &mut u64 {
    // SAFETY: libc's sigset_t is an array of unsigned long, longer than this.
    unsafe { &mut *core::ptr::from_mut(set).cast::<u64>() }
}

/// FS and GS base, asked for only if the instruction has such a prefix; `None` if the kernel does not
/// tell.
fn segment_bases(code: &[u8]) -> Option<(u64, u64)> {
    const FS: u8 = 0x64;
    const GS: u8 = 0x65;
    const OTHERS: [u8; 8] = [0x26, 0x2e, 0x36, 0x3e, 0x66, 0x67, 0xf2, 0xf3];
    let found = code.iter().find(|byte| !OTHERS.contains(byte));
    match found {
        // It may have both, of which the last counts.
        Some(&FS | &GS) => segments::fs_base().zip(segments::gs_base()),
        _ => Some((0, 0)),
    }
}

/// SIGSEGV and SIGBUS: an access of the emulator that faulted, or not ours.
extern "C-unwind" fn on_memory_fault(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: the kernel passes a ucontext to a handler with SA_SIGINFO.
    check_no_alignment(unsafe { &*context.cast() });
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO, and
    // siginfo of these signals has an address.
    let (gregs, code, address) = unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let address = (*info).si_addr().expose_provenance() as u64;
        (&mut context.uc_mcontext.gregs, (*info).si_code, address)
    };
    if is_sent(signal, code) {
        // SAFETY: as above.
        let (interrupted, sent) = unsafe { (&mut *context.cast::<libc::ucontext_t>(), &*info) };
        // Who steps through the handler with a debugger has SIGTRAP unblocked.
        let all = MASK & !bit(libc::SIGTRAP);
        let works = *mask_of(&mut interrupted.uc_sigmask) & all == all;
        // In the middle of the handler's work: later.
        if works && let Some((thread, _)) = Local::of_thread() {
            if !thread.hold_if_settled() {
                let index = usize::from(signal != DEFERRED[0]);
                return thread.defer(index, sent);
            }
            // The work is done, and the handler returns: right after that.
            if sys::queue_to_self(signal, sent) {
                *mask_of(&mut interrupted.uc_sigmask) |= bit(signal);
                return;
            }
        }
        return pass_on(signal, info, context);
    }
    let rip = gregs[frame::index(libc::REG_RIP)].cast_unsigned();
    /// The access is forbidden by a protection key.
    const SEGV_PKUERR: i32 = 4;
    let key = if signal == libc::SIGSEGV && code == SEGV_PKUERR {
        // SAFETY: as above; with this code si_pkey is there (include/uapi/asm-generic/siginfo.h).
        unsafe { *info.cast::<u32>().add(8) }
    } else {
        0
    };
    let said = access::Said {
        signal,
        code,
        address,
        key,
    };
    match access::recover(rip, said) {
        Some([rip, rax, rdx]) => {
            gregs[frame::index(libc::REG_RIP)] = rip.cast_signed();
            gregs[frame::index(libc::REG_RAX)] = rax.cast_signed();
            gregs[frame::index(libc::REG_RDX)] = rdx.cast_signed();
        }
        None => pass_on(signal, info, context),
    }
}

/// What [`Local::defer`] keeps.
const DEFERRED: [i32; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Whether somebody sent the signal; no access of this thread's has caused it.
fn is_sent(signal: i32, code: i32) -> bool {
    /// Memory has gone bad, though nobody has touched it yet.
    const BUS_MCEERR_AO: i32 = 5;
    code <= 0 || signal == libc::SIGBUS && code == BUS_MCEERR_AO
}

/// What the program wants done with `signal`, whether it is one of ours or not.
fn wanted(signal: i32) -> KernelAction {
    action::wanted(signal)
        .or_else(|| sys::action(signal))
        .unwrap_or(KernelAction::DEFAULT)
}

/// Does what would have happened without us.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let wanted = wanted(signal);
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (was_sent, interrupted) = unsafe {
        (
            is_sent(signal, (*info).si_code),
            &mut *context.cast::<libc::ucontext_t>(),
        )
    };
    match wanted.handler {
        // The instruction runs again and the default action takes place. The
        // kernel treats an ignored synchronous signal like the default, too.
        libc::SIG_IGN if was_sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            if !sys::set_default(signal) {
                sandbox::die(Loss::Action);
            }
            // A signal that somebody sent does not come again by itself.
            // SAFETY: as above.
            if was_sent && !sys::queue_to_self(signal, unsafe { &*info }) {
                sandbox::die(Loss::Queue);
            }
        }
        handler => {
            let has = |flag: i32| wanted.flags & u64::from(flag.cast_unsigned()) != 0;
            // The mask that the kernel would have set for that handler.
            let mut mask = *mask_of(&mut interrupted.uc_sigmask) | wanted.mask;
            if !has(libc::SA_NODEFER) {
                mask |= bit(signal);
            }
            if handlers::is_active() {
                // Of the three only the handler's own, and never SIGILL: what
                // the handler itself does may need us.
                let own = bit(signal) & !bit(libc::SIGILL);
                mask &= !action::MASK | own;
            }
            if has(libc::SA_RESETHAND) {
                action::reset(signal, &wanted);
            }
            sys::set_mask(mask);
            // SAFETY: the program installed it as a handler, which the kernel calls
            // with three arguments whatever SA_SIGINFO says.
            unsafe {
                let handler = core::mem::transmute::<usize, shadow::Handler>(handler);
                shadow::call_fresh(signal, info, context, handler);
            }
        }
    }
}
