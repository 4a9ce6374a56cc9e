//! The state components of XCR0 (Intel SDM volume 1, chapter 13; AMD64 APM volume 2, chapter 11).

/// Bit 0: x87 registers. Always set.
pub const X87: u64 = 1 << 0;
/// Bit 1: XMM registers and MXCSR. SSE itself does not look at it, AVX does.
pub const SSE: u64 = 1 << 1;
/// Bit 2: the upper halves of the YMM registers.
pub const AVX: u64 = 1 << 2;
/// Bits 3 and 4: the bounds registers of MPX and their configuration.
pub const MPX: u64 = 3 << 3;
/// Bits 5 to 7: mask registers, upper halves of ZMM0–15, ZMM16–31.
pub const AVX512: u64 = 7 << 5;
/// Bit 9: the protection key register of user pages.
pub const PKRU: u64 = 1 << 9;
/// Bits 17 and 18: tile configuration and tile data of AMX.
pub const AMX: u64 = 3 << 17;
/// Bit 19: the sixteen additional general registers of APX.
pub const APX: u64 = 1 << 19;
/// Bit 62: AMD's light-weight profiling.
pub const LWP: u64 = 1 << 62;

// What the rows of the table need.

pub(crate) const NO_STATE: u64 = 0;
pub(crate) const YMM: u64 = SSE | AVX;
pub(crate) const ZMM: u64 = YMM | AVX512;
pub(crate) const BOUNDS: u64 = MPX;
pub(crate) const TILES: u64 = AMX;
pub(crate) const TILES_ZMM: u64 = AMX | ZMM;
pub(crate) const EGPRS: u64 = APX;
pub(crate) const LWP_STATE: u64 = LWP;
