//! The library as it is installed: what it exports, and programs in C and C++ that are built
//! against it by pkg-config and CMake, run by themselves, with sanitizers, and under valgrind.

mod installed;
mod published;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use installed::Installed;
use isahotplug_tests::skip;

/// All that a C or C++ compiler can warn of, as errors.
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn succeed(command: &mut Command) -> String {
    let output = installed::output(command);
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn text(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part));
    format!("{}\n{}", output.status, parts.concat())
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/installed")
}

/// How a program is linked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Shared,
    /// libisahotplug.a in a program that is dynamic otherwise.
    Static,
    /// All of the program, which the options say.
    AllStatic,
}

/// Builds a program of `programs/installed` as a user would, by what pkg-config says.
fn build(
    installed: &Installed,
    compiler: &str,
    link: Link,
    source: &str,
    options: &[&str],
) -> PathBuf {
    let folder = installed.scratch();
    let program = folder.join("program");
    let mut command = Command::new(compiler);
    command
        .args(STRICT)
        .args(options)
        .args(["-g", "-D_GNU_SOURCE"]);
    command.args(["-x", if compiler == "c++" { "c++" } else { "c" }]);
    command.arg(programs().join(source)).args(["-x", "none"]);
    command.args(installed.pkg_config(&["--cflags"]));
    match link {
        Link::Shared => command.args(installed.pkg_config(&["--libs"])),
        Link::Static => {
            // What `-Bstatic` means ends with the library: libc stays shared.
            let words = installed.pkg_config(&["--static", "--libs"]);
            for word in words {
                if word == "-lisahotplug" {
                    command.args(["-Wl,-Bstatic", &word, "-Wl,-Bdynamic"]);
                } else {
                    command.arg(word);
                }
            }
            &mut command
        }
        Link::AllStatic => command.args(installed.pkg_config(&["--static", "--libs"])),
    };
    succeed(command.arg("-o").arg(&program));
    program
}

const SANITIZED: [&str; 3] = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
];

fn says_ok(installed: &Installed, command: &mut Command) {
    let output = installed::output(installed.environment(command));
    assert!(
        output.status.success() && output.stdout == b"ok\n" && output.stderr.is_empty(),
        "{command:?}: {}",
        text(&output)
    );
}

/// Runs a program with and without a thread of the library.
fn runs_here(installed: &Installed, program: &Path) {
    says_ok(installed, &mut Command::new(program));
    says_ok(installed, Command::new(program).arg("thread"));
}

/// Runs a program here, and on a CPU without AVX2.
fn runs_here_and_there(installed: &Installed, program: &Path) {
    runs_here(installed, program);
    if is_there("qemu-x86_64") {
        let mut lesser = Command::new("qemu-x86_64");
        lesser.args(["-cpu", "max,-avx2"]).arg(program).arg("trap");
        says_ok(installed, &mut lesser);
    } else {
        skip("there is no qemu-x86_64 to play a lesser CPU");
    }
}

fn valgrind_finds_nothing(installed: &Installed, program: &Path) {
    if !is_there("valgrind") {
        return skip("there is no valgrind");
    }
    for argument in ["poll", "thread"] {
        let mut command = Command::new("valgrind");
        command.args([
            "--quiet",
            "--error-exitcode=9",
            "--leak-check=full",
            // std keeps pointers into the middle of some blocks, which count as possibly lost.
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
        ]);
        says_ok(installed, command.arg(program).arg(argument));
    }
}

#[test]
fn a_c_program_uses_the_shared_library() {
    let Some(installed) = Installed::get() else {
        return;
    };
    let program = build(installed, "cc", Link::Shared, "program.c", &[]);
    runs_here_and_there(installed, &program);
    valgrind_finds_nothing(installed, &program);
    let program = build(installed, "cc", Link::Shared, "program.c", &SANITIZED);
    runs_here(installed, &program);
}

#[test]
fn a_c_program_uses_the_static_library() {
    let Some(installed) = Installed::get() else {
        return;
    };
    let program = build(installed, "cc", Link::Static, "program.c", &[]);
    runs_here_and_there(installed, &program);
    valgrind_finds_nothing(installed, &program);
    let program = build(installed, "cc", Link::Static, "program.c", &SANITIZED);
    runs_here(installed, &program);
}

