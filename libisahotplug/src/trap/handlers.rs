//! The program's own signal handlers under the preload object.
//!
//! - Those of SIGILL, SIGSEGV and SIGBUS are recorded, not installed ([`action`](super::action)).
//! - None of the three is blocked by the mask of another handler: a blocked SIGILL at an instruction
//!   that the CPU lacks kills.
//! - Where the [`shadow`] is in use, each handler gets upper halves of its own. What is installed is
//!   one of a row of short pieces of code, *thunks*, each of which calls the one handler that it was
//!   given. A thunk never changes its handler: the kernel's own table says which thunk belongs to a
//!   signal, so that a child of `vfork`, which has a table of its own and shares this memory, cannot
//!   disturb its parent, and a signal that comes in the middle of a change meets either the old
//!   handler or the new one.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use super::{action, mask_of, shadow, sys};
use sys::KernelAction;

/// Different handlers that a program may install.
const COUNT: usize = 512;

/// What each thunk calls; 0 while it is free.
static HANDLERS: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];

/// Distance of two thunks in bytes.
const STRIDE: usize = 16;

core::arch::global_asm!(
    ".pushsection .text.isahp_thunks,\"ax\",@progbits",
    ".p2align 4",
    ".globl isahp_thunks",
    ".hidden isahp_thunks",
    ".type isahp_thunks, @function",
    "isahp_thunks:",
    ".rept {count}",
    // The assembler makes a jump to somewhere near shorter than one to afar.
    ".p2align 4",
    "2:  endbr64",
    "    lea rax, [rip + 2b]",
    "    jmp 3f",
    ".endr",
    "3:  lea r11, [rip + isahp_thunks]",
    "    sub rax, r11",
    "    shr rax, 1", // 16 bytes of code for each 8 of the table
    "    lea r11, [rip + {handlers}]",
    "    mov rax, qword ptr [r11 + rax]",
    "    jmp isahp_call_fresh_rax",
    ".size isahp_thunks, . - isahp_thunks",
    ".popsection",
    count = const COUNT,
    handlers = sym HANDLERS,
);

// SAFETY: the label of the assembler above; never called from Rust.
unsafe extern "C" {
    fn isahp_thunks();
}

/// Address of the thunk that calls `handler`; `None` if all are taken.
fn thunk(handler: usize) -> Option<usize> {
    let index = HANDLERS.iter().position(|place| {
        let claimed = place.compare_exchange(0, handler, Ordering::AcqRel, Ordering::Acquire);
        claimed.is_ok() || claimed == Err(handler)
    })?;
    Some(isahp_thunks as *const () as usize + index * STRIDE)
}

/// The program's handler behind what the kernel has installed.
fn behind(installed: usize) -> usize {
    let offset = installed.wrapping_sub(isahp_thunks as *const () as usize);
    match HANDLERS.get(offset / STRIDE) {
        Some(handler) if offset.is_multiple_of(STRIDE) => handler.load(Ordering::Acquire),
        _ => installed,
    }
}

/// Whether the program's calls are followed.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// The process whose memory this is, in a page that the kernel zeroes in the child of a fork.
static OWNER: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

/// Follows the program's calls from now on.
pub(super) fn activate() {
    // SAFETY: an anonymous page at an address of the kernel's choice, kept for ever; the advice is
    // about that page. Without it (Linux before 4.14) a child of vfork is not told from its parent.
    unsafe {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let page = libc::mmap(core::ptr::null_mut(), PAGE, access, kind, -1, 0);
        if page != libc::MAP_FAILED && libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) == 0 {
            (*page.cast::<AtomicU32>()).store(sys::process(), Ordering::Relaxed);
            OWNER.store(page.cast(), Ordering::Release);
        }
    }
    ACTIVE.store(true, Ordering::Release);
}

const PAGE: usize = 4096;

/// Whether the program's calls are followed.
pub(super) fn is_active() -> bool {
    ACTIVE.load(Ordering::Acquire)
}

/// Whether this process uses the memory of another: the child of a vfork before it executes.
fn is_guest() -> bool {
    // SAFETY: null or the page, which is kept for ever.
    let Some(owner) = (unsafe { OWNER.load(Ordering::Acquire).as_ref() }) else {
        return false;
    };
    let me = sys::process();
    let owner = owner
        .compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire)
        .unwrap_or_else(|owner| owner);
    owner != 0 && owner != me
}

