//! Several copies of this library in one process: the preload object, the shared object, copies
//! linked statically into others. They agree on one of them, which has the trap handler, the thread
//! and the connection with the agent. The others *join*: their functions go on to its
//! [`Junction`].
//!
//! A copy finds another by the handler of SIGILL that is installed (rt_sigaction(2)): in front of
//! it lie a magic number and the distance to the junction. If two are installed at the same
//! moment, the later one sees it when it has displaced the other, puts that back, and joins.
//!
//! Versions may differ. Functions are added to the end of the table, never changed: `size` says how
//! many there are. What an older copy lacks is answered with ISAHP_ERROR_UNSUPPORTED. A copy with
//! another `abi` is as foreign as any other program's handler: it is chained, and both work beside
//! each other.
//!
//! The copy that serves is never unloaded (RTLD_NODELETE): others rely on it. One that has joined
//! ends its registrations and slots when it is unloaded.

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::c::{
    ISAHP_ERROR_BUSY, ISAHP_ERROR_NOT_INITIALISED, ISAHP_NO_TRAP, ISAHP_OK, VERSION,
    isahp_address_count, isahp_counters, isahp_function, isahp_options, isahp_registration,
    isahp_section, isahp_set, isahp_slot, isahp_slot_options, isahp_variant,
};
use crate::entry;
use crate::local::Joining;
use crate::trap;

/// In front of the handler: these bytes, then the distance from there to the table.
pub(crate) const MAGIC: [u8; 16] = *b"isahotplug #UD\0\x01";
/// Grows when joining across the change is not possible.
const ABI: u32 = 1;

/// The table.
#[repr(C)]
pub(crate) struct Junction {
    magic: [u8; 16],
    abi: u32,
    /// Of the table, in bytes.
    size: u32,
    version: u32,
    reserved: u32,
    /// The copy that this one has joined; null for none.
    joined: AtomicPtr<Junction>,
    /// The handler of SIGILL, for that of a copy that has joined when it was installed already.
    pub(crate) on_sigill: extern "C-unwind" fn(c_int, *mut libc::siginfo_t, *mut c_void),

    pub(crate) init: unsafe extern "C" fn(*mut u64, u32, *const isahp_options) -> i32,
    pub(crate) unload: unsafe extern "C" fn(u64, *mut u64) -> i32,
    /// As `unload`, all at once, for an object that goes away.
    pub(crate) forget: extern "C" fn(u64) -> i32,
    pub(crate) error_message: unsafe extern "C" fn(*mut c_char, usize) -> i32,
    pub(crate) generation: extern "C" fn() -> u64,
    pub(crate) has: extern "C" fn(u32) -> i32,
    pub(crate) set: unsafe extern "C" fn(u32, *mut isahp_set) -> i32,
    pub(crate) register: unsafe extern "C" fn(u64, *const isahp_registration, *mut u64) -> i32,
    pub(crate) unregister: extern "C" fn(u64) -> i32,
    pub(crate) left: extern "C" fn(u64, u64) -> i32,
    pub(crate) refuse: unsafe extern "C" fn(*const c_char) -> i32,
    pub(crate) fd: unsafe extern "C" fn(u64, *mut i32) -> i32,
    pub(crate) poll: unsafe extern "C" fn(u64, *mut u32) -> i32,
    pub(crate) slot_init: unsafe extern "C" fn(
        u64,
        *mut isahp_slot,
        *const isahp_slot_options,
        *const isahp_variant,
        usize,
    ) -> i32,
    pub(crate) slot_release: unsafe extern "C" fn(*mut isahp_slot) -> i32,
    pub(crate) slot_force: unsafe extern "C" fn(*mut isahp_slot, *const c_char) -> i32,
    pub(crate) slot_checked: unsafe extern "C" fn(*mut isahp_slot) -> isahp_function,
    pub(crate) enter: extern "C" fn(),
    pub(crate) enter_section: extern "C" fn() -> *mut isahp_section,
    pub(crate) exit: extern "C" fn(),
    pub(crate) counters: unsafe extern "C" fn(*mut isahp_counters) -> i32,
    pub(crate) count_feature: unsafe extern "C" fn(u32, *mut u64) -> i32,
    pub(crate) count_addresses:
        unsafe extern "C" fn(*mut isahp_address_count, usize, *mut usize) -> i32,
    pub(crate) last_addresses: unsafe extern "C" fn(*mut u64, usize, *mut usize) -> i32,
    pub(crate) state: unsafe extern "C" fn(*mut c_char, usize) -> i32,
}

