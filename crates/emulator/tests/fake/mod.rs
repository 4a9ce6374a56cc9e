//! A fake address space: code at one address, a run of data at another, nothing elsewhere.

use emulator::{Access, FaultKind, Memory, MemoryFault};
use std::ops::Range;

/// Where the code is.
pub(crate) const CODE: u64 = 0x40_0000;

/// Where the data is: right up to the end of a page.
pub(crate) const DATA: u64 = 0x7000;

/// One page of data, with no page before or after it, and some code.
pub(crate) struct Page {
    pub data: Vec<u8>,
    pub code: Vec<u8>,
    /// Whether the data page refuses writes.
    pub read_only: bool,
}

impl Page {
    pub(crate) fn new(code: &[u8]) -> Self {
        Self {
            data: (0..4096u32).map(|i| (i * 7 + 3) as u8).collect(),
            code: code.to_vec(),
            read_only: false,
        }
    }

    fn range(
        &self,
        address: u64,
        length: usize,
        access: Access,
    ) -> Result<Range<usize>, MemoryFault> {
        for at in (0..length as u64).map(|i| address.wrapping_add(i)) {
            let kind = if at.cast_signed() << 16 >> 16 != at.cast_signed() {
                FaultKind::NonCanonical
            } else if at.wrapping_sub(DATA) >= self.data.len() as u64 {
                FaultKind::Unmapped
            } else if access == Access::Write && self.read_only {
                FaultKind::Forbidden
            } else {
                continue;
            };
            return Err(MemoryFault {
                address: at,
                access,
                kind,
            });
        }
        let start = address.wrapping_sub(DATA) as usize;
        Ok(start..start + length)
    }
}

impl Memory for Page {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault> {
        let range = self.range(address, buffer.len(), Access::Read)?;
        buffer.copy_from_slice(&self.data[range]);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        let range = self.range(address, bytes.len(), Access::Write)?;
        self.data[range].copy_from_slice(bytes);
        Ok(())
    }

    fn check_write(&mut self, address: u64, length: usize) -> Result<(), MemoryFault> {
        self.range(address, length, Access::Write).map(|_| ())
    }

    fn fetch(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let start = (address.wrapping_sub(CODE) as usize).min(self.code.len());
        let code = &self.code[start..];
        let length = code.len().min(buffer.len());
        buffer[..length].copy_from_slice(&code[..length]);
        length
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        size: usize,
        expected: u64,
        new: u64,
    ) -> Result<Option<u64>, MemoryFault> {
        let range = self.range(address, size, Access::Write)?;
        let mut old = [0; 8];
        old[..size].copy_from_slice(&self.data[range.clone()]);
        let old = u64::from_le_bytes(old);
        if old == expected {
            self.data[range].copy_from_slice(&new.to_le_bytes()[..size]);
        }
        Ok(Some(old))
    }
}
