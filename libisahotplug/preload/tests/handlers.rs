//! What a program under the preload object sees of its own handlers and masks: on a CPU without
//! AVX, and on this one with instructions that only old ones of AMD's have.

mod run;

use std::sync::LazyLock;

use run::{CORE_2, Cpu, Program, finish, skip};

static WITH_AVX2: LazyLock<Program> = LazyLock::new(|| Program::build("handlers", &[]));
static WITH_XOP: LazyLock<Program> = LazyLock::new(|| Program::build("handlers", &["-DWITH_XOP"]));

static THUNKS: LazyLock<Program> = LazyLock::new(|| Program::build("thunks", &[]));

fn succeeds(case: &str, test: &str) {
    WITH_AVX2.succeeds(CORE_2, case, test);
    WITH_XOP.succeeds(Cpu::Native, case, test);
}

fn dies_of(signal: i32, case: &str, test: &str) {
    WITH_AVX2.dies_of(signal, CORE_2, case, test);
    WITH_XOP.dies_of(signal, Cpu::Native, case, test);
}

macro_rules! cases {
    ($($test:ident: $how:ident($($argument:expr),+);)+) => {
        $(#[test] fn $test() { $how($($argument),+, stringify!($test)); })+
    };
}

cases! {
    a_program_is_told_of_its_own_actions: succeeds("reported");
    a_handler_of_sigill_gets_what_is_not_emulated: succeeds("chained");
    a_handler_of_sigsegv_gets_the_programs_faults: succeeds("faults");
    sigill_cannot_be_blocked: succeeds("blocked");
    the_mask_of_a_handler_does_not_block_sigill: succeeds("masked");
    a_thread_that_waits_can_be_cancelled: succeeds("cancelled");
    a_child_of_vfork_does_not_disturb_its_parent: succeeds("vforked");
    handlers_may_change_while_other_threads_trap: succeeds("changes");
    a_handler_that_was_asked_for_once_runs_once: dies_of(libc::SIGILL, "once");
    ud2_kills_as_ever: dies_of(libc::SIGILL, "dies");
    a_fault_in_the_handler_of_faults_kills: dies_of(libc::SIGSEGV, "dies-within");
}

/// On a CPU without YMM registers, where each handler needs upper halves of its own.
#[test]
fn as_many_handlers_as_there_is_room_for_work_and_one_more_is_refused() {
    let test = "as_many_handlers_as_there_is_room_for_work_and_one_more_is_refused";
    THUNKS.succeeds(CORE_2, "all", test);
}

/// A shim in front of the object says that the process has more rights than its user.
#[test]
fn with_more_rights_than_its_user_a_process_is_left_alone() {
    let test = "with_more_rights_than_its_user_a_process_is_left_alone";
    let shim = Program::build("secure", &["-shared", "-fPIC"]);
    let both = format!("{}:{}", shim.path().display(), run::object().display());
    let variables = [("LD_PRELOAD", &*both), ("ISAHOTPLUG_BURST", "nonsense")];
    for (program, cpu) in [(&WITH_AVX2, CORE_2), (&WITH_XOP, Cpu::Native)] {
        if program.needs_no_help(cpu, "chained") {
            return skip(test, "this CPU has what the program uses");
        }
        let Some(mut command) = program.command(cpu, "chained", &variables) else {
            return skip(test, "no qemu-x86_64");
        };
        let output = finish(&mut command);
        assert!(!output.status.success(), "{output:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("isahotplug"), "{errors}");
    }
}

#[test]
fn a_burst_that_is_no_number_is_said_once_and_the_program_runs() {
    let variables = [("ISAHOTPLUG_BURST", "many")];
    let output = WITH_XOP.run(Cpu::Native, "chained", &variables).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "isahotplug: ISAHOTPLUG_BURST=many is not a number of instructions; going by 4096\n"
    );
}
