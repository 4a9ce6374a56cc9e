//! Reading and writing the program's memory from the trap handler.
//!
//! A memory operand may be anywhere. The accesses are a few instructions of
//! assembler between two labels; when one of them faults, the SIGSEGV and
//! SIGBUS handler recognises the address, lets the access return an error, and
//! the emulator reports the fault as the CPU would have.
//!
//! Aligned accesses of up to sixteen bytes are single instructions, so that they
//! are as atomic towards other threads as the CPU's own: Intel SDM vol. 3A, 9.1.1,
//! for those of sixteen on CPUs that have AVX.

#![expect(
    clippy::cast_possible_truncation,
    reason = "halves of numbers are taken, and sizes are those of operands"
)]

use core::arch::x86_64::{__m128, _mm_cvtss_f32, _mm_rcp_ss, _mm_rsqrt_ss, _mm_set_ss};
use core::cell::Cell;

use emulator::{Access, FaultKind, Memory, MemoryFault};

use super::{pages, rseq, sys};

core::arch::global_asm!(
    ".pushsection .text.isahp_access,\"ax\",@progbits",
    // RAX is 0 if all went well; the signal handler makes it something else.
    ".macro isahp_access name",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    "\\name:",
    ".endm",
    ".macro isahp_done",
    "    xor eax, eax",
    "    ret",
    ".endm",
    ".macro isahp_label name",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    "\\name:",
    ".endm",
    //
    "isahp_label isahp_access_begin",
    // Outcome f(const void *from): the value, zero-extended.
    "isahp_access isahp_load1",
    "    movzx edx, byte ptr [rdi]",
    "    isahp_done",
    "isahp_access isahp_load2",
    "    movzx edx, word ptr [rdi]",
    "    isahp_done",
    "isahp_access isahp_load4",
    "    mov edx, [rdi]",
    "    isahp_done",
    "isahp_access isahp_load8",
    "    mov rdx, [rdi]",
    "    isahp_done",
    // Outcome f(void *to, const void *from)
    "isahp_access isahp_load16",
    "    movups xmm0, [rsi]",
    "    movups [rdi], xmm0",
    "    isahp_done",
    "isahp_access isahp_load32",
    "    movups xmm0, [rsi]",
    "    movups xmm1, [rsi + 16]",
    "    movups [rdi], xmm0",
    "    movups [rdi + 16], xmm1",
    "    isahp_done",
    // Outcome f(void *to, uint64_t value)
    "isahp_access isahp_store1",
    "    mov [rdi], sil",
    "    isahp_done",
    "isahp_access isahp_store2",
    "    mov [rdi], si",
    "    isahp_done",
    "isahp_access isahp_store4",
    "    mov [rdi], esi",
    "    isahp_done",
    "isahp_access isahp_store8",
    "    mov [rdi], rsi",
    "    isahp_done",
    // Outcome f(void *to, const void *from)
    "isahp_access isahp_store16",
    "    movups xmm0, [rsi]",
    "    movups [rdi], xmm0",
    "    isahp_done",
    "isahp_access isahp_store32",
    "    movups xmm0, [rsi]",
    "    movups xmm1, [rsi + 16]",
    "    movups [rdi], xmm0",
    "    movups [rdi + 16], xmm1",
    "    isahp_done",
    // Outcome f(void *at): whether the byte can be written, without changing
    // it, whatever another thread does to it.
    "isahp_access isahp_touch",
    "    lock or byte ptr [rdi], 0",
    "    isahp_done",
    // Outcome f(void *at, uint64_t expected, uint64_t new): what was there.
    ".macro isahp_exchange name, new",
    "isahp_access \\name",
    "    mov rax, rsi",
    "    lock cmpxchg [rdi], \\new",
    "    mov rdx, rax",
    "    isahp_done",
    ".endm",
    "isahp_exchange isahp_exchange1, dl",
    "isahp_exchange isahp_exchange2, dx",
    "isahp_exchange isahp_exchange4, edx",
    "isahp_exchange isahp_exchange8, rdx",
    // Outcome f(const void *line)
    "isahp_access isahp_flush",
    "    clflush byte ptr [rdi]",
    "    isahp_done",
    // Outcome f(void): the time-stamp counter, unless the program may not read it
    // (prctl(2), PR_SET_TSC).
    "isahp_access isahp_time_stamp",
    "    lfence",
    "    rdtsc",
    "    shl rdx, 32",
    "    or rdx, rax",
    "    isahp_done",
    // Outcome f(void): the word that FS points to.
    "isahp_access isahp_thread_pointer",
    "    mov rdx, qword ptr fs:[0]",
    "    isahp_done",
    "isahp_label isahp_access_end",
    "    ud2",
    // Where a faulting access goes on; RAX and RDX are set.
    "isahp_label isahp_access_failed",
    "    ret",
    ".popsection",
    //
    // In a section of its own, for it is not of the baseline.
    ".pushsection isahotplug_cx16,\"ax\",@progbits",
    // Outcome f(void *at, uint64_t values[4]): the values are those expected and
    // those to be stored; the first two become what was there.
    "isahp_label isahp_pair_begin",
    "isahp_access isahp_pair",
    "    mov r9, rbx",
    "    mov rax, [rsi]",
    "    mov rdx, [rsi + 8]",
    "    mov rbx, [rsi + 16]",
    "    mov rcx, [rsi + 24]",
    "    lock cmpxchg16b xmmword ptr [rdi]",
    "    mov [rsi], rax",
    "    mov [rsi + 8], rdx",
    "    mov rbx, r9",
    "    isahp_done",
    "isahp_label isahp_pair_end",
    "    ud2",
    "isahp_label isahp_pair_failed",
    "    mov rbx, r9",
    "    ret",
    ".purgem isahp_access",
    ".purgem isahp_done",
    ".purgem isahp_label",
    ".purgem isahp_exchange",
    ".popsection",
);

