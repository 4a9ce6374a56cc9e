//! Every function with what a caller may do wrong: the documented error, and nothing else.

mod support;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use isa::{Feature, features};
use support::{Program, finish, root, skip, stdout};

/// The page promises XOP, which this CPU (most probably) lacks.
static PROGRAM: LazyLock<Program> = LazyLock::new(|| {
    let program = Program::build("libisahotplug/tests/programs/misuse.c");
    program.publish(7, isa::detect() | features![Xop]);
    program
});

fn keeps_its_word(case: &str) {
    let output = finish(PROGRAM.here().arg(case));
    assert_eq!(stdout(&output), "ok\n", "{}", output.status);
    assert!(output.status.success(), "{}", output.status);
}

#[test]
fn wrong_arguments_are_refused_and_nothing_has_happened() {
    keeps_its_word("arguments");
}

#[test]
fn the_handle_of_what_is_over_names_nothing_later() {
    keeps_its_word("old-handles");
}

#[test]
fn a_registration_does_not_wait_for_what_does_not_exist() {
    keeps_its_word("future-handles");
}

#[test]
fn a_signal_handler_that_interrupts_the_library_is_refused_and_does_not_hang() {
    keeps_its_word("signals");
}

#[test]
fn a_callback_may_call_everything_but_unload() {
    keeps_its_word("callbacks");
}

#[test]
fn a_callback_in_the_trap_handler_gets_what_is_async_signal_safe() {
    if isa::detect().contains(Feature::Xop) {
        return skip(
            "a_callback_in_the_trap_handler_gets_what_is_async_signal_safe",
            "this CPU has XOP",
        );
    }
    keeps_its_word("trap");
}

#[test]
fn threads_that_do_everything_wrong_at_once_are_each_refused() {
    keeps_its_word("threads");
}

/// The names before an opening parenthesis that begin like the library's functions.
fn called(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("isahp_") {
        let end = text[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &text[at..end.map_or(text.len(), |end| at + end)];
        let starts = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if starts && text[at + name.len()..].starts_with('(') {
            names.insert(name);
        }
    }
    names
}

#[test]
fn every_function_of_the_header_is_misused() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let header = read("libisahotplug/include/isahotplug.h");
    let declarations: String = header
        .lines()
        .filter(|line| !line.starts_with("//") && !line.starts_with(" *"))
        .map(|line| format!("{line}\n"))
        .collect();
    let declared = called(&declarations);
    assert!(declared.len() > 25, "{declared:?}");
    let program = read("libisahotplug/tests/programs/misuse.c");
    let missing: Vec<_> = declared.difference(&called(&program)).copied().collect();
    assert!(missing.is_empty(), "misuse.c does not call {missing:?}");
}

/// popen() in a log function; a signal handler that forks is the same to the library.
#[test]
fn a_fork_in_the_midst_of_the_librarys_work_does_not_hang() {
    let program = Program::build("libisahotplug/tests/programs/fork_in_log.c");
    let output = finish(&mut program.here());
    assert_eq!(stdout(&output), "1 forks, 0\n", "{}", output.status);
    assert!(output.status.success(), "{}", output.status);
}
