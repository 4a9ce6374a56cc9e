//! A small deterministic generator, and the values worth trying.

/// SplitMix64.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

const INTERESTING_F32: &[u32] = &[
    0x0000_0000,
    0x8000_0000,
    0x0000_0001,
    0x8000_0001,
    0x007f_ffff,
    0x807f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x0080_0001,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffc0_0000,
    0x7f80_0001,
    0xff80_0001,
    0x7fbf_ffff,
    0x7fff_ffff,
    0xffd2_3456,
    0x3f80_0000,
    0xbf80_0000,
    0x3f80_0001,
    0x3f7f_ffff,
    0x4000_0000,
    0x3f00_0000,
    0xbf00_0000,
    0x3fc0_0000,
    0x4020_0000,
    0x4f00_0000,
    0xcf00_0000,
    0xcf00_0001,
    0x4eff_ffff,
    0x5f00_0000,
    0xdf00_0000,
    0x4b00_0000,
    0x4b7f_ffff,
    0x1f80_0000,
    0x2000_0000,
    0x6000_0000,
    0x3300_0000,
    0x3380_0000,
    0x477f_e000,
    0x477f_efff,
    0x477f_f000,
    0x3880_0000,
    0x387f_ffff,
    0x3300_0001,
    0x32ff_ffff,
];

const INTERESTING_F64: &[u64] = &[
    0,
    0x8000_0000_0000_0000,
    1,
    0x8000_0000_0000_0001,
    0x000f_ffff_ffff_ffff,
    0x800f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x8010_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0xfff0_0000_0000_0001,
    0x7ff7_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0x3fef_ffff_ffff_ffff,
    0x4000_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0xbfe0_0000_0000_0000,
    0x3ff8_0000_0000_0000,
    0x41df_ffff_ffc0_0000,
    0x41df_ffff_ffe0_0000,
    0x41e0_0000_0000_0000,
    0xc1e0_0000_0000_0000,
    0xc1e0_0000_0010_0000,
    0xc1e0_0000_0020_0000,
    0x43e0_0000_0000_0000,
    0xc3e0_0000_0000_0000,
    0x43df_ffff_ffff_ffff,
    0x4330_0000_0000_0000,
    0x433f_ffff_ffff_ffff,
    0x380f_ffff_e000_0000,
    0x380f_ffff_f000_0000,
    0x3810_0000_0000_0000,
    0x36a0_0000_0000_0000,
    0x3690_0000_0000_0000,
    0x3690_0000_0000_0001,
    0x47ef_ffff_e000_0000,
    0x47ef_ffff_efff_ffff,
    0x47ef_ffff_f000_0000,
    0x1ff0_0000_0000_0000,
    0x2000_0000_0000_0000,
    0x3ca0_0000_0000_0000,
];

/// Numbers whose products and quotients lie around the smallest normal number, where it matters
/// that a result is called tiny after it has been rounded.
const AROUND_TINY_F32: &[u32] = &[
    0x3f80_0001,
    0x3f7f_ffff,
    0x3f80_0000,
    0x3f00_0000,
    0x007f_ffff,
    0x0080_0000,
    0x0080_0001,
    0x0040_0000,
];

/// The same in double precision, and doubles that become tiny as singles.
const AROUND_TINY_F64: &[u64] = &[
    0x3ff0_0000_0000_0001,
    0x3fef_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x0010_0000_0000_0001,
    0x380f_ffff_ffff_ffff,
    0x380f_ffff_e800_0000,
    0x380f_ffff_f000_0001,
];

impl Random {
    fn f32(&mut self) -> u32 {
        match self.below(10) {
            0..4 => self.pick(INTERESTING_F32),
            // A few significant bits: ties and exact results are likely.
            4 => self.next() as u32 & 0xfff8_0000,
            // Exponents near each other.
            5..8 => (self.next() as u32 & 0x807f_ffff) | (120 + self.below(16) as u32) << 23,
            // Near the ends of the range.
            8 => (self.next() as u32 & 0x807f_ffff) | (self.below(26) as u32) << 23,
            _ => self.next() as u32,
        }
    }