/// What an access came to, as the assembler returns it in RAX and RDX.
#[repr(C)]
#[derive(Clone, Copy)]
struct Outcome {
    /// 0, or 1 + the signal's `si_code` shifted left by 8, + its `si_pkey` by 16, + the signal by
    /// 32.
    failure: u64,
    /// The value, if there is one; on failure `si_addr` of the signal.
    value: u64,
}

// SAFETY: the signatures of the assembler above.
unsafe extern "C" {
    fn isahp_access_begin();
    fn isahp_access_end();
    fn isahp_access_failed();
    fn isahp_pair_begin();
    fn isahp_pair_end();
    fn isahp_pair_failed();
    fn isahp_load1(from: u64) -> Outcome;
    fn isahp_load2(from: u64) -> Outcome;
    fn isahp_load4(from: u64) -> Outcome;
    fn isahp_load8(from: u64) -> Outcome;
    fn isahp_load16(to: *mut [u8; 16], from: u64) -> Outcome;
    fn isahp_load32(to: *mut [u8; 32], from: u64) -> Outcome;
    fn isahp_store1(to: u64, value: u64) -> Outcome;
    fn isahp_store2(to: u64, value: u64) -> Outcome;
    fn isahp_store4(to: u64, value: u64) -> Outcome;
    fn isahp_store8(to: u64, value: u64) -> Outcome;
    fn isahp_store16(to: u64, from: *const [u8; 16]) -> Outcome;
    fn isahp_store32(to: u64, from: *const [u8; 32]) -> Outcome;
    fn isahp_touch(at: u64) -> Outcome;
    fn isahp_exchange1(at: u64, expected: u64, new: u64) -> Outcome;
    fn isahp_exchange2(at: u64, expected: u64, new: u64) -> Outcome;
    fn isahp_exchange4(at: u64, expected: u64, new: u64) -> Outcome;
    fn isahp_exchange8(at: u64, expected: u64, new: u64) -> Outcome;
    fn isahp_flush(line: u64) -> Outcome;
    fn isahp_time_stamp() -> Outcome;
    fn isahp_thread_pointer() -> Outcome;
    fn isahp_pair(at: u64, values: *mut [u64; 4]) -> Outcome;
}

/// Called by the SIGSEGV and SIGBUS handler: if `rip` is one of the accesses,
/// returns the new RIP, RAX and RDX with which the access fails gracefully.
pub(super) fn recover(rip: u64, said: Said) -> Option<[u64; 3]> {
    let guarded: [[unsafe extern "C" fn(); 3]; 2] = [
        [isahp_access_begin, isahp_access_end, isahp_access_failed],
        [isahp_pair_begin, isahp_pair_end, isahp_pair_failed],
    ];
    let [.., failed] = guarded
        .map(|labels| labels.map(|label| label as *const () as u64))
        .into_iter()
        .find(|[begin, end, _]| (*begin..*end).contains(&rip))?;
    let failure = 1
        | u64::from(said.code.cast_unsigned() & 0xff) << 8
        | u64::from(said.key & 0xffff) << 16
        | u64::from(said.signal.unsigned_abs()) << 32;
    Some([failed, failure, said.address])
}

