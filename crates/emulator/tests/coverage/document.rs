//! `docs/COVERAGE.md`, from the decoder's list, the emulator and the recordings.

use crate::families::{self, GOLDEN, ROWS, Row};
use crate::files::RECORDINGS;
use crate::format::Recording;
use crate::{covered, is_emulated, is_user, scope};
use iced_x86::{Code, EncodingKind};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of all codes together.
struct Facts {
    /// Names of the CPUs that were recorded.
    cpus: Vec<String>,
    /// Codes compared on one of these CPUs, and those of them with cases in the file.
    native: BTreeSet<String>,
    recorded: BTreeSet<String>,
}

impl Facts {
    fn new() -> Self {
        let mut facts = Self {
            cpus: Vec::new(),
            native: BTreeSet::new(),
            recorded: BTreeSet::new(),
        };
        for (file, bytes) in RECORDINGS {
            let recording = Recording::from_bytes(bytes).unwrap_or_else(|e| panic!("{file}: {e}"));
            facts.cpus.push(recording.cpu);
            for code in recording.codes {
                if !code.cases.is_empty() {
                    facts.recorded.insert(code.name.clone());
                }
                facts.native.insert(code.name);
            }
        }
        facts
    }
}

/// The columns of a row.
#[derive(Clone, Copy, Default)]
struct Counts {
    codes: usize,
    left_out: usize,
    emulated: usize,
    native: usize,
    recorded: usize,
    reference: usize,
    golden: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.codes += other.codes;
        self.left_out += other.left_out;
        self.emulated += other.emulated;
        self.native += other.native;
        self.recorded += other.recorded;
        self.reference += other.reference;
        self.golden += other.golden;
    }

    fn line(self, name: &str) -> String {
        let Self {
            codes,
            left_out,
            emulated,
            native,
            recorded,
            reference,
            golden,
        } = self;
        let codes = if left_out > 0 {
            format!("{} + {left_out}", codes - left_out)
        } else {
            codes.to_string()
        };
        format!(
            "| {name} | {codes} | {emulated} | {native} | {recorded} | {reference} | {golden} |\n"
        )
    }
}

/// The whole document, and what is wrong with the state of things that it describes.
pub(crate) fn document() -> (String, Vec<String>) {
    let facts = Facts::new();
    let mut wrong = Vec::new();
    let mut rows = BTreeMap::<usize, Counts>::new();
    // Codes of the rows that no program can execute, by row and reason; codes that are left to the
    // CPU by row; all others that are not emulated by reason and feature.
    let mut impossible = BTreeMap::<(usize, &str), Vec<Code>>::new();
    let mut left_out = BTreeMap::<usize, Vec<Code>>::new();
    let mut missing = BTreeMap::<(String, String), Vec<Code>>::new();
    for code in Code::values().filter(|code| code.op_code().is_instruction()) {
        let row = families::row(code);
        if let (Some(row), Some(reason)) = (row, families::impossible(code)) {
            impossible.entry((row, reason)).or_default().push(code);
            continue;
        }
        let emulated = is_emulated(code);
        let Some(row) = row else {
            if emulated {
                wrong.push(format!("{code:?} is emulated but in no row"));
            } else if is_user(code) {
                match families::reason(code) {
                    Some(reason) => missing.entry(reason).or_default().push(code),
                    None => wrong.push(format!("{code:?} is not emulated, for no reason")),
                }
            }
            continue;
        };
        let name = format!("{code:?}");
        let counts = rows.entry(row).or_default();
        counts.codes += 1;
        if !emulated {
            if scope::ends_a_burst(code) {
                counts.left_out += 1;
                left_out.entry(row).or_default().push(code);
            } else {
                wrong.push(format!("{code:?} is not emulated"));
            }
            continue;
        }
        if scope::ends_a_burst(code) {
            wrong.push(format!("{code:?} is emulated but said to be left out"));
        }
        let (native, reference) = (facts.native.contains(&name), covered::is_covered(code));
        counts.emulated += 1;
        counts.native += usize::from(native);
        counts.recorded += usize::from(facts.recorded.contains(&name));
        counts.reference += usize::from(reference);
        let golden = GOLDEN.contains(&code);
        counts.golden += usize::from(golden);
        if golden == (native || reference) {
            wrong.push(format!(
                "{code:?}: golden {golden}, native {native}, reference {reference}"
            ));
        }
    }

    let mut text = introduction(&facts);
    let mut total = Counts::default();
    for (row, Row { name, .. }) in ROWS.iter().enumerate() {
        let counts = rows.get(&row).copied().unwrap_or_default();
        if counts.codes == 0 {
            wrong.push(format!("the decoder has nothing of {name}"));
        }
        total.add(counts);
        text += &counts.line(name);
    }
    text += &total.line("all");
    text += "\n## Not emulated: codes of these families\n\n";
    text += "Not counted above, for no program in 64-bit mode can execute them:\n\n";
    for ((row, reason), codes) in &impossible {
        text += &item(ROWS[*row].name, reason, codes);
    }
    text += "\nLeft to the CPU on purpose (the number after the + above). No CPU lacks them; a burst \
             ends there:\n\n";
    for (row, codes) in &left_out {
        let reason = "strings, segments, system, flags as a whole, 16-bit branches, reserved";
        text += &item(ROWS[*row].name, reason, codes);
    }
    text += "\n## Not emulated: everything else that a program can execute\n\n";
    for ((reason, features), codes) in &missing {
        text += &item(features, reason, codes);
    }
    (text, wrong)
}

fn introduction(facts: &Facts) -> String {
    let cpus = facts.cpus.join(", ");
    format!(
        "# What the emulator covers\n\
         \n\
         Made by `cargo xtask coverage`; a test fails if it is out of date. Counted are the\n\
         decoder's (iced-x86's) codes that can be executed in 64-bit mode at privilege level 3. A\n\
         code is an instruction with one combination of operand kinds and sizes, its register and\n\
         memory forms together; forms with EVEX are not among these families, nor is what\n\
         the decoder knows only by an option (MPX, Knights Corner, ...).\n\
         \n\
         - *native*: compared with the CPU on random operands, `tests/native`; on a machine that\n\
         \x20 lacks the family that is skipped, with a count. These numbers are those of {cpus}.\n\
         - *recorded*: what that CPU did is in the repository and compared on every machine,\n\
         \x20 `tests/vectors`. Families of every x86-64 CPU need no recording.\n\
         - *reference*: compared on every machine with a plain reference that shares no code with\n\
         \x20 the emulator, `tests/reference`.\n\
         - *golden only*: no oracle but single cases worked out by hand, `tests/golden.rs`: results\n\
         \x20 that differ each time, and hints without any.\n\
         \n\
         FMA4, AVX-IFMA and VCVTNEPS2BF16 are also compared with other instructions of the CPU that\n\
         compute the same, where it has those. RCP and RSQRT are compared by the architecture's bound.\n\
         \n\
         | family | codes | emulated | native | recorded | reference | golden only |\n\
         |---|---:|---:|---:|---:|---:|---:|\n"
    )
}

/// A line with the names of codes, or their number where they are too many to mean anything.
fn item(family: &str, reason: &str, codes: &[Code]) -> String {
    let by_number = codes
        .iter()
        .all(|code| matches!(code.encoding(), EncodingKind::EVEX | EncodingKind::MVEX));
    if by_number {
        return format!("- {family}: {} codes. {reason}.\n", codes.len());
    }
    let names: Vec<String> = codes.iter().map(|code| format!("{code:?}")).collect();
    format!("- {family}: {reason}.\n  {}\n", names.join(", "))
}
