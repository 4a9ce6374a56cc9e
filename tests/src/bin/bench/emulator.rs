//! The emulator in a process: what a trap costs, what an instruction within a
//! burst costs, and how a translator of whole programs compares.
//!
//! This CPU traps for real on XOP and FMA4. It has AVX2, so the loops in AVX2
//! that are to be emulated begin each round with an XOP instruction
//! (`tests/programs/emulator/measure.c`).

use std::path::{Path, PathBuf};

use isahotplug_tests::{Cpu, HarnessError, Preloaded, Result, emulator_program, machine};
use serde_json::{Value, json};

use crate::samples::{Samples, spread};

const ROUNDS: usize = 15;
/// Traps in a sample.
const TRAPS: u64 = 10_000;

/// A loop of `measure.c`, emulated in bursts.
struct Loop {
    name: &'static str,
    /// Rounds of it in a sample: half a million instructions.
    rounds: u64,
}

const LOOPS: [Loop; 4] = [
    Loop {
        name: "saxpy",
        rounds: 560,
    },
    Loop {
        name: "dot",
        rounds: 650,
    },
    Loop {
        name: "gemm",
        rounds: 180,
    },
    Loop {
        name: "memchr",
        rounds: 490,
    },
];

/// Calls of a kernel of `kernels.c` in a sample.
const CALLS: u64 = 100;

/// What `measure` or `kernels` printed, as numbers by name.
struct Printed(String);

impl Printed {
    fn text(&self, name: &str) -> Result<&str> {
        let mut words = self.0.split_whitespace();
        let found = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| failed(&format!("no {name} in {:?}", self.0)))
    }

    fn number(&self, name: &str) -> Result<f64> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| failed(&format!("{name} is {text:?}")))
    }
}

fn failed(what: &str) -> HarnessError {
    HarnessError::Tool {
        program: "a program to be measured".into(),
        output: what.into(),
    }
}

fn run(command: &Preloaded) -> Result<Printed> {
    let output = command.run()?;
    if !output.status.success() || !output.stderr.is_empty() {
        return Err(failed(&format!("{output:?}")));
    }
    Ok(Printed(
        String::from_utf8_lossy(&output.stdout).into_owned(),
    ))
}

/// Nanoseconds for each instruction of a loop of `measure`.
fn each(measure: &Path, what: &str, rounds: u64, burst: Option<&str>) -> Result<f64> {
    let rounds = rounds.to_string();
    let mut command = if what == "bare" {
        Preloaded::without(Cpu::Here, measure)
    } else {
        Preloaded::with(Cpu::Here, measure)?
    };
    command = command.args(&[what, &rounds]);
    if let Some(limit) = burst {
        command = command.env("ISAHOTPLUG_BURST", limit);
    }
    let printed = run(&command)?;
    Ok(printed.number("ns")? / printed.number("instructions")?)
}

/// Nanoseconds for a call of a kernel, and the digest of what it computed.
fn call(command: Preloaded, kernel: &str) -> Result<(f64, String)> {
    let calls = CALLS.to_string();
    let printed = run(&command.args(&[&calls, "plain", kernel]))?;
    let each = printed.number("ns")? / f64::from(u32::try_from(CALLS).unwrap_or(u32::MAX));
    Ok((each, printed.text("digest")?.to_owned()))
}

/// The builds of `kernels.c`.
struct Kernels {
    avx2: PathBuf,
    fma4: PathBuf,
}

/// A kernel, three ways.
#[derive(Default)]
struct Compared {
    native: Samples,
    translated: Samples,
    emulated: Samples,
}

impl Kernels {
    fn build() -> Result<Self> {
        Ok(Self {
            avx2: emulator_program("kernels", &["-O2", "-march=haswell"])?,
            // Tuned for its own CPU it would halve all vectors.
            fma4: emulator_program(
                "kernels",
                &["-O2", "-march=bdver4", "-mno-fma", "-mtune=haswell"],
            )?,
        })
    }

    fn compare(&self, kernel: &str, into: &mut Compared) -> Result<()> {
        let (native, digest) = call(Preloaded::without(Cpu::Here, &self.avx2), kernel)?;
        let (translated, of_translated) =
            call(Preloaded::without(Cpu::Qemu("max"), &self.avx2), kernel)?;
        let (emulated, of_emulated) = call(Preloaded::with(Cpu::Here, &self.fma4)?, kernel)?;
        if [of_translated, of_emulated] != [&*digest, &*digest] {
            return Err(failed(&format!("{kernel}: the results differ")));
        }
        into.native.push(native);
        into.translated.push(translated);
        into.emulated.push(emulated);
        Ok(())
    }
}

/// Resident memory, in KiB, before and after so many emulated instructions.
fn memory(measure: &Path) -> Result<Value> {
    // 128 steps of 22 instructions a round.
    const ROUNDS: &str = "4000";
    let printed = run(&Preloaded::with(Cpu::Here, measure)?.args(&["gemm", ROUNDS]))?;
    Ok(json!({
        "instructions": printed.text("instructions")?,
        "before_kib": printed.text("before")?,
        "after_kib": printed.text("after")?,
    }))
}