/// The word that FS points to, if it points to any.
pub(super) fn thread_pointer() -> Option<u64> {
    // SAFETY: a fault is recovered.
    let outcome = unsafe { isahp_thread_pointer() };
    (outcome.failure == 0).then_some(outcome.value)
}

/// The word at `address`, if it can be read.
pub(super) fn load(address: u64) -> Option<u64> {
    // SAFETY: a fault is recovered.
    let outcome = unsafe { isahp_load8(address) };
    (outcome.failure == 0).then_some(outcome.value)
}

/// The address space of this process.
///
/// Async-signal-safe while the handlers of SIGSEGV and SIGBUS are this
/// library's and both signals are unblocked.
#[derive(Debug)]
pub(super) struct OwnMemory {
    /// The CPU can be trusted to have CMPXCHG16B.
    has_cx16: bool,
    /// Where nothing may be written now.
    reserved: Reserved,
    /// Where nothing may be written by a single step.
    in_a_step: Reserved,
    /// The signal of the last access that failed.
    said: Cell<Option<Said>>,
    /// The code at RIP, which is asked for more than once.
    code: Option<Code>,
    in_burst: bool,
}

/// A signal as the kernel gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) signal: i32,
    /// `si_code`
    pub(super) code: i32,
    /// `si_addr`
    pub(super) address: u64,
    /// `si_pkey`, with `SEGV_PKUERR`.
    pub(super) key: u32,
}

/// Memory that must be left to the CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    /// The area for restartable sequences.
    rseq: u64,
    /// The signal frame and the stack of this handler below it.
    stack: u64,
    stack_length: u64,
}

impl Reserved {
    /// `rseq`: the area, if there is one. `bottom` and `top`: the stack that the handler uses.
    pub(super) fn new(rseq: Option<u64>, bottom: u64, top: u64) -> Self {
        Self {
            rseq: rseq.unwrap_or(OwnMemory::NOWHERE),
            stack: bottom,
            stack_length: top.wrapping_sub(bottom),
        }
    }

    /// Whether any of `length` bytes from `address` on is meant.
    #[inline]
    fn contains(&self, address: u64, length: usize) -> bool {
        let before = (length as u64).wrapping_sub(1);
        let last = address.wrapping_add(before);
        last.wrapping_sub(self.rseq) < rseq::SIZE.wrapping_add(before)
            || last.wrapping_sub(self.stack) < self.stack_length.wrapping_add(before)
    }
}

/// Code that has been fetched.
#[derive(Clone, Copy, Debug)]
struct Code {
    rip: u64,
    bytes: [u8; 15],
    /// How many of the bytes can be read.
    length: usize,
}

impl OwnMemory {
    /// An address that is none.
    pub(super) const NOWHERE: u64 = 1 << 63;

    /// `in_a_step`: what must not be written even by the one instruction that trapped.
    pub(super) fn new(in_a_step: Reserved) -> Self {
        Self {
            has_cx16: false,
            in_a_step,
            said: Cell::new(None),
            reserved: in_a_step,
            in_burst: false,
            code: None,
        }
    }

    /// Before a burst.
    pub(super) fn begin_burst(&mut self, reserved: Reserved, has_cx16: bool) {
        self.reserved = reserved;
        self.has_cx16 = has_cx16;
        self.code = None;
        self.in_burst = true;
    }

    /// Before a single step: the code at `rip`.
    pub(super) fn begin_step(&mut self, rip: u64) -> &[u8] {
        self.reserved = self.in_a_step;
        self.in_burst = false;
        let mut bytes = [0; 15];
        let length = self.fetch(rip, &mut bytes);
        let code = self.code.insert(Code { rip, bytes, length });
        code.bytes.get(..length).unwrap_or_default()
    }

    /// Whether the instruction at `rip` is one that the emulator finishes for CPUs that lack it.
    pub(super) fn is_ours(&mut self, rip: u64) -> bool {
        emulator::attribute(self.begin_step(rip))
            .is_some_and(|it| it.emulated && !it.features.is_empty())
    }

