//! Ways an instruction can end other than by completing.

use crate::memory::MemoryFault;

/// SIMD floating-point exceptions: bits 0–5 of MXCSR, the same bits shifted left by 7 are the
/// masks (Intel SDM vol. 1, 10.2.3.2).
pub mod exception {
    /// IE, invalid operation: `FPE_FLTINV`.
    pub const INVALID: u32 = 1 << 0;
    /// DE, denormal operand: `FPE_FLTUND` on Linux.
    pub const DENORMAL: u32 = 1 << 1;
    /// ZE, divide by zero: `FPE_FLTDIV`.
    pub const ZERO_DIVIDE: u32 = 1 << 2;
    /// OE, overflow: `FPE_FLTOVF`.
    pub const OVERFLOW: u32 = 1 << 3;
    /// UE, underflow: `FPE_FLTUND`.
    pub const UNDERFLOW: u32 = 1 << 4;
    /// PE, precision: `FPE_FLTRES`.
    pub const PRECISION: u32 = 1 << 5;
}

/// Why an instruction did not complete.
///
/// The state is then what the CPU would have left: unchanged, except for the sticky flags of
/// MXCSR on [`Fault::Simd`] and the completed elements of a gather or masked move on
/// [`Fault::Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not an instruction, or one that is not emulated, not permitted, or in need of something
    /// that the [`Memory`](crate::Memory) or [`State`](crate::State) does not have: the original
    /// #UD goes on.
    Unknown,
    /// A memory operand or the code itself could not be accessed.
    Memory(MemoryFault),
    /// #GP(0) for a memory operand that is not aligned as the instruction demands.
    Alignment {
        /// Linear address of the operand.
        address: u64,
    },
    /// #GP(0) for a value that a control register does not take (LDMXCSR with reserved bits), or a
    /// branch to an address that is not canonical.
    Protection,
    /// #MF: an x87 exception is pending, which the next instruction on x87 or MMX registers
    /// reports. Linux derives the code of its SIGFPE from the flags in
    /// [`status`](crate::X87::status) that [`control`](crate::X87::control) does not mask.
    X87,
    /// #DE: a division by zero, or with a quotient that its register cannot hold: SIGFPE with
    /// `FPE_INTDIV`, at the instruction.
    Divide,
    /// #XM: SIMD floating-point exceptions whose mask bit in MXCSR is clear.
    Simd {
        /// The unmasked ones, as bits of [`exception`]. Linux derives the code of its SIGFPE from
        /// all sticky flags that are not masked, including those set before.
        unmasked: u32,
    },
}

impl From<MemoryFault> for Fault {
    fn from(fault: MemoryFault) -> Self {
        Self::Memory(fault)
    }
}
