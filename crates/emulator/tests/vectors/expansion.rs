//! From a name and a number to registers and memory.
//!
//! Frozen: recorded vectors are nothing without exactly these values. Whoever wants others makes a
//! new version of the format, see `format.rs`.

use crate::image::{CODE_ADDRESS, DATA};
use emulator::{State, Vector, X87, flag};

/// SplitMix64.
struct Random(u64);

/// The registers of case `number` of the code called `name`.
pub(crate) fn registers(name: &str, number: u32, mxcsr_mask: u32) -> State {
    let mut random = Random::new(name, number.into());
    let mut state = State {
        rip: CODE_ADDRESS,
        rflags: 0x202 | random.next() & flag::STATUS,
        mxcsr: random.mxcsr() & mxcsr_mask,
        mxcsr_mask,
        ..State::default()
    };
    state.gpr = std::array::from_fn(|_| random.integer(64));
    state.x87 = random.x87();
    state.vector = std::array::from_fn(|_| Vector(random.vector()));
    // Equal registers are too rare otherwise.
    if random.below(4) == 0 {
        let from = state.vector[random.below(16) as usize];
        for v in &mut state.vector {
            if random.below(3) == 0 {
                *v = from;
            }
        }
    }
    state
}

/// The data pages of all cases of the code called `name`.
pub(crate) fn data(name: &str) -> Vec<u8> {
    let mut random = Random::new(name, u64::MAX);
    (0..DATA / 64).flat_map(|_| random.vector()).collect()
}

impl Random {
    fn new(name: &str, number: u64) -> Self {
        // FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let mut random = Self(hash ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick(&mut self, from: &[u64]) -> u64 {
        from[self.below(from.len() as u64) as usize]
    }

    /// An integer of `bits`: near zero, near a power of two, few ones, few zeros, or anything.
    fn integer(&mut self, bits: u32) -> u64 {
        let value = match self.below(6) {
            0 => self.below(80),
            1 => self.below(80).wrapping_neg(),
            2 => (1u64 << self.below(bits.into()))
                .wrapping_add(self.below(3))
                .wrapping_sub(1),
            3 => self.next() & self.next() & self.next(),
            4 => self.next() | self.next() | self.next(),
            _ => self.next(),
        };
        value & u64::MAX >> (64 - bits)
    }

    /// A binary floating-point number of `bits` with a fraction of `fraction` bits.
    fn float(&mut self, bits: u32, fraction: u32) -> u64 {
        let special = (1u64 << (bits - 1 - fraction)) - 1;
        let bias = special >> 1;
        let length = u64::from(fraction);
        if self.below(6) == 0 {
            // The limits of integers, and their neighbours.
            let exponent = bias + self.pick(&[7, 15, 31, 31, 63, 63]) - self.below(3) / 2;
            let part = self.pick(&[0, 0, 0, 1, (1 << fraction) - 1]);
            let sign = self.next() >> 63;
            return sign << (bits - 1) | (exponent & special) << fraction | part;
        }
        let exponent = match self.below(12) {
            0..2 => 0,
            2 => special,
            3 => self.pick(&[1, 2, special - 1]),
            4..7 => bias,
            7 => bias + self.below(4) - 2,
            // Where integers end, and where the places after the point do.
            8 => bias + self.pick(&[7, 14, 15, 30, 31, 62, 63, length - 1, length, length + 1]),
            // Where squares, and products with the smallest numbers, become tiny or too large.
            9 => self.pick(&[
                bias / 2,
                bias / 2 + 1,
                bias + bias / 2,
                length,
                bias - length - 1,
            ]),
            10 => bias + self.below(24) - 12,
            _ => self.next(),
        };
        let all = (1u64 << fraction) - 1;
        let part = match self.below(9) {
            0..3 => 0,
            3 => 1,
            4 => all,
            5 => 1 << (fraction - 1),
            6 => (1 << (fraction - 1)) - 1,
            // Few significant bits: ties and exact results.
            7 => self.next() & all & !(all >> 4),
            _ => self.next() & all,
        };
        let sign = self.next() >> 63;
        sign << (bits - 1) | (exponent & special) << fraction | part
    }

