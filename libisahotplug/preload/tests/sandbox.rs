//! Programs in a sandbox that refuses system calls which the handler could want: natively, with an
//! instruction that only old CPUs of AMD's have.

mod run;

use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::LazyLock;

use isa::Feature;
use run::{Cpu, Program, skip};

static PROGRAM: LazyLock<Program> = LazyLock::new(|| Program::build("sandbox", &["-Wl,-z,now"]));

/// Runs a case in bursts and one instruction at a time.
fn run(case: &str, test: &str, check: impl Fn(&Output)) {
    if isa::detect().contains(Feature::Xop) {
        return skip(test, "this CPU has XOP");
    }
    for burst in ["4096", "0"] {
        let Some(output) = PROGRAM.run(Cpu::Native, case, &[("ISAHOTPLUG_BURST", burst)]) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(reason) = text.strip_prefix("skip: ") {
            return skip(test, reason.trim());
        }
        check(&output);
    }
}

/// It succeeds, and says nothing.
fn is_not_noticed(case: &str, test: &str) {
    run(case, test, |output| {
        assert!(output.status.success(), "{output:?}");
        assert_eq!((&*output.stdout, &*output.stderr), (&b"ok\n"[..], &b""[..]));
    });
}

/// One line, of the handler's.
fn assert_one_line(output: &Output, about: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    let begins = format!("isahotplug: {about} is refused");
    assert!(
        errors.starts_with(&begins) && errors.ends_with('\n'),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

/// It succeeds after one line about this call.
fn is_said(case: &str, about: &str, test: &str) {
    run(case, test, |output| {
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"ok\n");
        assert_one_line(output, about);
    });
}

/// It is killed, with this call in its last line.
fn dies_of(signal: i32, case: &str, about: &str, test: &str) {
    run(case, test, |output| {
        assert_eq!(output.status.signal(), Some(signal), "{output:?}");
        assert_eq!(output.stdout, b"");
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or_default();
        let begins = format!("isahotplug: {about} is refused");
        assert!(last.starts_with(&begins), "{errors}");
        assert!(errors.lines().count() <= 2, "{errors}");
    });
}

macro_rules! cases {
    ($($test:ident: $how:ident($($argument:expr),+);)+) => {
        $(#[test] fn $test() { $how($($argument),+, stringify!($test)); })+
    };
}

cases! {
    the_ordinary_way_makes_no_system_call: is_not_noticed("strict");
    errors_do_not_concern_the_ordinary_way: is_not_noticed("ordinary-error");
    signals_do_not_concern_the_ordinary_way: is_not_noticed("ordinary-signal");
    a_fault_reaches_the_program_where_calls_are_errors: is_said("faults-error", "rt_sigprocmask");
    a_fault_reaches_the_program_where_calls_raise_signals:
        is_said("faults-signal", "rt_sigprocmask");
    a_small_signal_stack_is_enough_where_calls_are_errors:
        is_said("small-error", "rt_sigprocmask");
    a_small_signal_stack_is_enough_where_calls_raise_signals:
        is_said("small-signal", "rt_sigprocmask");
    a_fault_that_nobody_handles_kills: dies_of(libc::SIGILL, "dies", "rt_tgsigqueueinfo");
    an_undefined_instruction_kills: dies_of(libc::SIGILL, "dies-undefined", "rt_sigaction");
    a_fault_kills_where_its_frame_would_lie_over_ours:
        dies_of(libc::SIGSEGV, "small-faults", "sigaltstack");
}