    /// Whether `length` bytes from `address` on may be written at all.
    #[inline]
    fn check_reserved(&self, address: u64, length: usize) -> Result<(), MemoryFault> {
        if self.reserved.contains(address, length) {
            return Err(MemoryFault {
                address,
                access: Access::Write,
                kind: FaultKind::Reserved,
            });
        }
        Ok(())
    }

    /// The signal of the last access that failed.
    pub(super) fn said(&self) -> Option<Said> {
        self.said.get()
    }

    /// The value of a successful access.
    #[inline]
    fn check(&self, outcome: Outcome, at: u64, access: Access) -> Result<u64, MemoryFault> {
        if outcome.failure == 0 {
            Ok(outcome.value)
        } else {
            Err(self.fault(outcome, at, access))
        }
    }

    #[cold]
    fn fault(&self, outcome: Outcome, at: u64, access: Access) -> MemoryFault {
        let said = Said {
            signal: (outcome.failure >> 32 & 0xff) as i32,
            code: i32::from((outcome.failure >> 8).to_le_bytes()[0]),
            address: outcome.value,
            key: (outcome.failure >> 16 & 0xffff) as u32,
        };
        self.said.set(Some(said));
        let (kind, address) = match (said.signal, said.code) {
            (libc::SIGBUS, _) => (FaultKind::Bus, said.address),
            (_, SEGV_MAPERR) => (FaultKind::Unmapped, said.address),
            // #GP, the address was not canonical.
            (_, super::SI_KERNEL) => (FaultKind::NonCanonical, at),
            _ => (FaultKind::Forbidden, said.address),
        };
        MemoryFault {
            address,
            access,
            kind,
        }
    }

    /// One load of `size` bytes: 1, 2, 4, or 8 for any other.
    #[inline]
    fn load(&self, at: u64, size: usize) -> Result<u64, MemoryFault> {
        // SAFETY: the address may be anything, a fault there is recovered.
        let outcome = unsafe {
            match size {
                1 => isahp_load1(at),
                2 => isahp_load2(at),
                4 => isahp_load4(at),
                _ => isahp_load8(at),
            }
        };
        self.check(outcome, at, Access::Read)
    }

    /// One store of `size` bytes: 1, 2, 4, or 8 for any other.
    #[inline]
    fn store(&self, at: u64, size: usize, value: u64) -> Result<(), MemoryFault> {
        // SAFETY: as in `load`; what is there is the interrupted program's to change.
        let outcome = unsafe {
            match size {
                1 => isahp_store1(at, value),
                2 => isahp_store2(at, value),
                4 => isahp_store4(at, value),
                _ => isahp_store8(at, value),
            }
        };
        self.check(outcome, at, Access::Write).map(drop)
    }

    /// Reads in steps as large as the rest allows.
    fn read_pieces(&self, address: u64, mut buffer: &mut [u8]) -> Result<(), MemoryFault> {
        let mut at = address;
        while !buffer.is_empty() {
            let size = step(buffer.len());
            let value = self.load(at, size)?.to_le_bytes();
            let (piece, rest) = buffer.split_at_mut_checked(size).unwrap_or_default();
            piece
                .iter_mut()
                .zip(value)
                .for_each(|(to, from)| *to = from);
            buffer = rest;
            at = at.wrapping_add(size as u64);
        }
        Ok(())
    }

    /// Writes in steps as large as the rest allows.
    fn write_pieces(&self, address: u64, mut bytes: &[u8]) -> Result<(), MemoryFault> {
        let mut at = address;
        while !bytes.is_empty() {
            let size = step(bytes.len());
            let (piece, rest) = bytes.split_at_checked(size).unwrap_or_default();
            let mut value = [0; 8];
            value
                .iter_mut()
                .zip(piece)
                .for_each(|(to, from)| *to = *from);
            self.store(at, size, u64::from_le_bytes(value))?;
            bytes = rest;
            at = at.wrapping_add(size as u64);
        }
        Ok(())
    }
}

/// The largest access that is not larger than `left`.
fn step(left: usize) -> usize {
    match left {
        8.. => 8,
        4..8 => 4,
        2..4 => 2,
        _ => 1,
    }
}

