//! Slots as programs declare them: ISAHP_SLOT in C and C++, in objects that come and go, forced
//! from outside.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use isa::features;
use support::{Dialogue, Program, SHARED_C11, finish, skip, stdout};

#[test]
fn a_declared_slot_holds_what_needs_nothing_until_and_after_the_library_is_in_use() {
    let test = "a_declared_slot_holds_what_needs_nothing_until_and_after_the_library_is_in_use";
    let strict = ["-Wpedantic", "-fvisibility=hidden"];
    let dialects: [&[&str]; 7] = [
        &["cc", "-std=c99"],
        &["cc", "-std=c11", "-O2", "-flto"],
        &[
            "cc",
            "-std=c17",
            "-O2",
            "-ffunction-sections",
            "-Wl,--gc-sections",
        ],
        &["c++", "-x", "c++", "-std=c++11"],
        &["c++", "-x", "c++", "-std=c++14", "-O2", "-flto"],
        &["c++", "-x", "c++", "-std=c++17", "-O2"],
        &[
            "c++",
            "-x",
            "c++",
            "-std=c++20",
            "-O2",
            "-fno-exceptions",
            "-fno-rtti",
        ],
    ];
    for dialect in dialects {
        let dialect = [dialect, &strict].concat();
        let source = "libisahotplug/tests/programs/slot_macro.c";
        let Some(program) = Program::build_as(&dialect, source) else {
            skip(test, &format!("no {}", dialect[0]));
            continue;
        };
        let output = finish(&mut program.here());
        assert_eq!(stdout(&output), "ok\n", "{dialect:?}");
        assert!(output.status.success(), "{dialect:?}: {output:?}");
    }
}

/// A program that loads and unloads an object with a slot for a feature that every CPU here has.
fn with_plugin() -> (Program, Dialogue) {
    let program = Program::build("libisahotplug/tests/programs/plugins.c");
    let added = program.add(
        "plugin.so",
        SHARED_C11,
        "libisahotplug/tests/programs/plugin.c",
    );
    assert!(added, "the compiler was there just now");
    program.publish(5, isa::detect());
    let dialogue = Dialogue::start(program.here().arg(program.file("plugin.so")));
    (program, dialogue)
}

#[test]
fn an_object_that_is_unloaded_gives_its_slots_back() {
    let (program, mut dialogue) = with_plugin();
    let (all, less) = (isa::detect(), isa::detect() - features![Sse3]);
    assert_eq!(dialogue.ask("init"), "none");
    let mut generation = 5;
    let mut publish = |available| {
        generation += 1;
        program.publish_again(generation, available);
    };
    for _ in 0..3 {
        assert_eq!(dialogue.ask("load"), "1001 changes=0");
        publish(less);
        assert_eq!(dialogue.ask("poll"), "1 changes=1");
        publish(all);
        assert_eq!(dialogue.ask("poll"), "1001 changes=2");
        assert_eq!(dialogue.ask("unload"), "none");
        // Whoever still kept the slot would now write to memory that is gone.
        publish(less);
        assert_eq!(dialogue.ask("poll"), "none");
        publish(all);
        assert_eq!(dialogue.ask("poll"), "none");
    }
    dialogue.end();
}

#[test]
fn a_child_of_a_fork_that_ends_does_not_wake_the_library_up() {
    let (_program, mut dialogue) = with_plugin();
    assert_eq!(dialogue.ask("thread"), "none");
    assert_eq!(dialogue.ask("load"), "1001 changes=0");
    assert_eq!(dialogue.ask("fork"), "1001 changes=0");
    dialogue.end();
}

