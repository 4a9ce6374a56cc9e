//! Memory in which code and data lie together, and may be changed from outside at any access.

use emulator::{Access, FaultKind, Memory, MemoryFault};

/// Lowest address.
pub(crate) const BASE: u64 = 0x10_0000;
/// Where programs begin.
pub(crate) const CODE: u64 = BASE + 64;
/// Where data begins: two pages.
pub(crate) const DATA: u64 = BASE + 0x2000;
const SIZE: usize = 0x4000;

/// Called before each access to memory.
type Interference = Box<dyn FnMut(&mut [u8])>;

pub(crate) struct World {
    pub bytes: Vec<u8>,
    pub interference: Option<Interference>,
    /// What RCPSS and RSQRTSS of this world's CPU give.
    pub approximation: Option<u32>,
}

impl World {
    pub(crate) fn new(code: &[u8]) -> Self {
        let mut bytes: Vec<u8> = (0..SIZE).map(|i| (i * 7 + i / 251) as u8).collect();
        let start = (CODE - BASE) as usize;
        bytes[start..start + code.len()].copy_from_slice(code);
        // HLT: no instruction for a burst.
        bytes[start + code.len()..start + code.len() + 16].fill(0xf4);
        Self {
            bytes,
            interference: None,
            approximation: None,
        }
    }

    fn interfere(&mut self) {
        if let Some(interference) = &mut self.interference {
            interference(&mut self.bytes);
        }
    }

    fn at(&self, address: u64, length: usize, access: Access) -> Result<usize, MemoryFault> {
        (0..length as u64)
            .map(|i| address.wrapping_add(i))
            .find(|at| at.wrapping_sub(BASE) >= SIZE as u64)
            .map_or(Ok(address.wrapping_sub(BASE) as usize), |address| {
                Err(MemoryFault {
                    address,
                    access,
                    kind: FaultKind::Unmapped,
                })
            })
    }
}

impl Memory for World {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault> {
        self.interfere();
        let start = self.at(address, buffer.len(), Access::Read)?;
        buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        self.interfere();
        let start = self.at(address, bytes.len(), Access::Write)?;
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn check_write(&mut self, address: u64, length: usize) -> Result<(), MemoryFault> {
        self.at(address, length, Access::Write).map(|_| ())
    }

    fn fetch(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let Ok(start) = self.at(address, 1, Access::Execute) else {
            return 0;
        };
        let length = buffer.len().min(SIZE - start);
        buffer[..length].copy_from_slice(&self.bytes[start..start + length]);
        length
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        size: usize,
        expected: u64,
        new: u64,
    ) -> Result<Option<u64>, MemoryFault> {
        self.interfere();
        let start = self.at(address, size, Access::Write)?;
        let mut old = [0; 8];
        old[..size].copy_from_slice(&self.bytes[start..start + size]);
        let old = u64::from_le_bytes(old);
        if old == expected {
            self.bytes[start..start + size].copy_from_slice(&new.to_le_bytes()[..size]);
        }
        Ok(Some(old))
    }

    fn reciprocal(&mut self, _: u32) -> Option<u32> {
        self.approximation
    }

    fn reciprocal_sqrt(&mut self, _: u32) -> Option<u32> {
        self.approximation
    }
}
