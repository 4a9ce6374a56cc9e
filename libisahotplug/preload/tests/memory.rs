//! What the handler does with memory, natively, with instructions that only old CPUs of AMD's have:
//! the program's, which may fault, and none of its own.

mod run;

use std::sync::LazyLock;

use run::{Cpu, Program};

static MEMORY: LazyLock<Program> = LazyLock::new(|| Program::build("memory", &[]));
static ALLOCATIONS: LazyLock<Program> =
    LazyLock::new(|| Program::build("allocations", &["-fno-builtin", "-Wl,-z,now"]));

macro_rules! cases {
    ($($test:ident: $program:ident, $case:literal;)+) => {
        $(#[test] fn $test() { $program.succeeds(Cpu::Native, $case, stringify!($test)); })+
    };
}

cases! {
    a_fault_looks_as_on_a_cpu_that_has_the_instruction: MEMORY, "faults";
    the_handler_has_the_rights_of_the_thread_to_guarded_pages: MEMORY, "keys";
    no_trap_allocates_the_first_one_included: ALLOCATIONS, "none";
}