/// What the first version had.
#[expect(clippy::cast_possible_truncation, reason = "below 4096")]
const LEAST: u32 = {
    let size = size_of::<Junction>();
    assert!(size < 4096);
    size as u32
};

/// This copy's.
pub(crate) static OWN: Junction = Junction {
    magic: MAGIC,
    abi: ABI,
    size: LEAST,
    version: VERSION,
    reserved: 0,
    joined: AtomicPtr::new(std::ptr::null_mut()),
    on_sigill: trap::on_sigill,
    init: entry::init,
    unload: entry::unload,
    forget: entry::forget,
    error_message: entry::error_message,
    generation: entry::generation,
    has: entry::has,
    set: entry::set,
    register: entry::register,
    unregister: entry::unregister,
    left: entry::left,
    refuse: entry::refuse,
    fd: entry::fd,
    poll: entry::poll,
    slot_init: entry::slot_init,
    slot_release: entry::slot_release,
    slot_force: entry::slot_force,
    slot_checked: entry::slot_checked,
    enter: entry::enter,
    enter_section: entry::enter_section,
    exit: entry::exit,
    counters: entry::counters,
    count_feature: entry::count_feature,
    count_addresses: entry::count_addresses,
    last_addresses: entry::last_addresses,
    state: entry::state,
};

/// What the copy that serves calls this one; 0 before the first isahp_init().
static OWNER: AtomicU64 = AtomicU64::new(0);
/// Serialises who changes OWNER and [`Junction::joined`]. Nobody waits for a callback meanwhile: that
/// may call isahp_init() itself.
static CHANGES: Mutex<()> = Mutex::new(());

/// Held over a fork, so that the child finds it free.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    CHANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The copy that this one has joined. One load; async-signal-safe.
#[inline]
pub(crate) fn joined() -> Option<&'static Junction> {
    // SAFETY: null, or a table in an object that is never unloaded.
    unsafe { OWN.joined.load(Ordering::Acquire).as_ref() }
}

/// The table of the copy that serves this process. Async-signal-safe.
#[inline]
pub(crate) fn table() -> &'static Junction {
    joined().unwrap_or(&OWN)
}

/// See [`OWNER`].
pub(crate) fn owner() -> u64 {
    OWNER.load(Ordering::Acquire)
}

/// The junction of the handler at `handler`, if it is another copy's.
pub(crate) fn behind(handler: usize) -> Option<&'static Junction> {
    let front = handler.checked_sub(MAGIC.len() + size_of::<i64>())?;
    if !is_readable(front) || !is_readable(handler - 1) {
        return None;
    }
    let front = std::ptr::with_exposed_provenance::<u8>(front);
    // SAFETY: the kernel could read it just now, and code is not unmapped while it is a handler.
    let (magic, distance) = unsafe {
        (
            front.cast::<[u8; 16]>().read_unaligned(),
            front.add(MAGIC.len()).cast::<i64>().read_unaligned(),
        )
    };
    if magic != MAGIC {
        return None;
    }
    let table = front
        .addr()
        .wrapping_add_signed(isize::try_from(distance).ok()?);
    let mut table = std::ptr::with_exposed_provenance::<Junction>(table);
    // Each may have joined another one; never in a circle, but who knows what this is.
    for _ in 0..8 {
        // SAFETY: the magic number promises that a table lies there, for as long as the process.
        let found = unsafe { table.as_ref() }?;
        if found.magic != MAGIC || found.abi != ABI || found.size < LEAST {
            return None;
        }
        let next = found.joined.load(Ordering::Acquire);
        if next.is_null() {
            return (!std::ptr::eq(found, &raw const OWN)).then_some(found);
        }
        table = next;
    }
    None
}

/// Whether the kernel can read the byte at `address`. It looks at the mask before it refuses what
/// is to be done with it (kernel/signal.c, `rt_sigprocmask`).
fn is_readable(address: usize) -> bool {
    // A mask of eight bytes at a multiple of eight does not cross a page.
    let mask = address & !7;
    // SAFETY: rt_sigprocmask(2) with an unknown `how` changes nothing.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, -1, mask, 0, 8) };
    // SAFETY: errno's address is valid.
    result == 0 || unsafe { *libc::__errno_location() } == libc::EINVAL
}

