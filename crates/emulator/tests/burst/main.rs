//! Bursts: what they give is what single steps give, and they end where they must.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "random bits are reinterpreted on purpose"
)]

#[path = "../cases/mod.rs"]
mod cases;
mod kernels;
mod world;

use cases::Place;
use cases::random::Random;
use emulator::{Budget, Burst, Cache, EMULATED, End, Fault, Memory, State, burst, step};
use iced_x86::{Code, Decoder, DecoderOptions, EncodingKind, Register};
use isa::{Feature, FeatureSet};
use world::{BASE, CODE, DATA, World};

/// Enough for every program here.
const AMPLE: Budget = Budget {
    instructions: 100_000,
    patience: 64,
};

fn state() -> State {
    emulator::init();
    let mut state = State {
        rip: CODE,
        ..State::default()
    };
    state.gpr[4] = DATA + 0x1000;
    state.gpr[7] = DATA;
    state
}

fn run(state: &mut State, world: &mut World, absent: FeatureSet, budget: Budget) -> Burst {
    burst(state, world, &mut Cache::new(), absent, budget)
}

/// `count` single steps, or up to the first fault.
fn steps(state: &mut State, world: &mut World, count: u32) -> (u32, Option<Fault>) {
    for done in 0..count {
        if let Err(fault) = step(state, world, EMULATED) {
            return (done, Some(fault));
        }
    }
    (count, None)
}