/// `si_code` of SIGSEGV: nothing is mapped there (include/uapi/asm-generic/siginfo.h).
pub(super) const SEGV_MAPERR: i32 = 1;

const PAGE: u64 = 4096;

/// Whether `length` bytes from `address` on lie in one page.
fn is_in_one_page(address: u64, length: usize) -> bool {
    address % PAGE + length as u64 <= PAGE
}

impl Memory for OwnMemory {
    #[inline]
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault> {
        if let Ok(buffer) = <&mut [u8; 32]>::try_from(&mut *buffer) {
            // SAFETY: the buffer is alive; the address may be anything.
            let outcome = unsafe { isahp_load32(buffer, address) };
            self.check(outcome, address, Access::Read).map(drop)
        } else if let Ok(buffer) = <&mut [u8; 16]>::try_from(&mut *buffer) {
            // SAFETY: as above.
            let outcome = unsafe { isahp_load16(buffer, address) };
            self.check(outcome, address, Access::Read).map(drop)
        } else if let Ok(buffer) = <&mut [u8; 8]>::try_from(&mut *buffer) {
            *buffer = self.load(address, 8)?.to_le_bytes();
            Ok(())
        } else if let Ok(buffer) = <&mut [u8; 4]>::try_from(&mut *buffer) {
            let [a, b, c, d, ..] = self.load(address, 4)?.to_le_bytes();
            *buffer = [a, b, c, d];
            Ok(())
        } else {
            self.read_pieces(address, buffer)
        }
    }