/// isahp_init().
///
/// # Safety
/// As for that.
pub(crate) unsafe fn init(options: *const isahp_options) -> i32 {
    let Some(_joining) = Joining::enter() else {
        return ISAHP_ERROR_BUSY;
    };
    let _changes = hold();
    let mut owner = OWNER.load(Ordering::Acquire);
    if owner == 0 && !wants_no_trap(options) {
        let found = trap::installed_handler().and_then(behind);
        let found = found.map_or(std::ptr::null_mut(), |found| {
            std::ptr::from_ref(found).cast_mut()
        });
        OWN.joined.store(found, Ordering::Release);
    }
    // Twice, if another copy was quicker.
    for _ in 0..2 {
        // SAFETY: passed on from the caller.
        let result = unsafe { (table().init)(&raw mut owner, VERSION, options) };
        if result == entry::ELSEWHERE {
            continue;
        }
        if result == ISAHP_OK {
            OWNER.store(owner, Ordering::Release);
            if joined().is_none() {
                stay();
            }
        } else if OWNER.load(Ordering::Acquire) == 0 {
            OWN.joined.store(std::ptr::null_mut(), Ordering::Release);
        }
        return result;
    }
    ISAHP_ERROR_NOT_INITIALISED
}

/// Another copy turned out to be quicker while this one installed its handler.
pub(crate) fn join(other: &'static Junction) {
    OWN.joined
        .store(std::ptr::from_ref(other).cast_mut(), Ordering::Release);
}

/// Whether [`entry::init`] will find that flag, if it takes these options at all.
fn wants_no_trap(options: *const isahp_options) -> bool {
    if !entry::is_writable(options.cast_mut()) {
        return false;
    }
    // SAFETY: not NULL, aligned; it begins with its size, says the caller of isahp_init().
    if unsafe { options.cast::<usize>().read() } < size_of::<isahp_options>() {
        return false;
    }
    // SAFETY: as above, and as long as it says.
    unsafe { (*options).flags & ISAHP_NO_TRAP != 0 }
}

/// isahp_unload().
pub(crate) fn unload() -> i32 {
    let Some(joining) = Joining::enter() else {
        return ISAHP_ERROR_BUSY;
    };
    let changes = hold();
    let (owner, table) = (OWNER.load(Ordering::Acquire), table());
    drop((changes, joining));
    if owner == 0 {
        return ISAHP_ERROR_NOT_INITIALISED;
    }
    let mut left = 0;
    // This waits for callbacks. Whoever initialises anew meanwhile gets another number.
    // SAFETY: `left` is a local.
    let result = unsafe { (table.unload)(owner, &raw mut left) };
    if result == ISAHP_OK && left == 0 {
        let _joining = Joining::enter();
        let _changes = hold();
        if OWNER.load(Ordering::Acquire) == owner {
            OWNER.store(0, Ordering::Release);
            OWN.joined.store(std::ptr::null_mut(), Ordering::Release);
        }
    }
    result
}

/// Runs when the object is unloaded, or the process ends.
#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = leave;

extern "C" fn leave() {
    let owner = OWNER.swap(0, Ordering::AcqRel);
    if let Some(other) = joined().filter(|_| owner != 0) {
        (other.forget)(owner);
    }
}

// Programs that are linked statically have no dlopen, and need none: they are not unloaded.
core::arch::global_asm!(
    ".weak dlopen",
    ".pushsection .text.isahp_weak_dlopen,\"ax\",@progbits",
    ".globl isahp_weak_dlopen",
    ".hidden isahp_weak_dlopen",
    ".type isahp_weak_dlopen, @function",
    "isahp_weak_dlopen:",
    "    mov rax, qword ptr [rip + dlopen@GOTPCREL]",
    "    ret",
    ".size isahp_weak_dlopen, . - isahp_weak_dlopen",
    ".weak dladdr",
    ".globl isahp_weak_dladdr",
    ".hidden isahp_weak_dladdr",
    ".type isahp_weak_dladdr, @function",
    "isahp_weak_dladdr:",
    "    mov rax, qword ptr [rip + dladdr@GOTPCREL]",
    "    ret",
    ".size isahp_weak_dladdr, . - isahp_weak_dladdr",
    ".popsection",
);

type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
type Dladdr = unsafe extern "C" fn(*const c_void, *mut libc::Dl_info) -> c_int;

// SAFETY: the signatures of the assembler above; a null pointer is None.
unsafe extern "C" {
    safe fn isahp_weak_dlopen() -> Option<Dlopen>;
    safe fn isahp_weak_dladdr() -> Option<Dladdr>;
}

/// Keeps this object in the process for ever.
fn stay() {
    let (Some(open), Some(find)) = (isahp_weak_dlopen(), isahp_weak_dladdr()) else {
        return;
    };
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr(3) fills the local, whose name then is a C string; dlopen(3) of an object
    // that is loaded already runs nothing.
    unsafe {
        if find((&raw const OWN).cast(), info.as_mut_ptr()) != 0 {
            let name = info.assume_init().dli_fname;
            let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
            if !name.is_null() {
                open(name, flags);
            }
        }
    }
}