#[test]
fn a_c_program_without_any_shared_library_uses_the_static_library() {
    let Some(installed) = Installed::get() else {
        return;
    };
    for kind in ["-static", "-static-pie"] {
        let program = build(installed, "cc", Link::AllStatic, "program.c", &[kind]);
        runs_here_and_there(installed, &program);
    }
}

#[test]
fn a_cxx_program_uses_the_shared_library() {
    let Some(installed) = Installed::get() else {
        return;
    };
    let program = build(installed, "c++", Link::Shared, "program.c", &[]);
    runs_here_and_there(installed, &program);
    valgrind_finds_nothing(installed, &program);
    let program = build(installed, "c++", Link::Shared, "program.c", &SANITIZED);
    runs_here(installed, &program);
}

#[test]
fn a_program_links_it_beside_another_static_library_in_rust() {
    let Some(installed) = Installed::get() else {
        return;
    };
    let folder = installed.scratch();
    succeed(
        Command::new("rustc")
            .args(["--edition=2024", "--crate-type=staticlib", "-Cpanic=unwind"])
            .arg("--out-dir")
            .arg(&folder)
            .arg(programs().join("other.rs")),
    );
    let other = folder.join("libother.a").display().to_string();
    for order in [["-lisahotplug", &other], [&other, "-lisahotplug"]] {
        let program = folder.join("two");
        succeed(
            Command::new("cc")
                .arg(programs().join("two.c"))
                .arg("-D_GNU_SOURCE")
                .args(installed.pkg_config(&["--cflags", "--libs-only-L"]))
                .args(["-Wl,-Bstatic", order[0], order[1], "-Wl,-Bdynamic", "-o"])
                .arg(&program),
        );
        says_ok(installed, &mut Command::new(&program));
    }
}

#[test]
fn cmake_finds_it_and_builds_against_it() {
    let Some(installed) = Installed::get() else {
        return;
    };
    if !is_there("cmake") {
        return skip("there is no cmake");
    }
    let configure = |folder: &Path, version: &str| {
        let mut command = Command::new("cmake");
        command
            .arg("-S")
            .arg(programs())
            .arg("-B")
            .arg(folder)
            .arg(format!(
                "-DCMAKE_PREFIX_PATH={}",
                installed.prefix().display()
            ))
            .arg(format!("-DWANTED={version}"));
        installed::output(&mut command)
    };
    let version = env!("CARGO_PKG_VERSION");
    let folder = installed.scratch();
    let output = configure(&folder, version);
    assert!(output.status.success(), "{}", text(&output));
    succeed(Command::new("cmake").arg("--build").arg(&folder));
    for program in ["shared_c", "static_c", "shared_cxx"] {
        runs_here_and_there(installed, &folder.join(program));
    }
    for other in ["0.2", "1.0", "0.1.99"] {
        let output = configure(&installed.scratch(), other);
        assert!(
            !output.status.success() && text(&output).contains(&format!("version: {version}")),
            "{other}: {}",
            text(&output)
        );
    }
}

#[test]
fn the_shared_library_exports_the_functions_of_the_header_with_their_versions_and_nothing_else() {
    let Some(installed) = Installed::get() else {
        return;
    };
    let exported = succeed(
        Command::new("nm")
            .args(["--dynamic", "--defined-only", "--with-symbol-versions"])
            .arg("--format=just-symbols")
            .arg(installed.libraries().join("libisahotplug.so")),
    );
    // The node itself is a symbol too.
    let exported: BTreeSet<&str> = exported
        .lines()
        .filter(|line| !line.starts_with("ISAHOTPLUG_"))
        .collect();
    let functions = installed.functions();
    let expected: Vec<String> = functions
        .iter()
        .map(|function| format!("{function}@@ISAHOTPLUG_0.1"))
        .collect();
    assert_eq!(exported, expected.iter().map(String::as_str).collect());
}

#[test]
fn the_static_library_has_no_global_symbol_but_the_functions_of_the_header() {
    let Some(installed) = Installed::get() else {
        return;
    };
    let defined = succeed(
        Command::new("nm")
            .args(["--extern-only", "--defined-only", "--format=posix"])
            .arg(installed.libraries().join("libisahotplug.a")),
    );
    let names: BTreeSet<String> = defined
        .lines()
        .filter(|line| !line.ends_with(':'))
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect();
    assert_eq!(names, installed.functions());
}

