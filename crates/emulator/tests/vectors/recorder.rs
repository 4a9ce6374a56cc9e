//! Makes a recording of the present CPU.

use crate::cases::random::Random;
use crate::cases::{self, Case, Place};
use crate::format::{End, Recorded, Recording, Vector};
use crate::image::{self, CODE_ADDRESS, DATA, DATA_ADDRESS, Image};
use crate::oracle::{Oracle, Outcome};
use crate::selection::{self, Candidate};
use crate::{expansion, registers, replay, shadow};
use emulator::{EMULATED, State};
use iced_x86::{Code, EncodingKind, Mnemonic};
use isa::{Feature, FeatureSet};
use std::arch::x86_64::__cpuid;
use std::path::Path;

/// Cases of a code.
fn count(code: Code) -> usize {
    let name = format!("{:?}", code.mnemonic());
    // Each immediate of these is an instruction of its own.
    if name.contains("cmpestr") || name.contains("cmpistr") {
        128
    } else {
        32
    }
}

/// Numbers that are tried to find them.
const TRIED: u32 = 2000;

/// The file and the name of this CPU.
fn cpu() -> (String, String) {
    let (vendor, signature) = (__cpuid(0), __cpuid(1).eax);
    let letters = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
    let letters = String::from_utf8_lossy(letters.as_flattened()).into_owned();
    let vendor = match &letters[..] {
        "AuthenticAMD" => "AMD",
        "GenuineIntel" => "Intel",
        other => other,
    };
    // Intel SDM vol. 2, CPUID: the extended fields add to a family of 15 and go before the model.
    let mut family = signature >> 8 & 15;
    let mut model = signature >> 4 & 15;
    if family == 6 || family == 15 {
        model |= signature >> 12 & 0xf0;
    }
    if family == 15 {
        family += signature >> 20 & 0xff;
    }
    (
        format!("{}-{family:02x}h.bin", vendor.to_lowercase()),
        format!("{vendor} family {family:02X}h model {model:02X}h"),
    )
}

/// What every x86-64 CPU has, so that `tests/native` compares it on every one.
const EVERYWHERE: FeatureSet = FeatureSet::from_features(&[
    Feature::Cmov,
    Feature::Cx8,
    Feature::Mmx,
    Feature::Sse,
    Feature::Sse2,
]);

/// What `tests/native` compares on a CPU with these features, and whether it needs a recording.
fn is_compared(code: Code, here: FeatureSet) -> Option<bool> {
    let info = code.op_code();
    let before_evex = !matches!(code.encoding(), EncodingKind::EVEX | EncodingKind::MVEX);
    // No two executions give the same; `tests/golden.rs` has a case of each.
    let varies = matches!(
        code.mnemonic(),
        Mnemonic::Rdtscp | Mnemonic::Rdrand | Mnemonic::Rdseed
    );
    if varies || !info.is_instruction() || !info.mode64() || !before_evex {
        return None;
    }
    let place = place(State::DEFAULT_MXCSR_MASK);
    let mut random = Random(1);
    let case = (0..100).find_map(|_| cases::case(code, &mut random, place))?;
    let attribution = emulator::attribute(&case.bytes)?;
    let features = attribution.features;
    if !attribution.emulated || !here.is_superset(&features) || !EMULATED.is_superset(&features) {
        return None;
    }
    // Another CPU or another moment gives RDPID another value.
    Some(code.mnemonic() != Mnemonic::Rdpid && !features.is_subset(&EVERYWHERE))
}

fn place(mxcsr_mask: u32) -> Place {
    Place {
        code: CODE_ADDRESS,
        data: DATA_ADDRESS,
        mxcsr_mask,
    }
}

/// What the CPU did; `None` if it ended in a way that depends on more than the architecture.
fn end(outcome: Outcome) -> Option<End> {
    // From the x86 page fault handler: a #GP has the code SI_KERNEL and no address.
    const SI_KERNEL: i32 = 0x80;
    match outcome {
        Outcome::Completed => Some(End::Completed),
        Outcome::Signal {
            number: libc::SIGSEGV,
            code: SI_KERNEL,
            ..
        } => Some(End::Protection),
        Outcome::Signal {
            number: libc::SIGSEGV,
            address,
            ..
        } => Some(End::Memory { address }),
        Outcome::Signal {
            number: libc::SIGFPE,
            ..
        } => Some(End::FloatingPoint),
        Outcome::Signal { .. } => None,
    }
}

/// Whether the architecture leaves open what happens in this case, so that another CPU may do
/// something else; `tests/native` says more about each.
fn is_open(case: &Case, vector: &Vector) -> bool {
    let mnemonic = case.instruction.mnemonic();
    let by_byte = matches!(
        mnemonic,
        Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu | Mnemonic::Maskmovq
    );
    let is_sha = format!("{mnemonic:?}").starts_with("Sha");
    let unaligned = case.target.is_some_and(|target| target % 16 != 0);
    let faults = matches!(vector.end, End::Memory { .. });
    let lenient = case.state.mxcsr & 1 << 17 != 0;
    by_byte && faults || is_sha && unaligned || lenient && near_the_end(case)
}

