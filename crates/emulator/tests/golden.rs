//! Results worked out by hand from the manual: something to hold on to on a CPU that lacks the
//! instructions.
#![expect(
    clippy::cast_possible_truncation,
    reason = "the fake page is filled with truncated numbers on purpose"
)]

mod fake;

use emulator::{EMULATED, Fault, State, Vector, Width, exception, flag};
use fake::{CODE, DATA, Page};

fn state() -> State {
    State {
        rip: CODE,
        ..State::default()
    }
}

/// Executes one instruction, which must complete and be as long as `code`.
fn run(code: &[u8], state: &mut State) {
    run_in(&mut Page::new(code), state);
}

fn run_in(memory: &mut Page, state: &mut State) {
    emulator::init();
    let length = memory.code.len();
    let step = emulator::step(state, memory, EMULATED).expect("completes");
    assert_eq!(step.length, length);
    assert_eq!(state.rip, CODE + length as u64);
}

fn of_f32(lanes: &[f32]) -> Vector {
    let mut v = Vector::ZERO;
    for (i, x) in lanes.iter().enumerate() {
        v.set_lane(i, x.to_bits());
    }
    v
}

fn of_f64(lanes: &[f64]) -> Vector {
    let mut v = Vector::ZERO;
    for (i, x) in lanes.iter().enumerate() {
        v.set_lane(i, x.to_bits());
    }
    v
}

#[test]
fn vex_zeroes_the_upper_part_and_legacy_keeps_it() {
    let all = Vector([0xff; 64]);
    let mut s = state();
    s.vector[0] = all;
    run(&[0xc5, 0xf1, 0xfe, 0xc2], &mut s); // vpaddd xmm0, xmm1, xmm2
    assert_eq!(s.vector[0], Vector::ZERO);
    let mut s = state();
    s.vector[0] = all;
    run(&[0x66, 0x0f, 0xef, 0xc0], &mut s); // pxor xmm0, xmm0
    assert_eq!(s.vector[0].lane::<u128>(0), 0);
    assert_eq!(s.vector[0].lane::<u128>(1), u128::MAX);
    assert_eq!(s.vector[0].lane::<u128>(3), u128::MAX);
}

#[test]
fn pmovmskb_and_tzcnt_find_a_byte() {
    let mut s = state();
    s.vector[1].set_lane(0, u128::from_le_bytes(*b"find the x here!"));
    s.vector[2] = Vector([b'x'; 64]).truncated(32);
    run(&[0xc5, 0xf5, 0x74, 0xca], &mut s); // vpcmpeqb ymm1, ymm1, ymm2
    s.rip = CODE;
    run(&[0xc5, 0xfd, 0xd7, 0xc1], &mut s); // vpmovmskb eax, ymm1
    assert_eq!(s.gpr[0], 1 << 9);
    s.rip = CODE;
    run(&[0xf3, 0x0f, 0xbc, 0xc8], &mut s); // tzcnt ecx, eax
    assert_eq!(s.gpr[1], 9);
    assert_eq!(s.rflags & (flag::CF | flag::ZF), 0);
}

#[test]
fn tzcnt_and_lzcnt_of_zero_give_the_width() {
    let mut s = state();
    s.gpr[0] = 0xffff_ffff_0000_0000;
    run(&[0xf3, 0x0f, 0xbc, 0xc8], &mut s); // tzcnt ecx, eax
    assert_eq!((s.gpr[1], s.rflags & flag::CF), (32, flag::CF));
    s.rip = CODE;
    s.gpr[0] = 0x400;
    run(&[0xf3, 0x48, 0x0f, 0xbd, 0xc8], &mut s); // lzcnt rcx, rax
    assert_eq!(s.gpr[1], 53);
}

#[test]
fn fma_rounds_once() {
    // (1 + 2^-52)^2 - (1 + 2^-51) = 2^-104, which a rounded product would lose.
    let mut s = state();
    let x = 1.0 + f64::EPSILON;
    s.vector[0] = of_f64(&[x]);
    s.vector[1] = of_f64(&[x]);
    s.vector[2] = of_f64(&[-(1.0 + 2.0 * f64::EPSILON)]);
    run(&[0xc4, 0xe2, 0xf1, 0xa9, 0xc2], &mut s); // vfmadd213sd xmm0, xmm1, xmm2
    assert_eq!(s.vector[0].lane::<u64>(0), f64::to_bits(2f64.powi(-104)));
    assert_eq!(s.mxcsr, State::INITIAL_MXCSR);
}

