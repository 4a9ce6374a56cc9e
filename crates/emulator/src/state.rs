//! The registers of one thread.

use crate::vector::Vector;

/// Status flags of RFLAGS (Intel SDM vol. 1, 3.4.3).
pub mod flag {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Parity of the low byte.
    pub const PF: u64 = 1 << 2;
    /// Carry out of bit 3.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Overflow.
    pub const OF: u64 = 1 << 11;
    /// All six status flags.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}

/// The widest vector registers that a [`State`] holds.
///
/// Instructions on wider ones are refused as [`Fault::Unknown`](crate::Fault::Unknown), as a
/// CPU does whose XCR0 lacks the component.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 128-bit registers, SSE only.
    Xmm,
    /// 256-bit registers.
    #[default]
    Ymm,
    /// 512-bit registers and opmasks.
    Zmm,
}

/// The registers that user instructions read and write.
///
/// Plain data: a signal handler fills it from the signal frame and writes it back, a test makes
/// one up.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15: the order of the encoding.
    pub gpr: [u64; 16],
    /// Address of the instruction to execute next.
    pub rip: u64,
    /// RFLAGS; only the bits of [`flag`] are ever changed.
    pub rflags: u64,
    /// Base address of the FS segment.
    pub fs_base: u64,
    /// Base address of the GS segment.
    pub gs_base: u64,
    /// Control and status of SIMD floating point (Intel SDM vol. 1, 10.2.3).
    pub mxcsr: u32,
    /// The bits of MXCSR that may be set: `MXCSR_MASK` of the FXSAVE image, or
    /// [`State::DEFAULT_MXCSR_MASK`] where that is 0 (Intel SDM vol. 1, 11.6.6).
    pub mxcsr_mask: u32,
    /// ZMM0 … ZMM31; XMM and YMM are their lower parts. Parts that [`State::width`] says do not
    /// exist are kept zero by instructions that zero upper halves.
    pub vector: [Vector; 32],
    /// Opmask registers K0 … K7.
    pub opmask: [u64; 8],
    /// Which vector registers exist.
    pub width: Width,
}

impl State {
    /// MXCSR after reset: all exceptions masked, round to nearest (Intel SDM vol. 1, 10.2.3).
    pub const INITIAL_MXCSR: u32 = 0x1f80;
    /// The architectural default of `MXCSR_MASK` with DAZ, which every x86-64 CPU has.
    pub const DEFAULT_MXCSR_MASK: u32 = 0xffff;
}

impl Default for State {
    /// Registers as a new process finds them: all zero, reserved bit 1 of RFLAGS set.
    fn default() -> Self {
        Self {
            gpr: [0; 16],
            rip: 0,
            rflags: 2,
            fs_base: 0,
            gs_base: 0,
            mxcsr: Self::INITIAL_MXCSR,
            mxcsr_mask: Self::DEFAULT_MXCSR_MASK,
            vector: [Vector::ZERO; 32],
            opmask: [0; 8],
            width: Width::default(),
        }
    }
}
