//! The registers of one thread.

use crate::fault::Fault;
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
    /// Trap after each instruction: somebody single-steps.
    pub(crate) const TF: u64 = 1 << 8;
    /// Alignment check: unaligned accesses raise #AC.
    pub(crate) const AC: u64 = 1 << 18;
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

/// The x87 registers, of which the MMX registers are a part.
///
/// MM0–MM7 are the significands of the physical registers R0–R7, wherever the top of the stack is
/// (Intel SDM vol. 1, 9.2.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X87 {
    /// Significands of R0–R7: MM0–MM7.
    pub significand: [u64; 8],
    /// Sign (bit 15) and exponent of R0–R7.
    pub exponent: [u16; 8],
    /// FCW.
    pub control: u16,
    /// FSW; bits 11–13 are TOP, bit 7 says that an exception is pending.
    pub status: u16,
    /// Abridged tag word: bit i is clear if Ri is empty.
    pub tags: u8,
    /// Whether the other fields mean anything. Instructions on MMX registers are refused if not.
    pub present: bool,
}

impl X87 {
    /// The registers as FINIT leaves them, not [`present`](X87::present).
    pub const INITIAL: Self = Self {
        significand: [0; 8],
        exponent: [0; 8],
        control: 0x37f,
        status: 0,
        tags: 0,
        present: false,
    };

    /// Size of the part of an FXSAVE image that holds these registers.
    pub const IMAGE: usize = 160;

    /// Exception summary in FSW: the next waiting x87 or MMX instruction raises #MF.
    const PENDING: u16 = 1 << 7;

    /// TOP in FSW.
    const TOP: u16 = 7 << 11;

    /// Takes the registers from the start of an FXSAVE image or a signal frame (Intel SDM vol. 1,
    /// table 10-2); they are then [`present`](X87::present).
    #[must_use]
    pub fn from_image(image: &[u8; Self::IMAGE]) -> Self {
        let [c0, c1, s0, s1, tags, ..] = *image;
        let mut x87 = Self {
            control: u16::from_le_bytes([c0, c1]),
            status: u16::from_le_bytes([s0, s1]),
            tags,
            present: true,
            ..Self::INITIAL
        };
        // The image begins with the top of the stack.
        for (slot, register) in image.as_chunks::<16>().0.iter().skip(2).zip(x87.order()) {
            let value = u128::from_le_bytes(*slot);
            if let Some(place) = x87.significand.get_mut(register) {
                *place = value as u64;
            }
            if let Some(place) = x87.exponent.get_mut(register) {
                *place = (value >> 64) as u16;
            }
        }
        x87
    }

    /// Puts the registers into the start of an FXSAVE image and leaves the other bytes alone.
    pub fn to_image(&self, image: &mut [u8; Self::IMAGE]) {
        let [c0, c1, s0, s1, tags, ..] = image;
        [*c0, *c1] = self.control.to_le_bytes();
        [*s0, *s1] = self.status.to_le_bytes();
        *tags = self.tags;
        let slots = image.as_chunks_mut::<16>().0.iter_mut().skip(2);
        for (slot, register) in slots.zip(self.order()) {
            let significand = self.significand.get(register).copied().unwrap_or(0);
            let exponent = self.exponent.get(register).copied().unwrap_or(0);
            let value = u128::from(exponent) << 64 | u128::from(significand);
            slot.iter_mut()
                .zip(value.to_le_bytes())
                .take(10)
                .for_each(|(to, from)| *to = from);
        }
    }

    /// The registers from the top of the stack on.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let top = self.top();
        (top..top + 8).map(|register| register % 8)
    }

    /// What an instruction that waits meets before it does anything.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if !self.present {
            Err(Fault::Unknown)
        } else if self.status & Self::PENDING != 0 {
            Err(Fault::X87)
        } else {
            Ok(())
        }
    }

    /// What every MMX instruction but EMMS does: all registers are in use, the stack begins at R0
    /// (Intel SDM vol. 3, 13.2).
    pub(crate) fn enter_mmx(&mut self) {
        self.status &= !Self::TOP;
        self.tags = 0xff;
    }

    /// What EMMS does: all registers are empty.
    pub(crate) fn leave_mmx(&mut self) {
        self.status &= !Self::TOP;
        self.tags = 0;
    }

    fn top(&self) -> usize {
        usize::from((self.status & Self::TOP) >> 11)
    }

    /// Whether ST0 is not empty.
    pub(crate) fn top_is_in_use(&self) -> bool {
        self.tags >> self.top() & 1 == 1
    }

    /// Sign with exponent, and significand, of ST0.
    pub(crate) fn top_of_stack(&self) -> (u16, u64) {
        let top = self.top();
        (
            self.exponent.get(top).copied().unwrap_or(0),
            self.significand.get(top).copied().unwrap_or(0),
        )
    }

    /// Empties ST0 and makes ST1 the top.
    pub(crate) fn pop(&mut self) {
        self.tags &= !(1 << self.top());
        self.status = self.status & !Self::TOP | self.status.wrapping_add(1 << 11) & Self::TOP;
    }

    /// Reads MMX register `number`.
    pub(crate) fn mmx(&self, number: usize) -> u64 {
        self.significand.get(number).copied().unwrap_or(0)
    }

    /// Writes MMX register `number`; as a number it is then a NaN or infinity.
    pub(crate) fn set_mmx(&mut self, number: usize, value: u64) {
        if let (Some(significand), Some(exponent)) = (
            self.significand.get_mut(number),
            self.exponent.get_mut(number),
        ) {
            (*significand, *exponent) = (value, 0xffff);
        }
    }
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
    /// The x87 and MMX registers, if they are [`present`](X87::present).
    pub x87: X87,
    /// Which vector registers exist.
    pub width: Width,
    /// Whether the thread has a shadow stack (CET), to which the emulator cannot push: CALL and RET
    /// are then refused.
    pub shadow_stack: bool,
}

impl State {
    /// MXCSR after reset: all exceptions masked, round to nearest (Intel SDM vol. 1, 10.2.3).
    pub const INITIAL_MXCSR: u32 = 0x1f80;
    /// The architectural default of `MXCSR_MASK` with DAZ, which every x86-64 CPU has.
    pub const DEFAULT_MXCSR_MASK: u32 = 0xffff;
}

impl Default for State {
    /// Registers as a new process finds them: all zero, reserved bit 1 of RFLAGS set; x87 and MMX
    /// registers not present.
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
            x87: X87::INITIAL,
            width: Width::default(),
            shadow_stack: false,
        }
    }
}
