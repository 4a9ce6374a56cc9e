//! What the kernel answers without a system call (vdso(7)): a sandbox cannot forbid it.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

/// A function of the vDSO; null if it has none of the name.
struct Function {
    name: &'static CStr,
    at: AtomicPtr<c_void>,
}

static CLOCK: Function = Function::new(c"__vdso_clock_gettime");
static CPU: Function = Function::new(c"__vdso_getcpu");

impl Function {
    const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            at: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    fn get(&self) -> Option<*mut c_void> {
        let at = self.at.load(Ordering::Relaxed);
        (!at.is_null()).then_some(at)
    }
}

/// Looks the functions up. Not async-signal-safe.
pub(super) fn init() {
    // SAFETY: the name is a C string. The vDSO is there already and stays.
    let vdso = unsafe {
        let flags = libc::RTLD_NOLOAD | libc::RTLD_LAZY | libc::RTLD_LOCAL;
        libc::dlopen(c"linux-vdso.so.1".as_ptr(), flags)
    };
    if vdso.is_null() {
        return;
    }
    for function in [&CLOCK, &CPU] {
        // SAFETY: an object that is open; the name is a C string.
        let found = unsafe { libc::dlsym(vdso, function.name.as_ptr()) };
        function.at.store(found, Ordering::Relaxed);
    }
}

/// `CLOCK_MONOTONIC_COARSE` in nanoseconds: the clock at the latest tick, 1 to 10 ms ago. 0 where the
/// kernel has no vDSO.
///
/// Of the clocks in the vDSO the coarse ones alone do without the time-stamp counter, which can be
/// forbidden (prctl(2), PR_SET_TSC), and never call the kernel after all.
pub(super) fn coarse_monotonic_ns() -> u64 {
    let Some(clock) = CLOCK.get() else { return 0 };
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the vDSO's function has the signature of clock_gettime(2) and writes one timespec to a
    // local. It has no state of its own and may be called from anywhere.
    unsafe {
        let clock = core::mem::transmute::<
            *mut c_void,
            unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> i32,
        >(clock);
        clock(libc::CLOCK_MONOTONIC_COARSE, &raw mut time);
    }
    super::sys::nanoseconds(&time)
}

/// The CPU that runs this thread, and its node.
pub(super) fn cpu_and_node() -> Option<(u32, u32)> {
    let getcpu = CPU.get()?;
    let (mut cpu, mut node) = (0u32, 0u32);
    // SAFETY: the vDSO's function has the signature of getcpu(2), whose third argument is unused, and
    // writes two numbers to locals.
    let result = unsafe {
        let getcpu = core::mem::transmute::<
            *mut c_void,
            unsafe extern "C" fn(*mut u32, *mut u32, *mut c_void) -> i32,
        >(getcpu);
        getcpu(&raw mut cpu, &raw mut node, core::ptr::null_mut())
    };
    (result == 0).then_some((cpu, node))
}
