//! The FS and GS base of this thread, and whether it has a shadow stack: by instructions where the
//! kernel lets programs use them, for a sandbox can forbid the system call.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use super::sys;

/// Linux lets programs use RDFSBASE (arch/x86/include/uapi/asm/hwcap2.h, `HWCAP2_FSGSBASE`). It does
/// so for ever: a guest whose kernel uses the feature cannot go where it is not.
static HAS_FSGSBASE: AtomicBool = AtomicBool::new(false);

core::arch::global_asm!(
    // In a section of its own, for it is not of the baseline.
    ".pushsection isahotplug_fsgsbase,\"ax\",@progbits",
    ".macro isahp_base name, instruction",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    "\\name:",
    "    \\instruction rax",
    "    ret",
    ".size \\name, . - \\name",
    ".endm",
    // uint64_t f(void)
    "isahp_base isahp_rdfsbase, rdfsbase",
    "isahp_base isahp_rdgsbase, rdgsbase",
    ".purgem isahp_base",
    ".popsection",
);

// SAFETY: the signatures of the assembler above.
unsafe extern "C" {
    fn isahp_rdfsbase() -> u64;
    fn isahp_rdgsbase() -> u64;
}

/// Asks what the kernel allows. Not async-signal-safe.
pub(super) fn init() {
    const HWCAP2_FSGSBASE: u64 = 1 << 1;
    // SAFETY: getauxval(3) only reads the process's auxiliary vector.
    let allowed = unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE != 0;
    HAS_FSGSBASE.store(allowed, Ordering::Relaxed);
}

/// The FS base; `None` if the kernel does not tell.
pub(super) fn fs_base() -> Option<u64> {
    const ARCH_GET_FS: u64 = 0x1003;
    if HAS_FSGSBASE.load(Ordering::Relaxed) {
        // SAFETY: the kernel has said that the instruction can be executed.
        return Some(unsafe { isahp_rdfsbase() });
    }
    sys::arch(ARCH_GET_FS)
}

/// The GS base; `None` if the kernel does not tell.
pub(super) fn gs_base() -> Option<u64> {
    const ARCH_GET_GS: u64 = 0x1004;
    if HAS_FSGSBASE.load(Ordering::Relaxed) {
        // SAFETY: the kernel has said that the instruction can be executed.
        return Some(unsafe { isahp_rdgsbase() });
    }
    sys::arch(ARCH_GET_GS)
}

/// Whether this thread has a shadow stack (CET), to which calls and returns that are emulated would
/// have to push and pop as well.
pub(super) fn has_shadow_stack() -> bool {
    let pointer: u64;
    // SAFETY: RDSSPQ RAX, which reads the shadow stack's pointer; without one, and on CPUs that do
    // not know it, it does nothing (Intel SDM vol. 2B, RDSSPD/RDSSPQ).
    unsafe {
        asm!("xor eax, eax", ".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8", out("rax") pointer,
            options(nomem, nostack));
    }
    pointer != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instruction_and_the_kernel_say_the_same() {
        init();
        let by_instruction = (fs_base(), gs_base());
        HAS_FSGSBASE.store(false, Ordering::Relaxed);
        assert_eq!((fs_base(), gs_base()), by_instruction);
        assert!(by_instruction.0.is_some_and(|base| base != 0));
        init();
    }

    /// Where the kernel gives none, the instruction must not be taken to give one.
    #[test]
    fn a_shadow_stack_is_seen_where_the_kernel_says_so() {
        const ARCH_SHSTK_STATUS: u64 = 0x5005;
        const ARCH_SHSTK_SHSTK: u64 = 1;
        let status = sys::arch(ARCH_SHSTK_STATUS).unwrap_or(0);
        assert_eq!(has_shadow_stack(), status & ARCH_SHSTK_SHSTK != 0);
    }
}
