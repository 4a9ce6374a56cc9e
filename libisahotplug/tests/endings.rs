//! Registrations and the library itself end while callbacks run.

mod support;

use std::sync::LazyLock;

use support::{Program, finish, stdout};

static PROGRAM: LazyLock<Program> =
    LazyLock::new(|| Program::build("libisahotplug/tests/programs/endings.c"));

fn succeeds(case: &str) {
    let output = finish(PROGRAM.here().arg(case));
    assert_eq!(stdout(&output), "ok\n", "{}", output.status);
    assert!(output.status.success(), "{}", output.status);
}

macro_rules! cases {
    ($($test:ident: $case:literal;)+) => {
        $(#[test] fn $test() { succeeds($case); })+
    };
}

cases! {
    unregister_returns_when_release_has_returned: "unregister";
    unload_returns_when_release_has_returned: "unload";
    a_callback_that_unload_waits_for_may_begin_anew: "init";
    callbacks_that_end_each_other_do_not_wait_for_ever: "each-other";
    one_registration_ended_by_several_threads_ends_once: "several";
}
