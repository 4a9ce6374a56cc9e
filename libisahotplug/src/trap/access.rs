//! Reading and writing the program's memory from the trap handler.
//!
//! A memory operand may be anywhere. The accesses are a few instructions of
//! assembler between two labels; when one of them faults, the SIGSEGV and
//! SIGBUS handler recognises the address, lets the access return an error, and
//! the emulator reports the fault as the CPU would have.
//!
//! Aligned accesses of up to eight bytes are single instructions, so that they
//! are as atomic towards other threads as the CPU's own (Intel SDM vol. 3A,
//! 9.1.1).

use emulator::{Access, FaultKind, Memory, MemoryFault};

core::arch::global_asm!(
    ".pushsection .text.isahp_access,\"ax\",@progbits",
    ".macro isahp_access name",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    "\\name:",
    ".endm",
    // Outcome f(void *to, const void *from, uint64_t home): one load and one
    // store, with the stack pointer at `home` unless that is 0. RAX is 0 if both
    // went well; the signal handler makes it something else.
    "isahp_access isahp_access_begin",
    "isahp_access isahp_copy1",
    "    mov r8, rsp",
    "    test rdx, rdx",
    "    cmovnz rsp, rdx",
    "    mov cl, [rsi]",
    "    mov [rdi], cl",
    "    mov rsp, r8",
    "    xor eax, eax",
    "    xor edx, edx",
    "    ret",
    "isahp_access isahp_copy2",
    "    mov r8, rsp",
    "    test rdx, rdx",
    "    cmovnz rsp, rdx",
    "    mov cx, [rsi]",
    "    mov [rdi], cx",
    "    mov rsp, r8",
    "    xor eax, eax",
    "    xor edx, edx",
    "    ret",
    "isahp_access isahp_copy4",
    "    mov r8, rsp",
    "    test rdx, rdx",
    "    cmovnz rsp, rdx",
    "    mov ecx, [rsi]",
    "    mov [rdi], ecx",
    "    mov rsp, r8",
    "    xor eax, eax",
    "    xor edx, edx",
    "    ret",
    "isahp_access isahp_copy8",
    "    mov r8, rsp",
    "    test rdx, rdx",
    "    cmovnz rsp, rdx",
    "    mov rcx, [rsi]",
    "    mov [rdi], rcx",
    "    mov rsp, r8",
    "    xor eax, eax",
    "    xor edx, edx",
    "    ret",
    // Outcome f(void *at, uint64_t home): whether the byte can be written, without changing
    // it, whatever another thread does to it.
    "isahp_access isahp_touch",
    "    mov r8, rsp",
    "    test rsi, rsi",
    "    cmovnz rsp, rsi",
    "    lock or byte ptr [rdi], 0",
    "    mov rsp, r8",
    "    xor eax, eax",
    "    xor edx, edx",
    "    ret",
    "isahp_access isahp_access_end",
    "    ud2",
    // Where a faulting access goes on; RAX and RDX are set.
    "isahp_access isahp_access_failed",
    "    mov rsp, r8",
    "    ret",
    ".purgem isahp_access",
    ".popsection",
);

/// What an access came to, as the assembler returns it in RAX and RDX.
#[repr(C)]
struct Outcome {
    /// 0, or 1 + the signal's `si_code` shifted left by 8, + the signal
    /// shifted left by 32.
    failure: u64,
    /// `si_addr` of the signal.
    address: u64,
}

// SAFETY: the signatures of the assembler above.
unsafe extern "C" {
    fn isahp_access_begin();
    fn isahp_access_end();
    fn isahp_access_failed();
    fn isahp_copy1(to: u64, from: u64, home: u64) -> Outcome;
    fn isahp_copy2(to: u64, from: u64, home: u64) -> Outcome;
    fn isahp_copy4(to: u64, from: u64, home: u64) -> Outcome;
    fn isahp_copy8(to: u64, from: u64, home: u64) -> Outcome;
    fn isahp_touch(at: u64, home: u64) -> Outcome;
}

/// Called by the SIGSEGV and SIGBUS handler: if `rip` is one of the accesses,
/// returns the new RIP, RAX and RDX with which the access fails gracefully.
pub(super) fn recover(rip: u64, signal: i32, code: i32, address: u64) -> Option<[u64; 3]> {
    let begin = isahp_access_begin as *const () as u64;
    let end = isahp_access_end as *const () as u64;
    if !(begin..end).contains(&rip) {
        return None;
    }
    let failure =
        1 | u64::from(code.cast_unsigned() & 0xff) << 8 | u64::from(signal.unsigned_abs()) << 32;
    Some([isahp_access_failed as *const () as u64, failure, address])
}

