//! `cargo xtask test`: everything, or one area.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, setup};

#[derive(clap::Args)]
pub(crate) struct Test {
    /// Run the tests of this area only
    area: Option<String>,
    #[command(flatten)]
    setup: setup::Install,
    /// Try many more cases where a test has an oracle (ISAHOTPLUG_CASES=10000)
    #[arg(long)]
    long: bool,
}

/// Cases for each instruction, and the like, in a long run.
const LONG_CASES: &str = "10000";

/// A part of the project that can be tested by itself.
struct Area {
    name: &'static str,
    /// Packages of which every test belongs to the area.
    packages: &'static [&'static str],
    /// Beginnings of the names of test files in `tests/tests`.
    test_files: &'static [&'static str],
}

const AREAS: [Area; 9] = [
    Area {
        name: "spine",
        packages: &[
            "isahotplug-isa",
            "isahotplug-protocol",
            "isahotplug-dispatch",
            "isahotplug-host-notifier",
            "isahotplug-guest-agent",
        ],
        test_files: &["harness_", "spine_"],
    },
    Area {
        name: "emulator",
        packages: &["isahotplug-emulator"],
        test_files: &["emulator_"],
    },
    Area {
        name: "library",
        packages: &[
            "isahotplug",
            "isahotplug-preload",
            "isahotplug-dispatch",
            "isahotplug-example-rust",
        ],
        test_files: &["library_"],
    },
    Area {
        name: "pool",
        packages: &[],
        test_files: &["pool_"],
    },
    Area {
        name: "daemons",
        packages: &[],
        test_files: &["daemons_"],
    },
    Area {
        name: "glibc",
        packages: &[],
        test_files: &["glibc_"],
    },
    Area {
        name: "syscall",
        packages: &[],
        test_files: &["syscall_"],
    },
    Area {
        name: "math",
        packages: &[],
        test_files: &["math_"],
    },
    Area {
        name: "bare-metal",
        packages: &[],
        test_files: &["bare_metal_"],
    },
];

/// Models that loom runs, and the arguments of `cargo test` for each. They belong to `library`.
const MODELS: [&[&str]; 2] = [
    &["--package", "isahotplug-models"],
    &["--package", "isahotplug-protocol", "--test", "models"],
];
const MODELS_AREA: &str = "library";

/// What came of the tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