#[test]
fn rounding_follows_mxcsr_and_sets_the_precision_flag() {
    for (rc, expected) in [
        (0, 0x3eaa_aaab),
        (1, 0x3eaa_aaaa),
        (2, 0x3eaa_aaab),
        (3, 0x3eaa_aaaa),
    ] {
        let mut s = state();
        s.mxcsr = State::INITIAL_MXCSR | rc << 13;
        s.vector[1] = of_f32(&[1.0]);
        s.vector[2] = of_f32(&[3.0]);
        run(&[0xc5, 0xf2, 0x5e, 0xc2], &mut s); // vdivss xmm0, xmm1, xmm2
        assert_eq!(s.vector[0].lane::<u32>(0), expected, "rounding {rc}");
        assert_eq!(s.mxcsr & 0x3f, exception::PRECISION);
    }
}

#[test]
fn the_first_nan_wins_and_is_made_quiet() {
    let mut s = state();
    s.vector[1] = Vector::from_lane(0xffa0_0001u32);
    s.vector[2] = Vector::from_lane(0x7fc0_0002u32);
    run(&[0xc5, 0xf2, 0x58, 0xc2], &mut s); // vaddss xmm0, xmm1, xmm2
    assert_eq!(s.vector[0].lane::<u32>(0), 0xffe0_0001);
    assert_eq!(s.mxcsr & 0x3f, exception::INVALID);
}

#[test]
fn infinity_minus_infinity_is_the_default_nan() {
    let mut s = state();
    s.vector[1] = of_f32(&[f32::INFINITY]);
    s.vector[2] = of_f32(&[f32::NEG_INFINITY]);
    run(&[0xc5, 0xf2, 0x58, 0xc2], &mut s); // vaddss xmm0, xmm1, xmm2
    assert_eq!(s.vector[0].lane::<u32>(0), 0xffc0_0000);
}

#[test]
fn denormals_are_zero_and_flushed_when_mxcsr_says_so() {
    let run = |mxcsr: u32, a: u32, b: u32| {
        let mut s = state();
        s.mxcsr = mxcsr;
        s.vector[1] = Vector::from_lane(a);
        s.vector[2] = Vector::from_lane(b);
        run(&[0xc5, 0xf2, 0x59, 0xc2], &mut s); // vmulss xmm0, xmm1, xmm2
        (s.vector[0].lane::<u32>(0), s.mxcsr & 0x3f)
    };
    let (one, half) = (1f32.to_bits(), 0.5f32.to_bits());
    assert_eq!(run(0x1f80, 2, one), (2, exception::DENORMAL));
    assert_eq!(run(0x1fc0, 2, one), (0, 0)); // DAZ
    // The smallest normal, halved: exact as a denormal, flushed with FTZ.
    assert_eq!(run(0x1f80, 0x0080_0000, half), (0x0040_0000, 0));
    let flushed = exception::UNDERFLOW | exception::PRECISION;
    assert_eq!(run(0x9f80, 0x0080_0000, half), (0, flushed));
}

#[test]
fn a_result_is_tiny_only_if_it_is_after_rounding() {
    let run = |a: u32, b: u32| {
        let mut s = state();
        s.mxcsr = State::INITIAL_MXCSR | 1 << 15; // FTZ
        s.vector[1] = Vector::from_lane(a);
        s.vector[2] = Vector::from_lane(b);
        run(&[0xc5, 0xf2, 0x59, 0xc2], &mut s); // vmulss xmm0, xmm1, xmm2
        (s.vector[0].lane::<u32>(0), s.mxcsr & exception::UNDERFLOW)
    };
    // (1 + 2^-23) * (1 - 2^-23) * 2^-126 rounds up to the smallest normal.
    assert_eq!(run(0x3f80_0001, 0x007f_ffff), (0x0080_0000, 0));
    // (1 - 2^-24) * 2^-126 would only do so for lack of a bit.
    assert_eq!(run(0x3f7f_ffff, 0x0080_0000), (0, exception::UNDERFLOW));
}

#[test]
fn an_unmasked_exception_changes_only_the_sticky_flags() {
    emulator::init();
    let mut s = state();
    s.mxcsr = State::INITIAL_MXCSR & !(exception::ZERO_DIVIDE << 7);
    s.vector[1] = of_f32(&[1.0]);
    let before = s;
    let code = [0xc5, 0xf2, 0x5e, 0xc2]; // vdivss xmm0, xmm1, xmm2
    let fault = emulator::step(&mut s, &mut Page::new(&code), EMULATED);
    assert_eq!(
        fault,
        Err(Fault::Simd {
            unmasked: exception::ZERO_DIVIDE
        })
    );
    assert_eq!(
        s,
        State {
            mxcsr: before.mxcsr | exception::ZERO_DIVIDE,
            ..before
        }
    );
}

