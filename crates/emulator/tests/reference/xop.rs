//! XOP, by the descriptions in the AMD64 Architecture Programmer's Manual.

use crate::lanes::{bytes, saturated, signed, unsigned};
use crate::{Input, Output};

pub(crate) fn reference(input: &Input) -> Output {
    let name = format!("{:?}", input.mnemonic).to_lowercase();
    let ops = &input.operands;
    if let Some(kind) = name.strip_prefix("vpcom") {
        return compare(kind, &ops[1], &ops[2], input.immediate).into();
    }
    if let Some(kind) = name.strip_prefix("vphadd") {
        return horizontal(kind, &ops[1], false).into();
    }
    if let Some(kind) = name.strip_prefix("vphsub") {
        return horizontal(kind, &ops[1], true).into();
    }
    if let Some(kind) = name.strip_prefix("vpmacs") {
        return multiply_add(kind, &ops[1], &ops[2], &ops[3]).into();
    }
    if let Some(kind) = name.strip_prefix("vpmadcs") {
        return multiply_add_pairs(kind, &ops[1], &ops[2], &ops[3]).into();
    }
    if let Some(kind) = name.strip_prefix("vfrcz") {
        return fraction(kind, &ops[1], input.mxcsr);
    }
    for prefix in ["vprot", "vpsha", "vpshl"] {
        if let Some(kind) = name.strip_prefix(prefix) {
            let size = size_of_letter(kind);
            // The count of each element is the low byte of that of the second source.
            let counts: Vec<i128> = match ops.get(2) {
                Some(counts) => counts
                    .chunks(size)
                    .map(|c| i128::from(c[0] as i8))
                    .collect(),
                None => vec![i128::from(input.immediate as u8 as i8); 16 / size],
            };
            return moved(prefix, size, &ops[1], &counts).into();
        }
    }
    match &name[..] {
        "vpcmov" => select(&ops[1], &ops[2], &ops[3]),
        "vpperm" => permute_bytes(&ops[1], &ops[2], &ops[3]),
        "vpermil2ps" => permute_two(4, &ops[1], &ops[2], &ops[3], input.immediate),
        "vpermil2pd" => permute_two(8, &ops[1], &ops[2], &ops[3], input.immediate),
        _ => panic!("{name} is not of XOP"),
    }
    .into()
}

/// [`signed`] or [`unsigned`].
type Numbers = fn(&[u8], usize) -> Vec<i128>;

fn size_of_letter(letter: &str) -> usize {
    match letter {
        "b" => 1,
        "w" => 2,
        "d" => 4,
        _ => 8,
    }
}

fn compare(kind: &str, a: &[u8], b: &[u8], immediate: u32) -> Vec<u8> {
    let (size, numbers): (_, Numbers) = match kind.strip_prefix('u') {
        Some(letter) => (size_of_letter(letter), unsigned),
        None => (size_of_letter(kind), signed),
    };
    let result: Vec<i128> = numbers(a, size)
        .into_iter()
        .zip(numbers(b, size))
        .map(|(a, b)| {
            let difference = (a - b).signum();
            let holds = match immediate % 8 {
                0 => difference == -1,
                1 => difference != 1,
                2 => difference == 1,
                3 => difference != -1,
                4 => difference == 0,
                5 => difference != 0,
                6 => false,
                _ => true,
            };
            if holds { -1 } else { 0 }
        })
        .collect();
    bytes(&result, size)
}

/// The name ends in the size of the source and of the destination, after a U for unsigned.
fn horizontal(kind: &str, a: &[u8], subtract: bool) -> Vec<u8> {
    let (letters, numbers): (_, Numbers) = match kind.strip_prefix('u') {
        Some(letters) => (letters, unsigned),
        None => (kind, signed),
    };
    let (from, to) = (size_of_letter(&letters[..1]), size_of_letter(&letters[1..]));
    let result: Vec<i128> = numbers(a, from)
        .chunks(to / from)
        .map(|lanes| {
            if subtract {
                lanes[0] - lanes[1]
            } else {
                lanes.iter().sum()
            }
        })
        .collect();
    bytes(&result, to)
}

/// After an S for saturation: size of the factors, size of the sums, and H or L if only the odd
/// or even ones count. Of words with doubleword sums the odd ones count.
fn multiply_add(kind: &str, a: &[u8], b: &[u8], c: &[u8]) -> Vec<u8> {
    let (saturate, kind) = match kind.strip_prefix('s') {
        Some(kind) => (true, kind),
        None => (false, kind),
    };
    let (factor, sum, odd) = match kind {
        "ww" => (2, 2, false),
        "wd" => (2, 4, true),
        "dd" => (4, 4, false),
        "dql" => (4, 8, false),
        "dqh" => (4, 8, true),
        _ => panic!("unknown kind {kind}"),
    };
    let products: Vec<i128> = signed(a, factor)
        .iter()
        .zip(signed(b, factor))
        .map(|(a, b)| a * b)
        .collect();
    let step = sum / factor;
    let result: Vec<i128> = signed(c, sum)
        .into_iter()
        .zip(products.chunks(step))
        .map(|(c, products)| {
            let total = products[usize::from(odd)] + c;
            if saturate {
                saturated(total, sum)
            } else {
                total
            }
        })
        .collect();
    bytes(&result, sum)
}

fn multiply_add_pairs(kind: &str, a: &[u8], b: &[u8], c: &[u8]) -> Vec<u8> {
    let (a, b) = (signed(a, 2), signed(b, 2));
    let result: Vec<i128> = signed(c, 4)
        .into_iter()
        .enumerate()
        .map(|(i, c)| {
            let total = c + a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
            if kind == "swd" {
                saturated(total, 4)
            } else {
                total
            }
        })
        .collect();
    bytes(&result, 4)
}

