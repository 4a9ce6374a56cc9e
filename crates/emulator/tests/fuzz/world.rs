//! An address space of 2^64 bytes that holds anything, in which some pages are not mapped and some
//! cannot be written, and which keeps a list of what was asked of it.

use emulator::{Access, FaultKind, Memory, MemoryFault};

/// More requests than any one instruction has reason for: two for each byte that MASKMOVDQU stores,
/// and some.
const LIMIT: usize = 40;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    /// Stored, or compared and exchanged.
    Write,
    /// Only asked whether a store would succeed.
    CheckWrite,
    FlushLine,
}

/// One request that succeeded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub kind: Kind,
    pub address: u64,
    pub length: usize,
}

#[derive(Default)]
pub(crate) struct World {
    /// Decides what is where.
    pub seed: u64,
    pub code: Vec<u8>,
    pub requests: Vec<Request>,
    /// All requests, those that failed too.
    calls: usize,
    /// Whether another thread is still to interfere with a compare and exchange.
    interferes: bool,
}

pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

impl World {
    /// Another world, with this instruction.
    pub(crate) fn start(&mut self, seed: u64) {
        self.seed = seed;
        self.requests.clear();
        self.calls = 0;
        self.interferes = seed >> 7 & 7 == 0;
    }

    fn count(&mut self) {
        self.calls += 1;
        assert!(self.calls <= LIMIT, "no end of requests to memory");
    }

    /// The first byte that refuses the access.
    fn check(&mut self, address: u64, length: usize, access: Access) -> Result<(), MemoryFault> {
        self.count();
        let mut at = address;
        let end = address.wrapping_add(length as u64);
        loop {
            let page = at >> 12;
            let kind = if !(1 << 35..(1 << 52) - (1 << 35)).contains(&page) {
                match mix(page ^ self.seed) >> 59 {
                    0 => Some(FaultKind::Unmapped),
                    1 if access == Access::Write => Some(FaultKind::Forbidden),
                    _ => None,
                }
            } else {
                Some(FaultKind::NonCanonical)
            };
            if let Some(kind) = kind {
                return Err(MemoryFault {
                    address: at,
                    access,
                    kind,
                });
            }
            at = (at | 0xfff).wrapping_add(1);
            // Whether the next page is part of it.
            if end.wrapping_sub(at) > length as u64 || end == at {
                return Ok(());
            }
        }
    }

    fn note(&mut self, kind: Kind, address: u64, length: usize) {
        self.requests.push(Request {
            kind,
            address,
            length,
        });
    }

    /// What is there; writes are forgotten, so that no instruction can see its own.
    fn fill(&self, address: u64, buffer: &mut [u8]) {
        let mut word = 0;
        for (i, byte) in buffer.iter_mut().enumerate() {
            let at = address.wrapping_add(i as u64);
            if i == 0 || at.is_multiple_of(8) {
                let random = mix(at >> 3 ^ self.seed);
                // Dense or sparse, or all ones or zeros.
                word = match random >> 61 {
                    0 => 0,
                    1 => u64::MAX,
                    2..5 => random & mix(random),
                    _ => mix(random),
                };
            }
            *byte = (word >> (8 * (at % 8))) as u8;
        }
    }

    fn exchange(&mut self, address: u64, size: usize, expected: u128) -> Result<u128, MemoryFault> {
        self.check(address, size, Access::Write)?;
        self.note(Kind::Write, address, size);
        let mut bytes = [0; 16];
        self.fill(address, &mut bytes[..size]);
        if std::mem::take(&mut self.interferes) {
            bytes[0] ^= 1;
        } else if self.seed >> 11 & 1 == 0 {
            // As expected, whatever that is.
            return Ok(expected);
        }
        Ok(u128::from_le_bytes(bytes))
    }
}

impl Memory for World {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault> {
        self.check(address, buffer.len(), Access::Read)?;
        self.note(Kind::Read, address, buffer.len());
        self.fill(address, buffer);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        self.check(address, bytes.len(), Access::Write)?;
        self.note(Kind::Write, address, bytes.len());
        Ok(())
    }

    fn check_write(&mut self, address: u64, length: usize) -> Result<(), MemoryFault> {
        self.check(address, length, Access::Write)?;
        self.note(Kind::CheckWrite, address, length);
        Ok(())
    }

    fn fetch(&mut self, _: u64, buffer: &mut [u8]) -> usize {
        self.count();
        let length = self.code.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.code[..length]);
        length
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        size: usize,
        expected: u64,
        _: u64,
    ) -> Result<Option<u64>, MemoryFault> {
        self.exchange(address, size, expected.into())
            .map(|old| Some(old as u64))
    }

    fn compare_exchange_16(
        &mut self,
        address: u64,
        expected: u128,
        _: u128,
    ) -> Result<Option<u128>, MemoryFault> {
        self.exchange(address, 16, expected).map(Some)
    }

    fn flush_line(&mut self, address: u64) -> Result<Option<()>, MemoryFault> {
        self.check(address, 1, Access::Read)?;
        self.note(Kind::FlushLine, address, 1);
        Ok(Some(()))
    }

    fn time_stamp(&mut self) -> Option<u64> {
        Some(mix(self.seed))
    }

    fn time_stamp_aux(&mut self) -> Option<u32> {
        Some(mix(self.seed) as u32)
    }

    fn random(&mut self) -> Option<Option<u64>> {
        match self.seed >> 13 & 3 {
            0 => None,
            1 => Some(None),
            _ => Some(Some(self.seed)),
        }
    }
}
