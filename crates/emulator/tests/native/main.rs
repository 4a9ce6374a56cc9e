//! Every emulated instruction, run by the emulator and by the CPU on the same registers and
//! memory; all of both compared.
//!
//! `ISAHOTPLUG_CASES` sets the number of cases for each code (200 without it).
//! `ISAHOTPLUG_CODE` restricts the run to codes whose name contains it.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "random bits are reinterpreted on purpose"
)]

#[path = "../approximate/mod.rs"]
mod approximate;
#[path = "../cases/mod.rs"]
mod cases;
mod oracle;
#[path = "../scope/mod.rs"]
mod scope;
#[path = "../shadow/mod.rs"]
mod shadow;
mod siblings;

use approximate::{accept_approximations, is_approximate};
use cases::random::Random;
use cases::{Case, DATA, Place};
use emulator::{EMULATED, Fault, State, exception, flag};
use iced_x86::{Code, EncodingKind, Mnemonic, Mnemonic as M, OpKind};
use isa::{Feature, FeatureSet};
use oracle::{Oracle, Outcome};
use shadow::Shadow;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;

/// The signal that Linux would send for a fault.
fn expected_signal(fault: Fault, mxcsr: u32) -> Outcome {
    // From the kernel's fpu__exception_code and the x86 page fault handler.
    let (number, code, address) = match fault {
        Fault::Unknown => (libc::SIGILL, 2, None),
        Fault::Memory(fault) => (libc::SIGSEGV, 2, Some(fault.address)),
        // A #GP has the code SI_KERNEL and no address.
        Fault::Alignment { .. } | Fault::Protection => (libc::SIGSEGV, 0x80, None),
        Fault::X87 => unreachable!("no case has an x87 exception pending"),
        Fault::Divide => (libc::SIGFPE, 1, None),
        Fault::Simd { .. } => {
            // The kernel looks at all sticky flags that are not masked, old ones too.
            let unmasked = mxcsr & !(mxcsr >> 7);
            let code = if unmasked & exception::INVALID != 0 {
                7
            } else if unmasked & exception::ZERO_DIVIDE != 0 {
                3
            } else if unmasked & exception::OVERFLOW != 0 {
                4
            } else if unmasked & (exception::UNDERFLOW | exception::DENORMAL) != 0 {
                5
            } else {
                6
            };
            (libc::SIGFPE, code, None)
        }
    };
    Outcome::Signal {
        number,
        code,
        address: address.unwrap_or(0),
    }
}

/// Blanks what a signal says beyond number, code and the address of a memory access.
fn normalised(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Signal {
            number,
            code,
            address,
        } => Outcome::Signal {
            number,
            code,
            address: if number == libc::SIGSEGV { address } else { 0 },
        },
        Outcome::Completed => Outcome::Completed,
    }
}

/// The low byte of a shift's count: an immediate, or CL.
fn shift_count(case: &Case) -> u8 {
    let last = case.instruction.op_count().saturating_sub(1);
    match case.instruction.op_kind(last) {
        OpKind::Immediate8 => case.instruction.immediate8(),
        _ => case.state.gpr[1] as u8,
    }
}

/// Whether the manuals leave open what the instruction computes: a double shift of 16 bits by more.
fn is_undefined(case: &Case) -> bool {
    matches!(
        case.instruction.code(),
        Code::Shld_rm16_r16_imm8
            | Code::Shrd_rm16_r16_imm8
            | Code::Shld_rm16_r16_CL
            | Code::Shrd_rm16_r16_CL
    ) && shift_count(case) & 31 > 16
}

/// Flags that the manuals leave undefined after an ordinary integer instruction. The emulator
/// leaves them as AMD's CPUs do.
fn undefined_flags(case: &Case) -> u64 {
    use flag::{AF, CF, OF, PF, SF, STATUS, ZF};
    let wide =
        case.instruction.op0_register().size() == 8 || case.instruction.memory_size().size() == 8;
    let count = match case.instruction.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd => shift_count(case),
        M::Rol | M::Ror | M::Rcl | M::Rcr => shift_count(case),
        _ => 0,
    } & if wide { 63 } else { 31 };
    let overflow = if count > 1 { OF } else { 0 };
    let adjust = if count > 0 { AF } else { 0 };
    match case.instruction.mnemonic() {
        M::Rol | M::Ror | M::Rcl | M::Rcr => overflow,
        // CF is undefined of counts that leave nothing of the operand.
        M::Shl | M::Sal | M::Shr if count >= 8 => CF | overflow | adjust,
        M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd => overflow | adjust,
        M::Mul | M::Imul => SF | ZF | AF | PF,
        M::Div | M::Idiv => STATUS,
        M::Bsf | M::Bsr => STATUS & !ZF,
        M::Bt | M::Bts | M::Btr | M::Btc => OF | SF | AF | PF,
        _ => 0,
    }
}

