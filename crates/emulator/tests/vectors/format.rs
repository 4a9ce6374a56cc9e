//! The file of recorded vectors, version 1.
//!
//! ```text
//! file      magic "ISAHVECT", version (1 byte), name of the CPU (text), MXCSR_MASK (4 bytes),
//!           width of the vector registers in bytes (1 byte), number of codes, the codes,
//!           CRC-32 (ISO HDLC) of all before it (4 bytes)
//! code      the decoder's name of it (text), number of cases, the cases
//! case      number of the expansion, instruction (length, bytes), changes of the expansion,
//!           end, changes of the state
//! changes   number of runs, the runs
//! run       6 * (length - 1) + 2 * kind + apart; if it is apart (1) from the last run or the start
//!           of the image, the number of bytes between them; the bytes if kind is 0, while kind 1
//!           is all zeros and kind 2 all ones
//! end       0 completed
//!           1 SIGSEGV at an address: the address minus that of the data, zigzag
//!           2 SIGSEGV without an address: general protection
//!           3 SIGFPE
//! text      length, ASCII
//! ```
//! Numbers are unsigned LEB128, those with a size little-endian. A code without cases was compared
//! on the CPU too, but needs or has no recording.
//!
//! The case begins with the image that `expansion.rs` makes of the code's name and the number,
//! with the first changes made. The instruction has then changed it by the second; if it has
//! completed, what RIP is compared with is the next instruction's address. Nothing else has
//! changed.

use crate::image::{self, Image, Run};
use emulator::Width;
use std::fmt;

const MAGIC: &[u8; 8] = b"ISAHVECT";
const VERSION: u8 = 1;

/// What a CPU did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recording {
    /// Vendor, family and model.
    pub cpu: String,
    /// Bits of MXCSR that the CPU has.
    pub mxcsr_mask: u32,
    /// Vector registers that the CPU has.
    pub width: Width,
    pub codes: Vec<Recorded>,
}

/// The cases of one code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The decoder's name.
    pub name: String,
    pub cases: Vec<Vector>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vector {
    pub number: u32,
    pub instruction: Vec<u8>,
    pub input: Vec<Run>,
    pub end: End,
    pub output: Vec<Run>,
}

impl Vector {
    /// Bytes that the case takes in a file.
    pub(crate) fn size(&self) -> usize {
        let mut out = Vec::new();
        put_case(&mut out, self);
        out.len()
    }
}

/// How an instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    /// SIGSEGV for an access to this address.
    Memory {
        address: u64,
    },
    /// SIGSEGV for a #GP.
    Protection,
    /// SIGFPE.
    FloatingPoint,
}

/// Why a file is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    NoVectors,
    Version(u8),
    Truncated,
    Checksum { stored: u32, computed: u32 },
    Garbled { at: usize, what: &'static str },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVectors => write!(f, "not a file of recorded vectors"),
            Self::Version(version) => {
                write!(
                    f,
                    "version {version} of the format; this test reads {VERSION}"
                )
            }
            Self::Truncated => write!(f, "the file ends too early"),
            Self::Checksum { stored, computed } => write!(
                f,
                "the checksum is {computed:#010x}, not {stored:#010x}: truncated or garbled"
            ),
            Self::Garbled { at, what } => write!(f, "at byte {at:#x}: {what}"),
        }
    }
}

impl Recording {
    /// As a file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        put_text(&mut out, &self.cpu);
        out.extend(self.mxcsr_mask.to_le_bytes());
        out.push(match self.width {
            Width::Xmm => 16,
            Width::Ymm => 32,
            Width::Zmm => 64,
        });
        put_number(&mut out, self.codes.len() as u64);
        for code in &self.codes {
            put_text(&mut out, &code.name);
            put_number(&mut out, code.cases.len() as u64);
            for case in &code.cases {
                put_case(&mut out, case);
            }
        }
        let checksum = crc32(&out);
        out.extend(checksum.to_le_bytes());
        out
    }

    /// From a file.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes, at: 0 };
        match reader.take(MAGIC.len()) {
            Err(_) if MAGIC.starts_with(bytes) => return Err(Malformed::Truncated),
            Ok(magic) if magic == MAGIC => {}
            _ => return Err(Malformed::NoVectors),
        }
        let version = reader.byte()?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let (body, stored) = bytes
            .split_last_chunk()
            .filter(|(body, _)| body.len() >= reader.at)
            .ok_or(Malformed::Truncated)?;
        let (stored, computed) = (u32::from_le_bytes(*stored), crc32(body));
        if stored != computed {
            return Err(Malformed::Checksum { stored, computed });
        }
        reader.bytes = body;
        let cpu = reader.text()?;
        let mxcsr_mask = u32::from_le_bytes(reader.array()?);
        let width = match reader.byte()? {
            16 => Width::Xmm,
            32 => Width::Ymm,
            64 => Width::Zmm,
            _ => return Err(reader.garbled("no width of registers")),
        };
        let mut codes = Vec::new();
        for _ in 0..reader.number()? {
            let name = reader.text()?;
            let count = reader.number()?;
            let cases = (0..count)
                .map(|_| reader.case())
                .collect::<Result<_, _>>()?;
            codes.push(Recorded { name, cases });
        }
        if reader.at != body.len() {
            return Err(reader.garbled("more bytes than the codes have"));
        }
        Ok(Self {
            cpu,
            mxcsr_mask,
            width,
            codes,
        })
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend(text.bytes());
}