#[test]
fn a_reciprocal_that_would_be_tiny_is_zero() {
    let mut s = state();
    s.vector[1] = of_f32(&[-(2f32.powi(126)), 2f32.powi(125), -0.0, f32::INFINITY]);
    run(&[0xc5, 0xf8, 0x53, 0xc1], &mut s); // vrcpps xmm0, xmm1
    let lanes = [0, 1, 2, 3].map(|i| s.vector[0].lane::<u32>(i));
    assert_eq!(
        (lanes[0], lanes[2], lanes[3]),
        (0x8000_0000, 0xff80_0000, 0)
    );
    // Within the architecture's bound of 2^-125, a normal number.
    assert!((f32::from_bits(lanes[1]) * 2f32.powi(125) - 1.0).abs() <= 1.5 / 4096.0);
    assert_eq!(s.mxcsr, State::INITIAL_MXCSR);
}

#[test]
fn half_precision_there_and_back() {
    let mut s = state();
    s.vector[1] = of_f32(&[1.0, -2.0, 65504.0, 1e-8]);
    run(&[0xc4, 0xe3, 0x79, 0x1d, 0xc8, 0x00], &mut s); // vcvtps2ph xmm0, xmm1, 0
    assert_eq!(s.vector[0].lane::<u64>(0), 0x0000_7bff_c000_3c00);
    s.rip = CODE;
    run(&[0xc4, 0xe2, 0x79, 0x13, 0xd0], &mut s); // vcvtph2ps xmm2, xmm0
    assert_eq!(s.vector[2], of_f32(&[1.0, -2.0, 65504.0, 0.0]));
}

#[test]
fn bmi_computes_what_the_manual_says() {
    let mut s = state();
    (s.gpr[0], s.gpr[1]) = (0xabcd, 0x0000_0408);
    run(&[0xc4, 0xe2, 0x70, 0xf7, 0xd0], &mut s); // bextr edx, eax, ecx: four bits from bit 8
    assert_eq!(s.gpr[2], 0xb);
    s.rip = CODE;
    (s.gpr[0], s.gpr[1]) = (0b1011, 0xff00_f0f0);
    run(&[0xc4, 0xe2, 0x7b, 0xf5, 0xd1], &mut s); // pdep edx, eax, ecx
    assert_eq!(s.gpr[2], 0b1011_0000);
    s.rip = CODE;
    (s.gpr[0], s.gpr[2]) = (u64::MAX, u64::MAX);
    run(&[0xc4, 0xe2, 0xe3, 0xf6, 0xc8], &mut s); // mulx rcx, rbx, rax
    assert_eq!((s.gpr[1], s.gpr[3]), (u64::MAX - 1, 1));
}

#[test]
fn movbe_swaps_to_and_from_memory() {
    let mut memory = Page::new(&[0x0f, 0x38, 0xf0, 0x07]); // movbe eax, [rdi]
    memory.data[..4].copy_from_slice(&[1, 2, 3, 4]);
    let mut s = state();
    s.gpr[7] = DATA;
    s.gpr[0] = u64::MAX;
    run_in(&mut memory, &mut s);
    assert_eq!(s.gpr[0], 0x0102_0304);
}

#[test]
fn crc32_of_the_check_string() {
    // The check value of CRC-32C, "123456789", before the final inversion.
    let mut s = state();
    s.gpr[0] = 0xffff_ffff;
    for byte in b"123456789" {
        s.rip = CODE;
        s.gpr[1] = u64::from(*byte);
        run(&[0xf2, 0x0f, 0x38, 0xf0, 0xc1], &mut s); // crc32 eax, cl
    }
    assert_eq!(s.gpr[0] ^ 0xffff_ffff, 0xe306_9283);
}

#[test]
fn aes_encrypts_the_example_of_the_standard() {
    // FIPS 197, appendix B: the first round, from the state after the initial key addition.
    let from = |hex: u128| Vector::from_lane(hex.swap_bytes());
    let mut s = state();
    s.vector[1] = from(0x193d_e3be_a0f4_e22b_9ac6_8d2a_e9f8_4808);
    s.vector[2] = from(0xa0fa_fe17_8854_2cb1_23a3_3939_2a6c_7605);
    run(&[0xc4, 0xe2, 0x71, 0xdc, 0xc2], &mut s); // vaesenc xmm0, xmm1, xmm2
    assert_eq!(s.vector[0], from(0xa49c_7ff2_689f_352b_6b5b_ea43_026a_5049));
}

