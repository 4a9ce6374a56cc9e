//! System calls without libc, for the trap handler: no errno, no
//! cancellation point, nothing that a program may have interposed.

use core::arch::asm;

use super::sandbox::{self, Loss};
use super::vdso;

/// # Safety
/// The system call `number` with these arguments must be sound.
unsafe fn syscall(number: i64, a: u64, b: u64, c: u64, d: u64) -> i64 {
    let result;
    // SAFETY: the caller answers for the call; the kernel changes rcx and r11
    // beside the result.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Adds 1 to the eventfd `fd`. A full or closed eventfd is nobody's loss: its
/// reader is awake or gone.
pub(super) fn signal_eventfd(fd: i32) {
    let one = 1u64;
    // SAFETY: write(2) reads 8 bytes from a local.
    unsafe {
        syscall(
            libc::SYS_write,
            i64::from(fd).cast_unsigned(),
            (&raw const one).expose_provenance() as u64,
            8,
            0,
        )
    };
}

/// Lets others run (sched_yield(2)).
pub(super) fn yield_now() {
    // SAFETY: takes nothing.
    unsafe { syscall(libc::SYS_sched_yield, 0, 0, 0, 0) };
}

/// Takes the alternate signal stack away and returns what there was (sigaltstack(2)); `None` if the
/// kernel refuses. Not while the stack pointer is on it.
pub(super) fn disable_alternate_stack() -> Option<libc::stack_t> {
    let none = libc::stack_t {
        ss_sp: core::ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    let mut old = none;
    // SAFETY: sigaltstack(2) reads one local and writes another.
    let result = unsafe {
        let (new, old) = (&raw const none, &raw mut old);
        let (new, old) = (new.expose_provenance(), old.expose_provenance());
        syscall(libc::SYS_sigaltstack, new as u64, old as u64, 0, 0)
    };
    (result == 0).then_some(old)
}

/// Gives the alternate signal stack back.
pub(super) fn restore_alternate_stack(stack: &libc::stack_t) {
    // SAFETY: sigaltstack(2) reads what the reference keeps alive; the stack was the thread's.
    unsafe {
        let stack = core::ptr::from_ref(stack).expose_provenance() as u64;
        syscall(libc::SYS_sigaltstack, stack, 0, 0, 0);
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(super) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime(2) writes one timespec to a local.
    unsafe {
        let out = (&raw mut time).expose_provenance() as u64;
        syscall(
            libc::SYS_clock_gettime,
            libc::CLOCK_MONOTONIC.unsigned_abs().into(),
            out,
            0,
            0,
        );
    }
    nanoseconds(&time)
}

pub(super) fn nanoseconds(time: &libc::timespec) -> u64 {
    time.tv_sec
        .cast_unsigned()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec.cast_unsigned())
}

/// Blocks `signal` until the running handler returns, whose frame holds the
/// mask of before. `false` if the kernel refuses.
pub(super) fn block(signal: i32) -> bool {
    block_all_of(super::bit(signal))
}

/// As [`block`], signals of the kernel's `sigset_t`.
pub(super) fn block_all_of(signals: u64) -> bool {
    change_mask(libc::SIG_BLOCK, signals)
}

/// Unblocks signals of the kernel's `sigset_t`. `false` if the kernel refuses.
pub(super) fn unblock(signals: u64) -> bool {
    change_mask(libc::SIG_UNBLOCK, signals)
}

/// Sets the thread's mask. `false` if the kernel refuses.
pub(super) fn set_mask(mask: u64) -> bool {
    change_mask(libc::SIG_SETMASK, mask)
}

/// Changes the thread's mask (rt_sigprocmask(2)).
fn change_mask(how: i32, signals: u64) -> bool {
    // SAFETY: rt_sigprocmask(2) reads 8 bytes from a local.
    let result = unsafe {
        let set = (&raw const signals).expose_provenance() as u64;
        let how = how.unsigned_abs().into();
        syscall(libc::SYS_rt_sigprocmask, how, set, 0, 8)
    };
    if result != 0 {
        sandbox::say(Loss::Mask);
    }
    result == 0
}

/// Writes `text` to standard error.
pub(super) fn write_to_stderr(text: &[u8]) {
    // SAFETY: write(2) reads what the reference keeps alive.
    unsafe {
        let at = text.as_ptr().expose_provenance() as u64;
        syscall(libc::SYS_write, 2, at, text.len() as u64, 0);
    }
}

/// Queues `signal` with `info` to the calling thread (rt_tgsigqueueinfo(2));
/// it is delivered as soon as it is not blocked. `false` if the kernel refuses.
pub(super) fn queue_to_self(signal: i32, info: &libc::siginfo_t) -> bool {
    // SAFETY: getpid and gettid take nothing; rt_tgsigqueueinfo reads one
    // siginfo_t, which the reference keeps alive.
    unsafe {
        let pid = syscall(libc::SYS_getpid, 0, 0, 0, 0).cast_unsigned();
        let tid = syscall(libc::SYS_gettid, 0, 0, 0, 0).cast_unsigned();
        let info = core::ptr::from_ref(info).expose_provenance() as u64;
        let number = libc::SYS_rt_tgsigqueueinfo;
        syscall(number, pid, tid, signal.unsigned_abs().into(), info) == 0
    }
}

/// What arch_prctl(2) writes for `question`; `None` if the kernel refuses.
pub(super) fn arch(question: u64) -> Option<u64> {
    let mut answer = 0u64;
    // SAFETY: arch_prctl(2) writes 8 bytes to a local.
    let result = unsafe {
        let out = (&raw mut answer).expose_provenance() as u64;
        syscall(libc::SYS_arch_prctl, question, out, 0, 0)
    };
    (result == 0).then_some(answer)
}

// Where a handler that was installed by `set_action` returns to. Debuggers and unwinders know a
// signal frame by these very bytes, and gdb by a name with "sigaction" in it.
core::arch::global_asm!(
    ".pushsection .text.isahp_sigaction_restore,\"ax\",@progbits",
    ".globl isahp_sigaction_restore",
    ".hidden isahp_sigaction_restore",
    ".type isahp_sigaction_restore, @function",
    "    nop",
    "isahp_sigaction_restore:",
    "    .byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00", // mov rax, SYS_rt_sigreturn
    "    syscall",
    ".size isahp_sigaction_restore, . - isahp_sigaction_restore",
    ".popsection",
);

// SAFETY: the label of the assembler above; never called from Rust.
unsafe extern "C" {
    fn isahp_sigaction_restore();
}

/// `struct sigaction` as the kernel takes it (include/linux/signal_types.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelAction {
    /// `SIG_DFL`, `SIG_IGN`, or the address of the handler.
    pub(super) handler: usize,
    /// `SA_SIGINFO` and so on.
    pub(super) flags: u64,
    restorer: usize,
    /// Bit n − 1 is signal n.
    pub(super) mask: u64,
}

impl KernelAction {
    /// `SA_RESTORER`, which is between the kernel and libc.
    const RESTORER: u64 = 0x0400_0000;

    /// What a program starts with.
    pub(super) const DEFAULT: Self = Self::new(libc::SIG_DFL, 0, 0);

    /// An action as a program gives it.
    pub(super) const fn new(handler: usize, flags: u64, mask: u64) -> Self {
        Self {
            handler,
            flags: flags & !Self::RESTORER,
            restorer: 0,
            mask,
        }
    }
}

/// The action of `signal` (rt_sigaction(2)); `None` if the kernel refuses.
pub(super) fn action(signal: i32) -> Option<KernelAction> {
    let mut action = KernelAction::new(0, 0, 0);
    // SAFETY: rt_sigaction(2) writes one action to a local.
    let result = unsafe {
        let out = (&raw mut action).expose_provenance() as u64;
        let number = libc::SYS_rt_sigaction;
        syscall(number, signal.unsigned_abs().into(), 0, out, 8)
    };
    (result == 0).then(|| KernelAction::new(action.handler, action.flags, action.mask))
}

/// Sets the action of `signal` (rt_sigaction(2)). `false` if the kernel refuses.
pub(super) fn set_action(signal: i32, action: &KernelAction) -> bool {
    exchange_action(signal, action).is_some()
}

/// As [`set_action`], and gives the action of before; `None` if the kernel refuses.
pub(super) fn exchange_action(signal: i32, action: &KernelAction) -> Option<KernelAction> {
    let action = KernelAction {
        flags: action.flags | KernelAction::RESTORER,
        restorer: isahp_sigaction_restore as *const () as usize,
        ..*action
    };
    let mut old = KernelAction::new(0, 0, 0);
    // SAFETY: rt_sigaction(2) reads one action from a local and writes another; the restorer
    // returns from the signal frame.
    let result = unsafe {
        let action = (&raw const action).expose_provenance() as u64;
        let old = (&raw mut old).expose_provenance() as u64;
        let number = libc::SYS_rt_sigaction;
        syscall(number, signal.unsigned_abs().into(), action, old, 8)
    };
    (result == 0).then(|| KernelAction::new(old.handler, old.flags, old.mask))
}

/// Sets `signal` back to its default action. `false` if the kernel refuses.
pub(super) fn set_default(signal: i32) -> bool {
    set_action(signal, &KernelAction::DEFAULT)
}

/// The process, as the kernel sees it: a child of vfork(2) is another.
pub(super) fn process() -> u32 {
    // SAFETY: getpid(2) takes nothing.
    let process = unsafe { syscall(libc::SYS_getpid, 0, 0, 0, 0) };
    u32::try_from(process).unwrap_or(0)
}

/// The CPU that runs this thread, and its node (getcpu(2)).
pub(super) fn cpu_and_node() -> Option<(u32, u32)> {
    if let Some(known) = vdso::cpu_and_node() {
        return Some(known);
    }
    let (mut cpu, mut node) = (0u32, 0u32);
    // SAFETY: getcpu(2) writes two numbers to locals.
    let result = unsafe {
        let (cpu, node) = (&raw mut cpu, &raw mut node);
        let (cpu, node) = (cpu.expose_provenance(), node.expose_provenance());
        syscall(libc::SYS_getcpu, cpu as u64, node as u64, 0, 0)
    };
    if result != 0 {
        sandbox::say(Loss::Cpu);
    }
    (result == 0).then_some((cpu, node))
}

/// A random number from the kernel (getrandom(2)); `Some(None)` as long as its source is not
/// ready, early after boot. `None` if the kernel gives none at all.
pub(super) fn random() -> Option<Option<u64>> {
    let mut number = 0u64;
    // SAFETY: getrandom(2) writes 8 bytes to a local.
    let result = unsafe {
        let out = (&raw mut number).expose_provenance() as u64;
        syscall(libc::SYS_getrandom, out, 8, libc::GRND_NONBLOCK.into(), 0)
    };
    match result {
        8 => Some(Some(number)),
        _ if result == -i64::from(libc::EAGAIN) => Some(None),
        _ => {
            sandbox::say(Loss::Random);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_is_the_one_that_libc_shows() {
        let libc_now = || {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
            now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
        };
        let (before, ours, after) = (libc_now(), super::monotonic_ns(), libc_now());
        assert!(before <= ours && ours <= after, "{before} {ours} {after}");
    }
}
