//! A dot product that is computed on the best path the machine has at the
//! moment, while the library's own thread follows the machine.
//!
//! Prints a line for each event and, ten times a second, a line of counters.
//! Ends after the number of rounds given as its argument, or never; the exit
//! status is 1 if any result was wrong.

use std::arch::x86_64::{
    __m256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use isahotplug::{Answer, FeatureSet, Options, Registering, Slot, Variant, counters, features};

/// Terms of one dot product: eight chains of eight.
const TERMS: usize = 64;
const LANES: usize = 8;

type Terms = [f32; TERMS];
type Sums = [f32; LANES];

fn dot_any(x: &Terms, y: &Terms) -> Sums {
    let mut sums = [0.0; LANES];
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        // The products are exact, so this rounds once, like a fused one.
        sums[i % LANES] += x * y;
    }
    sums
}

fn dot_avx2(x: &Terms, y: &Terms) -> Sums {
    // SAFETY: the slot calls this only while AVX2 and FMA are available, and
    // after a loss that nobody announced the library finishes what runs.
    unsafe { dot_avx2_inner(x, y) }
}

/// # Safety
/// AVX2 and FMA must be there, or the library's #UD handler.
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_avx2_inner(x: &Terms, y: &Terms) -> Sums {
    let mut sums: __m256 = _mm256_setzero_ps();
    for (x, y) in x
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(y.as_chunks::<LANES>().0)
    {
        // SAFETY: both point to eight floats.
        unsafe {
            sums = _mm256_fmadd_ps(
                _mm256_loadu_ps(x.as_ptr()),
                _mm256_loadu_ps(y.as_ptr()),
                sums,
            );
        }
    }
    let mut out = [0.0; LANES];
    // SAFETY: it points to eight floats.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sums) };
    out
}

type Dot = fn(&Terms, &Terms) -> Sums;

static DOT: Slot<Dot> = Slot::new(&[
    Variant {
        function: dot_avx2,
        features: features![Avx2, Fma],
    },
    Variant {
        function: dot_any,
        features: FeatureSet::EMPTY,
    },
]);

fn path() -> &'static str {
    ["avx2", "any"][DOT.index()]
}

/// Numbers of twelve significant bits, so that products are exact.
fn fill(state: &mut u64, terms: &mut Terms) {
    for term in terms {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let bits = u16::try_from(*state & 0x0fff).unwrap_or_default();
        *term = (f32::from(bits) - 2048.0) / 64.0;
    }
}

fn main() -> Result<ExitCode, isahotplug::Error> {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(u64::MAX);
    isahotplug::init(Options {
        name: "rust-demo".into(),
        ..Options::default()
    })?;
    DOT.start()?;
    let _registration =
        isahotplug::register(features![Avx2, Fma], Registering::default(), |event| {
            println!(
                "event cause={} generation={} path={}",
                event.cause.name(),
                event.generation,
                path()
            );
            Answer::Left
        })?;

    let (mut x, mut y, mut random) = ([0.0; TERMS], [0.0; TERMS], 0x9e37_79b9_7f4a_7c15);
    let (mut wrong, mut wide) = (0u64, 0u64);
    let mut next_line = Instant::now();
    for round in 1..=rounds {
        fill(&mut random, &mut x);
        fill(&mut random, &mut y);
        wide += u64::from(DOT.index() == 0);
        let found = DOT.get()(&x, &y);
        wrong += u64::from(found != dot_any(&x, &y));
        if Instant::now() >= next_line || round == rounds {
            next_line = Instant::now() + Duration::from_millis(100);
            let emulated = counters().emulated;
            println!(
                "tick path={} rounds={round} wide={wide} wrong={wrong} emulated={emulated}",
                path()
            );
        }
    }
    Ok(if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
