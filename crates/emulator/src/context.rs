//! The operands of one instruction: registers and memory, read and written.

use crate::execution::Execution;
use crate::fault::Fault;
use crate::float::Environment;
use crate::memory::Memory;
use crate::state::{State, flag};
use crate::vector::Vector;
use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind, Register};

/// Misaligned exception mask, on AMD CPUs with `misalignsse`.
const MXCSR_MM: u32 = 1 << 17;

/// One instruction with the state and memory it works on.
pub(crate) struct Context<'a> {
    pub state: &'a mut State,
    pub memory: &'a mut dyn Memory,
    pub instruction: &'a Instruction,
    pub execution: Execution,
    /// VEX and XOP forms zero the destination above their vector length; legacy forms keep it.
    pub zeroes_upper: bool,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        state: &'a mut State,
        memory: &'a mut dyn Memory,
        instruction: &'a Instruction,
    ) -> Self {
        let last = instruction.op_count().saturating_sub(1);
        let wide = (0..instruction.op_count()).any(|i| register(instruction, i).is_ymm())
            || instruction.memory_index().is_ymm()
            || instruction.memory_size().size() == 32;
        let any = |is: fn(Register) -> bool| {
            (0..instruction.op_count()).any(|i| is(register(instruction, i)))
        };
        // The forms between MMX and XMM registers compute as the longer one.
        let mmx = any(Register::is_mm) && !any(Register::is_xmm);
        let in_memory = (0..instruction.op_count()).any(|i| kind(instruction, i) == OpKind::Memory);
        let integer = (0..instruction.op_count())
            .map(|i| register(instruction, i))
            .find(|r| r.is_gpr())
            .map_or(instruction.memory_size().size(), Register::size);
        let zeroes_upper = instruction.code().encoding() != EncodingKind::Legacy;
        let execution = Execution {
            bytes: match (wide, mmx) {
                (true, _) => 32,
                (false, true) => 8,
                (false, false) => 16,
            },
            imm: if kind(instruction, last) == OpKind::Immediate8 {
                instruction.immediate8()
            } else {
                0
            },
            bits: (integer as u32).wrapping_mul(8),
            predicates: if zeroes_upper { 0x1f } else { 7 },
            memory: in_memory,
            rflags: state.rflags,
            float: Environment::new(state.mxcsr),
        };
        Self {
            zeroes_upper,
            state,
            memory,
            instruction,
            execution,
        }
    }

    /// Number of operands that are not immediates.
    pub(crate) fn operands(&self) -> u32 {
        (0..self.instruction.op_count())
            .filter(|&i| !is_immediate(self.kind(i)))
            .count() as u32
    }

    pub(crate) fn kind(&self, operand: u32) -> OpKind {
        kind(self.instruction, operand)
    }

    pub(crate) fn is_memory(&self, operand: u32) -> bool {
        self.kind(operand) == OpKind::Memory
    }

    /// Linear address of the memory operand; `element` selects the index lane of a gather.
    pub(crate) fn address(&self, element: usize) -> u64 {
        let operand = (0..self.instruction.op_count())
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
        let size = self.instruction.memory_size().size();
        self.check_alignment(address, size)?;
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
        let size = self.instruction.memory_size().size();
        self.check_alignment(address, size)?;
        if let Some(bytes) = value.0.get(..size) {
            self.memory.write(address, bytes)?;
        }
        Ok(())
    }

    fn check_alignment(&self, address: u64, size: usize) -> Result<(), Fault> {
        let aligned = match self.instruction.mnemonic() {
            Mnemonic::Vmovaps
            | Mnemonic::Vmovapd
            | Mnemonic::Vmovdqa
            | Mnemonic::Vmovntps
            | Mnemonic::Vmovntpd
            | Mnemonic::Vmovntdq
            | Mnemonic::Vmovntdqa
            | Mnemonic::Movaps
            | Mnemonic::Movapd
            | Mnemonic::Movdqa
            | Mnemonic::Movntps
            | Mnemonic::Movntpd
            | Mnemonic::Movntdq
            | Mnemonic::Movntdqa => true,
            Mnemonic::Movups
            | Mnemonic::Movupd
            | Mnemonic::Movdqu
            | Mnemonic::Lddqu
            | Mnemonic::Pcmpestri
            | Mnemonic::Pcmpestri64
            | Mnemonic::Pcmpestrm
            | Mnemonic::Pcmpestrm64
            | Mnemonic::Pcmpistri
            | Mnemonic::Pcmpistrm => false,
            // Aligned by Intel's manual; AMD CPUs take any address, and no program can mind.
            Mnemonic::Sha1rnds4
            | Mnemonic::Sha1nexte
            | Mnemonic::Sha1msg1
            | Mnemonic::Sha1msg2
            | Mnemonic::Sha256rnds2
            | Mnemonic::Sha256msg1
            | Mnemonic::Sha256msg2 => false,
            // Legacy SSE demands alignment of 16-byte operands, VEX none (Intel SDM vol. 1, 14.9);
            // AMD's MXCSR.MM lifts the demand (AMD APM vol. 1, 4.2.2).
            _ => !self.zeroes_upper && size == 16 && self.state.mxcsr & MXCSR_MM == 0,
        };
        if aligned && address & (size as u64).wrapping_sub(1) != 0 {
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
        if self.is_memory(operand) {
            return self.load();
        }
        let register = register(self.instruction, operand);
        Ok(if register.is_mm() {
            Vector::from_lane(self.state.x87.mmx(register.number()))
        } else if register.is_vector_register() {
            self.register(register.number()).truncated(register.size())
        } else {
            Vector::from_lane(self.gpr(register))
        })
    }

    /// Writes an operand from the low end of a vector.
    pub(crate) fn write_vector(&mut self, operand: u32, value: &Vector) -> Result<(), Fault> {
        if self.is_memory(operand) {
            return self.store(value);
        }
        let register = register(self.instruction, operand);
        if register.is_mm() {
            self.state.x87.set_mmx(register.number(), value.lane(0));
        } else if register.is_vector_register() {
            self.write_register(register.number(), value);
        } else {
            self.write_gpr(register, value.lane(0));
        }
        Ok(())
    }

    /// Writes a vector register; a legacy form keeps what lies above its 128 bits.
    pub(crate) fn write_register(&mut self, number: usize, value: &Vector) {
        if let Some(place) = self.state.vector.get_mut(number) {
            if self.zeroes_upper {
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

    /// Value of a general-purpose register, zero-extended.
    pub(crate) fn gpr(&self, register: Register) -> u64 {
        if !register.is_gpr() {
            return 0;
        }
        let full = self
            .state
            .gpr
            .get(register.full_register().number())
            .copied()
            .unwrap_or(0);
        match register.size() {
            1 if is_high_byte(register) => full >> 8 & 0xff,
            1 => full & 0xff,
            2 => full & 0xffff,
            4 => full & 0xffff_ffff,
            _ => full,
        }
    }

    /// Writes a general-purpose register: 32-bit writes clear the upper half, narrower ones keep
    /// the rest (Intel SDM vol. 1, 3.4.1.1).
    pub(crate) fn write_gpr(&mut self, register: Register, value: u64) {
        if !register.is_gpr() {
            return;
        }
        if let Some(place) = self.state.gpr.get_mut(register.full_register().number()) {
            *place = match register.size() {
                1 if is_high_byte(register) => *place & !0xff00 | (value & 0xff) << 8,
                1 => *place & !0xff | value & 0xff,
                2 => *place & !0xffff | value & 0xffff,
                4 => value & 0xffff_ffff,
                _ => value,
            };
        }
    }

    /// Operand as an integer: a general-purpose register or memory, zero-extended.
    pub(crate) fn integer(&mut self, operand: u32) -> Result<u64, Fault> {
        if self.is_memory(operand) {
            return Ok(self.load()?.lane(0));
        }
        Ok(self.gpr(register(self.instruction, operand)))
    }

    /// Writes an integer operand: a general-purpose register or memory.
    pub(crate) fn write_integer(&mut self, operand: u32, value: u64) -> Result<(), Fault> {
        if self.is_memory(operand) {
            return self.store(&Vector::from_lane(value));
        }
        self.write_gpr(register(self.instruction, operand), value);
        Ok(())
    }

    /// Register number of an operand, if it is a vector register.
    pub(crate) fn vector_number(&self, operand: u32) -> Option<usize> {
        let register = register(self.instruction, operand);
        register.is_vector_register().then(|| register.number())
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
                    let size = self.instruction.memory_size().size();
                    self.memory.check_write(self.address(0), size)?;
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

/// Immediates come after all other operands.
fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8 | OpKind::Immediate8_2nd | OpKind::Immediate32
    )
}

fn kind(instruction: &Instruction, operand: u32) -> OpKind {
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

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::CH | Register::DH | Register::BH
    )
}
