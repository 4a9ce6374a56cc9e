//! The instructions, a module for each family, a row for each mnemonic.
//!
//! A row names the legacy and the VEX mnemonic of one operation and says what it computes.

mod aes;
mod bits;
mod blend;
mod compare;
mod control;
mod float_arithmetic;
mod float_compare;
mod float_convert;
mod float_round;
mod fused;
mod galois;
mod gather;
mod insert_extract;
mod integer;
mod logic;
mod masked;
mod moves;
mod multiply;
mod neural;
mod pack;
mod permute;
mod sha;
mod shift;
mod shuffle;
mod string;

use crate::operation::Row;

/// The rows of every family.
pub(crate) const ALL: &[&[Row]] = &[
    aes::ROWS,
    bits::ROWS,
    blend::ROWS,
    compare::ROWS,
    control::ROWS,
    float_arithmetic::ROWS,
    float_compare::ROWS,
    float_convert::ROWS,
    float_round::ROWS,
    fused::ROWS,
    galois::ROWS,
    gather::ROWS,
    insert_extract::ROWS,
    integer::ROWS,
    logic::ROWS,
    masked::ROWS,
    moves::ROWS,
    multiply::ROWS,
    neural::ROWS,
    pack::ROWS,
    permute::ROWS,
    sha::ROWS,
    shift::ROWS,
    shuffle::ROWS,
    string::ROWS,
];
