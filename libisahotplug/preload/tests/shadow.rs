//! The upper halves of YMM registers on a CPU that has none: across traps, system calls, threads,
//! forks, and the program's own signal handlers.

mod run;

use std::sync::LazyLock;

use run::{CORE_2, Cpu, Program};

static PROGRAM: LazyLock<Program> = LazyLock::new(|| Program::build("shadow", &["-mavx2"]));

macro_rules! cases {
    ($($test:ident: $case:literal;)+) => {
        $(#[test] fn $test() { PROGRAM.succeeds(CORE_2, $case, stringify!($test)); })+

        /// The program itself is right: a CPU with the registers does the same.
        #[test]
        fn a_cpu_that_has_the_registers_does_the_same() {
            if !isa::detect().contains(isa::Feature::Avx2) {
                return run::skip("a_cpu_that_has_the_registers_does_the_same", "no AVX2 here");
            }
            for case in [$($case),+] {
                assert!(PROGRAM.needs_no_help(Cpu::Native, case), "{case}");
            }
        }
    };
}

cases! {
    upper_halves_outlive_system_calls: "survive";
    legacy_instructions_keep_upper_halves_and_vex_ones_clear_them: "mixed";
    each_thread_has_its_own_and_begins_with_zero: "threads";
    the_child_of_a_fork_inherits_them: "fork";
    a_handler_begins_with_zero_and_gives_back_what_was: "handlers";
    every_way_to_install_a_handler_is_followed: "ways";
    a_handler_may_leave_by_longjmp: "jumps";
    a_handler_of_sigill_is_no_exception: "illegal";
}

#[test]
fn without_the_object_the_program_dies() {
    let Some(mut command) = PROGRAM.command(CORE_2, "survive", &[]) else {
        return run::skip("without_the_object_the_program_dies", "no qemu-x86_64");
    };
    assert!(!run::finish(&mut command).status.success());
}