    #[inline]
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        self.check_reserved(address, bytes.len())?;
        if !is_in_one_page(address, bytes.len()) {
            // All or nothing: see first whether both pages can be written.
            self.check_write(address, bytes.len())?;
        }
        if let Ok(bytes) = <&[u8; 32]>::try_from(bytes) {
            // SAFETY: the bytes are alive; the address may be anything.
            let outcome = unsafe { isahp_store32(address, bytes) };
            self.check(outcome, address, Access::Write).map(drop)
        } else if let Ok(bytes) = <&[u8; 16]>::try_from(bytes) {
            // SAFETY: as above.
            let outcome = unsafe { isahp_store16(address, bytes) };
            self.check(outcome, address, Access::Write).map(drop)
        } else if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
            self.store(address, 8, u64::from_le_bytes(bytes))
        } else if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
            self.store(address, 4, u32::from_le_bytes(bytes).into())
        } else {
            self.write_pieces(address, bytes)
        }
    }

    fn check_write(&mut self, address: u64, length: usize) -> Result<(), MemoryFault> {
        self.check_reserved(address, length)?;
        let mut at = address;
        let mut left = length as u64;
        while left > 0 {
            // SAFETY: the touched byte may be anything, a fault is recovered;
            // its value does not change.
            let outcome = unsafe { isahp_touch(at) };
            self.check(outcome, at, Access::Write)?;
            let in_page = (PAGE - at % PAGE).min(left);
            at = at.wrapping_add(in_page);
            left -= in_page;
        }
        Ok(())
    }

    fn fetch(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let length = buffer.len();
        let buffer = if self.in_burst {
            if !pages::is_code(address) {
                return 0;
            }
            let in_page = usize::try_from(PAGE - address % PAGE).unwrap_or(usize::MAX);
            let next = address.wrapping_add(in_page as u64);
            if in_page < length && !pages::is_code(next) {
                buffer.get_mut(..in_page).unwrap_or_default()
            } else {
                buffer
            }
        } else {
            buffer
        };
        if let Some(code) = self.code.filter(|code| code.rip == address) {
            buffer
                .iter_mut()
                .zip(code.bytes)
                .for_each(|(to, from)| *to = from);
            return code.length.min(buffer.len());
        }
        if let Ok(buffer) = <&mut [u8; 15]>::try_from(&mut *buffer)
            && is_in_one_page(address, 15)
        {
            // Two loads, which overlap in one byte.
            let halves = self.load(address, 8).and_then(|low| {
                let high = self.load(address.wrapping_add(7), 8)?;
                Ok(u128::from(low) | u128::from(high) << 56)
            });
            let Ok(code) = halves else {
                return 0;
            };
            let [code @ .., _] = code.to_le_bytes();
            *buffer = code;
            return 15;
        }
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

    #[inline]
    fn is_unchanged(&mut self, address: u64, code: u128, length: usize) -> bool {
        let last = address.wrapping_add((length as u64).saturating_sub(1));
        if !pages::is_code(address) || !is_in_one_page(address, length) && !pages::is_code(last) {
            return false;
        }
        if !is_in_one_page(address, length.max(8)) {
            let mut now = [0; 16];
            return now
                .get_mut(..length)
                .is_some_and(|now| self.read_pieces(address, now).is_ok())
                && now == code.to_le_bytes();
        }
        // What follows a short instruction in its page can be read as well as it; a long one takes
        // two loads, which overlap.
        let (counted, rest) = (length.min(8) as u32, length.saturating_sub(8));
        let others = (!0u64).checked_shl(8 * counted).unwrap_or(0);
        let begins = self
            .load(address, 8)
            .is_ok_and(|now| (now ^ code as u64) & !others == 0);
        begins
            && (rest == 0
                || self.load(address.wrapping_add(rest as u64), 8)
                    == Ok((code >> ((8 * rest as u32) & 127)) as u64))
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        size: usize,
        expected: u64,
        new: u64,
    ) -> Result<Option<u64>, MemoryFault> {
        self.check_reserved(address, size)?;
        // SAFETY: the address may be anything, a fault there is recovered; what is there is the
        // interrupted program's to change.
        let outcome = unsafe {
            match size {
                1 => isahp_exchange1(address, expected, new),
                2 => isahp_exchange2(address, expected, new),
                4 => isahp_exchange4(address, expected, new),
                8 => isahp_exchange8(address, expected, new),
                _ => return Ok(None),
            }
        };
        let old = self.check(outcome, address, Access::Write)?;
        let unused = 64 - 8 * size as u32;
        Ok(Some(old << unused >> unused))
    }

    fn compare_exchange_16(
        &mut self,
        address: u64,
        expected: u128,
        new: u128,
    ) -> Result<Option<u128>, MemoryFault> {
        if !self.has_cx16 {
            return Ok(None);
        }
        self.check_reserved(address, 16)?;
        let halves = |value: u128| [value as u64, (value >> 64) as u64];
        let ([a, b], [c, d]) = (halves(expected), halves(new));
        let mut values = [a, b, c, d];
        // SAFETY: the values are alive, and the CPU has the instruction; the address may be
        // anything, a fault there is recovered.
        let outcome = unsafe { isahp_pair(address, &raw mut values) };
        self.check(outcome, address, Access::Write)?;
        let [low, high, ..] = values;
        Ok(Some(u128::from(high) << 64 | u128::from(low)))
    }

    fn flush_line(&mut self, address: u64) -> Result<Option<()>, MemoryFault> {
        // SAFETY: changes nothing; a fault is recovered.
        let outcome = unsafe { isahp_flush(address) };
        self.check(outcome, address, Access::Read).map(|_| Some(()))
    }

    fn time_stamp(&mut self) -> Option<u64> {
        // SAFETY: only reads the counter; a fault is recovered.
        let outcome = unsafe { isahp_time_stamp() };
        self.check(outcome, 0, Access::Read).ok()
    }

    /// As the kernel fills it: the number of the CPU, and above 12 bits that of its node
    /// (arch/x86/include/asm/segment.h, `vdso_encode_cpunode`).
    fn time_stamp_aux(&mut self) -> Option<u32> {
        let (cpu, node) = sys::cpu_and_node()?;
        Some(cpu | node << 12)
    }

    /// The result of RCPSS does not depend on MXCSR, and it raises nothing.
    fn reciprocal(&mut self, value: u32) -> Option<u32> {
        // SAFETY: SSE is in every x86-64 CPU.
        Some(unsafe { first_lane(_mm_rcp_ss(lanes(value))) })
    }

    fn reciprocal_sqrt(&mut self, value: u32) -> Option<u32> {
        // SAFETY: as above.
        Some(unsafe { first_lane(_mm_rsqrt_ss(lanes(value))) })
    }

    fn random(&mut self) -> Option<Option<u64>> {
        sys::random()
    }
}

fn lanes(value: u32) -> __m128 {
    // SAFETY: SSE is in every x86-64 CPU.
    unsafe { _mm_set_ss(f32::from_bits(value)) }
}

fn first_lane(lanes: __m128) -> u32 {
    // SAFETY: SSE is in every x86-64 CPU.
    unsafe { _mm_cvtss_f32(lanes) }.to_bits()
}
