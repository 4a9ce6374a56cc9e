//! A machine like the one under test: its address space, which is the data pages with nothing
//! around them and the instruction, and its width.

use emulator::{Access, FaultKind, Memory, MemoryFault, State, Width};

/// The emulator's view of the arena: the data pages, and the instruction.
pub(crate) struct Shadow {
    /// Address of the data pages.
    pub data: u64,
    pub bytes: Vec<u8>,
    pub code: Vec<u8>,
    /// The IA32_TSC_AUX of the CPU.
    pub aux: Option<u32>,
}

impl Shadow {
    fn range(
        &self,
        address: u64,
        length: usize,
        access: Access,
    ) -> Result<std::ops::Range<usize>, MemoryFault> {
        for i in 0..length as u64 {
            let at = address.wrapping_add(i);
            if at.wrapping_sub(self.data) >= self.bytes.len() as u64 {
                return Err(MemoryFault {
                    address: at,
                    access,
                    kind: FaultKind::Forbidden,
                });
            }
        }
        let start = (address - self.data) as usize;
        Ok(start..start + length)
    }
}

impl Memory for Shadow {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault> {
        let range = self.range(address, buffer.len(), Access::Read)?;
        buffer.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        let range = self.range(address, bytes.len(), Access::Write)?;
        self.bytes[range].copy_from_slice(bytes);
        Ok(())
    }

    fn check_write(&mut self, address: u64, length: usize) -> Result<(), MemoryFault> {
        self.range(address, length, Access::Write).map(|_| ())
    }

    fn fetch(&mut self, _: u64, buffer: &mut [u8]) -> usize {
        let length = self.code.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.code[..length]);
        length
    }

    fn compare_exchange_16(
        &mut self,
        address: u64,
        expected: u128,
        new: u128,
    ) -> Result<Option<u128>, MemoryFault> {
        let range = self.range(address, 16, Access::Write)?;
        let place = &mut self.bytes[range];
        let old = u128::from_le_bytes(place.try_into().expect("sixteen bytes"));
        if old == expected {
            place.copy_from_slice(&new.to_le_bytes());
        }
        Ok(Some(old))
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        size: usize,
        expected: u64,
        new: u64,
    ) -> Result<Option<u64>, MemoryFault> {
        let range = self.range(address, size, Access::Write)?;
        let place = &mut self.bytes[range];
        let mut old = [0; 8];
        old[..size].copy_from_slice(place);
        let old = u64::from_le_bytes(old);
        if old == expected {
            place.copy_from_slice(&new.to_le_bytes()[..size]);
        }
        Ok(Some(old))
    }

    fn flush_line(&mut self, address: u64) -> Result<Option<()>, MemoryFault> {
        self.range(address, 1, Access::Read).map(|_| Some(()))
    }

    fn time_stamp_aux(&mut self) -> Option<u32> {
        self.aux
    }
}

/// Clears what registers of this width do not have.
pub(crate) fn limit(state: &mut State, width: Width) {
    let (count, bytes) = match width {
        Width::Xmm => (16, 16),
        Width::Ymm => (16, 32),
        Width::Zmm => (32, 64),
    };
    for (v, i) in state.vector.iter_mut().zip(0..) {
        let keep = if i < count { bytes } else { 0 };
        v.0[keep..].fill(0);
    }
}
