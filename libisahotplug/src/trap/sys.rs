//! System calls without libc, for the trap handler: no errno, no
//! cancellation point, nothing that a program may have interposed.

use core::arch::asm;

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
    time.tv_sec
        .cast_unsigned()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec.cast_unsigned())
}

/// Blocks `signal` until the running handler returns, whose frame holds the
/// mask of before.
pub(super) fn block(signal: i32) {
    let set = 1u64 << (signal.unsigned_abs() - 1);
    // SAFETY: rt_sigprocmask(2) reads 8 bytes from a local.
    unsafe {
        let set = (&raw const set).expose_provenance() as u64;
        syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK.unsigned_abs().into(),
            set,
            0,
            8,
        );
    }
}

/// Sets the thread's mask.
pub(super) fn set_mask(mask: u64) {
    // SAFETY: rt_sigprocmask(2) reads 8 bytes from a local.
    unsafe {
        let set = (&raw const mask).expose_provenance() as u64;
        syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK.unsigned_abs().into(),
            set,
            0,
            8,
        );
    }
}

/// Queues `signal` with `info` to the calling thread (rt_tgsigqueueinfo(2));
/// it is delivered as soon as it is not blocked.
pub(super) fn queue_to_self(signal: i32, info: &libc::siginfo_t) {
    // SAFETY: getpid and gettid take nothing; rt_tgsigqueueinfo reads one
    // siginfo_t, which the reference keeps alive.
    unsafe {
        let pid = syscall(libc::SYS_getpid, 0, 0, 0, 0).cast_unsigned();
        let tid = syscall(libc::SYS_gettid, 0, 0, 0, 0).cast_unsigned();
        let info = core::ptr::from_ref(info).expose_provenance() as u64;
        syscall(
            libc::SYS_rt_tgsigqueueinfo,
            pid,
            tid,
            signal.unsigned_abs().into(),
            info,
        );
    }
}

/// The FS and GS base of this thread (arch_prctl(2)).
pub(super) fn segment_bases() -> (u64, u64) {
    const ARCH_GET_FS: u64 = 0x1003;
    const ARCH_GET_GS: u64 = 0x1004;
    let base = |which| {
        let mut base = 0u64;
        // SAFETY: arch_prctl(2) writes 8 bytes to a local.
        unsafe {
            let out = (&raw mut base).expose_provenance() as u64;
            syscall(libc::SYS_arch_prctl, which, out, 0, 0);
        }
        base
    };
    (base(ARCH_GET_FS), base(ARCH_GET_GS))
}

/// `struct sigaction` as the kernel takes it (include/linux/signal_types.h).
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Sets `signal` back to its default action.
pub(super) fn set_default(signal: i32) {
    let action = KernelAction {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    // SAFETY: rt_sigaction(2) reads one action from a local; the default
    // action needs no restorer.
    unsafe {
        let action = (&raw const action).expose_provenance() as u64;
        syscall(
            libc::SYS_rt_sigaction,
            signal.unsigned_abs().into(),
            action,
            0,
            8,
        );
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
