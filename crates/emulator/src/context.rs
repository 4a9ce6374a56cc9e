//! The operands of one instruction: registers and memory, read and written.

use crate::decoded::{Alignment, Decoded, Gpr, Operand, Segment};
use crate::execution::Execution;
use crate::fault::Fault;
use crate::float::Environment;
use crate::memory::Memory;
use crate::state::{State, flag};
use crate::vector::Vector;
use iced_x86::{Instruction, OpKind, Register};

/// Misaligned exception mask, on AMD CPUs with `misalignsse`.
const MXCSR_MM: u32 = 1 << 17;

/// One instruction with the state and memory it works on.
pub(crate) struct Context<'a> {
    pub state: &'a mut State,
    pub memory: &'a mut dyn Memory,
    pub decoded: &'a Decoded,
    pub instruction: &'a Instruction,
    pub execution: Execution,
    /// Address of the instruction that comes next; branches change it.
    pub next: u64,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        state: &'a mut State,
        memory: &'a mut dyn Memory,
        decoded: &'a Decoded,
    ) -> Self {
        let execution = Execution {
            bytes: decoded.bytes.into(),
            imm: decoded.imm,
            bits: decoded.bits.into(),
            predicates: if decoded.zeroes_upper { 0x1f } else { 7 },
            memory: decoded.in_memory,
            rflags: state.rflags,
            float: Environment::new(state.mxcsr),
        };
        Self {
            state,
            memory,
            decoded,
            instruction: &decoded.instruction,
            execution,
            next: decoded.instruction.next_ip(),
        }
    }

    /// Number of operands that are not immediates.
    pub(crate) fn operands(&self) -> u32 {
        self.decoded.count.into()
    }

    fn operand(&self, operand: u32) -> Operand {
        self.decoded
            .operands
            .get(operand as usize)
            .copied()
            .unwrap_or(Operand::None)
    }

    pub(crate) fn kind(&self, operand: u32) -> OpKind {
        kind(self.instruction, operand)
    }

    pub(crate) fn is_memory(&self, operand: u32) -> bool {
        self.operand(operand) == Operand::Memory
    }

    /// Linear address of the memory operand; `element` selects the index lane of a gather.
    #[inline]
    pub(crate) fn address(&self, element: usize) -> u64 {
        if self.decoded.gathers {
            return self.element_address(element);
        }
        let address = &self.decoded.address;
        let register = |gpr: Option<Gpr>| gpr.map_or(0, |gpr| self.read(gpr));
        let index = register(address.index).wrapping_shl(address.scale.into());
        let offset = register(address.base)
            .wrapping_add(index)
            .wrapping_add(address.displacement);
        self.segment_base().wrapping_add(if address.narrow {
            offset & 0xffff_ffff
        } else {
            offset
        })
    }

    /// Base of the memory operand's segment.
    pub(crate) fn segment_base(&self) -> u64 {
        match self.decoded.address.segment {
            Segment::Flat => 0,
            Segment::Fs => self.state.fs_base,
            Segment::Gs => self.state.gs_base,
        }
    }

    /// Linear address of element `element` of a gather.
    fn element_address(&self, element: usize) -> u64 {
        let operand = (0..self.operands())
            .find(|&i| self.is_memory(i))
            .unwrap_or(0);
        self.instruction
            .try_virtual_address(operand, element, |register, element, size| {
                Some(match register {
                    Register::FS => self.state.fs_base,
                    Register::GS => self.state.gs_base,
                    r if r.is_gpr() => self.gpr(r),
                    r if r.is_vector_register() => {
                        let index = self.register(r.number());
                        if size == 4 {
                            u64::from(index.lane::<u32>(element))
                        } else {
                            index.lane(element)
                        }
                    }
                    _ => 0,
                })
            })
            .unwrap_or(0)
    }

    /// Reads the memory operand, zero-extended to a vector.
    pub(crate) fn load(&mut self) -> Result<Vector, Fault> {
        let address = self.address(0);
        let size = self.decoded.size.into();
        self.check_alignment(address)?;
        self.load_from(address, size)
    }

    /// Reads `size` bytes at `address`, zero-extended to a vector.
    pub(crate) fn load_from(&mut self, address: u64, size: usize) -> Result<Vector, Fault> {
        let mut result = Vector::ZERO;
        if let Some(buffer) = result.0.get_mut(..size) {
            self.memory.read(address, buffer)?;
        }
        Ok(result)
    }

    /// Writes the lowest bytes of `value`, as many as the memory operand has.
    pub(crate) fn store(&mut self, value: &Vector) -> Result<(), Fault> {
        let address = self.address(0);
        let size = self.decoded.size.into();
        self.check_alignment(address)?;
        if let Some(bytes) = value.0.get(..size) {
            self.memory.write(address, bytes)?;
        }
        Ok(())
    }

    #[inline]
    fn check_alignment(&self, address: u64) -> Result<(), Fault> {
        let aligned = match self.decoded.alignment {
            Alignment::Any => return Ok(()),
            Alignment::Natural => true,
            Alignment::Legacy => self.state.mxcsr & MXCSR_MM == 0,
        };
        if aligned && address & u64::from(self.decoded.size).wrapping_sub(1) != 0 {
            return Err(Fault::Alignment { address });
        }
        Ok(())
    }

    /// Vector register `number`.
    pub(crate) fn register(&self, number: usize) -> Vector {
        self.state.vector.get(number).copied().unwrap_or_default()
    }

    /// Operand as a vector: a register cut to its size, or memory zero-extended.
    pub(crate) fn vector(&mut self, operand: u32) -> Result<Vector, Fault> {
        let mut value = Vector::ZERO;
        self.read_vector(operand, &mut value)?;
        Ok(value)
    }

    /// As [`vector`](Self::vector), into `value`, which is all zero.
    #[inline(always)]
    pub(crate) fn read_vector(&mut self, operand: u32, value: &mut Vector) -> Result<(), Fault> {
        match self.operand(operand) {
            Operand::Vector { number, bytes } => {
                let number = usize::from(number) % self.state.vector.len();
                if let Some(register) = self.state.vector.get(number) {
                    // All but MMX registers have 16 bytes at least.
                    value.copy_low::<16>(register);
                    if bytes > 16 {
                        value.copy_low::<32>(register);
                    }
                }
            }
            Operand::Memory => {
                let address = self.address(0);
                self.check_alignment(address)?;
                if let Some(buffer) = value.0.get_mut(..self.decoded.size.into()) {
                    self.memory.read(address, buffer)?;
                }
            }
            Operand::Mmx(number) => value.set_lane(0, self.state.x87.mmx(number.into())),
            Operand::Gpr(gpr) => value.set_lane(0, self.read(gpr)),
            Operand::Immediate | Operand::None => {}
        }
        Ok(())
    }

    /// Writes an operand from the low end of a vector.
    #[inline]
    pub(crate) fn write_vector(&mut self, operand: u32, value: &Vector) -> Result<(), Fault> {
        match self.operand(operand) {
            Operand::Vector { number, .. } => self.write_register(number.into(), value),
            Operand::Memory => return self.store(value),
            Operand::Mmx(number) => self.state.x87.set_mmx(number.into(), value.lane(0)),
            Operand::Gpr(gpr) => self.write(gpr, value.lane(0)),
            Operand::Immediate | Operand::None => {}
        }
        Ok(())
    }

    /// Writes a vector register; a legacy form keeps what lies above its 128 bits.
    pub(crate) fn write_register(&mut self, number: usize, value: &Vector) {
        if let Some(place) = self.state.vector.get_mut(number) {
            if self.decoded.zeroes_upper {
                *place = *value;
            } else {
                place.set_lane::<u128>(0, value.lane(0));
            }
        }
    }

    /// Overwrites the lowest `bytes` bytes of a vector register and keeps the rest.
    pub(crate) fn merge_register(&mut self, number: usize, value: &Vector, bytes: usize) {
        if let Some(place) = self.state.vector.get_mut(number) {
            let source = value.0.iter().take(bytes);
            place
                .0
                .iter_mut()
                .zip(source)
                .for_each(|(to, from)| *to = *from);
        }
    }

    /// Value of a general-purpose register, zero-extended; 0 for any other register.
    pub(crate) fn gpr(&self, register: Register) -> u64 {
        Gpr::new(register).map_or(0, |gpr| self.read(gpr))
    }

    #[inline]
    fn read(&self, gpr: Gpr) -> u64 {
        let full = self
            .state
            .gpr
            .get(usize::from(gpr.number))
            .copied()
            .unwrap_or(0);
        match gpr.size {
            1 if gpr.high => full >> 8 & 0xff,
            1 => full & 0xff,
            2 => full & 0xffff,
            4 => full & 0xffff_ffff,
            _ => full,
        }
    }

    /// Writes a general-purpose register: 32-bit writes clear the upper half, narrower ones keep
    /// the rest (Intel SDM vol. 1, 3.4.1.1).
    pub(crate) fn write_gpr(&mut self, register: Register, value: u64) {
        if let Some(gpr) = Gpr::new(register) {
            self.write(gpr, value);
        }
    }

    #[inline]
    fn write(&mut self, gpr: Gpr, value: u64) {
        if let Some(place) = self.state.gpr.get_mut(usize::from(gpr.number)) {
            *place = match gpr.size {
                1 if gpr.high => *place & !0xff00 | (value & 0xff) << 8,
                1 => *place & !0xff | value & 0xff,
                2 => *place & !0xffff | value & 0xffff,
                4 => value & 0xffff_ffff,
                _ => value,
            };
        }
    }

    /// Operand as an integer: a general-purpose register or memory, zero-extended.
    #[inline]
    pub(crate) fn integer(&mut self, operand: u32) -> Result<u64, Fault> {
        match self.operand(operand) {
            Operand::Gpr(gpr) => Ok(self.read(gpr)),
            Operand::Memory => self.load_integer(),
            _ => Ok(0),
        }
    }

    /// Reads the lowest eight bytes of the memory operand, or as many as it has.
    #[inline]
    fn load_integer(&mut self) -> Result<u64, Fault> {
        let address = self.address(0);
        self.check_alignment(address)?;
        let mut bytes = [0; 8];
        let size = usize::from(self.decoded.size).min(8);
        if let Some(buffer) = bytes.get_mut(..size) {
            self.memory.read(address, buffer)?;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes an integer operand: a general-purpose register or memory.
    #[inline]
    pub(crate) fn write_integer(&mut self, operand: u32, value: u64) -> Result<(), Fault> {
        match self.operand(operand) {
            Operand::Gpr(gpr) => self.write(gpr, value),
            Operand::Memory => {
                let address = self.address(0);
                self.check_alignment(address)?;
                let size = usize::from(self.decoded.size).min(8);
                if let Some(bytes) = value.to_le_bytes().get(..size) {
                    self.memory.write(address, bytes)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Register number of an operand, if it is a vector register.
    pub(crate) fn vector_number(&self, operand: u32) -> Option<usize> {
        match self.operand(operand) {
            Operand::Vector { number, .. } => Some(number.into()),
            _ => None,
        }
    }

    /// Fails if an exception was raised that MXCSR does not mask.
    ///
    /// Exceptions of the operands (invalid, denormal, divide by zero) are found before any result
    /// is computed: if one of them is unmasked the others are not detected at all (Intel SDM
    /// vol. 1, 11.5.3.2 and 4.9.2).
    pub(crate) fn check_float(&mut self) -> Result<(), Fault> {
        match self.execution.float.unmasked() {
            0 => Ok(()),
            unmasked => {
                // A store that cannot be done is the more urgent matter.
                if self.is_memory(0) {
                    let address = self.address(0);
                    self.memory.check_write(address, self.decoded.size.into())?;
                }
                self.state.mxcsr |= self.execution.float.detected();
                Err(Fault::Simd { unmasked })
            }
        }
    }

    /// Makes flags and sticky exceptions visible.
    pub(crate) fn commit(&mut self) {
        self.state.mxcsr |= self.execution.float.detected();
        self.state.rflags =
            self.state.rflags & !flag::STATUS | self.execution.rflags & flag::STATUS;
    }
}

pub(crate) fn kind(instruction: &Instruction, operand: u32) -> OpKind {
    instruction.try_op_kind(operand).unwrap_or(OpKind::Register)
}

/// The register that an operand is; `None` if it is none.
pub(crate) fn register(instruction: &Instruction, operand: u32) -> Register {
    if operand < instruction.op_count() && kind(instruction, operand) == OpKind::Register {
        instruction
            .try_op_register(operand)
            .unwrap_or(Register::None)
    } else {
        Register::None
    }
}
