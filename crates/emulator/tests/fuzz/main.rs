//! Any bytes as an instruction on any registers, with memory that refuses some accesses: never a
//! panic, never more requests to memory than an instruction can have, never a change that the
//! instruction does not name.
//!
//! Twenty thousand times `ISAHOTPLUG_CASES` is the number of cases (four million without it).
//! `ISAHOTPLUG_SEED=0x…` runs the one case that a failure names.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "random bits are reinterpreted on purpose"
)]

#[path = "../cases/mod.rs"]
mod cases;
mod rules;
mod world;

use cases::Place;
use cases::random::Random;
use emulator::{EMULATED, Fault, State, Width};
use iced_x86::{Code, Decoder, DecoderOptions};
use rules::Rules;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use world::World;

/// Opcode maps that hold nearly everything emulated, so that random bytes often are instructions.
const STARTS: &[&[u8]] = &[
    &[],
    &[0xc5],
    &[0xc4],
    &[0xc4, 0xe1],
    &[0xc4, 0xe2],
    &[0xc4, 0xe3],
    &[0x66, 0x0f],
    &[0x0f],
    &[0xf3, 0x0f],
    &[0xf2, 0x0f],
    &[0x66, 0x0f, 0x38],
    &[0x66, 0x0f, 0x3a],
    &[0x0f, 0x38],
    &[0xf2, 0x0f, 0x38],
    &[0x8f, 0xe8],
    &[0x8f, 0xe9],
    &[0x8f, 0xea],
    &[0x0f, 0x0f],
    &[0x66, 0x0f, 0x38, 0xf8],
    &[0xdf],
    &[0xf0],
    &[0xf0, 0x0f],
    &[0x48],
    &[0x62],
];

const PREFIXES: &[u8] = &[
    0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x64, 0x65, 0x2e, 0x3e, 0x40, 0x41, 0x44, 0x48, 0x4f,
];

/// Encodings of each emulated code to begin with.
const ENCODINGS: u64 = 24;

/// Cases between two signs of life, and how long they may take at the very most.
const ROUND: u64 = 1 << 16;
const PATIENCE: Duration = Duration::from_secs(120);

/// What cases are made from.
struct Pool {
    encodings: Vec<Vec<u8>>,
    states: Vec<State>,
}

impl Pool {
    fn new() -> Self {
        let place = Place {
            code: 0x1000,
            data: 0x3000,
            mxcsr_mask: State::DEFAULT_MXCSR_MASK,
        };
        let mut random = Random(0x5eed);
        let mut encodings = Vec::new();
        for code in Code::values().filter(|code| code.op_code().mode64()) {
            for _ in 0..ENCODINGS {
                let Some(case) = cases::case(code, &mut random, place) else {
                    continue;
                };
                if !emulator::attribute(&case.bytes).is_some_and(|a| a.emulated) {
                    break;
                }
                encodings.push(case.bytes);
            }
        }
        let states = (0..256)
            .map(|_| {
                let registers = cases::case(Code::Addps_xmm_xmmm128, &mut random, place);
                registers.expect("can always be made").state
            })
            .collect();
        Self { encodings, states }
    }