#[test]
fn carryless_products_have_no_carries() {
    let mut s = state();
    s.vector[1] = Vector::from_lane(0b11u64);
    s.vector[2] = Vector::from_lane(0b11u64);
    run(&[0xc4, 0xe3, 0x71, 0x44, 0xc2, 0x00], &mut s); // vpclmulqdq xmm0, xmm1, xmm2, 0
    assert_eq!(s.vector[0], Vector::from_lane(0b101u64));
}

#[test]
fn pcmpistri_finds_the_first_of_a_set() {
    let mut s = state();
    s.vector[1].set_lane(0, u128::from_le_bytes(*b"aeiou\0zzzzzzzzzz"));
    s.vector[2].set_lane(0, u128::from_le_bytes(*b"rhythm and blues"));
    run(&[0x66, 0x0f, 0x3a, 0x63, 0xca, 0x00], &mut s); // pcmpistri xmm1, xmm2, 0
    assert_eq!(s.gpr[1], 7);
    assert_eq!(s.rflags & flag::STATUS, flag::CF | flag::SF);
}

#[test]
fn segment_base_and_short_addresses() {
    // vmovups xmm0, fs:[rax]
    let mut s = state();
    s.fs_base = DATA - 0x100;
    s.gpr[0] = 0x100;
    let mut memory = Page::new(&[0x64, 0xc5, 0xf8, 0x10, 0x00]);
    run_in(&mut memory, &mut s);
    assert_eq!(s.vector[0].0[..16], memory.data[..16]);
    // vmovups xmm0, [eax + 1]: the sum wraps at 32 bits.
    let mut s = state();
    s.gpr[0] = 0xdead_beef_0000_0000 | DATA;
    let mut memory = Page::new(&[0x67, 0xc5, 0xf8, 0x10, 0x40, 0x01]);
    run_in(&mut memory, &mut s);
    assert_eq!(s.vector[0].0[..16], memory.data[1..17]);
}

#[test]
fn ymm_is_refused_where_it_does_not_exist() {
    emulator::init();
    let mut s = State {
        width: Width::Xmm,
        ..state()
    };
    let code = [0xc5, 0xf1, 0xfe, 0xc2]; // vpaddd xmm0, xmm1, xmm2
    let result = emulator::step(&mut s, &mut Page::new(&code), EMULATED);
    assert_eq!(result, Err(Fault::Unknown));
    // BMI works on general-purpose registers only.
    run(&[0xc4, 0xe2, 0x70, 0xf7, 0xd0], &mut s); // bextr edx, eax, ecx
}

#[test]
fn what_is_not_permitted_or_not_known_is_refused() {
    use isa::Feature;
    emulator::init();
    let refused = |code: &[u8], permitted| {
        let mut s = state();
        let before = s;
        let result = emulator::step(&mut s, &mut Page::new(code), permitted);
        assert_eq!(s, before);
        result == Err(Fault::Unknown)
    };
    let vpaddd_ymm = [0xc5, 0xf5, 0xfe, 0xc2];
    assert!(refused(&vpaddd_ymm, EMULATED.without(Feature::Avx2)));
    assert!(refused(&[0x0f, 0x0b], EMULATED)); // ud2
    assert!(refused(&[0x0f, 0x05], EMULATED)); // syscall
    assert!(refused(&[0xf0, 0xc5, 0xf5, 0xfe, 0xc2], EMULATED)); // lock vpaddd
    assert!(refused(&[0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2], EMULATED)); // vpaddd zmm
    assert!(refused(&[0x0f, 0x38, 0x1c, 0xc1], EMULATED)); // pabsb mm0, mm1
}

