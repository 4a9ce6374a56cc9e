//! Signals and flags that meet the handler in its work, natively, with instructions that only old
//! CPUs of AMD's have. (qemu-user takes a SIGSEGV that is sent for a fault.)

mod run;

use std::sync::LazyLock;

use isa::Feature;
use run::{Cpu, Program, skip};

/// The dynamic linker needs more stack to look up a function than a small one has.
static SENT: LazyLock<Program> =
    LazyLock::new(|| Program::build("sent", &["-DWITH_XOP", "-Wl,-z,now"]));
static EXCEPTIONS: LazyLock<Program> =
    LazyLock::new(|| Program::build("exceptions", &["-DWITH_XOP"]));

fn succeeds(program: &Program, case: &str, test: &str) {
    program.succeeds(Cpu::Native, case, test);
}

fn dies_of(signal: i32, case: &str, test: &str) {
    EXCEPTIONS.dies_of(signal, Cpu::Native, case, test);
}

static STEPPED: LazyLock<Program> = LazyLock::new(|| Program::build("stepped", &[]));

/// One instruction for each trap: so that the handler has as many steps each time.
fn succeeds_in_steps(case: &str, test: &str) {
    if isa::detect().contains(Feature::Xop) {
        return skip(test, "this CPU has XOP");
    }
    let Some(output) = STEPPED.run(Cpu::Native, case, &[("ISAHOTPLUG_BURST", "0")]) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(reason) = text.strip_prefix("skip: ") {
        return skip(test, reason.trim());
    }
    assert!(output.status.success() && text == "ok\n", "{output:?}");
}

macro_rules! cases {
    ($($test:ident: $how:ident($($argument:expr),+);)+) => {
        $(#[test] fn $test() { $how($($argument),+, stringify!($test)); })+
    };
}

cases! {
    signals_that_are_sent_come_after_the_instruction: succeeds(&SENT, "returning");
    a_handler_may_leave_by_a_jump: succeeds(&SENT, "leaving");
    signals_come_on_the_stack_that_the_thread_was_given: succeeds(&SENT, "returning-there");
    a_handler_may_leave_the_stack_that_the_thread_was_given: succeeds(&SENT, "leaving-there");
    a_signal_comes_once_whichever_instruction_of_the_handler_it_meets:
        succeeds_in_steps("succeeding");
    a_signal_does_not_keep_faults_of_the_handlers_accesses_from_it: succeeds_in_steps("faulting");
    a_small_alternate_stack_is_enough_for_handlers_that_return:
        succeeds(&SENT, "returning-small");
    a_small_alternate_stack_is_enough_for_a_handler_that_leaves: succeeds(&SENT, "leaving-small");
    alignment_checks_do_not_concern_the_handler: succeeds(&EXCEPTIONS, "alignment-checked");
    an_alignment_fault_reaches_the_program: succeeds(&EXCEPTIONS, "not-aligned");
    addresses_that_are_not_canonical_fault_by_their_segment: succeeds(&EXCEPTIONS, "not-canonical");
    segments_are_no_fault_within_the_handler_of_faults: succeeds(&EXCEPTIONS, "gs-in-the-handler");
    an_ignored_simd_exception_kills: dies_of(libc::SIGFPE, "ignored-simd");
    an_ignored_x87_exception_kills: dies_of(libc::SIGFPE, "ignored-x87");
    an_ignored_fault_kills: dies_of(libc::SIGSEGV, "ignored-memory");
    a_fault_of_an_emulated_instruction_in_the_handler_of_faults_kills:
        dies_of(libc::SIGSEGV, "lost-in-the-handler");
}