/// Whether an operand might reach beyond the data.
fn near_the_end(case: &Case) -> bool {
    case.target
        .is_some_and(|target| target.wrapping_sub(DATA_ADDRESS) > DATA as u64 - 64)
}

struct Recorder {
    oracle: Oracle,
    recording: Recording,
}

impl Recorder {
    fn new() -> Self {
        emulator::init();
        let oracle = Oracle::new();
        assert_eq!((oracle.code(), oracle.data()), (CODE_ADDRESS, DATA_ADDRESS));
        let recording = Recording {
            cpu: cpu().1,
            mxcsr_mask: Oracle::mxcsr_mask(),
            width: oracle.width,
            codes: Vec::new(),
        };
        Self { oracle, recording }
    }

    /// Has the CPU execute case `number` of a code, if there is such a case.
    fn candidate(&mut self, code: Code, name: &str, data: &[u8], number: u32) -> Option<Candidate> {
        let mut random = Random((code as u64) << 32 | u64::from(number));
        let start = registers(&self.recording, name, number);
        let place = place(self.recording.mxcsr_mask);
        let case = cases::case_on(start, code, &mut random, place)?;
        let expanded = Image::new(&start, data);
        let mut data = data.to_vec();
        adapt(&case, &mut random, &mut data);
        let before = Image::new(&case.state, &data);

        let mut state = before.state(self.recording.mxcsr_mask, self.recording.width);
        self.oracle.bytes().copy_from_slice(&data);
        let end = end(self.oracle.run(&case.bytes, &mut state))?;
        let after = Image::new(&state, self.oracle.bytes());
        let mut expected = before.clone();
        if end == End::Completed {
            expected.advance(case.bytes.len());
        }
        let mut vector = Vector {
            number,
            instruction: case.bytes.clone(),
            input: expanded.changes(&before),
            end,
            output: expected.changes(&after),
        };
        if is_open(&case, &vector) {
            return None;
        }
        // Some CPUs have emptied the x87 stack when an instruction on MMX registers faults.
        if end != End::Completed {
            vector.output.retain(|run| !image::is_x87_stack(run));
        }
        if let Err(text) = replay(&vector, &before, &self.recording, &mut shadow()) {
            panic!(
                "nothing is recorded: CPU and emulator disagree on {code:?}, number {number}: {text}"
            );
        }
        Some(Candidate {
            features: selection::features(&case, &vector, &before, &after),
            vector,
        })
    }

    /// The cases of one code.
    fn record(&mut self, code: Code) -> Recorded {
        let name = format!("{code:?}");
        let data = expansion::data(&name);
        let candidates: Vec<_> = (0..TRIED)
            .filter_map(|number| self.candidate(code, &name, &data, number))
            .collect();
        let cases = selection::most_different(candidates, count(code));
        assert_eq!(cases.len(), count(code), "{name} has too few cases");
        Recorded { name, cases }
    }
}

/// Puts into memory what would not be there by chance.
fn adapt(case: &Case, random: &mut Random, data: &mut [u8]) {
    let Some(start) = case.target.map(|t| t.wrapping_sub(DATA_ADDRESS) as usize) else {
        return;
    };
    let bytes = match case.instruction.mnemonic() {
        Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr if random.chance(70) => {
            random.mxcsr().to_le_bytes().to_vec()
        }
        Mnemonic::Cmpxchg16b if random.chance(50) => [case.state.gpr[0], case.state.gpr[2]]
            .map(u64::to_le_bytes)
            .concat(),
        _ => return,
    };
    if let Some(place) = start
        .checked_add(bytes.len())
        .and_then(|end| data.get_mut(start..end))
    {
        place.copy_from_slice(&bytes);
    }
}

#[test]
fn this_cpu_is_recorded_where_that_is_asked_for() {
    let Some(folder) = std::env::var_os("ISAHOTPLUG_RECORD") else {
        return;
    };
    let mut recorder = Recorder::new();
    let here = isa::detect();
    for code in Code::values() {
        let recorded = match is_compared(code, here) {
            None => continue,
            Some(true) => recorder.record(code),
            Some(false) => Recorded {
                name: format!("{code:?}"),
                cases: Vec::new(),
            },
        };
        recorder.recording.codes.push(recorded);
    }
    let path = Path::new(&folder).join(cpu().0);
    let bytes = recorder.recording.to_bytes();
    std::fs::write(&path, &bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    eprintln!("{}: {} bytes", path.display(), bytes.len());
}

#[test]
fn recording_twice_gives_the_same() {
    let mut recorder = Recorder::new();
    for code in [Code::Movnti_m32_r32, Code::Movnti_m64_r64] {
        let first = recorder.record(code);
        assert_eq!(first, recorder.record(code));
    }
}
