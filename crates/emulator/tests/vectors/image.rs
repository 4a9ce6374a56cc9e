//! Registers and memory as one string of bytes, and what changes in it.
//!
//! Frozen: what lies where is part of the format of the recorded vectors.

use emulator::{State, Vector, Width};

/// Where the instruction is.
pub(crate) const CODE_ADDRESS: u64 = 0x2000_0040;

/// Where the data is; the pages before and after it cannot be accessed.
pub(crate) const DATA_ADDRESS: u64 = 0x2000_2000;

/// Size of the data: two pages.
pub(crate) const DATA: usize = 2 * 4096;

/// Base of the GS segment; that of FS is 0.
pub(crate) const GS_BASE: u64 = 0x1_2340;

/// The parts of an image: name, and where the part begins.
const PARTS: &[(&str, usize)] = &[
    ("gpr", 0),
    ("rip", RIP),
    ("rflags", 136),
    ("mxcsr", 144),
    ("x87 control", 148),
    ("x87 status", X87_STATUS),
    ("x87 tags", 152),
    ("x87 exponent", X87_EXPONENTS),
    ("x87 significand", 169),
    ("vector", VECTORS),
    ("memory", MEMORY),
];

const RIP: usize = 128;
const X87_STATUS: usize = 150;
const X87_EXPONENTS: usize = 153;
const VECTORS: usize = 233;
const MEMORY: usize = VECTORS + 32 * 64;

/// Bytes that have changed, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub at: usize,
    pub bytes: Vec<u8>,
}

/// All of what an instruction can see and change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image(pub Vec<u8>);

impl Image {
    pub(crate) const SIZE: usize = MEMORY + DATA;

    pub(crate) fn new(state: &State, data: &[u8]) -> Self {
        let mut image = Vec::with_capacity(Self::SIZE);
        image.extend(state.gpr.iter().flat_map(|r| r.to_le_bytes()));
        image.extend(state.rip.to_le_bytes());
        image.extend(state.rflags.to_le_bytes());
        image.extend(state.mxcsr.to_le_bytes());
        let x87 = &state.x87;
        image.extend(x87.control.to_le_bytes());
        image.extend(x87.status.to_le_bytes());
        image.push(x87.tags);
        image.extend(x87.exponent.iter().flat_map(|r| r.to_le_bytes()));
        image.extend(x87.significand.iter().flat_map(|r| r.to_le_bytes()));
        state.vector.iter().for_each(|v| image.extend(v.0));
        image.extend(data);
        assert_eq!(image.len(), Self::SIZE);
        Self(image)
    }

    /// The registers, those that no image holds being as they are at every start.
    pub(crate) fn state(&self, mxcsr_mask: u32, width: Width) -> State {
        let mut bytes = &self.0[..];
        let mut state = State {
            gs_base: GS_BASE,
            mxcsr_mask,
            width,
            ..State::default()
        };
        state.gpr = std::array::from_fn(|_| u64::from_le_bytes(take(&mut bytes)));
        state.rip = u64::from_le_bytes(take(&mut bytes));
        state.rflags = u64::from_le_bytes(take(&mut bytes));
        state.mxcsr = u32::from_le_bytes(take(&mut bytes));
        state.x87.present = true;
        state.x87.control = u16::from_le_bytes(take(&mut bytes));
        state.x87.status = u16::from_le_bytes(take(&mut bytes));
        [state.x87.tags] = take(&mut bytes);
        state.x87.exponent = std::array::from_fn(|_| u16::from_le_bytes(take(&mut bytes)));
        state.x87.significand = std::array::from_fn(|_| u64::from_le_bytes(take(&mut bytes)));
        state.vector = std::array::from_fn(|_| Vector(take(&mut bytes)));
        state
    }

    /// The data pages.
    pub(crate) fn data(&self) -> &[u8] {
        &self.0[MEMORY..]
    }

    /// Moves RIP.
    pub(crate) fn advance(&mut self, length: usize) {
        let place = self.0[RIP..].first_chunk_mut().expect("has eight bytes");
        *place = u64::from_le_bytes(*place)
            .wrapping_add(length as u64)
            .to_le_bytes();
    }

    pub(crate) fn apply(&mut self, runs: &[Run]) {
        for run in runs {
            self.0[run.at..run.at + run.bytes.len()].copy_from_slice(&run.bytes);
        }
    }

    /// What makes `after` of this one.
    pub(crate) fn changes(&self, after: &Self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (at, (before, &byte)) in self.0.iter().zip(&after.0).enumerate() {
            if *before == byte {
                continue;
            }
            match runs.last_mut() {
                // A second run would cost more than the one equal byte between them.
                Some(run) if at - (run.at + run.bytes.len()) <= 1 => {
                    let end = run.at + run.bytes.len();
                    run.bytes.extend(&after.0[end..=at]);
                }
                _ => runs.push(Run {
                    at,
                    bytes: vec![byte],
                }),
            }
        }
        runs.iter().flat_map(split).collect()
    }

    /// The parts in which the images differ, a line each.
    pub(crate) fn differences(before: &Self, expected: &Self, got: &Self) -> String {
        let mut text = String::new();
        let ends = PARTS.iter().skip(1).map(|part| part.1).chain([Self::SIZE]);
        for (&(name, start), end) in PARTS.iter().zip(ends) {
            let size = match name {
                "vector" => 64,
                "memory" => 16,
                "gpr" | "x87 significand" => 8,
                "x87 exponent" => 2,
                _ => end - start,
            };
            for at in (start..end).step_by(size) {
                let [b, e, g] = [before, expected, got].map(|image| &image.0[at..at + size]);
                if e == g {
                    continue;
                }
                let place = match name {
                    "memory" => format!("memory {:#x}", at - start),
                    _ if end - start > size => format!("{name} {}", (at - start) / size),
                    _ => name.to_owned(),
                };
                let hex = |bytes: &[u8]| {
                    bytes
                        .iter()
                        .rev()
                        .map(|byte| format!("{byte:02x}"))
                        .collect::<String>()
                };
                text += &format!(
                    "  {place}\n    before   {}\n    expected {}\n    emulated {}\n",
                    hex(b),
                    hex(e),
                    hex(g)
                );
            }
        }
        text
    }
}

/// Whether the run is of the x87 registers' tags or top of stack.
pub(crate) fn is_x87_stack(run: &Run) -> bool {
    (X87_STATUS..X87_EXPONENTS).contains(&run.at)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = bytes.split_first_chunk().expect("an image has them all");
    *bytes = rest;
    *taken
}

/// Cuts out what is all zeros or all ones and long enough to be cheaper alone.
fn split(run: &Run) -> Vec<Run> {
    let mut parts: Vec<Run> = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut push = |range: std::ops::Range<usize>| {
        if !range.is_empty() {
            parts.push(Run {
                at: run.at + range.start,
                bytes: run.bytes[range].to_vec(),
            });
        }
    };
    while let Some(&byte) = run.bytes.get(at) {
        let same = run.bytes[at..].iter().take_while(|&&b| b == byte).count();
        if matches!(byte, 0 | 0xff) && same > if at + same == run.bytes.len() { 2 } else { 3 } {
            push(start..at);
            push(at..at + same);
            start = at + same;
        }
        at += same;
    }
    push(start..run.bytes.len());
    parts
}
