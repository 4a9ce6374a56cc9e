//! What an operation knows about the instruction it is part of, apart from its operands.

use crate::float::Environment;

/// One execution of one instruction.
#[derive(Debug)]
pub(crate) struct Execution {
    /// Vector length in bytes: 8 (MMX), 16 or 32.
    pub bytes: usize,
    /// The immediate byte, 0 without one.
    pub imm: u8,
    /// Size in bits of the first general-purpose operand, or of the memory operand without one.
    pub bits: u32,
    /// The bits of the immediate that choose a predicate: three in legacy comparisons, five in VEX.
    pub predicates: u8,
    /// Whether an operand is in memory.
    pub memory: bool,
    /// RFLAGS, as read and to be written.
    pub rflags: u64,
    /// Rounding, masks and exceptions of this execution.
    pub float: Environment,
}

impl Execution {
    /// Bytes of the blocks that most rearrangements keep to: 8 in MMX registers, else 16.
    pub(crate) fn block(&self) -> usize {
        if self.bytes < 16 { 8 } else { 16 }
    }
}