/// A function that does what sigaction(2) does.
pub type Sigaction =
    unsafe extern "C-unwind" fn(i32, *const libc::sigaction, *mut libc::sigaction) -> i32;

/// See [`seatbelt::sigaction`](crate::seatbelt::sigaction).
///
/// # Safety
/// As for sigaction(2).
pub(crate) unsafe fn sigaction(
    signal: i32,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
    real: Sigaction,
) -> Result<i32, i32> {
    if !is_active() {
        // SAFETY: passed on from the caller.
        return Ok(unsafe { real(signal, new, old) });
    }
    // SAFETY: null or a sigaction, says the caller. Copied, for the two may be one.
    let new = unsafe { new.as_ref().copied() };
    let guest = is_guest();
    let before = if let Some(recorded) = action::wanted(signal).filter(|_| !guest) {
        let before = match new {
            Some(new) => action::want(signal, &to_kernel(&new)).ok_or(libc::ENOMEM)?,
            None => recorded,
        };
        from_kernel(&before)
    } else {
        let mut installed = from_kernel(&KernelAction::DEFAULT);
        // SAFETY: both are sigactions of this function or null.
        let result = unsafe {
            match new {
                Some(mut new) => {
                    *mask_of(&mut new.sa_mask) &= !action::MASK;
                    let handler = new.sa_sigaction;
                    let has_handler = !matches!(handler, libc::SIG_DFL | libc::SIG_IGN);
                    if has_handler && shadow::is_in_use() {
                        new.sa_sigaction = thunk(handler).ok_or(libc::ENOMEM)?;
                    }
                    real(signal, &raw const new, &raw mut installed)
                }
                None => real(signal, core::ptr::null(), &raw mut installed),
            }
        };
        if result != 0 {
            return Ok(result);
        }
        installed.sa_sigaction = behind(installed.sa_sigaction);
        match action::wanted(signal) {
            // The child of a vfork inherits ours.
            Some(recorded) if super::is_ours(installed.sa_sigaction) => from_kernel(&recorded),
            _ => installed,
        }
    };
    if !old.is_null() {
        // SAFETY: not null, so writable, says the caller.
        unsafe { *old = before };
    }
    Ok(0)
}

/// What of `mask` is really to be blocked.
pub(crate) fn blockable(mut mask: libc::sigset_t) -> libc::sigset_t {
    if is_active() {
        *mask_of(&mut mask) &= !action::MASK;
    }
    mask
}

fn to_kernel(action: &libc::sigaction) -> KernelAction {
    let mut mask = action.sa_mask;
    KernelAction::new(
        action.sa_sigaction,
        action.sa_flags.cast_unsigned().into(),
        *mask_of(&mut mask),
    )
}

fn from_kernel(action: &KernelAction) -> libc::sigaction {
    // SAFETY: plain data; all zero is a valid sigset_t.
    let mut mask = unsafe { core::mem::zeroed::<libc::sigset_t>() };
    *mask_of(&mut mask) = action.mask;
    libc::sigaction {
        sa_sigaction: action.handler,
        sa_mask: mask,
        sa_flags: ((action.flags & 0xffff_ffff) as u32).cast_signed(),
        sa_restorer: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thunk_is_where_it_is_looked_for() {
        let first = isahp_thunks as *const ();
        for index in 0..COUNT {
            // SAFETY: COUNT thunks of code lie there, each with its instructions in STRIDE bytes.
            let begins = unsafe {
                first
                    .cast::<[u8; 4]>()
                    .byte_add(index * STRIDE)
                    .read_unaligned()
            };
            // endbr64
            assert_eq!(begins, [0xf3, 0x0f, 0x1e, 0xfa], "thunk {index}");
        }
    }

    #[test]
    fn a_handler_has_one_thunk_and_is_found_behind_it() {
        let (first, second) = (thunk(0x1000).unwrap(), thunk(0x2000).unwrap());
        assert_eq!(thunk(0x1000), Some(first));
        assert_eq!(second.abs_diff(first) % STRIDE, 0);
        assert_ne!(first, second);
        assert_eq!((behind(first), behind(second)), (0x1000, 0x2000));
        assert_eq!(behind(0x1000), 0x1000);
        assert_eq!(behind(libc::SIG_IGN), libc::SIG_IGN);
    }
}
