//! What is emulated under the preload object: instructions that need more of the machine than
//! registers, those that only old CPUs of AMD's have, and what a burst must respect.

mod run;

use std::sync::LazyLock;

use run::{CORE_2, Cpu, Program};

static MACHINE: LazyLock<Program> = LazyLock::new(|| Program::build("machine", &[]));
static AMD: LazyLock<Program> = LazyLock::new(|| Program::build("amd", &[]));
static BELOW: LazyLock<Program> = LazyLock::new(|| Program::build("below", &[]));
static CONCURRENT: LazyLock<Program> = LazyLock::new(|| Program::build("concurrent", &[]));

/// With an area for restartable sequences that it registers itself, under tcmalloc's name for it.
static OWN_AREA: LazyLock<Program> =
    LazyLock::new(|| Program::build("concurrent", &["-DOWN_AREA", "-rdynamic"]));

#[test]
fn restartable_sequences_of_tcmalloc_are_left_to_the_cpu() {
    let test = "restartable_sequences_of_tcmalloc_are_left_to_the_cpu";
    for burst in ["4096", "0", "3"] {
        let variables = [
            ("ISAHOTPLUG_BURST", burst),
            ("GLIBC_TUNABLES", "glibc.pthread.rseq=0"),
        ];
        let Some(output) = OWN_AREA.run(Cpu::Native, "sequences", &variables) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(reason) = text.strip_prefix("skip: ") {
            return run::skip(test, reason.trim());
        }
        assert!(
            output.status.success() && text == "ok\n",
            "{burst}: {output:?}"
        );
    }
}

macro_rules! cases {
    ($($test:ident: $program:ident, $cpu:expr, $case:literal;)+) => {
        $(#[test] fn $test() { $program.succeeds($cpu, $case, stringify!($test)); })+
    };
}

cases! {
    random_numbers_come_from_the_kernel: MACHINE, CORE_2, "random";
    time_stamps_go_on_and_name_the_cpu: MACHINE, CORE_2, "stamps";
    cache_lines_are_written_back: MACHINE, CORE_2, "lines";
    direct_stores_store: MACHINE, CORE_2, "direct";
    integer_extensions_compute: MACHINE, CORE_2, "bits";
    reciprocals_are_those_of_the_cpu: MACHINE, CORE_2, "reciprocals";
    segments_have_their_bases: MACHINE, CORE_2, "segments";

    xop_computes: AMD, Cpu::Native, "xop";
    fma4_rounds_once: AMD, Cpu::Native, "fma4";
    tbm_computes: AMD, Cpu::Native, "tbm";
    three_d_now_works_on_the_mmx_registers: AMD, Cpu::Native, "3dnow";
    the_x87_stack_is_left_alone: AMD, Cpu::Native, "x87";
    a_pending_x87_exception_is_raised: AMD, Cpu::Native, "pending";

    stores_below_the_stack_are_right_or_kill: BELOW, CORE_2, "stores";

    sixteen_bytes_are_stored_in_one_piece: CONCURRENT, Cpu::Native, "stored-pieces";
    counters_that_two_threads_change_are_exact: CONCURRENT, Cpu::Native, "atomics";
    code_that_changes_itself_is_seen: CONCURRENT, Cpu::Native, "changing";
    code_that_another_thread_changes_is_seen: CONCURRENT, Cpu::Native, "patched";
    a_loop_without_end_gets_its_signals: CONCURRENT, Cpu::Native, "endless";
    signals_are_not_held_up: CONCURRENT, Cpu::Native, "prompt";
    sixteen_bytes_are_loaded_in_one_piece: CONCURRENT, Cpu::Native, "pieces";
    signals_that_were_blocked_before_the_start_are_not: CONCURRENT, Cpu::Native, "blocked";
    data_is_not_executed: CONCURRENT, Cpu::Native, "data";
    restartable_sequences_are_left_to_the_cpu: CONCURRENT, Cpu::Native, "sequences";
    calls_do_not_run_into_the_signal_frame: CONCURRENT, Cpu::Native, "calls";
}