    /// The registers and the code of a case.
    fn case(&self, seed: u64, code: &mut Vec<u8>) -> State {
        let mut random = Random(seed);
        code.clear();
        if random.below(8) == 0 {
            code.extend(random.pick(STARTS));
            while code.len() < 15 {
                code.extend(random.next().to_le_bytes());
            }
            if random.below(2) == 0 {
                // Registers only, more likely than not.
                code[2..5].iter_mut().for_each(|byte| *byte |= 0xc0);
            }
        } else {
            let picked = random.below(self.encodings.len() as u64);
            code.extend(&self.encodings[picked as usize]);
            match random.below(16) {
                0..9 => {}
                9 => code.insert(0, random.pick(PREFIXES)),
                10..13 => {
                    let at = random.below(code.len() as u64) as usize;
                    code[at] = random.next() as u8;
                }
                _ => {
                    for _ in 0..1 + random.below(3) {
                        let bit = random.below(8 * code.len() as u64) as usize;
                        code[bit / 8] ^= 1 << (bit % 8);
                    }
                }
            }
            // What follows belongs to it, if it has become longer.
            code.extend(random.next().to_le_bytes());
        }
        code.truncate(if random.below(32) == 0 {
            random.below(15) as usize
        } else {
            15
        });

        let mut state = self.states[random.below(self.states.len() as u64) as usize];
        state.rip = match random.below(8) {
            0 => random.next(),
            1 => (random.next() & 0xff).wrapping_neg(),
            _ => 0x40_1000,
        };
        for r in &mut state.gpr {
            let value = random.next();
            *r = match value & 15 {
                0..4 => *r,
                // An address in the lower half, at a multiple of 64 or anywhere.
                4..9 => value >> 17 & !63,
                9..14 => value >> 17,
                // The edges of the address space and of its halves.
                14 => (value >> 56).wrapping_neg(),
                _ => (1 << 47) - (value >> 56),
            };
        }
        state.fs_base = random.next() >> 17;
        state.gs_base = random.next() & 0xfff;
        state.mxcsr = match random.below(4) {
            0 => random.next() as u32,
            _ => random.mxcsr(),
        } & 0xffff;
        for _ in 0..3 {
            let i = random.below(16) as usize;
            for lane in 0..8 {
                let value = random.next();
                // Where a gather is to find something its indices must not be large.
                state.vector[i].set_lane(lane, if value & 1 == 0 { value } else { value >> 33 });
            }
        }
        let wild = random.next();
        state.rflags = 0x202 | wild & 0x8d5;
        if wild >> 32 & 15 == 0 {
            // Single-stepped, alignment-checked, backwards.
            state.rflags |= wild >> 16 & (1 << 8 | 1 << 10 | 1 << 18);
        }
        state.x87.present = wild >> 36 & 7 != 0;
        state.x87.status = (wild >> 48) as u16 & if wild >> 39 & 15 == 0 { 0xffff } else { 0x7f7f };
        state.x87.control ^= (wild >> 42) as u16 & 0x3f;
        state.x87.tags = (wild >> 24) as u8;
        state.shadow_stack = wild >> 43 & 15 == 1;
        state.width = match wild >> 60 {
            0 => Width::Xmm,
            1..4 => Width::Zmm,
            _ => Width::Ymm,
        };
        state
    }
}

/// How cases ended.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    cases: u64,
    completed: u64,
    refused: u64,
    memory: u64,
    simd: u64,
    other: u64,
}

impl Ends {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.completed += other.completed;
        self.refused += other.refused;
        self.memory += other.memory;
        self.simd += other.simd;
        self.other += other.other;
    }
}

/// Runs one case; what is wrong with it.
fn run(
    pool: &Pool,
    world: &mut World,
    rules: &mut Rules,
    seed: u64,
    ends: &mut Ends,
) -> Result<(), String> {
    let mut code = std::mem::take(&mut world.code);
    let before = pool.case(seed, &mut code);
    world.code = code;
    world.start(seed);
    let mut after = before;
    let result = emulator::step(&mut after, world, EMULATED);
    ends.cases += 1;
    *match result {
        Ok(_) => &mut ends.completed,
        Err(Fault::Unknown) => &mut ends.refused,
        Err(Fault::Memory(_)) => &mut ends.memory,
        Err(Fault::Simd { .. }) => &mut ends.simd,
        Err(_) => &mut ends.other,
    } += 1;
    let options = DecoderOptions::AMD;
    let instruction = Decoder::with_ip(64, &world.code, before.rip, options).decode();
    let checked = match result {
        Ok(_) if instruction.is_invalid() => Err("it is no instruction".into()),
        Ok(step) if step.length != instruction.len() => Err(format!("{step:?}")),
        Ok(step) if !EMULATED.is_superset(&step.features) => Err(format!("{step:?}")),
        Err(_) if instruction.is_invalid() => {
            if after == before && world.requests.is_empty() {
                Ok(())
            } else {
                Err("it is no instruction and changed something".into())
            }
        }
        _ => rules.check(&instruction, &before, &after, result, &world.requests),
    };
    checked.map_err(|what| {
        format!(
            "{:?} {:02x?}: {result:x?}\n  {what}",
            instruction.code(),
            world.code
        )
    })
}

