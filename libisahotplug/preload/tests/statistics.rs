//! The lines that a program under the preload object writes at exit when `ISAHOTPLUG_STATISTICS`
//! asks for them. Natively, with an instruction that only old CPUs of AMD's have.

mod run;

use std::process::Output;
use std::sync::LazyLock;

use isa::Feature;
use run::{Cpu, Program, skip};

static PROGRAM: LazyLock<Program> = LazyLock::new(|| Program::build("statistics", &[]));
static HANDLERS: LazyLock<Program> = LazyLock::new(|| Program::build("handlers", &["-DWITH_XOP"]));

/// Runs a case one instruction at a time; `None` where nothing would trap.
fn run(program: &Program, case: &str, statistics: &str, test: &str) -> Option<Output> {
    if isa::detect().contains(Feature::Xop) {
        skip(test, "this CPU has XOP");
        return None;
    }
    let variables = [
        ("ISAHOTPLUG_STATISTICS", statistics),
        ("ISAHOTPLUG_BURST", "0"),
    ];
    let output = program.run(Cpu::Native, case, &variables)?;
    assert!(output.status.success(), "{case}: {output:?}");
    Some(output)
}

/// What a case writes to standard error.
fn stderr(case: &str, test: &str) -> Option<String> {
    let output = run(&PROGRAM, case, "1", test)?;
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Whether `text` is the lines of one program that trapped three times in one place.
fn are_of_three_traps(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let [head, feature, place, last] = lines.as_slice() else {
        return false;
    };
    head.contains("/program[")
        && head.ends_with("]: 3 lost instructions finished after 3 traps, 0 SIGILLs passed on")
        && *feature == "isahotplug:   3 traps for xop"
        && place.starts_with("isahotplug:   3 instructions after 3 traps at /")
        && place.contains("/program+0x")
        && last.starts_with("isahotplug:   the last trap at /")
}

#[test]
fn a_program_that_returns_from_main_says_what_was_finished_and_where() {
    let test = "a_program_that_returns_from_main_says_what_was_finished_and_where";
    if let Some(text) = stderr("three", test) {
        assert!(are_of_three_traps(&text), "{text}");
    }
}

#[test]
fn a_program_that_calls_exit_says_it_too() {
    if let Some(text) = stderr("exit", "a_program_that_calls_exit_says_it_too") {
        assert!(are_of_three_traps(&text), "{text}");
    }
}

#[test]
fn a_program_that_ends_at_once_says_nothing() {
    if let Some(text) = stderr("exit-at-once", "a_program_that_ends_at_once_says_nothing") {
        assert_eq!(text, "");
    }
}

#[test]
fn what_was_not_asked_for_is_not_written() {
    for value in ["", "0"] {
        let Some(output) = run(
            &PROGRAM,
            "three",
            value,
            "what_was_not_asked_for_is_not_written",
        ) else {
            return;
        };
        assert_eq!(output.stderr, b"");
    }
}

#[test]
fn the_child_of_a_fork_counts_from_zero() {
    let Some(text) = stderr("forked", "the_child_of_a_fork_counts_from_zero") else {
        return;
    };
    let heads: Vec<&str> = text.lines().filter(|line| line.contains("]: ")).collect();
    assert_eq!(heads.len(), 2, "{text}");
    assert!(heads[0].contains("]: 2 lost"), "{text}");
    assert!(heads[1].contains("]: 6 lost"), "{text}");
}

#[test]
fn a_program_that_is_executed_speaks_for_itself() {
    if let Some(text) = stderr("executed", "a_program_that_is_executed_speaks_for_itself") {
        assert!(
            text.contains("]: 0 lost") && text.lines().count() == 1,
            "{text}"
        );
    }
}

#[test]
fn sigills_that_are_none_of_ours_are_counted_by_themselves() {
    let test = "sigills_that_are_none_of_ours_are_counted_by_themselves";
    if let Some(output) = run(&HANDLERS, "chained", "1", test) {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("3 SIGILLs passed on\n"), "{text}");
    }
}

#[test]
fn a_file_is_appended_to() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("a file");
    for times in 1..=2 {
        let path = path.to_str().unwrap();
        let Some(output) = run(&PROGRAM, "three", path, "a_file_is_appended_to") else {
            return;
        };
        assert_eq!(output.stderr, b"");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 4 * times, "{text}");
        let (_, latest) = text.split_at(text.len() / times * (times - 1));
        assert!(latest.contains("3 traps for xop"), "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_said_and_changes_no_result() {
    let test = "a_file_that_cannot_be_written_is_said_and_changes_no_result";
    if let Some(output) = run(&PROGRAM, "three", "/proc/nowhere/file", test) {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.starts_with("isahotplug: ISAHOTPLUG_STATISTICS: "),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
        assert_eq!(output.stdout, b"ok\n");
    }
}
