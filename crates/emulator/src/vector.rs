//! A vector register and the lanes in it.

/// One vector register: 64 bytes, little endian; XMM is bytes 0–15, YMM 0–31.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Vector(pub [u8; 64]);

impl Default for Vector {
    fn default() -> Self {
        Self::ZERO
    }
}

impl core::fmt::Debug for Vector {
    /// Prints the register as one number, as the manuals draw it: highest byte first.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("0x")?;
        let top = self.0.iter().rposition(|&b| b != 0).unwrap_or(0);
        self.0
            .iter()
            .take(top.wrapping_add(1))
            .rev()
            .try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl Vector {
    /// All bits clear, the initial state of the register.
    pub const ZERO: Self = Self([0; 64]);

    /// Lane `i` read as a `T`; zero beyond the register.
    #[must_use]
    #[inline]
    pub fn lane<T: Lane>(&self, i: usize) -> T {
        T::load(self, i)
    }

    /// Overwrites lane `i`; does nothing beyond the register.
    #[inline]
    pub fn set_lane<T: Lane>(&mut self, i: usize, value: T) {
        value.store(self, i);
    }

    /// A register with `value` in lane 0 and zeros elsewhere.
    #[must_use]
    #[inline]
    pub fn from_lane<T: Lane>(value: T) -> Self {
        let mut vector = Self::ZERO;
        vector.set_lane(0, value);
        vector
    }

    /// This register with everything from byte `bytes` up cleared.
    #[must_use]
    #[inline]
    pub fn truncated(self, bytes: usize) -> Self {
        // The common lengths as constants: a copy of whole registers each.
        match bytes {
            64.. => self,
            32 => self.low::<32>(),
            16 => self.low::<16>(),
            _ => {
                let mut vector = self;
                vector.0.iter_mut().skip(bytes).for_each(|b| *b = 0);
                vector
            }
        }
    }

    #[inline]
    fn low<const BYTES: usize>(&self) -> Self {
        let mut vector = Self::ZERO;
        vector.copy_low::<BYTES>(self);
        vector
    }

    /// Takes over the lowest `BYTES` bytes of `from`.
    #[inline]
    pub(crate) fn copy_low<const BYTES: usize>(&mut self, from: &Self) {
        if let (Some(to), Some(from)) = (
            self.0.first_chunk_mut::<BYTES>(),
            from.0.first_chunk::<BYTES>(),
        ) {
            *to = *from;
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// An integer that a vector register can be divided into.
pub trait Lane: Copy + sealed::Sealed {
    /// Size in bytes.
    const BYTES: usize;
    /// Lane `i` of `vector`; zero beyond the register.
    fn load(vector: &Vector, i: usize) -> Self;
    /// Overwrites lane `i` of `vector`; does nothing beyond the register.
    fn store(self, vector: &mut Vector, i: usize);
}

macro_rules! lane {
    ($($t:ty)*) => { $(
        impl sealed::Sealed for $t {}
        impl Lane for $t {
            const BYTES: usize = size_of::<$t>();
            #[inline]
            fn load(vector: &Vector, i: usize) -> Self {
                match vector.0.as_chunks().0.get(i) {
                    Some(bytes) => <$t>::from_le_bytes(*bytes),
                    None => 0,
                }
            }
            #[inline]
            fn store(self, vector: &mut Vector, i: usize) {
                if let Some(bytes) = vector.0.as_chunks_mut().0.get_mut(i) {
                    *bytes = self.to_le_bytes();
                }
            }
        }
    )* };
}
lane!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128);

/// The vector of `bytes` bytes whose lane `i` is `f(i)`; the rest is zero.
#[inline]
pub(crate) fn build<T: Lane>(bytes: usize, mut f: impl FnMut(usize) -> T) -> Vector {
    let mut result = Vector::ZERO;
    let mut fill = |bytes: usize| {
        for i in 0..bytes / T::BYTES {
            result.set_lane(i, f(i));
        }
    };
    // The common lengths as constants, so that the compiler can make vector instructions of the
    // loop over lanes.
    match bytes {
        32 => fill(32),
        16 => fill(16),
        _ => fill(bytes),
    }
    result
}

/// Applies `f` to each lane of `a`.
#[inline]
pub(crate) fn map<T: Lane, R: Lane>(bytes: usize, a: &Vector, mut f: impl FnMut(T) -> R) -> Vector {
    build(bytes, |i| f(a.lane(i)))
}

/// Applies `f` to each pair of lanes of `a` and `b`.
#[inline]
pub(crate) fn zip<T: Lane, U: Lane, R: Lane>(
    bytes: usize,
    a: &Vector,
    b: &Vector,
    mut f: impl FnMut(T, U) -> R,
) -> Vector {
    build(bytes, |i| f(a.lane(i), b.lane(i)))
}