#[test]
fn instructions_are_attributed_to_their_features() {
    use isa::{Feature, FeatureSet};
    emulator::init();
    let features = |code: &[u8]| emulator::attribute(code).map(|a| (a.features, a.emulated));
    let only = |feature| FeatureSet::from_features(&[feature]);
    assert_eq!(
        features(&[0xc5, 0xf5, 0xfe, 0xc2]),
        Some((only(Feature::Avx2), true))
    );
    assert_eq!(
        features(&[0xc5, 0xf1, 0xfe, 0xc2]),
        Some((only(Feature::Avx), true))
    );
    assert_eq!(
        features(&[0xf3, 0x0f, 0xbd, 0xc8]),
        Some((only(Feature::Abm), true))
    );
    assert_eq!(features(&[0x90]), Some((FeatureSet::EMPTY, true)));
    assert_eq!(features(&[0xf4]), Some((FeatureSet::EMPTY, false)));
    let evex = [0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2];
    assert_eq!(features(&evex), Some((only(Feature::Avx512f), false)));
    assert_eq!(features(&[0xc5]), None);
}

/// A machine that offers what few instructions ask for.
struct Machine {
    page: Page,
    flushed: Option<u64>,
    random: Option<u64>,
}

impl Machine {
    fn new(page: Page) -> Self {
        Self {
            page,
            flushed: None,
            random: Some(0xa5a5_0123_4567_89ab),
        }
    }
}

impl emulator::Memory for Machine {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), emulator::MemoryFault> {
        self.page.read(address, buffer)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), emulator::MemoryFault> {
        self.page.write(address, bytes)
    }

    fn check_write(&mut self, address: u64, length: usize) -> Result<(), emulator::MemoryFault> {
        self.page.check_write(address, length)
    }

    fn fetch(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        self.page.fetch(address, buffer)
    }

    fn compare_exchange_16(
        &mut self,
        _: u64,
        expected: u128,
        new: u128,
    ) -> Result<Option<u128>, emulator::MemoryFault> {
        Ok(Some(if new == 1 { expected } else { 7 << 64 | 5 }))
    }

    fn flush_line(&mut self, address: u64) -> Result<Option<()>, emulator::MemoryFault> {
        self.flushed = Some(address);
        Ok(Some(()))
    }

    fn time_stamp(&mut self) -> Option<u64> {
        Some(0x1234_5678_9abc_def0)
    }

    fn time_stamp_aux(&mut self) -> Option<u32> {
        Some(0x3_0005)
    }

    fn random(&mut self) -> Option<Option<u64>> {
        Some(self.random)
    }
}

/// Instructions that need more than memory, at RDI where they have an operand there.
const OF_THE_MACHINE: &[&[u8]] = &[
    &[0x48, 0x0f, 0xc7, 0x0f], // cmpxchg16b [rdi]
    &[0x66, 0x0f, 0xae, 0x3f], // clflushopt [rdi]
    &[0x66, 0x0f, 0xae, 0x37], // clwb [rdi]
    &[0xf3, 0x0f, 0xc7, 0xf8], // rdpid rax
    &[0x0f, 0x01, 0xf9],       // rdtscp
    &[0x66, 0x0f, 0xc7, 0xf0], // rdrand ax
    &[0x0f, 0xc7, 0xf8],       // rdseed eax
    &[0x48, 0x0f, 0xc7, 0xf0], // rdrand rax
];

#[test]
fn what_the_machine_offers_is_used_and_what_it_does_not_is_refused() {
    emulator::init();
    for code in OF_THE_MACHINE {
        let mut s = state();
        s.gpr = [u64::MAX; 16];
        s.gpr[7] = DATA + 64;
        s.rflags |= flag::STATUS;
        let before = s;
        let mut page = Page::new(code);
        let refused = emulator::step(&mut s, &mut page, EMULATED);
        assert_eq!(refused, Err(Fault::Unknown), "{code:02x?}");
        assert_eq!(s, before);
        let mut machine = Machine::new(page);
        emulator::step(&mut s, &mut machine, EMULATED).expect("completes");
        let (rax, rcx, rdx) = (s.gpr[0], s.gpr[1], s.gpr[2]);
        match code {
            [0x48, 0x0f, 0xc7, 0x0f] => {
                assert_eq!((rax, rdx), (5, 7));
                assert_eq!(s.rflags, before.rflags & !flag::ZF);
            }
            [_, 0x0f, 0xae, ..] => assert_eq!(machine.flushed, Some(DATA + 64)),
            [0xf3, ..] => assert_eq!(rax, 0x3_0005),
            [0x0f, 0x01, ..] => {
                assert_eq!((rax, rdx, rcx), (0x9abc_def0, 0x1234_5678, 0x3_0005));
            }
            [0x66, ..] => assert_eq!(rax, 0xffff_ffff_ffff_89ab),
            [0x0f, ..] => assert_eq!(rax, 0x4567_89ab),
            _ => assert_eq!(rax, 0xa5a5_0123_4567_89ab),
        }
        if matches!(code, [.., 0xc7, 0xf0] | [0x0f, 0xc7, 0xf8]) {
            assert_eq!(s.rflags & flag::STATUS, flag::CF);
        }
    }
    // Equal: ZF, and RDX:RAX stay.
    let mut s = state();
    (s.gpr[0], s.gpr[2], s.gpr[3], s.gpr[7]) = (3, 4, 1, DATA);
    let mut machine = Machine::new(Page::new(OF_THE_MACHINE[0]));
    emulator::step(&mut s, &mut machine, EMULATED).expect("completes");
    assert_eq!((s.gpr[0], s.gpr[2], s.rflags & flag::ZF), (3, 4, flag::ZF));
    // Not aligned.
    s.rip = CODE;
    s.gpr[7] = DATA + 8;
    let fault = emulator::step(&mut s, &mut machine, EMULATED);
    assert_eq!(fault, Err(Fault::Alignment { address: DATA + 8 }));
}