/// The trap handler must not reach libc's, which are bound to what the CPU may have lost.
#[test]
fn neither_library_takes_memory_functions_from_the_program() {
    let Some(installed) = Installed::get() else {
        return;
    };
    for (file, option) in [
        ("libisahotplug.so", "--dynamic"),
        ("libisahotplug.a", "--extern-only"),
    ] {
        let taken = succeed(
            Command::new("nm")
                .args([option, "--undefined-only", "--format=just-symbols"])
                .arg(installed.libraries().join(file)),
        );
        let taken: BTreeSet<&str> = taken
            .lines()
            .filter_map(|line| line.split('@').next())
            .collect();
        assert!(taken.contains("malloc"), "{file} was read: {taken:?}");
        for name in ["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"] {
            assert!(!taken.contains(name), "{file}: {name}");
        }
    }
}

#[test]
fn the_shared_library_has_the_links_of_its_soname() {
    let Some(installed) = Installed::get() else {
        return;
    };
    let libraries = installed.libraries();
    let link = |name: &str| std::fs::read_link(libraries.join(name)).expect(name);
    let file = link("libisahotplug.so");
    assert_eq!(file, link("libisahotplug.so.1"));
    assert_eq!(file, Path::new("libisahotplug.so.1.0.0"));
    let dynamic = succeed(
        Command::new("readelf")
            .args(["-dW"])
            .arg(libraries.join(&file)),
    );
    assert!(
        dynamic.contains("soname: [libisahotplug.so.1]"),
        "{dynamic}"
    );
}

#[test]
fn pkg_config_and_cmake_say_the_version_of_the_workspace() {
    let Some(installed) = Installed::get() else {
        return;
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(installed.pkg_config(&["--modversion"]), [version]);
    let file = "share/cmake/isahotplug/isahotplugConfigVersion.cmake";
    let text = std::fs::read_to_string(installed.prefix().join(file)).expect(file);
    assert!(
        text.contains(&format!("set(PACKAGE_VERSION \"{version}\")")),
        "{text}"
    );
}

#[test]
fn the_header_compiles_in_every_dialect_of_gcc() {
    compiles_in_every_dialect(&["gcc", "g++"]);
}

#[test]
fn the_header_compiles_in_every_dialect_of_clang() {
    if !is_there("clang++") {
        return skip("there is no clang++");
    }
    compiles_in_every_dialect(&["clang", "clang++"]);
}

/// The header twice, by a compiler for C and one for C++.
fn compiles_in_every_dialect([c, cxx]: &[&str; 2]) {
    let Some(installed) = Installed::get() else {
        return;
    };
    let program = "isahp_slot slot = ISAHP_SLOT_INITIALIZER;\n\
                   static int plain(int n) { return n; }\n\
                   static ISAHP_SLOT(defined, plain, (plain, \"avx2\"), (plain, \"sse3\"));\n\
                   int main(void) { return ISAHP_CALL(defined)(1); }\n";
    let classes = "static isahotplug::slot<int(int)> object{\"object\", plain, {plain, \"avx2\"}};\n\
                   int called() { return object(1); }\n";
    for (compiler, language, standards) in [
        (c, "c", &["c99", "c11", "c17"][..]),
        (cxx, "c++", &["c++11", "c++14", "c++17", "c++20"]),
    ] {
        let (suffix, more) = if language == "c" {
            ("", "")
        } else {
            ("pp", classes)
        };
        let include = format!("#include <isahotplug.h{suffix}>\n");
        let file = installed.scratch().join("program");
        std::fs::write(&file, format!("{include}{include}{program}{more}"))
            .expect("a file in the scratch folder");
        for standard in standards {
            succeed(
                Command::new(compiler)
                    .args(STRICT)
                    .arg(format!("-std={standard}"))
                    .args(["-fsyntax-only", "-x", language])
                    .arg(&file)
                    .arg("-I")
                    .arg(installed.prefix().join("include")),
            );
        }
    }
}
