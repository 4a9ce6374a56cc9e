//! Threads and coroutines with small stacks under the preload object: natively, with an instruction
//! that only old CPUs of AMD's have.

mod run;

use std::sync::LazyLock;

use isa::Feature;
use run::{Cpu, Program, skip};

/// The dynamic linker needs more stack to look up a function than a small one has.
static PROGRAM: LazyLock<Program> = LazyLock::new(|| Program::build("stacks", &["-Wl,-z,now"]));

macro_rules! cases {
    ($($test:ident: $case:literal;)+) => {
        $(#[test] fn $test() { PROGRAM.succeeds(Cpu::Native, $case, stringify!($test)); })+
    };
}

cases! {
    threads_with_the_smallest_stacks_may_trap_at_their_depth: "threads";
    a_coroutine_with_a_small_stack_may_trap_at_its_depth: "coroutines";
    an_alternate_stack_of_the_programs_own_is_kept: "owned";
    threads_may_end_by_exit_and_by_cancellation: "ended";
    a_child_of_a_fork_has_the_stacks_of_threads_that_it_has_not: "forked";
    the_stacks_of_threads_that_have_ended_are_given_back: "given-back";
}

/// KiB of memory for each of many threads.
fn cost(case: &str) -> u64 {
    let output = PROGRAM
        .run(Cpu::Native, case, &[])
        .unwrap_or_else(|| panic!("{case}"));
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    let (number, _) = text.split_once(' ').unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn the_stack_of_a_thread_that_never_traps_takes_no_memory() {
    let test = "the_stack_of_a_thread_that_never_traps_takes_no_memory";
    if isa::detect().contains(Feature::Xop) {
        return skip(test, "this CPU has XOP");
    }
    // The thread itself has two or three pages; three more are used by a trap.
    let (idle, trapping) = (cost("costs-idle"), cost("costs-trapping"));
    assert!(
        idle + 8 <= trapping,
        "{idle} KiB, and {trapping} KiB for one that traps"
    );
    assert!(trapping <= 64, "{trapping} KiB");
}