/// The address space of this process.
///
/// Async-signal-safe while the handlers of SIGSEGV and SIGBUS are this
/// library's and both signals are unblocked.
#[derive(Debug)]
pub(super) struct OwnMemory {
    /// Where the stack pointer has to be while an access may fault; 0: where it
    /// is.
    pub(super) home: u64,
}

impl OwnMemory {
    fn fault(outcome: &Outcome, at: u64, access: Access) -> MemoryFault {
        let code = i32::from((outcome.failure >> 8).to_le_bytes()[0]);
        let signal = (outcome.failure >> 32) as i32;
        let (kind, address) = match (signal, code) {
            (libc::SIGBUS, _) => (FaultKind::Bus, outcome.address),
            (_, SEGV_MAPERR) => (FaultKind::Unmapped, outcome.address),
            (_, SEGV_ACCERR) => (FaultKind::Forbidden, outcome.address),
            // SI_KERNEL: #GP, the address was not canonical.
            _ => (FaultKind::NonCanonical, at),
        };
        MemoryFault {
            address,
            access,
            kind,
        }
    }

    /// Copies in steps that are as large as both the alignment of the foreign
    /// address and the rest allow, so that an aligned operand is one access.
    fn copy(&self, foreign: u64, own: u64, len: usize, access: Access) -> Result<(), MemoryFault> {
        let mut done = 0u64;
        let len = len as u64;
        while done < len {
            let at = foreign.wrapping_add(done);
            let here = own.wrapping_add(done);
            let (to, from) = if access == Access::Write {
                (at, here)
            } else {
                (here, at)
            };
            let left = len - done;
            // SAFETY: `own .. own + len` is a live buffer of the caller; the
            // foreign side may be anything, a fault there is recovered.
            let (step, outcome) = unsafe {
                if left >= 8 {
                    (8, isahp_copy8(to, from, self.home))
                } else if left >= 4 {
                    (4, isahp_copy4(to, from, self.home))
                } else if left >= 2 {
                    (2, isahp_copy2(to, from, self.home))
                } else {
                    (1, isahp_copy1(to, from, self.home))
                }
            };
            if outcome.failure != 0 {
                return Err(Self::fault(&outcome, at, access));
            }
            done += step;
        }
        Ok(())
    }
}

/// `si_code` values of SIGSEGV (include/uapi/asm-generic/siginfo.h).
pub(super) const SEGV_MAPERR: i32 = 1;
/// See [`SEGV_MAPERR`].
pub(super) const SEGV_ACCERR: i32 = 2;

const PAGE: u64 = 4096;

impl Memory for OwnMemory {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault> {
        let own = buffer.as_mut_ptr().expose_provenance() as u64;
        self.copy(address, own, buffer.len(), Access::Read)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        let last = address.wrapping_add((bytes.len() as u64).saturating_sub(1));
        if address / PAGE != last / PAGE {
            // All or nothing: see first whether both pages can be written.
            self.check_write(address, bytes.len())?;
        }
        let own = bytes.as_ptr().expose_provenance() as u64;
        self.copy(address, own, bytes.len(), Access::Write)
    }

    fn check_write(&mut self, address: u64, length: usize) -> Result<(), MemoryFault> {
        let mut at = address;
        let mut left = length as u64;
        while left > 0 {
            // SAFETY: the touched byte may be anything, a fault is recovered;
            // its value does not change.
            let outcome = unsafe { isahp_touch(at, self.home) };
            if outcome.failure != 0 {
                return Err(Self::fault(&outcome, at, Access::Write));
            }
            let in_page = (PAGE - at % PAGE).min(left);
            at = at.wrapping_add(in_page);
            left -= in_page;
        }
        Ok(())
    }

    fn fetch(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        // Up to the end of the page, and beyond only if that can be read.
        let in_page = usize::try_from(PAGE - address % PAGE).unwrap_or(usize::MAX);
        let first = in_page.min(buffer.len());
        let (head, tail) = buffer.split_at_mut(first);
        if self.read(address, head).is_err() {
            return 0;
        }
        if tail.is_empty() || self.read(address.wrapping_add(first as u64), tail).is_err() {
            return first;
        }
        first + tail.len()
    }
}