pub(crate) fn run(options: &Test) -> Result<ExitCode> {
    let commands = match &options.area {
        None => vec![vec!["--workspace".to_owned()]],
        Some(name) => area_commands(name)?,
    };
    if !commands.is_empty() {
        if !setup::ready(&options.setup, purpose(options.area.as_deref()))? {
            return Ok(ExitCode::FAILURE);
        }
        cargo::build_products()?;
    }

    let skips = cargo::target_dir()?
        .join("vm")
        .join(format!("skips-{}", std::process::id()));
    let mut tally = Tally::default();
    for arguments in &commands {
        tally.add(&cargo_test(
            cargo::cargo(),
            arguments,
            options.long,
            &skips,
        )?);
    }
    if options.area.as_ref().is_none_or(|area| area == MODELS_AREA) {
        // Everything is built anew for them, with loom's atomics: beside the rest.
        let folder = cargo::target_dir()?.join("loom");
        for arguments in MODELS {
            let mut command = cargo::cargo();
            command
                .env("RUSTFLAGS", "--cfg loom")
                .env("CARGO_TARGET_DIR", &folder);
            let arguments: Vec<String> = ["--release"]
                .iter()
                .chain(arguments)
                .map(|argument| (*argument).to_owned())
                .collect();
            tally.add(&cargo_test(command, &arguments, options.long, &skips)?);
        }
    }
    let skipped = take_skips(&skips);
    // libtest counts a test that skipped itself among those that passed.
    tally.passed = tally.passed.saturating_sub(skipped.len());
    tally.skipped += skipped.len();
    for line in skipped {
        println!("skipped: {line}");
    }

    let ran = tally.passed + tally.failed > 0;
    if !ran {
        match &options.area {
            Some(area) => println!("area {area} ran no test"),
            None => println!("no test ran"),
        }
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    Ok(if ran && tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the tests of an area, or all, ask of the machine.
fn purpose(area: Option<&str>) -> setup::Purpose {
    match area {
        None | Some("library") => setup::Purpose::All,
        Some(_) => setup::Purpose::Run,
    }
}

/// The arguments of each `cargo test` that an area needs.
fn area_commands(name: &str) -> Result<Vec<Vec<String>>> {
    let Some(area) = AREAS.iter().find(|area| area.name == name) else {
        let names = AREAS.map(|area| area.name).join(", ");
        bail!("there is no area `{name}`, but: {names}");
    };
    let option = |option: &str, value: &str| [option.to_owned(), value.to_owned()];
    let mut commands = Vec::new();
    if !area.packages.is_empty() {
        let packages = area
            .packages
            .iter()
            .flat_map(|package| option("--package", package));
        commands.push(packages.collect());
    }
    let files = test_files(&cargo::root().join("tests/tests"), area.test_files)?;
    if !files.is_empty() {
        let files = files.iter().flat_map(|file| option("--test", file));
        commands.push(
            option("--package", "isahotplug-tests")
                .into_iter()
                .chain(files)
                .collect(),
        );
    }
    Ok(commands)
}

/// The names of the test files that begin so.
fn test_files(folder: &Path, beginnings: &[&str]) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| file.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| {
            beginnings
                .iter()
                .any(|beginning| name.starts_with(beginning))
        })
        .collect();
    names.sort();
    Ok(names)
}

fn cargo_test(
    mut command: Command,
    arguments: &[String],
    long: bool,
    skips: &Path,
) -> Result<Tally> {
    command
        .args(["test", "--no-fail-fast"])
        .args(arguments)
        .env("ISAHOTPLUG_SKIPS", skips)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if long {
        command.env("ISAHOTPLUG_CASES", LONG_CASES);
    }
    let mut child = command.spawn().context("starting cargo")?;
    let output = child
        .stdout
        .take()
        .context("cargo has no standard output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("reading cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(one) = Tally::of_line(&line) {
            tally.add(&one);
        }
    }
    let status = child.wait().context("waiting for cargo")?;
    if !status.success() && tally.failed == 0 {
        println!("cargo test ended with {status} though no test reported a failure");
        tally.failed = 1;
    }
    Ok(tally)
}

/// What tests said about skipping themselves, as `NAME: REASON`.
fn take_skips(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let _ = fs::remove_file(path);
    text.lines()
        .map(|line| line.replacen('\t', ": ", 1))
        .collect()
}

impl Tally {
    /// Reads libtest's line `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            let part = counts
                .split("; ")
                .find_map(|part| part.strip_suffix(word))?;
            part.trim().parse::<usize>().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }

    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_of_libtest_is_read() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; \
                    0 filtered out; finished in 0.00s";
        assert_eq!(
            Tally::of_line(line),
            Some(Tally {
                passed: 3,
                failed: 2,
                skipped: 1
            })
        );
        assert_eq!(Tally::of_line("test spine ... ok"), None);
    }

    #[test]
    fn tests_that_skipped_themselves_are_named_with_their_reason() {
        let path = std::env::temp_dir().join(format!("xtask-skips-{}", std::process::id()));
        fs::write(&path, "a_test\tno KVM here\n").unwrap();
        assert_eq!(take_skips(&path), ["a_test: no KVM here"]);
        assert!(!path.exists());
        assert!(take_skips(&path).is_empty());
    }

    #[test]
    fn an_unknown_area_is_refused_with_those_there_are() {
        let error = area_commands("spleen").unwrap_err().to_string();
        assert!(
            error.contains("spine") && error.contains("bare-metal"),
            "{error}"
        );
    }

    #[test]
    fn the_spine_has_its_packages_and_test_files() {
        let commands = area_commands("spine").unwrap();
        assert!(commands[0].contains(&"isahotplug-protocol".to_owned()));
        assert!(commands[1].contains(&"harness_guest".to_owned()));
    }
}
