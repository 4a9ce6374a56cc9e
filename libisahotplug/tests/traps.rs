//! What a program sees of the trap handler: faults of emulated instructions
//! arrive as the CPU's own would, and what is not ours goes where it always
//! went.
//!
//! qemu-user takes a SIGSEGV, SIGBUS or SIGFPE that a program queues to itself
//! for a fault of its own. The cases of the same program that need one run in a
//! VM, under a real kernel: `tests/tests/spine_traps.rs`.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::LazyLock;

use support::{Program, finish, skip, stdout};

static PROGRAM: LazyLock<Program> =
    LazyLock::new(|| Program::build("libisahotplug/tests/programs/traps.c"));

fn run(case: &str, test: &str) -> Option<Output> {
    let Some(mut command) = PROGRAM.on_lesser_cpu() else {
        skip(test, "no qemu-x86_64");
        return None;
    };
    Some(finish(command.arg(case)))
}

fn succeeds(case: &str, test: &str) {
    if let Some(output) = run(case, test) {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {text} {error}", output.status);
        assert_eq!(stdout(&output), "ok\n");
    }
}

/// qemu-user raises the signal for itself, so that it shows as the status.
fn dies_of(signal: i32, case: &str, test: &str) {
    if let Some(output) = run(case, test) {
        assert_eq!(output.status.signal(), Some(signal), "{output:?}");
        assert_eq!(output.stdout, b"");
    }
}

macro_rules! cases {
    ($($test:ident: $how:ident($($argument:expr),+);)+) => {
        $(#[test] fn $test() { $how($($argument),+, stringify!($test)); })+
    };
}

cases! {
    ud2_goes_to_the_handler_that_was_there_before: succeeds("chain");
    signals_and_an_alternate_stack_do_not_disturb: succeeds("stack");
    an_alternate_stack_of_8_kib_is_enough: succeeds("small");
    the_programs_handler_runs_with_the_mask_it_asked_for: succeeds("mask");
    an_ignored_signal_that_is_sent_stays_ignored: succeeds("ignored");
    a_sigill_that_is_sent_loses_no_feature: succeeds("sent");
    a_child_of_a_fork_emulates_and_the_parent_goes_on: succeeds("fork");
    ud2_kills_as_ever: dies_of(libc::SIGILL, "die-ud2");
    a_null_pointer_kills_as_ever: dies_of(libc::SIGSEGV, "die-null");
    an_emulated_null_pointer_kills_the_same_way: dies_of(libc::SIGSEGV, "die-emulated");
    a_signal_that_was_sent_kills_as_ever: dies_of(libc::SIGSEGV, "die-raise");
}

/// On a CPU that has the instruction, so that only the signal could be at fault.
#[test]
fn a_sigill_that_is_sent_emulates_nothing() {
    if !isa::detect().contains(isa::Feature::Avx2) {
        return skip(
            "a_sigill_that_is_sent_emulates_nothing",
            "this CPU lacks AVX2",
        );
    }
    let output = finish(PROGRAM.here().arg("sent-here"));
    assert_eq!(stdout(&output), "ok\n");
}
