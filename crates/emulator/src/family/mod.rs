//! The instructions, a module for each family, a row for each mnemonic.
//!
//! A row names the legacy and the VEX mnemonic of one operation and says what it computes.

mod aes;
mod bfloat;
mod bits;
mod blend;
mod compare;
mod control;
mod extract_bits;
mod flags;
mod float_arithmetic;
mod float_compare;
mod float_convert;
mod float_round;
mod fused;
mod galois;
mod gather;
pub(crate) mod general;
mod insert_extract;
mod integer;
mod logic;
mod machine;
mod masked;
mod moves;
mod multiply;
mod neural;
mod pack;
mod permute;
mod sha;
mod sha512;
mod shift;
mod shuffle;
mod sm;
mod string;
mod three_d_now;
mod x87;
mod xop;

use crate::operation::Row;

/// The rows of every family.
pub(crate) const ALL: &[&[Row]] = &[
    aes::ROWS,
    bfloat::ROWS,
    bits::ROWS,
    blend::ROWS,
    compare::ROWS,
    control::ROWS,
    extract_bits::ROWS,
    float_arithmetic::ROWS,
    float_compare::ROWS,
    float_convert::ROWS,
    float_round::ROWS,
    fused::ROWS,
    galois::ROWS,
    gather::ROWS,
    general::arithmetic::ROWS,
    general::atomics::ROWS,
    general::bits::ROWS,
    general::branches::ROWS,
    general::conditions::ROWS,
    general::control::ROWS,
    general::logic::ROWS,
    general::moves::ROWS,
    general::multiply::ROWS,
    general::shifts::ROWS,
    general::stack::ROWS,
    insert_extract::ROWS,
    integer::ROWS,
    logic::ROWS,
    machine::ROWS,
    masked::ROWS,
    moves::ROWS,
    multiply::ROWS,
    neural::ROWS,
    pack::ROWS,
    permute::ROWS,
    sha::ROWS,
    sha512::ROWS,
    shift::ROWS,
    shuffle::ROWS,
    sm::ROWS,
    string::ROWS,
    three_d_now::ROWS,
    x87::ROWS,
    xop::ROWS,
];
