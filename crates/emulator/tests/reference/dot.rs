//! AVX-VNNI and its extensions, and AVX-IFMA: sums of products, in numbers wide enough for all.

use crate::lanes::{bytes, saturated, signed, unsigned};
use crate::{Input, Output};

pub(crate) fn reference(input: &Input) -> Output {
    let name = format!("{:?}", input.mnemonic).to_lowercase();
    let [sum, a, b] = &input.operands[..] else {
        panic!("{name} has three operands");
    };
    if let Some(half) = name.strip_prefix("vpmadd52") {
        return multiply_52(sum, a, b, half == "huq").into();
    }
    // VPDP, B or W, the kinds of both factors, D, and S if the sum saturates.
    let letters: Vec<char> = name.chars().collect();
    let (size, count) = if letters[4] == 'b' { (1, 4) } else { (2, 2) };
    // The oldest ones are named for what they are: BUSD unsigned by signed, WSSD signed by signed.
    let is_signed = |letter| letter == 's';
    let factors = |bytes: &[u8], letter| {
        if is_signed(letter) {
            signed(bytes, size)
        } else {
            unsigned(bytes, size)
        }
    };
    let (x, y) = (factors(a, letters[5]), factors(b, letters[6]));
    let all_unsigned = !is_signed(letters[5]) && !is_signed(letters[6]);
    let sums = if all_unsigned {
        unsigned(sum, 4)
    } else {
        signed(sum, 4)
    };
    let result: Vec<i128> = sums
        .iter()
        .enumerate()
        .map(|(i, start)| {
            let mut total = *start;
            for j in 0..count {
                total += x[i * count + j] * y[i * count + j];
            }
            match (name.ends_with("ds"), all_unsigned) {
                (false, _) => total,
                (true, true) => total.min(0xffff_ffff),
                (true, false) => saturated(total, 4),
            }
        })
        .collect();
    bytes(&result, 4).into()
}

/// The accumulator plus the upper or lower half of a product of two 52-bit numbers.
fn multiply_52(sum: &[u8], a: &[u8], b: &[u8], upper: bool) -> Vec<u8> {
    const LIMIT: i128 = 1 << 52;
    let result: Vec<i128> = unsigned(sum, 8)
        .into_iter()
        .zip(unsigned(a, 8).into_iter().zip(unsigned(b, 8)))
        .map(|(sum, (a, b))| {
            let product = (a % LIMIT) * (b % LIMIT);
            sum + if upper {
                product / LIMIT
            } else {
                product % LIMIT
            }
        })
        .collect();
    bytes(&result, 8)
}