/// What the plugin computes if `ISAHOTPLUG_FORCE` says this while this is published, and what is
/// logged about it.
fn forced(force: &str, available: isa::FeatureSet) -> (String, Vec<String>) {
    let program = Program::build("libisahotplug/tests/programs/plugins.c");
    program.add(
        "plugin.so",
        SHARED_C11,
        "libisahotplug/tests/programs/plugin.c",
    );
    program.publish(5, available);
    let script = program.file("script");
    std::fs::write(&script, "init\nload\n").unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$1\" <\"$2\""])
        .args([program.file("program"), program.file("plugin.so"), script])
        .env_remove("LD_LIBRARY_PATH")
        .env("ISAHOTPLUG_RUN_DIR", program.run_dir())
        .env("ISAHOTPLUG_FORCE", force)
        .env("ISAHOTPLUG_LOG", "1");
    let output = finish(&mut command);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let about = log.lines().filter(|line| line.contains("FORCE"));
    (
        text.lines().last().unwrap_or_default().to_owned(),
        about.map(str::to_owned).collect(),
    )
}

#[test]
fn the_environment_forces_a_variant_that_is_available_and_says_so_where_it_cannot() {
    let (all, less) = (isa::detect(), isa::detect() - features![Sse3]);
    let fine: Vec<String> = Vec::new();
    let case = |force, available| forced(force, available);
    assert_eq!(
        case("plugin=compute_plain", all),
        ("1 changes=0".into(), fine.clone())
    );
    assert_eq!(
        case("*=compute_plain,other=x", all),
        ("1 changes=0".into(), fine.clone())
    );
    assert_eq!(
        case("plugin=compute_sse3", all),
        ("1001 changes=0".into(), fine.clone())
    );
    assert_eq!(
        case("other=compute_plain", all),
        ("1001 changes=0".into(), fine)
    );
    let (result, log) = case("plugin=compute_sse3", less);
    assert_eq!(result, "1 changes=0", "never what the CPU lacks");
    assert!(
        log[0].contains("compute_sse3 of slot plugin needs what is not available"),
        "{log:?}"
    );
    let (result, log) = case("plugin=compute_avx9", all);
    assert_eq!(result, "1001 changes=0");
    assert!(
        log[0].contains("slot plugin has no variant compute_avx9"),
        "{log:?}"
    );
}

#[test]
fn a_variant_of_another_type_does_not_compile() {
    let cases = [
        (
            "cc",
            "c",
            "static int plain(int a) { return a; }\nstatic int wide(long a) { return (int)a; }\n\
                     static ISAHP_SLOT(it, plain, (wide, \"avx2\"));",
        ),
        (
            "c++",
            "cc",
            "static int plain(int a) { return a; }\nstatic int wide(long a) { return (int)a; }\n\
                       static isahotplug::slot<int(int)> it{plain, {wide, \"avx2\"}};",
        ),
        (
            "c++",
            "cc",
            "static int plain(int a) { return a; }\n\
                       static isahotplug::slot<int(int)> a{plain, {plain, \"avx2\"}}, b{a};",
        ),
        (
            "cc",
            "c",
            "static int plain(int a) { return a; }\n\
                     void f(void) { static ISAHP_SLOT(it, plain, (plain, \"avx2\")); }",
        ),
    ];
    for (compiler, suffix, source) in cases {
        for wrong in [true, false] {
            let source = if wrong {
                source.to_owned()
            } else {
                // The same without the mistake.
                let right = source.replace("long a", "int a").replace(", b{a}", "");
                right
                    .replace("void f(void) { ", "")
                    .replace("\"avx2\")); }", "\"avx2\"));")
            };
            let folder = tempfile::TempDir::new().unwrap();
            let file = folder.path().join(format!("program.{suffix}"));
            let header = if suffix == "c" {
                "isahotplug.h"
            } else {
                "isahotplug.hpp"
            };
            std::fs::write(&file, format!("#include <{header}>\n{source}\n")).unwrap();
            let output = std::process::Command::new(compiler)
                .args(["-Wall", "-Werror", "-Wno-unused", "-fsyntax-only", "-I"])
                .arg(support::root().join("libisahotplug/include"))
                .arg(&file)
                .output();
            let Ok(output) = output else {
                skip(
                    "a_variant_of_another_type_does_not_compile",
                    "a compiler is missing",
                );
                continue;
            };
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), !wrong, "{source}\n{said}");
        }
    }
}
