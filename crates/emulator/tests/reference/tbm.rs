//! TBM, as what the instructions are for: filling, isolating and masking the lowest zero or one.

use crate::{Input, Output};
use emulator::flag;
use iced_x86::Mnemonic;

pub(crate) fn reference(input: &Input) -> Output {
    let source = &input.operands[1];
    let bits: Vec<bool> = source
        .iter()
        .flat_map(|byte| (0..8).map(move |i| byte >> i & 1 == 1))
        .collect();
    let width = bits.len();
    // Number of ones, and of zeros, below the first bit that is otherwise.
    let ones = bits.iter().position(|&bit| !bit).unwrap_or(width);
    let zeros = bits.iter().position(|&bit| bit).unwrap_or(width);
    let each = |f: &dyn Fn(usize) -> bool| (0..width).map(f).collect::<Vec<_>>();
    let mut carry = ones == width;
    let result = match input.mnemonic {
        // Clear the trailing ones.
        Mnemonic::Blcfill => each(&|i| bits[i] && i > ones),
        // All ones but where the lowest zero is.
        Mnemonic::Blci => each(&|i| i != ones),
        // Only the lowest zero, as a one.
        Mnemonic::Blcic => each(&|i| i == ones),
        // The lowest zero and everything below it.
        Mnemonic::Blcmsk => each(&|i| i <= ones),
        // Set the lowest zero.
        Mnemonic::Blcs => each(&|i| bits[i] || i == ones),
        // The inverse of a mask of the trailing ones.
        Mnemonic::T1mskc => each(&|i| i >= ones),
        _ => {
            carry = zeros == width;
            match input.mnemonic {
                // Set everything below the lowest one.
                Mnemonic::Blsfill => each(&|i| bits[i] || i < zeros),
                // All ones but where the lowest one is.
                Mnemonic::Blsic => each(&|i| i != zeros),
                // A mask of the trailing zeros.
                Mnemonic::Tzmsk => each(&|i| i < zeros),
                Mnemonic::Bextr => {
                    carry = false;
                    let start = (input.immediate & 0xff) as usize;
                    let length = (input.immediate >> 8 & 0xff) as usize;
                    each(&|i| i < length && bits.get(start + i).copied().unwrap_or(false))
                }
                other => panic!("{other:?} is not of TBM"),
            }
        }
    };
    let destination: Vec<u8> = result
        .chunks(8)
        .map(|byte| byte.iter().rev().fold(0, |n, &bit| n << 1 | u8::from(bit)))
        .collect();
    let mut flags = 0;
    let mut defined = flag::CF | flag::ZF | flag::OF;
    if carry {
        flags |= flag::CF;
    }
    if !result.contains(&true) {
        flags |= flag::ZF;
    }
    // BEXTR leaves the sign undefined.
    if input.mnemonic != Mnemonic::Bextr {
        defined |= flag::SF;
        if result.last() == Some(&true) {
            flags |= flag::SF;
        }
    }
    Output {
        destination,
        flags: Some((flags, defined)),
        ..Output::default()
    }
}
