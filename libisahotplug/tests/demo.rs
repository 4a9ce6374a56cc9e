//! The C demo, on this CPU and on one that raises #UD for its wide path.

mod support;

use isa::features;
use support::{Program, finish, last_number, skip, stdout};

const WIDE: isa::FeatureSet = features![Avx2, Fma, F16c, Bmi2];

#[test]
fn on_this_cpu_the_best_path_computes_and_nothing_traps() {
    let program = Program::build("examples/c/demo.c");
    let output = finish(program.here().arg("2000"));
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    let wide = isa::detect().is_superset(&WIDE);
    assert_eq!(
        last_number(&text, "wide"),
        if wide { 2000 } else { 0 },
        "{text}"
    );
    assert_eq!(
        (last_number(&text, "wrong"), last_number(&text, "emulated")),
        (0, 0),
        "{text}"
    );
    assert_eq!(
        text.matches("log no agent").count(),
        1,
        "one clear message:\n{text}"
    );
}

#[test]
fn a_lesser_cpu_without_news_takes_the_plain_path() {
    let program = Program::build("examples/c/demo.c");
    let Some(mut command) = program.on_lesser_cpu() else {
        return skip(
            "a_lesser_cpu_without_news_takes_the_plain_path",
            "no qemu-x86_64",
        );
    };
    let text = stdout(&finish(command.arg("200")));
    assert_eq!(
        (last_number(&text, "wide"), last_number(&text, "emulated")),
        (0, 0),
        "{text}"
    );
}

#[test]
fn a_stale_page_leads_to_one_call_that_is_emulated_and_right() {
    let program = Program::build("examples/c/demo.c");
    program.publish(5, isa::detect() | WIDE);
    let Some(mut command) = program.on_lesser_cpu() else {
        return skip(
            "a_stale_page_leads_to_one_call_that_is_emulated_and_right",
            "no qemu-x86_64",
        );
    };
    let output = finish(command.arg("500"));
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("start path=avx2 generation=5"), "{text}");
    assert!(
        text.contains("event cause=trap generation=5 path=sse2"),
        "{text}"
    );
    assert_eq!(
        (last_number(&text, "wide"), last_number(&text, "wrong")),
        (1, 0),
        "{text}"
    );
    let emulated = last_number(&text, "emulated");
    assert!(
        (10..200).contains(&emulated),
        "one call's worth: {emulated}"
    );
}