/// Whether this is a CPU whose undefined flags the emulator has.
static IS_AMD: LazyLock<bool> = LazyLock::new(|| {
    let vendor = std::arch::x86_64::__cpuid(0);
    let name = [vendor.ebx, vendor.edx, vendor.ecx]
        .map(u32::to_le_bytes)
        .concat();
    name == b"AuthenticAMD" || name == b"HygonGenuine"
});

/// All that differs between two states, a line each.
fn differences(before: &State, emulated: &State, native: &State) -> String {
    let mut text = String::new();
    let mut line = |what: String, b: String, e: String, n: String| {
        if e != n {
            text += &format!("  {what}: before {b}\n    emulated {e}\n    native   {n}\n");
        }
    };
    let hex = |x: u64| format!("{x:#x}");
    for i in 0..16 {
        let of = |s: &State| hex(s.gpr[i]);
        line(format!("gpr {i}"), of(before), of(emulated), of(native));
    }
    line(
        "rip".into(),
        hex(before.rip),
        hex(emulated.rip),
        hex(native.rip),
    );
    line(
        "rflags".into(),
        hex(before.rflags),
        hex(emulated.rflags),
        hex(native.rflags),
    );
    line(
        "mxcsr".into(),
        hex(before.mxcsr.into()),
        hex(emulated.mxcsr.into()),
        hex(native.mxcsr.into()),
    );
    let of = |s: &State| format!("{:x?}", s.x87);
    line("x87".into(), of(before), of(emulated), of(native));
    for i in 0..32 {
        let of = |s: &State| format!("{:?}", s.vector[i]);
        line(format!("vector {i}"), of(before), of(emulated), of(native));
    }
    text
}

/// Runs one case both ways; what differs, if anything does.
fn compare(oracle: &mut Oracle, shadow: &mut Shadow, case: &Case) -> Result<(), String> {
    oracle.bytes().copy_from_slice(&shadow.bytes);
    let mut native = case.state;
    shadow::limit(&mut native, oracle.width);
    let landing = case.landing.unwrap_or(oracle.code());
    let outcome = normalised(oracle.run_branch(&case.bytes, landing, &mut native));
    shadow.code.clone_from(&case.bytes);
    let mut emulated = case.state;
    shadow::limit(&mut emulated, oracle.width);
    emulated.width = oracle.width;
    native.width = oracle.width;
    let result = emulator::step(&mut emulated, shadow, EMULATED);
    let expected = match result {
        Ok(_) => Outcome::Completed,
        Err(fault) => expected_signal(fault, emulated.mxcsr),
    };
    // Whether bytes that are not selected may fault is left open by the architecture: this CPU may
    // check the whole operand, the emulator looks at the selected bytes only.
    let stores_bytes = matches!(
        case.instruction.mnemonic(),
        Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu | Mnemonic::Maskmovq
    );
    if stores_bytes && result.is_ok() && outcome != Outcome::Completed {
        return Ok(());
    }
    // SHLD and SHRD by more than the size: the result is undefined, and left to the CPU.
    if is_undefined(case) && result == Err(Fault::Unknown) {
        return Ok(());
    }
    // With AMD's MXCSR.MM, which lets legacy operands be unaligned, some instructions that use half
    // of their operand read only that half. The emulator reads what the instruction names.
    let lenient = case.state.mxcsr & 1 << 17 != 0;
    if lenient && matches!(result, Err(Fault::Memory(_))) && outcome == Outcome::Completed {
        return Ok(());
    }
    // SHA on memory that is not aligned: a CPU by Intel's manual refuses it, AMD's and the emulator
    // do not.
    let is_sha = format!("{:?}", case.instruction.mnemonic()).starts_with("Sha");
    if is_sha
        && result.is_ok()
        && case.target.is_some_and(|t| t % 16 != 0)
        && outcome != Outcome::Completed
    {
        return Ok(());
    }
    if is_approximate(case.instruction.mnemonic()) {
        accept_approximations(&mut emulated, &native);
    }
    // When an instruction on MMX registers faults some CPUs have already emptied the x87 stack
    // (AMD's Zen 5: MASKMOVQ and conversions); the emulator leaves it until all is done.
    if outcome != Outcome::Completed {
        native.x87.status = emulated.x87.status;
        native.x87.tags = emulated.x87.tags;
    }
    if !*IS_AMD {
        let undefined = undefined_flags(case);
        native.rflags = native.rflags & !undefined | emulated.rflags & undefined;
    }
    let memory_differs = oracle.bytes() != shadow.bytes;
    if expected == outcome && emulated == native && !memory_differs {
        return Ok(());
    }
    let mut text = format!(
        "{:?} {:02x?}\n  mxcsr {:#x} rflags {:#x}\n",
        case.instruction.code(),
        case.bytes,
        case.state.mxcsr,
        case.state.rflags
    );
    if expected != outcome {
        text += &format!("  emulated {result:?} = {expected:?}\n  native   {outcome:?}\n");
    }
    if memory_differs {
        let native = oracle.bytes();
        let first = (0..DATA).find(|&i| native[i] != shadow.bytes[i]);
        text += &format!("  memory differs from {first:#x?} on\n");
        shadow.bytes.copy_from_slice(native);
    }
    for i in 0..4 {
        if let Ok(iced_x86::OpKind::Register) = case.instruction.try_op_kind(i)
            && i < case.instruction.op_count()
        {
            let register = case.instruction.op_register(i);
            if register.is_vector_register() {
                text += &format!(
                    "  {register:?} {:?}\n",
                    case.state.vector[register.number()]
                );
            } else {
                let value = case.state.gpr[register.full_register().number()];
                text += &format!("  {register:?} {value:#x}\n");
            }
        } else if let Some(target) = case.target
            && case.instruction.op_kind(i) == iced_x86::OpKind::Memory
        {
            let at = target.wrapping_sub(shadow.data) as usize;
            let bytes = shadow
                .bytes
                .get(at..at.saturating_add(32))
                .map(<[u8]>::to_vec)
                .unwrap_or_default();
            text += &format!("  memory at {at:#x} {bytes:02x?}\n");
        }
    }
    text += &differences(&case.state, &emulated, &native);
    Err(text)
}