/// Runs every `step`-th case from `first` on, and reports.
fn work(
    pool: &Pool,
    (first, step, count): (u64, u64, u64),
    current: &AtomicU64,
    report: &mpsc::Sender<Result<Ends, String>>,
) {
    let mut world = World::default();
    let mut rules = Rules::new();
    let mut number = first;
    while number < count {
        let mut ends = Ends::default();
        let end = count.min(number.saturating_add(step * ROUND));
        let result = catch_unwind(AssertUnwindSafe(|| {
            while number < end {
                let seed = world::mix(number + 1);
                current.store(seed, Ordering::Relaxed);
                number += step;
                if let Err(what) = run(pool, &mut world, &mut rules, seed, &mut ends) {
                    let _ = report.send(Err(format!("ISAHOTPLUG_SEED={seed:#x}: {what}")));
                }
            }
        }));
        if let Err(panic) = &result {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into()));
            let seed = current.load(Ordering::Relaxed);
            let text = text.unwrap_or_default();
            let _ = report.send(Err(format!("ISAHOTPLUG_SEED={seed:#x}: panics: {text}")));
        }
        if report.send(Ok(ends)).is_err() || result.is_err() {
            return;
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

#[test]
fn any_instruction_on_any_state_keeps_to_what_it_names() {
    emulator::init();
    let pool = Pool::new();
    if let Some(seed) = variable("ISAHOTPLUG_SEED") {
        let (mut world, mut rules) = (World::default(), Rules::new());
        let result = run(&pool, &mut world, &mut rules, seed, &mut Ends::default());
        return result.expect("the case keeps to the rules");
    }
    let count = variable("ISAHOTPLUG_CASES").unwrap_or(200) * 20_000;
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let currents: Vec<AtomicU64> = (0..workers).map(|_| AtomicU64::new(0)).collect();
    let start = Instant::now();
    let (sender, reports) = mpsc::channel();
    let mut ends = Ends::default();
    let mut failures = BTreeMap::new();
    std::thread::scope(|scope| {
        for (current, first) in currents.iter().zip(0..) {
            let (sender, pool) = (sender.clone(), &pool);
            scope.spawn(move || work(pool, (first, workers, count), current, &sender));
        }
        drop(sender);
        loop {
            match reports.recv_timeout(PATIENCE) {
                Ok(Ok(some)) => ends.add(some),
                Ok(Err(failure)) => {
                    // One of each instruction is enough.
                    let code = failure.split_whitespace().nth(1).map(str::to_owned);
                    failures.entry(code).or_insert(failure);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // A thread that does not end cannot be ended: the process must.
                    eprintln!("a case does not end; the present ones are {currents:x?}");
                    std::process::abort();
                }
            }
        }
    });
    let texts: Vec<&str> = failures.values().take(40).map(String::as_str).collect();
    let number = failures.len();
    assert!(
        texts.is_empty(),
        "{number} instructions:\n{}",
        texts.join("\n")
    );
    // Past the capture of the test harness: the counts are to be seen in every run.
    let nanoseconds = start.elapsed().as_nanos() as u64 / ends.cases.max(1);
    let _ = writeln!(
        std::io::stderr(),
        "fuzz: {ends:?}; {:.1?}, {nanoseconds} ns a case on {workers} threads",
        start.elapsed()
    );
    assert_eq!(ends.cases, count);
    let Ends { completed, .. } = ends;
    assert!(
        completed > count / 3,
        "only {completed} of {count} completed"
    );
}
