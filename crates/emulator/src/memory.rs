//! What the emulator asks of memory.

/// What an access that failed wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Instruction fetch.
    Execute,
}

/// Why an access failed; decides the signal and its code.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is mapped there: SIGSEGV, `SEGV_MAPERR`.
    Unmapped,
    /// The mapping forbids the access: SIGSEGV, `SEGV_ACCERR`.
    Forbidden,
    /// The address is not canonical, a #GP: SIGSEGV without an address.
    NonCanonical,
    /// The address is not canonical, and its base is RSP or RBP: #SS, SIGBUS without an address.
    NonCanonicalStack,
    /// The mapping has nothing behind it (end of file, poisoned page): SIGBUS.
    Bus,
    /// Not for an emulator to do (a restartable sequence of the kernel's): the CPU itself has to
    /// execute this instruction. Ends a [`burst`](crate::burst); no fault of the program.
    Reserved,
}

/// A memory access that the CPU would have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFault {
    /// The lowest address that could not be accessed, as the CPU would report in CR2.
    pub address: u64,
    /// What was tried.
    pub access: Access,
    /// Why it failed.
    pub kind: FaultKind,
}

/// The address space that instructions read and write, and what else of the machine they use.
///
/// A signal handler implements it over its own process, a test over an array. Addresses are
/// linear: segment bases have been added. Implementations used in a signal handler must be
/// async-signal-safe themselves.
///
/// Where other threads share the memory, an aligned access of 1, 2, 4, 8 or 16 bytes has to be one
/// access, as it is on CPUs that have AVX (Intel SDM vol. 3A, 9.1.1). MOVDIR64B's 64 bytes, which
/// the CPU writes in one piece, are an ordinary [`write`](Memory::write) here.
///
/// The methods that have a body are for few instructions each and say that the machine does not
/// offer this; those instructions are then refused as [`Fault::Unknown`](crate::Fault::Unknown).
pub trait Memory {
    /// Fills `buffer` from `address` on.
    ///
    /// # Errors
    /// The access the CPU would have refused; `buffer` is then unspecified.
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault>;

    /// Stores `bytes` at `address`.
    ///
    /// # Errors
    /// The access the CPU would have refused. Then nothing has been written, not even the part
    /// before the failing page.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault>;

    /// Finds out whether a [`write`](Memory::write) of `length` bytes at `address` would succeed,
    /// without changing anything. Called before masked stores that span two pages, and where a
    /// store competes with another exception.
    ///
    /// # Errors
    /// The access the CPU would have refused.
    fn check_write(&mut self, address: u64, length: usize) -> Result<(), MemoryFault>;

    /// Copies up to `buffer.len()` (15) code bytes from `address` on and returns how many were
    /// readable before the first that was not.
    fn fetch(&mut self, address: u64, buffer: &mut [u8]) -> usize;

    /// Whether the `length` bytes of `code` (at most 15, the lowest first, zeros above), which were
    /// [fetched](Memory::fetch) from `address` before, would be fetched again: asked before each use
    /// of a decoded instruction that was kept, so that changed code is seen.
    fn is_unchanged(&mut self, address: u64, code: u128, length: usize) -> bool {
        let mut now = [0; 16];
        let fetched = now.get_mut(..length).map(|now| self.fetch(address, now));
        fetched == Some(length) && now == code.to_le_bytes()
    }

    /// For LOCK prefixes and XCHG: stores `new` in the `size` bytes (1, 2, 4 or 8) at `address` if
    /// `expected` is there, and returns what was there, all as one atomic step towards every other
    /// thread and process. The page must be writable even if nothing is stored. Not done by default
    /// (`None`).
    ///
    /// # Errors
    /// The access the CPU would have refused.
    fn compare_exchange(
        &mut self,
        address: u64,
        size: usize,
        expected: u64,
        new: u64,
    ) -> Result<Option<u64>, MemoryFault> {
        let _ = (address, size, expected, new);
        Ok(None)
    }

    /// For CMPXCHG16B: stores `new` at `address` if `expected` is there, and returns what was
    /// there, all as one atomic step towards every other thread and process. `address` is a
    /// multiple of 16. The page must be writable even if nothing is stored.
    ///
    /// Only a CPU that has the instruction, or one that nobody shares memory with, can do this;
    /// everywhere else leave the body that returns `None`.
    ///
    /// # Errors
    /// The access the CPU would have refused.
    fn compare_exchange_16(
        &mut self,
        address: u64,
        expected: u128,
        new: u128,
    ) -> Result<Option<u128>, MemoryFault> {
        let _ = (address, expected, new);
        Ok(None)
    }

    /// For CLFLUSHOPT and CLWB: writes the cache line that holds `address` back to memory, where
    /// persistent memory or a device may depend on it. CLFLUSH, which every x86-64 CPU has, does
    /// more than both ask for. Not done by default (`None`), for to do nothing would lose data.
    ///
    /// # Errors
    /// What a load from `address` would meet.
    fn flush_line(&mut self, address: u64) -> Result<Option<()>, MemoryFault> {
        let _ = address;
        Ok(None)
    }

    /// For RDTSCP: the time-stamp counter, read after all earlier accesses to memory.
    fn time_stamp(&mut self) -> Option<u64> {
        None
    }

    /// For RDPID and RDTSCP: the IA32_TSC_AUX of this CPU, to which Linux gives the number of the
    /// CPU in bits 0–11 and that of its node above.
    fn time_stamp_aux(&mut self) -> Option<u32> {
        None
    }

    /// For RCPPS and its kin, on the bits of a single-precision number: what this CPU's RCPSS
    /// gives, which has no one right result (relative error up to 1.5 * 2^-12). Without it
    /// (`None`) the emulator has a table of its own.
    fn reciprocal(&mut self, value: u32) -> Option<u32> {
        let _ = value;
        None
    }

    /// For RSQRTPS and its kin, as [`reciprocal`](Memory::reciprocal).
    fn reciprocal_sqrt(&mut self, value: u32) -> Option<u32> {
        let _ = value;
        None
    }

    /// For RDRAND and RDSEED: 64 bits from a cryptographic source. `Some(None)` if the source has
    /// none at this moment, of which the instructions have a way to tell.
    fn random(&mut self) -> Option<Option<u64>> {
        None
    }
}

/// Code and nothing else: enough for instructions that work on registers.
#[derive(Clone, Copy, Debug)]
pub struct CodeOnly<'a> {
    /// Address of the first byte.
    pub address: u64,
    /// The code.
    pub code: &'a [u8],
}

impl Memory for CodeOnly<'_> {
    fn read(&mut self, address: u64, _: &mut [u8]) -> Result<(), MemoryFault> {
        Err(unmapped(address, Access::Read))
    }

    fn write(&mut self, address: u64, _: &[u8]) -> Result<(), MemoryFault> {
        Err(unmapped(address, Access::Write))
    }

    fn check_write(&mut self, address: u64, _: usize) -> Result<(), MemoryFault> {
        Err(unmapped(address, Access::Write))
    }

    fn fetch(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let start = usize::try_from(address.wrapping_sub(self.address)).unwrap_or(usize::MAX);
        let code = self.code.get(start..).unwrap_or_default();
        buffer
            .iter_mut()
            .zip(code)
            .map(|(to, from)| *to = *from)
            .count()
    }
}

fn unmapped(address: u64, access: Access) -> MemoryFault {
    MemoryFault {
        address,
        access,
        kind: FaultKind::Unmapped,
    }
}