/// The features of this CPU.
fn available() -> FeatureSet {
    isa::detect()
}

fn cases_a_code() -> u64 {
    std::env::var("ISAHOTPLUG_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200)
}

/// Whether no two executions give the same; `tests/golden.rs` has a case of each.
fn varies(code: Code) -> bool {
    matches!(
        code.mnemonic(),
        Mnemonic::Rdtscp | Mnemonic::Rdrand | Mnemonic::Rdseed
    )
}

/// The features of a code of which every instruction must be emulated; `None` for any other code.
fn in_scope(code: Code) -> Option<FeatureSet> {
    let info = code.op_code();
    let before_evex = !matches!(code.encoding(), EncodingKind::EVEX | EncodingKind::MVEX);
    if varies(code) {
        return None;
    }
    if !info.is_instruction() || !info.mode64() || !before_evex {
        return None;
    }
    let place = Place {
        code: 0x1000,
        data: 0x3000,
        mxcsr_mask: State::DEFAULT_MXCSR_MASK,
    };
    let mut random = Random(1);
    let case = (0..100).find_map(|_| cases::case(code, &mut random, place))?;
    let features = emulator::attribute(&case.bytes)?.features;
    let meant = !features.is_empty() || cases::general::is_general(code);
    (meant && !scope::ends_a_burst(code) && features.is_subset(&EMULATED)).then_some(features)
}

/// Features that no CPU has together with all the others of [`EMULATED`], or that few have; the
/// test against plain references covers them.
const RARE: FeatureSet = FeatureSet::from_features(&[
    Feature::AvxVnniInt8,
    Feature::AvxVnniInt16,
    Feature::AvxIfma,
    Feature::AvxNeConvert,
    Feature::Sha512,
    Feature::Sm3,
    Feature::Sm4,
    Feature::Fma4,
    Feature::Xop,
    Feature::Tbm,
    Feature::Sse4a,
    Feature::ThreeDnow,
    Feature::ThreeDnowExt,
    Feature::Cldemote,
    Feature::Prefetchwt1,
    Feature::Prefetchiti,
]);

/// Codes that a CPU with all of [`EMULATED`] but [`RARE`] must have been compared on.
const FLOOR: usize = 1737;

#[test]
fn every_instruction_gives_what_the_cpu_gives() {
    emulator::init();
    let here = available();
    let only = std::env::var("ISAHOTPLUG_CODE").unwrap_or_default();
    let mut oracle = Oracle::new();
    let place = Place {
        code: oracle.code(),
        data: oracle.data(),
        mxcsr_mask: Oracle::mxcsr_mask(),
    };
    let mut shadow = Shadow {
        data: place.data,
        bytes: vec![0; DATA],
        code: Vec::new(),
        // The thread stays on its CPU, see `Oracle::new`.
        aux: here.contains(Feature::Rdpid).then(oracle::time_stamp_aux),
    };
    let (mut tested, mut run, mut emulated) = (0, 0, 0);
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_feature: BTreeMap<String, usize> = BTreeMap::new();
    let mut refused = Vec::new();
    let mut failures: Vec<String> = Vec::new();
    for (code, features) in Code::values().filter_map(|c| Some((c, in_scope(c)?))) {
        if !format!("{code:?}").contains(&only) {
            continue;
        }
        let mut failed = 0;
        let mut done = 0;
        let mut first = String::new();
        let mut known = false;
        let missing = features - here;
        for number in 0..cases_a_code() {
            let seed = (code as u64) << 32 | number;
            let mut random = Random(seed);
            let Some(case) = cases::case(code, &mut random, place) else {
                continue;
            };
            let attribution = emulator::attribute(&case.bytes);
            known = attribution.is_some_and(|a| a.emulated);
            if !known || !missing.is_empty() {
                break;
            }
            let start = case.target.map_or(random.below(DATA as u64 - 64), |t| {
                t.wrapping_sub(place.data).min(DATA as u64 - 64)
            }) as usize;
            shadow.bytes[start..start + 64].copy_from_slice(&random.vector());
            if matches!(
                case.instruction.mnemonic(),
                Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr
            ) && random.chance(70)
            {
                shadow.bytes[start..start + 4].copy_from_slice(&random.mxcsr().to_le_bytes());
            }
            if code == Code::Cmpxchg16b_m128 && random.chance(50) {
                // Equal by chance never happens.
                let expected = [case.state.gpr[0], case.state.gpr[2]].map(u64::to_le_bytes);
                shadow.bytes[start..start + 16].copy_from_slice(&expected.concat());
            }
            for (address, bytes) in &case.data {
                for (byte, i) in bytes.iter().zip(0..) {
                    let at = address.wrapping_add(i).wrapping_sub(place.data);
                    if let Some(place) = shadow.bytes.get_mut(at as usize) {
                        *place = *byte;
                    }
                }
            }
            done += 1;
            if let Err(text) = compare(&mut oracle, &mut shadow, &case) {
                failed += 1;
                // One is enough of each, unless one code is being looked into.
                if first.is_empty() || (!only.is_empty() && failed < 20) {
                    first += &format!("seed {seed:#x} (case {number}): {text}");
                }
            }
        }
        emulated += usize::from(known);
        run += done;
        if !known {
            refused.push(code);
        } else if !missing.is_empty() {
            *skipped
                .entry(format!("the CPU lacks {missing}"))
                .or_default() += 1;
        } else {
            tested += 1;
            let name = if features.is_empty() {
                "of every CPU".to_string()
            } else {
                features.to_string()
            };
            *by_feature.entry(name).or_default() += 1;
        }
        if failed > 0 {
            failures.push(format!(
                "{failed} of {done} cases differ; the first:\n{first}"
            ));
        }
    }
    let skips: usize = skipped.values().sum();
    // Past the capture of the test harness: the counts are to be seen in every run.
    let mut report = format!(
        "codes: {tested} tested natively, {skips} skipped; {emulated} emulated; {run} cases\n"
    );
    for (features, count) in &by_feature {
        report += &format!("  {count} tested: {features}\n");
    }
    for (reason, count) in &skipped {
        report += &format!("  {count} skipped: {reason}\n");
    }
    let varying: Vec<Code> = Code::values().filter(|&code| varies(code)).collect();
    report += &format!("  {} without an oracle: {varying:?}\n", varying.len());
    let _ = std::io::stderr().write_all(report.as_bytes());
    if !refused.is_empty() {
        println!("  {} in scope but not emulated: {refused:?}", refused.len());
    }
    for failure in failures.iter().take(60) {
        println!("{failure}");
    }
    assert!(
        failures.is_empty(),
        "{} codes differ from the CPU",
        failures.len()
    );
    assert!(
        refused.is_empty(),
        "{} codes are not emulated",
        refused.len()
    );
    if only.is_empty() && (EMULATED - RARE - here).is_empty() {
        assert!(
            tested >= FLOOR,
            "only {tested} codes were tested, not {FLOOR}"
        );
    }
}

/// Says that a test is skipped, and counts it where `cargo xtask test` looks.
fn skip(test: &str, reason: &str) {
    println!("skipped: {test}: {reason}");
    if let Some(path) = std::env::var_os("ISAHOTPLUG_SKIPS") {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        writeln!(file.expect("opens"), "{test}\t{reason}").expect("is written");
    }
}

/// Random VEX encodings with registers only, with prefixes, reserved bits and lengths that may be
/// illegal: what the emulator carries out the CPU must carry out too, and what it calls no
/// instruction must be none.
#[test]
fn the_cpu_agrees_on_what_is_an_instruction() {
    emulator::init();
    let here = available();
    if !(EMULATED - RARE - here).is_empty() {
        let reason = format!("the CPU lacks {}", EMULATED - RARE - here);
        skip("the_cpu_agrees_on_what_is_an_instruction", &reason);
        return;
    }
    let mut oracle = Oracle::new();
    let place = Place {
        code: oracle.code(),
        data: oracle.data(),
        mxcsr_mask: Oracle::mxcsr_mask(),
    };
    let mut shadow = Shadow {
        data: place.data,
        bytes: vec![0; DATA],
        code: Vec::new(),
        // The thread stays on its CPU, see `Oracle::new`.
        aux: here.contains(Feature::Rdpid).then(oracle::time_stamp_aux),
    };
    let mut completed = 0;
    for number in 0..cases_a_code() * 500 {
        let mut random = Random(number ^ 0x5eed_0000_0000);
        let mut bytes = Vec::new();
        if random.chance(20) {
            let prefixes = [0x66, 0xf2, 0xf3, 0xf0, 0x40, 0x48, 0x67, 0x2e, 0x65];
            bytes.push(random.pick(&prefixes));
        }
        let unused = if random.chance(70) { 0x78 } else { 0 };
        if random.chance(50) {
            bytes.extend([0xc5, random.next() as u8 | unused]);
        } else {
            let map = 1 + random.below(3) as u8;
            let first = random.next() as u8 & 0xe0;
            bytes.extend([0xc4, first | map, random.next() as u8 | unused]);
        }
        bytes.extend([random.next() as u8, random.next() as u8 | 0xc0]);
        // An immediate, if one belongs to it; else NOPs that do not matter.
        bytes.extend([0x90; 2]);
        let attribution = emulator::attribute(&bytes);
        let permitted = EMULATED & here;
        let known = attribution.is_some_and(|a| permitted.is_superset(&a.features));
        if attribution.is_some() && !known {
            continue;
        }
        if let Some(attribution) = attribution {
            bytes.truncate(attribution.length);
        }
        let mut decoder =
            iced_x86::Decoder::with_ip(64, &bytes, place.code, iced_x86::DecoderOptions::NONE);
        let instruction = decoder.decode();
        // An instruction with memory at RDI would find no memory there.
        if instruction.is_invalid() && random.chance(50)
            || matches!(instruction.mnemonic(), Mnemonic::Vmaskmovdqu)
            || is_approximate(instruction.mnemonic())
        {
            continue;
        }
        let mut state = State {
            rip: place.code,
            rflags: 0x202,
            gs_base: cases::GS_BASE,
            mxcsr_mask: Oracle::mxcsr_mask(),
            ..State::default()
        };
        state.x87.present = true;
        state.gpr.iter_mut().for_each(|r| *r = random.integer());
        let vectors = state.vector.iter_mut();
        vectors.for_each(|v| *v = emulator::Vector(random.vector()));
        let case = Case {
            bytes,
            instruction,
            state,
            target: None,
            landing: None,
            data: Vec::new(),
        };
        completed += u64::from(known);
        if !known && ignores_w(&case.bytes) {
            continue;
        }
        if let Err(text) = compare(&mut oracle, &mut shadow, &case) {
            panic!("case {number}: {text}");
        }
    }
    assert!(
        completed > cases_a_code() * 20,
        "only {completed} were instructions"
    );
}

/// VPERMQ and VPERMPD with VEX.W = 0 are #UD by the manuals, and here; AMD's Zen 5 executes them.
fn ignores_w(bytes: &[u8]) -> bool {
    bytes
        .windows(4)
        .any(|b| b[0] == 0xc4 && b[1] & 0x1f == 3 && b[2] & 0x80 == 0 && matches!(b[3], 0 | 1))
}