#[test]
fn a_random_number_that_is_not_there_now_clears_the_carry_and_the_destination() {
    emulator::init();
    let mut machine = Machine::new(Page::new(&[0x48, 0x0f, 0xc7, 0xf0])); // rdrand rax
    machine.random = None;
    let mut s = state();
    (s.gpr[0], s.rflags) = (7, s.rflags | flag::STATUS);
    emulator::step(&mut s, &mut machine, EMULATED).expect("completes");
    assert_eq!((s.gpr[0], s.rflags & flag::STATUS), (0, 0));
}

#[test]
fn mmx_registers_are_refused_where_the_state_has_none_or_an_exception_is_pending() {
    emulator::init();
    let code = &[0x0f, 0xfe, 0xc1]; // paddd mm0, mm1
    let refused = |s: &mut State, fault| {
        let before = *s;
        let result = emulator::step(s, &mut Page::new(code), EMULATED);
        assert_eq!((result, *s), (Err(fault), before));
    };
    let mut s = state();
    refused(&mut s, Fault::Unknown);
    s.x87.present = true;
    s.x87.status = 1 << 7;
    refused(&mut s, Fault::X87);
    s.x87.status = 0x3841;
    (s.x87.significand[0], s.x87.significand[1]) = (1 << 32 | 1, 2 << 32 | u64::from(u32::MAX));
    run(code, &mut s);
    assert_eq!(s.x87.significand[0], 3 << 32);
    assert_eq!((s.x87.exponent[0], s.x87.exponent[1]), (0xffff, 0));
    assert_eq!((s.x87.tags, s.x87.status), (0xff, 0x41));
}

#[test]
fn an_fxsave_image_begins_with_the_top_of_the_stack() {
    let mut image = [0u8; emulator::X87::IMAGE];
    (0..8).for_each(|i| image[32 + 16 * i] = i as u8);
    image[32 + 9] = 0x80;
    image[..5].copy_from_slice(&[0x7f, 3, 0, 5 << 3, 0xe0]);
    let x87 = emulator::X87::from_image(&image);
    assert!(x87.present);
    assert_eq!((x87.control, x87.tags), (0x37f, 0xe0));
    assert_eq!(x87.significand, [3, 4, 5, 6, 7, 0, 1, 2]);
    assert_eq!(x87.exponent, [0, 0, 0, 0, 0, 0x8000, 0, 0]);
    let mut copy = [0u8; emulator::X87::IMAGE];
    x87.to_image(&mut copy);
    assert_eq!(copy, image);
}

#[test]
fn hints_change_nothing_wherever_they_point() {
    let hints: [&[u8]; 6] = [
        &[0x0f, 0x1c, 0x00],                // cldemote [rax]
        &[0x0f, 0x0d, 0x08],                // prefetchw [rax]
        &[0x0f, 0x0d, 0x00],                // prefetch [rax]
        &[0x0f, 0x0d, 0x10],                // prefetchwt1 [rax]
        &[0x0f, 0x18, 0x3d, 0, 0, 0, 0x80], // prefetchit0 [rip - 2^31]
        &[0x0f, 0x18, 0x35, 0, 0, 0, 0x80], // prefetchit1 [rip - 2^31]
    ];
    for code in hints {
        let mut s = state();
        s.gpr[0] = 0xdead_0000_0000_0001;
        let before = s;
        run(code, &mut s);
        s.rip = before.rip;
        assert_eq!(s, before);
    }
}