fn put_runs(out: &mut Vec<u8>, runs: &[Run]) {
    put_number(out, runs.len() as u64);
    let mut end = 0;
    for run in runs {
        let gap = (run.at - end) as u64;
        end = run.at + run.bytes.len();
        let all = |byte| run.bytes.iter().all(|&b| b == byte);
        let kind = if all(0) {
            1
        } else if all(0xff) {
            2
        } else {
            0
        };
        let length = run.bytes.len() as u64;
        put_number(out, 6 * (length - 1) + 2 * kind + u64::from(gap > 0));
        if gap > 0 {
            put_number(out, gap);
        }
        if kind == 0 {
            out.extend(&run.bytes);
        }
    }
}

fn put_case(out: &mut Vec<u8>, case: &Vector) {
    put_number(out, case.number.into());
    put_number(out, case.instruction.len() as u64);
    out.extend(&case.instruction);
    put_runs(out, &case.input);
    match case.end {
        End::Completed => out.push(0),
        End::Memory { address } => {
            out.push(1);
            let offset = address.wrapping_sub(image::DATA_ADDRESS) as i64;
            put_number(out, ((offset << 1) ^ (offset >> 63)) as u64);
        }
        End::Protection => out.push(2),
        End::FloatingPoint => out.push(3),
    }
    put_runs(out, &case.output);
}

/// A place in the file.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn garbled(&self, what: &'static str) -> Malformed {
        Malformed::Garbled { at: self.at, what }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.at..).ok_or(Malformed::Truncated)?;
        let taken = rest.get(..length).ok_or(Malformed::Truncated)?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Malformed::Truncated)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.garbled("a number of more than 64 bits"))
    }

    fn length(&mut self, limit: usize) -> Result<usize, Malformed> {
        match usize::try_from(self.number()?) {
            Ok(length) if length <= limit => Ok(length),
            _ => Err(self.garbled("a length that nothing has")),
        }
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.length(255)?;
        let text = str::from_utf8(self.take(length)?).map(str::to_owned);
        text.map_err(|_| self.garbled("text that is none"))
    }

    fn runs(&mut self) -> Result<Vec<Run>, Malformed> {
        let mut end = 0;
        let mut runs = Vec::new();
        for _ in 0..self.length(Image::SIZE)? {
            let head = self.length(6 * Image::SIZE)?;
            let length = head / 6 + 1;
            let gap = match head % 2 {
                0 => 0,
                _ => self.length(Image::SIZE)?,
            };
            let at = end + gap;
            if at + length > Image::SIZE {
                return Err(self.garbled("a change behind the end"));
            }
            let bytes = match head % 6 / 2 {
                0 => self.take(length)?.to_vec(),
                1 => vec![0; length],
                _ => vec![0xff; length],
            };
            runs.push(Run { at, bytes });
            end = at + length;
        }
        Ok(runs)
    }

    fn case(&mut self) -> Result<Vector, Malformed> {
        let number = self.number()?;
        let number = u32::try_from(number).map_err(|_| self.garbled("no number"))?;
        let length = self.length(15)?;
        let instruction = self.take(length)?.to_vec();
        let input = self.runs()?;
        let end = match self.byte()? {
            0 => End::Completed,
            1 => {
                let zigzag = self.number()?;
                let offset = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
                End::Memory {
                    address: image::DATA_ADDRESS.wrapping_add(offset),
                }
            }
            2 => End::Protection,
            3 => End::FloatingPoint,
            _ => return Err(self.garbled("no end of an instruction")),
        };
        let output = self.runs()?;
        Ok(Vector {
            number,
            instruction,
            input,
            end,
            output,
        })
    }
}

/// CRC-32 as in Ethernet and zip: polynomial 0x04C11DB7, reflected, inverted.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0u32; 256];
    for (entry, byte) in table.iter_mut().zip(0u32..) {
        *entry = (0..8).fold(byte, |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        });
    }
    !bytes.iter().fold(!0, |crc, &byte| {
        crc >> 8 ^ table[(crc as u8 ^ byte) as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
