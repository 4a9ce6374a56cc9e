//! Byte strings as lists of numbers.

/// The bytes as unsigned numbers of `size` bytes.
pub(crate) fn unsigned(bytes: &[u8], size: usize) -> Vec<i128> {
    bytes
        .chunks_exact(size)
        .map(|lane| {
            lane.iter()
                .rev()
                .fold(0, |number, &byte| number * 256 + i128::from(byte))
        })
        .collect()
}

/// The bytes as two's complement numbers of `size` bytes.
pub(crate) fn signed(bytes: &[u8], size: usize) -> Vec<i128> {
    let limit = 1i128 << (8 * size - 1);
    unsigned(bytes, size)
        .into_iter()
        .map(|x| if x >= limit { x - 2 * limit } else { x })
        .collect()
}

/// The numbers, modulo what fits, as bytes.
pub(crate) fn bytes(numbers: &[i128], size: usize) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes().into_iter().take(size))
        .collect()
}

/// The nearest number that `size` bytes can hold.
pub(crate) fn saturated(number: i128, size: usize) -> i128 {
    let limit = 1i128 << (8 * size - 1);
    number.max(-limit).min(limit - 1)
}
