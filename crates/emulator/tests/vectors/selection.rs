//! Which of many cases to keep: those that are least alike.
//!
//! A case has features: how it addresses memory, how it rounds, what it raises, what its flags and
//! lanes look like. One after the other the case with the most features that no case before it
//! has is taken; those of the result count more than those of the operands.

use crate::cases::Case;
use crate::format::{End, Vector};
use crate::image::{DATA_ADDRESS, Image};
use iced_x86::{OpKind, Register};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A case that may be kept.
pub(crate) struct Candidate {
    pub vector: Vector,
    pub features: Vec<Feature>,
}

/// A feature: a hash of it, and how much it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Feature {
    hash: u64,
    weight: usize,
}

impl Feature {
    fn new(text: &str, weight: usize) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        Self { hash, weight }
    }
}

/// The features of a case, none twice, that has turned `before` into `after`.
pub(crate) fn features(
    case: &Case,
    vector: &Vector,
    before: &Image,
    after: &Image,
) -> Vec<Feature> {
    let instruction = &case.instruction;
    let mut features = Vec::new();
    let mut add = |feature: String| features.push(Feature::new(&feature, 1));
    let registers: Vec<Register> = (0..instruction.op_count())
        .filter(|&i| instruction.op_kind(i) == OpKind::Register)
        .map(|i| instruction.op_register(i))
        .collect();
    for (register, i) in registers.iter().zip(0..) {
        add(format!("register {i} is {:?}", register.number() / 8));
        let same = registers.iter().position(|r| r == register);
        add(format!("register {i} is the same as {same:?}"));
    }
    if let Some(target) = case.target {
        let offset = target.wrapping_sub(DATA_ADDRESS);
        add(format!("alignment {}", target.trailing_zeros().min(6)));
        add(format!("page {}", offset as i64 >> 12));
        let base = instruction.memory_base();
        add(format!("base {base:?}"));
        add(format!("index {}", instruction.memory_index_scale()));
        add(format!("segment {:?}", instruction.segment_prefix()));
        add(format!("displacement {}", instruction.memory_displ_size()));
    } else {
        add("no memory".into());
    }
    for i in 0..instruction.op_count() {
        if instruction.op_kind(i) == OpKind::Immediate8 {
            let immediate = instruction.immediate8();
            add(format!("low digit {}", immediate & 15));
            add(format!("high digit {}", immediate >> 4));
            add(format!("immediate {immediate}"));
        }
    }

    let [old, new] = [before, after].map(|image| image.state(u32::MAX, emulator::Width::Zmm));
    let raised = new.mxcsr & 0x3f;
    let fresh = raised & !old.mxcsr;
    let rounding = old.mxcsr >> 13 & 3;
    let zeros = old.mxcsr & (1 << 6 | 1 << 15);
    for run in &vector.output {
        add(format!("changes {:?}", run.at.checked_ilog2()));
    }
    for (old, new) in old.vector.iter().zip(&new.vector) {
        if old != new {
            (0..8).for_each(|i| add(format!("lane {i} is {}", kind(new.lane(i)))));
            (0..4).for_each(|i| add(format!("quadword {i} is {}", kind_of_double(new.lane(i)))));
        }
    }
    for (old, new) in old.gpr.iter().zip(&new.gpr) {
        if old != new {
            add(format!("result of {:?} bits", new.checked_ilog2()));
        }
    }

    let mut add = |feature: String| features.push(Feature::new(&feature, 4));
    add(format!(
        "end {}",
        match vector.end {
            End::Completed => "completed".into(),
            End::Memory { address } => format!("{}", address as i64 >> 12),
            End::Protection => "protection".into(),
            End::FloatingPoint => format!("floating point {fresh:#x}"),
        }
    ));
    if vector.end == End::Completed {
        add(format!("raised {fresh:#x}"));
        add(format!("raised {fresh:#x} with {zeros:#x}"));
        (0..6)
            .filter(|bit| fresh >> bit & 1 == 1)
            .for_each(|bit| add(format!("bit {bit} rounded by {rounding}")));
    }
    if old.rflags != new.rflags {
        add(format!("flags {:#x}", new.rflags));
    }
    for (old, new) in old.vector.iter().zip(&new.vector) {
        if old != new {
            (0..8).for_each(|i| add(format!("{} raises {fresh:#x}", kind(new.lane(i)))));
            (0..4).for_each(|i| {
                add(format!(
                    "double {} raises {fresh:#x}",
                    kind_of_double(new.lane(i))
                ));
            });
        }
    }
    for (old, new) in old.gpr.iter().zip(&new.gpr) {
        // The smallest integers stand for none, unless they are meant.
        if old != new && [1 << 31, 1 << 63, 0, u32::MAX.into(), u64::MAX].contains(new) {
            add(format!("result {new:#x} leaves {:#x}", raised & 1));
            add(format!("result {new:#x} raises {fresh:#x}"));
        }
    }
    features.sort_unstable();
    features.dedup();
    features
}

fn kind(lane: u32) -> &'static str {
    match lane & 0x7fff_ffff {
        0 if lane == 0 => "zero",
        0 => "minus zero or smallest",
        0x0080_0000 => "the smallest normal one",
        0x7f7f_ffff => "the largest finite one",
        0x7fff_ffff if lane == u32::MAX => "all ones",
        0x7fff_ffff => "the largest integer",
        1..0x0080_0000 => "denormal",
        0x7f80_0000 => "infinite",
        0x7fc0_0000 => "the default NaN",
        0x7f80_0001.. => "a NaN",
        _ if lane >> 31 == 1 => "negative",
        _ => "positive",
    }
}

fn kind_of_double(lane: u64) -> &'static str {
    const INFINITY: u64 = 0x7ff << 52;
    const SMALLEST: u64 = 1 << 52;
    const LARGEST: u64 = INFINITY - 1;
    match lane & !(1 << 63) {
        0 => "zero",
        1..SMALLEST => "denormal",
        SMALLEST => "the smallest normal one",
        LARGEST => "the largest finite one",
        INFINITY => "infinite",
        magnitude if magnitude > INFINITY => "a NaN",
        _ => "a number",
    }
}

/// The `count` cases that together have the most features.
pub(crate) fn most_different(candidates: Vec<Candidate>, count: usize) -> Vec<Vector> {
    let mut chosen: Vec<Vector> = Vec::new();
    let mut seen = HashSet::new();
    let worth = |features: &[Feature]| features.iter().map(|f| f.weight).sum();
    // With each the weight of its features that may be new: at most as much as when last counted.
    let mut left: Vec<_> = candidates
        .into_iter()
        .map(|c| (worth(&c.features), c))
        .collect();
    // Of equals one that completes, and the one that takes the least room in the file.
    left.sort_by_key(|(_, candidate)| {
        let vector = &candidate.vector;
        (vector.end != End::Completed, vector.size())
    });
    while chosen.len() < count && !left.is_empty() {
        let (mut best, mut most) = (0, 0);
        for (i, (limit, candidate)) in left.iter_mut().enumerate() {
            if *limit > most {
                let new = candidate.features.iter().filter(|f| !seen.contains(*f));
                *limit = new.map(|f| f.weight).sum();
                if *limit > most {
                    (best, most) = (i, *limit);
                }
            }
        }
        if most == 0 {
            // All have been seen: the next round shows each once more.
            seen.clear();
            left.iter_mut()
                .for_each(|(limit, c)| *limit = worth(&c.features));
            continue;
        }
        let (_, candidate) = left.remove(best);
        seen.extend(candidate.features);
        chosen.push(candidate.vector);
    }
    chosen.sort_by_key(|vector| vector.number);
    chosen
}