/// One place at a time. A count of the width or more counts modulo the width.
fn moved(kind: &str, size: usize, a: &[u8], counts: &[i128]) -> Vec<u8> {
    let width = 8 * size;
    let result: Vec<i128> = unsigned(a, size)
        .into_iter()
        .zip(counts)
        .map(|(lane, &count)| {
            let mut places: Vec<bool> = (0..width).map(|i| lane >> i & 1 == 1).collect();
            let sign = places[width - 1];
            for _ in 0..count.unsigned_abs() % width as u128 {
                if count > 0 {
                    let out = places.pop().expect("never empty");
                    places.insert(0, kind == "vprot" && out);
                } else {
                    let out = places.remove(0);
                    places.push(match kind {
                        "vprot" => out,
                        "vpsha" => sign,
                        _ => false,
                    });
                }
            }
            places
                .iter()
                .rev()
                .fold(0, |n, &bit| n * 2 + i128::from(bit))
        })
        .collect();
    bytes(&result, size)
}

fn select(a: &[u8], b: &[u8], selector: &[u8]) -> Vec<u8> {
    (0..8 * selector.len())
        .map(|i| {
            let from = if selector[i / 8] >> (i % 8) & 1 == 1 {
                a
            } else {
                b
            };
            from[i / 8] >> (i % 8) & 1
        })
        .collect::<Vec<_>>()
        .chunks(8)
        .map(|bits| bits.iter().rev().fold(0, |n, bit| n << 1 | bit))
        .collect()
}

/// The second source follows the first: bytes 0 to 31.
fn permute_bytes(a: &[u8], b: &[u8], control: &[u8]) -> Vec<u8> {
    let all = [a, b].concat();
    let mirrored = |byte: u8| {
        u8::from_str_radix(&format!("{byte:08b}").chars().rev().collect::<String>(), 2)
            .expect("binary digits")
    };
    control
        .iter()
        .map(|&control| {
            let byte = all[usize::from(control % 32)];
            match control / 32 {
                0 => byte,
                1 => 255 - byte,
                2 => mirrored(byte),
                3 => mirrored(255 - byte),
                4 => 0,
                5 => 255,
                6 if byte >= 128 => 255,
                6 => 0,
                _ if byte >= 128 => 0,
                _ => 255,
            }
        })
        .collect()
}

fn permute_two(size: usize, a: &[u8], b: &[u8], control: &[u8], immediate: u32) -> Vec<u8> {
    let count = 16 / size;
    let mut result = Vec::new();
    for block in (0..a.len()).step_by(16) {
        // The elements of one 128-bit lane of the first source, then those of the second.
        let elements: Vec<&[u8]> = a[block..block + 16]
            .chunks(size)
            .chain(b[block..block + 16].chunks(size))
            .collect();
        for selector in control[block..block + 16].chunks(size) {
            let selector = selector[0] % 16;
            let matched = selector >= 8;
            // Bit 0 of the selector of a quadword is ignored.
            let index = usize::from(selector % 8) / (4 / count);
            let zero = immediate % 4 == 2 && matched || immediate % 4 == 3 && !matched;
            result.extend(if zero {
                vec![0; size]
            } else {
                elements[index].to_vec()
            });
        }
    }
    result
}

const INVALID: u32 = 1;
const DENORMAL: u32 = 2;
const UNDERFLOW: u32 = 16;
const PRECISION: u32 = 32;

/// The fraction of a number, exact; all that matters is which numbers are special.
fn fraction(kind: &str, a: &[u8], mxcsr: u32) -> Output {
    let mut output = Output::default();
    let size = if kind.ends_with('s') { 4 } else { 8 };
    let lanes = if kind.starts_with('s') {
        1
    } else {
        a.len() / size
    };
    for lane in a.chunks(size).take(lanes) {
        let (value, sign, infinity, quiet): (f64, u64, u64, u64);
        let bits;
        if size == 4 {
            let x = f32::from_le_bytes(lane.try_into().expect("four bytes"));
            bits = u64::from(x.to_bits());
            value = f64::from(x);
            (sign, infinity, quiet) = (1 << 31, 0x7f80_0000, 1 << 22);
        } else {
            value = f64::from_le_bytes(lane.try_into().expect("eight bytes"));
            bits = value.to_bits();
            (sign, infinity, quiet) = (1 << 63, 0x7ff << 52, 1 << 51);
        }
        let magnitude = bits & !sign;
        let zero = if mxcsr >> 13 & 3 == 1 { sign } else { 0 };
        let denormal = magnitude != 0 && magnitude & infinity == 0;
        let result = if magnitude > infinity {
            if bits & quiet == 0 {
                output.raised.0 |= INVALID;
            }
            bits | quiet
        } else if magnitude == infinity {
            output.raised.0 |= INVALID;
            sign | infinity | quiet
        } else if denormal && mxcsr & 1 << 6 != 0 {
            zero
        } else if denormal {
            output.raised.0 |= DENORMAL;
            let underflow_masked = mxcsr & UNDERFLOW << 7 != 0;
            if !underflow_masked {
                output.raised.1 |= UNDERFLOW;
                bits
            } else if mxcsr & 1 << 15 != 0 {
                output.raised.1 |= UNDERFLOW | PRECISION;
                bits & sign
            } else {
                bits
            }
        } else {
            let rest = value % 1.0;
            match (rest == 0.0, size) {
                (true, _) => zero,
                (false, 4) => u64::from((rest as f32).to_bits()),
                (false, _) => rest.to_bits(),
            }
        };
        output.destination.extend(&result.to_le_bytes()[..size]);
    }
    output
}
