//! How many bits are set: a slot by macro, and one of a feature whose loss does not fault, called
//! in sections.
//!
//! Prints a line of results for each line of its input, and a line for each event.

use std::io::BufRead;

use isahotplug::{Answer, Options, Registering, Urgency, features};

fn ones_any(words: &[u64]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}

// The same source, but the compiler may use the instruction here.
#[target_feature(enable = "popcnt")]
fn ones_popcnt(words: &[u64]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}

// Four at a time: each byte's two halves are looked up in a table.
#[target_feature(enable = "avx2")]
fn ones_avx2(words: &[u64]) -> u32 {
    use std::arch::x86_64::{
        _mm256_add_epi8, _mm256_and_si256, _mm256_loadu_si256, _mm256_sad_epu8, _mm256_set1_epi8,
        _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64,
        _mm256_storeu_si256,
    };
    let table = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3,
        3, 4,
    );
    let low = _mm256_set1_epi8(15);
    let (fours, rest) = words.as_chunks::<4>();
    let mut total: u64 = 0;
    for four in fours {
        // SAFETY: it points to 32 bytes.
        let all = unsafe { _mm256_loadu_si256(four.as_ptr().cast()) };
        let halves = [all, _mm256_srli_epi64::<4>(all)]
            .map(|half| _mm256_shuffle_epi8(table, _mm256_and_si256(half, low)));
        let bytes = _mm256_add_epi8(halves[0], halves[1]);
        let sums = _mm256_sad_epu8(bytes, _mm256_setzero_si256());
        let mut lanes = [0u64; 4];
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums) };
        total += lanes.iter().sum::<u64>();
    }
    u32::try_from(total).unwrap_or(u32::MAX) + ones_any(rest)
}

fn zeros_any(value: u32) -> u32 {
    value.leading_zeros()
}

#[target_feature(enable = "lzcnt")]
fn zeros_lzcnt(value: u32) -> u32 {
    value.leading_zeros()
}

isahotplug::slot! {
    /// How many bits are set.
    static ONES: fn(words: &[u64]) -> u32 = {
        "avx2" => ones_avx2,
        "popcnt" => ones_popcnt,
        _ => ones_any,
    };

    /// How many of the upper bits are not set. On a CPU without LZCNT the instruction would give
    /// another number and not fault: hence the sections.
    static ZEROS: sectioned fn(value: u32) -> u32 = {
        "lzcnt" => zeros_lzcnt,
        _ => zeros_any,
    };
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    isahotplug::init(Options::default())?;
    let how = Registering {
        urgency: Urgency::Eager,
        ..Registering::default()
    };
    let interest = features![Avx2, Popcnt, Abm];
    let _registration = isahotplug::register(interest, how, |event| {
        // The slots have been changed already.
        println!(
            "event generation={} ones={} zeros={}",
            event.generation,
            ONES.index(),
            ZEROS.index()
        );
        Answer::Left
    })?;
    let words: Vec<u64> = (1..=99)
        .map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    for line in std::io::stdin().lock().lines() {
        line?;
        let zeros = ZEROS.call(|zeros| zeros(0x400));
        println!("ones={} zeros={zeros}", ONES.get()(&words));
    }
    Ok(())
}