/// All of it.
pub(crate) fn measure() -> Result<Value> {
    if isa::detect().contains(isa::Feature::Xop) {
        return Err(failed("this CPU has XOP: nothing would trap"));
    }
    let program = emulator_program("measure", &["-O2"])?;
    let kernels = Kernels::build()?;

    let mut bare = Samples::default();
    let mut one = Samples::default();
    let mut fused = Samples::default();
    let mut in_bursts = [const { None::<Samples> }; LOOPS.len()].map(Option::unwrap_or_default);
    let mut one_by_one = in_bursts.clone();
    let mut compared = LOOPS.map(|each| (each.name, Compared::default()));
    for _ in 0..ROUNDS {
        // One of each in turn, so that a busy moment of the machine hits all.
        bare.push(each(&program, "bare", TRAPS, None)?);
        one.push(each(&program, "one", TRAPS, Some("0"))?);
        fused.push(each(&program, "fused", TRAPS, Some("0"))?);
        for (i, each_loop) in LOOPS.iter().enumerate() {
            let (name, rounds) = (each_loop.name, each_loop.rounds);
            in_bursts[i].push(each(&program, name, rounds, None)?);
            one_by_one[i].push(each(&program, name, rounds / 20, Some("0"))?);
        }
        for (kernel, into) in &mut compared {
            kernels.compare(kernel, into)?;
        }
    }

    let loops: Vec<Value> = LOOPS
        .iter()
        .zip(in_bursts.iter().zip(&one_by_one))
        .map(|(each, (burst, single))| {
            json!({
                "what": each.name,
                "ns": burst.json(),
                "trap_over_this": one.over(burst).json(),
                "without_bursts_over_this": single.over(burst).json(),
            })
        })
        .collect();
    let kernels: Vec<Value> = compared
        .iter()
        .map(|(name, all)| {
            json!({
                "what": name,
                "native_ns": all.native.json(),
                "translated_ns": all.translated.json(),
                "emulated_ns": all.emulated.json(),
                "emulated_over_translated": all.emulated.over(&all.translated).json(),
            })
        })
        .collect();
    Ok(json!({
        "area": "emulator",
        "machine": machine::describe(),
        "rounds": ROUNDS,
        "traps": [
            {"what": "SIGILL, a handler that skips", "ns": bare.json()},
            {"what": "trap and one XOP instruction", "ns": one.json(), "over_bare": one.over(&bare).json()},
            {"what": "trap and one FMA4 instruction, 256 bits", "ns": fused.json(), "over_bare": fused.over(&bare).json()},
        ],
        "loops": loops,
        "kernels": kernels,
        "memory": memory(&program)?,
    }))
}

/// The report as tables.
pub(crate) fn readable(report: &Value) -> String {
    let rows = |key: &str| report[key].as_array().into_iter().flatten();
    let name = |row: &Value| row["what"].as_str().unwrap_or_default().to_owned();
    let mut out = format!(
        "{} rounds in turn; medians, and in brackets the 10th and 90th percentile\n\n",
        report["rounds"]
    );
    out += &format!("{:<40} {:<30} {}\n", "a trap", "ns", "ratio (aim 1.25)");
    for row in rows("traps") {
        let ratio = match &row["over_bare"] {
            Value::Null => String::new(),
            ratio => spread(ratio, 2),
        };
        out += &format!("{:<40} {:<30} {ratio}\n", name(row), spread(&row["ns"], 0));
    }
    out += &format!(
        "\n{:<12} {:<28} {:<28} {}\n",
        "in a burst",
        "ns an instruction (aim 60)",
        "a trap is so much dearer (30)",
        "without bursts, times"
    );
    for row in rows("loops") {
        out += &format!(
            "{:<12} {:<28} {:<28} {}\n",
            name(row),
            spread(&row["ns"], 1),
            spread(&row["trap_over_this"], 1),
            spread(&row["without_bursts_over_this"], 1)
        );
    }
    out += &format!(
        "\n{:<12} {:<24} {:<28} {:<30} {}\n",
        "ns a call",
        "AVX2 here",
        "AVX2 under qemu -cpu max",
        "FMA4 and XOP emulated",
        "ratio of these two"
    );
    for row in rows("kernels") {
        out += &format!(
            "{:<12} {:<24} {:<28} {:<30} {}\n",
            name(row),
            spread(&row["native_ns"], 0),
            spread(&row["translated_ns"], 0),
            spread(&row["emulated_ns"], 0),
            spread(&row["emulated_over_translated"], 2)
        );
    }
    let text = |key: &str| report["memory"][key].as_str().unwrap_or_default();
    out += &format!(
        "\nresident memory before and after {} emulated instructions: {} and {} KiB\n",
        text("instructions"),
        text("before_kib"),
        text("after_kib")
    );
    out
}