fn cases() -> u64 {
    std::env::var("ISAHOTPLUG_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200)
}

/// An instruction of any code that needs no address but one relative to RIP, so that it can stand
/// anywhere.
fn instruction(codes: &[Code], random: &mut Random, at: u64) -> Vec<u8> {
    let place = Place {
        code: at,
        data: DATA,
        mxcsr_mask: State::DEFAULT_MXCSR_MASK,
    };
    loop {
        let code = random.pick(codes);
        let Some(case) = cases::case(code, random, place) else {
            continue;
        };
        let registers = [
            case.instruction.memory_base(),
            case.instruction.memory_index(),
        ];
        let free = registers
            .iter()
            .all(|r| matches!(r, Register::None | Register::RIP | Register::EIP));
        if free && emulator::attribute(&case.bytes).is_some_and(|a| a.emulated) {
            return case.bytes;
        }
    }
}

/// The codes that are carried out in a burst.
fn codes() -> Vec<Code> {
    let mut random = Random(1);
    let place = Place {
        code: CODE,
        data: DATA,
        mxcsr_mask: State::DEFAULT_MXCSR_MASK,
    };
    Code::values()
        .filter(|code| {
            let info = code.op_code();
            info.is_instruction()
                && info.mode64()
                && !matches!(code.encoding(), EncodingKind::EVEX | EncodingKind::MVEX)
        })
        .filter(|&code| {
            (0..50)
                .find_map(|_| cases::case(code, &mut random, place))
                .and_then(|case| emulator::attribute(&case.bytes))
                .is_some_and(|attribution| attribution.emulated)
        })
        .collect()
}

#[test]
fn a_burst_gives_what_single_steps_give() {
    emulator::init();
    let codes = codes();
    assert!(codes.len() > 1400, "{}", codes.len());
    let mut cache = Cache::new();
    let (mut carried_out, mut completed) = (0, 0);
    for number in 0..cases() * 10 {
        let mut random = Random(number);
        let mut code = Vec::new();
        for _ in 0..1 + random.below(20) {
            let bytes = instruction(&codes, &mut random, CODE + code.len() as u64);
            code.extend(bytes);
        }
        // Back to the start.
        let back = -(code.len() as i32 + 5);
        code.push(0xe9);
        code.extend(back.to_le_bytes());
        let mut start = state();
        start.x87.present = random.chance(90);
        start.mxcsr = random.mxcsr();
        for (register, value) in start.gpr.iter_mut().zip(0..) {
            if value != 4 {
                *register = random.integer();
            }
        }
        for register in &mut start.vector {
            *register = emulator::Vector(random.vector());
        }
        let budget = Budget {
            instructions: random.below(100) as u32,
            patience: 1000,
        };
        let absent = FeatureSet::from_features(&[random.pick(&[Feature::Avx, Feature::Avx2])]);
        let (done, fault) = compare(number, &code, start, &mut cache, absent, budget);
        carried_out += u64::from(done.instructions);
        completed += u64::from(fault.is_none());
    }
    assert!(
        carried_out > cases() * 50 && completed > cases(),
        "{carried_out} {completed}"
    );
}

/// Runs a program both ways, and checks that all is the same in the end.
fn compare(
    number: u64,
    code: &[u8],
    start: State,
    cache: &mut Cache,
    absent: FeatureSet,
    budget: Budget,
) -> (Burst, Option<Fault>) {
    let world = || {
        let mut world = World::new(code);
        world.approximation = Some(0x3f12_3456);
        world
    };
    let mut by_burst = (start, world());
    let mut by_steps = (start, world());
    // The same cache for all: what it kept of the last program must not matter.
    let done = burst(&mut by_burst.0, &mut by_burst.1, cache, absent, budget);
    // PAUSE is left to the CPU, though a single step carries it out.
    let pauses = is_pause(by_burst.0.rip, &mut by_burst.1);
    let limit = if done.end == End::Unknown && pauses {
        done.instructions
    } else {
        budget.instructions
    };
    let (count, fault) = steps(&mut by_steps.0, &mut by_steps.1, limit);
    assert!(
        (done.instructions, by_burst.0) == (count, by_steps.0),
        "program {number}: {done:?}, but {count} steps and {fault:?}; RIP {:#x} and {:#x}\n{code:02x?}",
        by_burst.0.rip,
        by_steps.0.rip
    );
    assert!(by_burst.1.bytes == by_steps.1.bytes, "program {number}");
    let end = match fault {
        None if limit < budget.instructions => End::Unknown,
        None => End::Budget,
        Some(Fault::Unknown) => End::Unknown,
        Some(fault) => End::Fault(fault),
    };
    assert_eq!(done.end, end, "program {number}");
    (done, fault)
}

fn is_pause(rip: u64, world: &mut World) -> bool {
    let mut code = [0; 15];
    let length = world.fetch(rip, &mut code);
    let mut decoder = Decoder::with_ip(64, &code[..length], rip, DecoderOptions::NONE);
    decoder.decode().code() == Code::Pause
}

/// Bytes as they come, most of which are instructions, in a world they can write all over: the
/// code, too.
#[test]
fn random_bytes_give_what_single_steps_give() {
    emulator::init();
    let mut cache = Cache::new();
    let (mut carried_out, mut compared) = (0, 0);
    for number in 0..cases() * 100 {
        let mut random = Random(number ^ 0x0bad_c0de);
        let mut code: Vec<u8> = (0..60).map(|_| random.next() as u8).collect();
        // Escapes and prefixes at a few places.
        for _ in 0..random.below(12) {
            let at = random.below(code.len() as u64) as usize;
            code[at] = random.pick(&[0x0f, 0x66, 0xc5, 0xc4, 0x48, 0xeb, 0x74, 0x75, 0x83, 0x89]);
        }
        let mut start = state();
        start.x87.present = true;
        start.mxcsr = random.mxcsr();
        for register in &mut start.gpr {
            *register = match random.below(3) {
                0 => random.integer(),
                1 => BASE + random.below(0x4000),
                // So that a base and an index meet.
                _ => random.below(64),
            };
        }
        for register in &mut start.vector {
            *register = emulator::Vector(random.vector());
        }
        let budget = Budget {
            instructions: 100,
            patience: 1000,
        };
        let (done, _) = compare(
            number,
            &code,
            start,
            &mut cache,
            Feature::Avx.into(),
            budget,
        );
        carried_out += u64::from(done.instructions);
        compared += 1;
    }
    assert!(carried_out * 2 > compared, "{carried_out} in {compared}");
}

#[test]
fn the_lost_code_is_left_after_as_many_instructions_as_patience() {
    // vpaddd ymm0, ymm0, ymm1; then NOPs.
    let mut code = vec![0xc5, 0xfd, 0xfe, 0xc1];
    code.extend([0x90; 50]);
    let budget = Budget {
        patience: 10,
        ..AMPLE
    };
    let mut state = state();
    let done = run(
        &mut state,
        &mut World::new(&code),
        Feature::Avx2.into(),
        budget,
    );
    assert_eq!(
        (done.end, done.instructions, done.emulated),
        (End::Left, 11, 1)
    );
    assert_eq!((done.address, state.rip), (CODE, CODE + 4 + 10));
    assert_eq!(done.features, Feature::Avx2.into());
}

#[test]
fn without_patience_the_first_instruction_of_the_cpus_own_is_left_to_it() {
    // Two of AVX2, one of AVX, one of AVX2.
    let code = [
        0xc5, 0xfd, 0xfe, 0xc1, 0xc5, 0xfd, 0xfe, 0xc1, 0xc5, 0xfc, 0x58, 0xc1, 0xc5, 0xfd, 0xfe,
        0xc1,
    ];
    let budget = Budget {
        patience: 0,
        ..AMPLE
    };
    let mut state = state();
    let done = run(
        &mut state,
        &mut World::new(&code),
        Feature::Avx2.into(),
        budget,
    );
    assert_eq!(
        (done.end, done.instructions, state.rip),
        (End::Left, 2, CODE + 8)
    );
}

#[test]
fn the_budget_is_kept() {
    // jmp to itself
    let mut state = state();
    let budget = Budget {
        instructions: 1000,
        patience: u32::MAX,
    };
    let done = run(&mut state, &mut World::new(&[0xeb, 0xfe]), EMULATED, budget);
    assert_eq!(
        (done.end, done.instructions, state.rip),
        (End::Budget, 1000, CODE)
    );
    let nothing = Budget {
        instructions: 0,
        ..budget
    };
    let done = run(&mut state, &mut World::new(&[0x90]), EMULATED, nothing);
    assert_eq!(
        (done.end, done.instructions, state.rip),
        (End::Budget, 0, CODE)
    );
}

#[test]
fn what_is_not_for_a_burst_ends_it() {
    for (what, code) in [
        ("syscall", &[0x0f, 0x05][..]),
        ("sysenter", &[0x0f, 0x34]),
        ("int 0x80", &[0xcd, 0x80]),
        ("int3", &[0xcc]),
        ("ud2", &[0x0f, 0x0b]),
        ("hlt", &[0xf4]),
        ("cpuid", &[0x0f, 0xa2]),
        ("rdtsc", &[0x0f, 0x31]),
        ("pause", &[0xf3, 0x90]),
        ("mov fs, eax", &[0x8e, 0xe0]),
        ("wrfsbase rax", &[0xf3, 0x48, 0x0f, 0xae, 0xd0]),
        ("wrpkru", &[0x0f, 0x01, 0xef]),
        ("xbegin", &[0xc7, 0xf8, 0, 0, 0, 0]),
        ("iretq", &[0x48, 0xcf]),
        ("popfq", &[0x9d]),
        ("far jmp [rdi]", &[0xff, 0x2f]),
        ("in al, dx", &[0xec]),
        ("fld1", &[0xd9, 0xe8]),
        ("rep movsb", &[0xf3, 0xa4]),
        ("std", &[0xfd]),
        ("xgetbv", &[0x0f, 0x01, 0xd0]),
        (
            "vaddps zmm0, zmm0, zmm0",
            &[0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc0],
        ),
        ("no instruction", &[0x06]),
    ] {
        // vpaddd ymm0, ymm0, ymm1 first.
        let program = [&[0xc5, 0xfd, 0xfe, 0xc1], code].concat();
        let mut state = state();
        let before = World::new(&program);
        let mut world = World::new(&program);
        let done = run(&mut state, &mut world, EMULATED, AMPLE);
        assert_eq!(
            (done.end, done.instructions, state.rip),
            (End::Unknown, 1, CODE + 4),
            "{what}"
        );
        assert!(world.bytes == before.bytes, "{what}");
    }
}

#[test]
fn single_stepped_and_alignment_checked_threads_are_left_alone() {
    for bit in [8, 18] {
        let mut state = state();
        state.rflags |= 1 << bit;
        let before = state;
        let done = run(&mut state, &mut World::new(&[0x90; 9]), EMULATED, AMPLE);
        assert_eq!(
            (done.end, done.instructions, state),
            (End::Unknown, 0, before)
        );
    }
}

#[test]
fn a_fault_ends_it_before_the_instruction() {
    // vpaddd ymm0, ymm0, ymm1; vmovdqu [rax], ymm0
    let code = [0xc5, 0xfd, 0xfe, 0xc1, 0xc5, 0xfe, 0x7f, 0x00];
    let mut state = state();
    state.gpr[0] = BASE - 8;
    let done = run(&mut state, &mut World::new(&code), EMULATED, AMPLE);
    assert!(matches!(done.end, End::Fault(Fault::Memory(f)) if f.address == BASE - 8));
    assert_eq!((done.instructions, state.rip), (1, CODE + 4));
}

#[test]
fn calls_end_it_where_there_is_a_shadow_stack() {
    // Calls and returns of all kinds.
    for (code, shadow_stack, expected) in [
        (&[0xe8, 0, 0, 0, 0][..], false, 1),
        (&[0xe8, 0, 0, 0, 0], true, 0),
        (&[0xff, 0xd0], true, 0),
        (&[0xff, 0x17], true, 0),
        (&[0xc3], true, 0),
        (&[0xc2, 8, 0], true, 0),
    ] {
        let mut state = state();
        state.shadow_stack = shadow_stack;
        let before = state;
        let done = run(&mut state, &mut World::new(code), EMULATED, AMPLE);
        assert_eq!(done.instructions, expected, "{code:02x?}");
        assert!(
            !shadow_stack || state == before && done.end == End::Unknown,
            "{code:02x?}"
        );
    }
}

#[test]
fn approximations_are_the_cpus_own_or_end_the_burst() {
    // rcpps xmm0, xmm1, which every CPU has
    let code = [0x0f, 0x53, 0xc1];
    let absent = Feature::Avx2.into();
    let mut by_itself = state();
    let done = run(&mut by_itself, &mut World::new(&code), absent, AMPLE);
    assert_eq!((done.end, done.instructions), (End::Unknown, 0));
    let mut world = World::new(&code);
    world.approximation = Some(0x1234_5678);
    let mut with_cpu = state();
    let done = run(&mut with_cpu, &mut world, absent, AMPLE);
    assert_eq!(done.instructions, 1);
    assert_eq!(
        with_cpu.vector[0].lane::<u128>(0),
        0x12345678_12345678_12345678_12345678
    );
    // vrcpps xmm0, xmm1 on a CPU without AVX: by the emulator's own table at worst.
    let code = [0xc5, 0xf8, 0x53, 0xc1];
    let mut lost = state();
    lost.vector[1].set_lane(0, 2.0f32.to_bits());
    let done = run(
        &mut lost,
        &mut World::new(&code),
        Feature::Avx.into(),
        AMPLE,
    );
    assert_eq!(
        (done.instructions, lost.vector[0].lane::<u32>(0)),
        (1, 0.5f32.to_bits())
    );
}

/// A loop that adds an immediate, 1 at first, to ECX, eight times, with AVX2 in it.
/// The immediate is the byte at 2.
const COUNTING: [u8; 15] = [
    0x83, 0xc1, 0x01, // add ecx, 1
    0xc5, 0xfd, 0xfe, 0xc1, // vpaddd ymm0, ymm0, ymm1
    0xff, 0xca, // dec edx
    0x75, 0xf5, // jnz to the start
    0xc5, 0xfd, 0xfe, 0xc1, // vpaddd ymm0, ymm0, ymm1
];

#[test]
fn code_that_another_thread_changes_is_seen() {
    let mut state = state();
    state.gpr[2] = 8;
    // mov [rdi], eax in the loop, so that there is an access at which to interfere.
    let mut code = COUNTING.to_vec();
    code.splice(7..7, [0x89, 0x07]);
    code[12] = 0xf3;
    let mut world = World::new(&code);
    let mut accesses = 0;
    world.interference = Some(Box::new(move |bytes| {
        accesses += 1;
        if accesses == 4 {
            bytes[(CODE - BASE) as usize + 2] = 10;
        }
    }));
    let done = run(&mut state, &mut world, EMULATED, AMPLE);
    assert_eq!(done.end, End::Unknown);
    assert_eq!(state.gpr[1], 4 + 4 * 10);
}

#[test]
fn code_that_changes_itself_is_seen() {
    // mov byte ptr [rip + …], 7 over the immediate of the add, which comes next.
    let mut code = vec![0xc6, 0x05, 0, 0, 0, 0, 7];
    code.extend(COUNTING);
    let mut first = state();
    first.gpr[2] = 1;
    // The immediate lies 2 bytes behind this instruction.
    code[2] = 2;
    let mut cache = Cache::new();
    let mut world = World::new(&code);
    // Decoded once with the old immediate…
    first.rip = CODE + 7;
    let mut warm = first;
    burst(&mut warm, &mut world, &mut cache, EMULATED, AMPLE);
    assert_eq!(warm.gpr[1], 1);
    // …then changed by the program itself.
    first.rip = CODE;
    burst(&mut first, &mut world, &mut cache, EMULATED, AMPLE);
    assert_eq!(first.gpr[1], 7);
}

#[test]
fn more_code_than_the_cache_holds_is_no_trouble() {
    // 1000 times inc rcx (3 bytes), twice over.
    let mut code: Vec<u8> = [0x48, 0xff, 0xc1].repeat(1000);
    code.extend([0xff, 0xca, 0x0f, 0x85]);
    let back = -(code.len() as i32 + 4);
    code.extend(back.to_le_bytes());
    let mut state = state();
    state.gpr[2] = 2;
    let budget = Budget {
        patience: u32::MAX,
        ..AMPLE
    };
    let done = run(&mut state, &mut World::new(&code), EMULATED, budget);
    assert_eq!((done.instructions, state.gpr[1]), (2004, 2000));
}

#[test]
fn what_is_absent_may_change_from_burst_to_burst() {
    let code = [0xc5, 0xfd, 0xfe, 0xc1, 0xc4, 0xe2, 0x70, 0xf2, 0xc2];
    let mut cache = Cache::new();
    for (absent, emulated) in [
        (Feature::Avx2.into(), 1),
        (
            FeatureSet::from_features(&[Feature::Avx2, Feature::Bmi1]),
            2,
        ),
        (Feature::Bmi1.into(), 1),
        (FeatureSet::EMPTY, 0),
    ] {
        let mut state = state();
        let done = burst(
            &mut state,
            &mut World::new(&code),
            &mut cache,
            absent,
            AMPLE,
        );
        assert_eq!(
            (done.instructions, done.emulated),
            (2, emulated),
            "{absent}"
        );
        assert_eq!(done.features, absent);
    }
}
