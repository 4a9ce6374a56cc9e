//! What MXCSR asks for, and what was raised.

use super::quick::Quick;
use crate::fault::exception;

/// Rounding modes in the encoding of MXCSR.RC and of immediates (Intel SDM vol. 1, table 4-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    Down,
    Up,
    Zero,
}

impl Rounding {
    /// From the low two bits of `field`.
    pub(crate) fn from_bits(field: u32) -> Self {
        match field & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Zero,
        }
    }
}

/// The floating-point environment of one instruction.
#[derive(Debug)]
pub(crate) struct Environment {
    pub rounding: Rounding,
    pub denormals_are_zeros: bool,
    pub flush_to_zero: bool,
    /// Rounds to nearest, and an inexact result is no trap: see [`super::quick`].
    pub easy: bool,
    /// The flag of precision is set already.
    pub knows_inexact: bool,
    masked: u32,
    raised: u32,
    /// Raised by steps that are finished.
    settled: u32,
}

/// Exceptions that depend on the operands only and are found before the result is computed.
const PRECOMPUTATION: u32 = exception::INVALID | exception::DENORMAL | exception::ZERO_DIVIDE;

impl Environment {
    /// The environment that `mxcsr` describes (Intel SDM vol. 1, figure 10-3).
    pub(crate) fn new(mxcsr: u32) -> Self {
        Self {
            rounding: Rounding::from_bits(mxcsr >> 13),
            denormals_are_zeros: mxcsr & 1 << 6 != 0,
            flush_to_zero: mxcsr & 1 << 15 != 0,
            easy: mxcsr & 0x6000 == 0 && mxcsr >> 7 & exception::PRECISION != 0,
            knows_inexact: mxcsr & exception::PRECISION != 0,
            masked: mxcsr >> 7 & 0x3f,
            raised: 0,
            settled: 0,
        }
    }

    pub(crate) fn raise(&mut self, exceptions: u32) {
        self.raised |= exceptions;
    }

    /// The value of a quick result if it stands; its exception is then raised.
    #[inline]
    pub(crate) fn take<T>(&mut self, quick: Quick<T>) -> Option<T> {
        if !self.easy || !quick.is_it || !(quick.is_known || self.knows_inexact) {
            return None;
        }
        if quick.inexact {
            self.raise(exception::PRECISION);
        }
        Some(quick.value)
    }

    /// Ends one of several dependent steps of an instruction. False if an unmasked exception ends
    /// the instruction here; what later steps would raise is then not detected.
    pub(crate) fn finish_step(&mut self) -> bool {
        if self.unmasked() != 0 {
            return false;
        }
        self.settled |= self.raised;
        self.raised = 0;
        true
    }

    /// Whether all of `exceptions` are masked.
    pub(crate) fn masks(&self, exceptions: u32) -> bool {
        self.masked & exceptions == exceptions
    }

    /// The exceptions that become sticky flags.
    pub(crate) fn detected(&self) -> u32 {
        let early = self.raised & PRECOMPUTATION;
        if early & !self.masked == 0 {
            self.settled | self.raised
        } else {
            self.settled | early
        }
    }

    /// Those of the detected exceptions that are not masked.
    pub(crate) fn unmasked(&self) -> u32 {
        self.detected() & !self.masked
    }
}