    /// A number whose products with its like lie around the smallest normal number, where it
    /// matters that a result is called tiny after it has been rounded.
    fn tiny(&mut self, bits: u32, fraction: u32) -> u64 {
        let bias = (1u64 << (bits - 2 - fraction)) - 1;
        let all = (1u64 << fraction) - 1;
        let exponent = self.pick(&[0, 1, bias - 1, bias]);
        exponent << fraction | self.pick(&[0, 1, all, all - 1, 1 << (fraction - 1)])
    }

    /// A letter of a short string, or its end.
    fn letter(&mut self) -> u64 {
        self.pick(&[1, 1, 1, 1, 2, 2, 2, 3, 3, 0xff, 0xfe, 0])
    }

    /// Sixty-four bytes of one kind of lane.
    fn vector(&mut self) -> [u8; 64] {
        let mut vector = [0; 64];
        let kind = self.below(16);
        let size = [4, 4, 4, 4, 8, 8, 8, 8, 2, 1, 1, 2, 2, 4, 8, 8][kind as usize];
        for lane in vector.chunks_exact_mut(size) {
            let value = match kind {
                0..3 => self.float(32, 23),
                3 => self.tiny(32, 23),
                4..7 => self.float(64, 52),
                7 => self.tiny(64, 52),
                8 => self.float(16, 10),
                9 | 11 => self.letter(),
                10 => match self.below(2) {
                    0 => self.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x61, 0x62]),
                    _ => self.next(),
                },
                15 => self.next(),
                _ => self.integer(8 * size as u32),
            };
            lane.copy_from_slice(&value.to_le_bytes()[..size]);
        }
        vector
    }

    /// Mostly everything masked; any rounding, DAZ, FTZ, sticky flags, and AMD's MM.
    fn mxcsr(&mut self) -> u32 {
        let masks = match self.below(10) {
            0..7 => 0x3f,
            7 => 0x3f & !(1 << self.below(6)),
            8 => self.next() & 0x3f,
            _ => 0,
        };
        let mut mxcsr = masks << 7 | self.below(4) << 13;
        for (bits, one_in) in [(1 << 6, 4), (1 << 15, 4), (1 << 17, 10), (0x3f, 4)] {
            if self.below(one_in) == 0 {
                mxcsr |= self.next() & bits;
            }
        }
        mxcsr as u32
    }

    /// Any x87 registers, with no exception pending.
    fn x87(&mut self) -> X87 {
        let mut x87 = X87 {
            present: true,
            tags: self.next() as u8,
            // Condition codes, TOP and sticky flags; all exceptions are masked.
            status: self.next() as u16 & 0x7f7f,
            ..X87::INITIAL
        };
        let lanes = self.vector();
        for (significand, lane) in x87.significand.iter_mut().zip(lanes.as_chunks().0) {
            *significand = u64::from_le_bytes(*lane);
        }
        for (exponent, significand) in x87.exponent.iter_mut().zip(&mut x87.significand) {
            let sign = self.next() & 0x8000;
            *exponent = (sign
                | match self.below(8) {
                    0 => 0,
                    1 => self.next() & 0x7fff,
                    // Numbers around the size of an integer.
                    2..7 => {
                        *significand |= 1 << 63;
                        if self.below(2) == 0 {
                            *significand &= !0 << self.below(64);
                        }
                        0x3ffc + self.below(70)
                    }
                    // The smallest integer of 16, 32 or 64 bits, or the negative of it.
                    _ => {
                        *significand = 1 << 63;
                        0x3fff + self.pick(&[15, 31, 63])
                    }
                }) as u16;
        }
        if self.below(6) == 0 {
            x87.control ^= self.next() as u16 & 0x3f;
            x87.status &= !0x3f;
        }
        x87
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    #[test]
    fn the_expansion_is_frozen() {
        let digest = |number| {
            let state = registers("VEX_Vaddps_ymm_ymm_ymmm256", number, 0xffff);
            let image = Image::new(&state, &data("Addps_xmm_xmmm128"));
            image.0.iter().fold(0u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            })
        };
        assert_eq!(
            [0, 1, 77].map(digest),
            [
                0xcc25_19a9_fa55_43d5,
                0x8a3f_655a_edd3_7345,
                0x460c_e6fe_14f9_d802
            ]
        );
    }
}