    fn f64(&mut self) -> u64 {
        let fraction = self.next() & 0x800f_ffff_ffff_ffff;
        match self.below(10) {
            0..4 => self.pick(INTERESTING_F64),
            4 => self.next() & 0xffff_0000_0000_0000,
            5..8 => fraction | (1015 + self.below(16)) << 52,
            8 => {
                let low = self.below(56);
                // Around the range of single precision, too.
                fraction | (if self.chance(50) { low } else { 870 + low }) << 52
            }
            _ => self.next(),
        }
    }

    /// An integer: small, an edge of some width, a bit pattern, or anything.
    pub(crate) fn integer(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(80),
            1 => self.below(80).wrapping_neg(),
            2 => {
                let edge = 1u64 << self.below(64);
                edge.wrapping_add(self.below(3)).wrapping_sub(1)
            }
            3 => self.next() & self.next() & self.next(),
            4 => self.next() | self.next() | self.next(),
            _ => self.next(),
        }
    }

    /// Sixty-four bytes filled with one kind of lane.
    pub(crate) fn vector(&mut self) -> [u8; 64] {
        let mut bytes = [0; 64];
        match self.below(10) {
            0 if self.chance(40) => bytes
                .chunks_exact_mut(4)
                .for_each(|c| c.copy_from_slice(&self.pick(AROUND_TINY_F32).to_le_bytes())),
            2 if self.chance(40) => bytes
                .chunks_exact_mut(8)
                .for_each(|c| c.copy_from_slice(&self.pick(AROUND_TINY_F64).to_le_bytes())),
            0..2 => bytes
                .chunks_exact_mut(4)
                .for_each(|c| c.copy_from_slice(&self.f32().to_le_bytes())),
            2..4 => bytes
                .chunks_exact_mut(8)
                .for_each(|c| c.copy_from_slice(&self.f64().to_le_bytes())),
            4 => bytes.chunks_exact_mut(2).for_each(|c| {
                let lane = self.integer() as u16;
                let lane = if self.chance(30) {
                    self.pick(&[0x7fff, 0x8000, 0xffff, 1, 0, 0x7c00, 0x7c01, 0xfe00, 0x03ff])
                } else {
                    lane
                };
                c.copy_from_slice(&lane.to_le_bytes());
            }),
            5 => bytes.iter_mut().for_each(|c| {
                *c = if self.chance(40) {
                    self.pick(&[0, 1, 0x7f, 0x80, 0xff, b'a', b'b'])
                } else {
                    self.next() as u8
                };
            }),
            6 => bytes
                .chunks_exact_mut(4)
                .for_each(|c| c.copy_from_slice(&(self.integer() as u32).to_le_bytes())),
            7 => bytes
                .chunks_exact_mut(8)
                .for_each(|c| c.copy_from_slice(&self.integer().to_le_bytes())),
            _ => bytes
                .chunks_exact_mut(8)
                .for_each(|c| c.copy_from_slice(&self.next().to_le_bytes())),
        }
        bytes
    }

    /// An MXCSR: mostly everything masked, any rounding, DAZ, FTZ and sticky flags.
    pub(crate) fn mxcsr(&mut self) -> u32 {
        let masks = match self.below(10) {
            0..7 => 0x3f,
            7 => 0x3f & !(1 << self.below(6)),
            8 => self.next() as u32 & 0x3f,
            _ => 0,
        };
        let mut mxcsr = masks << 7 | (self.below(4) as u32) << 13;
        if self.chance(25) {
            mxcsr |= 1 << 6;
        }
        if self.chance(25) {
            mxcsr |= 1 << 15;
        }
        if self.chance(25) {
            mxcsr |= self.next() as u32 & 0x3f;
        }
        mxcsr
    }
}
