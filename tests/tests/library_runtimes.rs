//! Runtimes with signal handlers, stacks and threads of their own under the preload object: a JVM,
//! Python, Go. Each calls native code that this CPU, or QEMU's, lacks.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use isa::Feature;
use isahotplug_tests::{compiled_c, has_qemu_user, product, skip};
use tempfile::TempDir;

/// One that runs longer has got stuck: it is killed.
const LONGEST_SECONDS: &str = "300";

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs/runtimes")
        .join(name)
}

/// The shared object with lost instructions.
fn lost() -> PathBuf {
    compiled_c(&source("lost.c"), &["-O1", "-shared", "-fPIC"]).expect("gcc")
}

/// Whether a program can be started at all, with these arguments.
fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

fn has_xop() -> bool {
    let xop = isa::detect().contains(Feature::Xop);
    if xop {
        skip("this CPU has XOP");
    }
    xop
}

/// A program of this CPU under the preload object, one trap for each instruction or in bursts.
fn preloaded(burst: &str, program: impl AsRef<Path>) -> Command {
    let object = product("libisahotplug_preload.so").expect("the release build");
    let mut command = bare("env");
    command
        .arg(format!("LD_PRELOAD={}", object.display()))
        .arg(format!("ISAHOTPLUG_BURST={burst}"))
        .arg(program.as_ref());
    command
}

/// A program without the object, which writes no core.
fn bare(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -c 0; exec \"$@\"", "sh", "timeout"])
        .args(["--signal=KILL", LONGEST_SECONDS])
        .arg(program.as_ref())
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("it starts")
}

fn succeeds(command: &mut Command) {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}{errors}", output.status);
    assert_eq!(text, "ok\n", "{errors}");
}

/// Without the object the program is killed, or the test shows nothing.
fn dies_alone(command: &mut Command) {
    let output = run(command);
    assert!(!output.status.success(), "{output:?}");
    assert!(!output.stdout.ends_with(b"ok\n"), "{output:?}");
}

const SIGILL: i32 = 4;

const BURSTS: [&str; 2] = ["4096", "0"];

fn python(command: &mut Command, function: &str) -> Command {
    let mut with = Command::new(command.get_program());
    with.args(command.get_args())
        .arg(source("lost.py"))
        .arg(lost())
        .arg(function)
        .stdin(Stdio::null());
    with
}

/// Debian's, not one that a version manager puts in its place.
const PYTHON: &str = "/usr/bin/python3";

#[test]
fn python_calls_lost_code_with_signals_threads_and_a_child() {
    if !works(PYTHON, &["-c", "import ctypes"]) {
        return skip("no python3 with ctypes");
    }
    if has_xop() {
        return;
    }
    dies_alone(&mut python(&mut bare(PYTHON), "lost_turn"));
    for burst in BURSTS {
        succeeds(&mut python(&mut preloaded(burst, PYTHON), "lost_turn"));
    }
}

#[test]
fn python_calls_avx2_on_a_cpu_without_avx() {
    if !works(PYTHON, &["-c", "import ctypes"]) || !has_qemu_user() {
        return skip("no python3 with ctypes, or no qemu-x86_64");
    }
    let on_nehalem = |variables: &[String]| {
        let mut command = bare("qemu-x86_64");
        command.args(["-cpu", "Nehalem"]);
        for variable in variables {
            command.args(["-E", variable]);
        }
        command.arg(PYTHON);
        python(&mut command, "lost_turn_avx2")
    };
    dies_alone(&mut on_nehalem(&[]));
    let object = product("libisahotplug_preload.so").expect("the release build");
    for burst in BURSTS {
        let preload = format!("LD_PRELOAD={}", object.display());
        succeeds(&mut on_nehalem(&[
            preload,
            format!("ISAHOTPLUG_BURST={burst}"),
        ]));
    }
}

/// faulthandler's handler of SIGILL gets what is not emulated, and says where it was.
#[test]
fn python_is_told_of_an_undefined_instruction() {
    if !works(PYTHON, &["-c", "import ctypes"]) {
        return skip("no python3 with ctypes");
    }
    let output = run(python(&mut preloaded("4096", PYTHON), "lost_turn").arg("undefined"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGILL), "{output:?}");
    assert!(
        errors.contains("Fatal Python error: Illegal instruction"),
        "{errors}"
    );
    assert!(errors.contains("lost.py"), "{errors}");
}

/// Java's class, compiled.
fn java_class() -> Option<TempDir> {
    if !works("javac", &["-version"]) || !works("java", &["-version"]) {
        skip("no Java (java and javac)");
        return None;
    }
    let folder = TempDir::new().expect("a folder");
    let mut javac = Command::new("javac");
    javac.arg("-d").arg(folder.path()).arg(source("Lost.java"));
    let output = run(&mut javac);
    assert!(output.status.success(), "{output:?}");
    Some(folder)
}

fn java<'a>(command: &'a mut Command, class: &TempDir) -> &'a mut Command {
    command
        .args([
            "-Xmx64m",
            "-Xss512k",
            "-Xcheck:jni",
            "-XX:-CreateCoredumpOnCrash",
        ])
        .arg(format!("-XX:ErrorFile={}/error", class.path().display()))
        .arg("-cp")
        .arg(class.path())
        .arg("Lost")
        .arg(lost())
}

#[test]
fn a_jvm_calls_lost_code_among_null_pointers_overflows_and_garbage() {
    let Some(class) = java_class() else { return };
    if has_xop() {
        return;
    }
    dies_alone(java(&mut bare("java"), &class));
    for burst in BURSTS {
        succeeds(java(&mut preloaded(burst, "java"), &class));
    }
}

/// Its own handler of SIGILL gets what is not emulated, and writes its report.
#[test]
fn a_jvm_reports_an_undefined_instruction() {
    let Some(class) = java_class() else { return };
    let output = run(java(&mut preloaded("4096", "java"), &class).arg("undefined"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{output:?}");
    assert!(
        text.contains("SIGILL") && text.contains("lost_undefined"),
        "{text}"
    );
    let report = fs::read_to_string(class.path().join("error")).expect("the report");
    assert!(report.contains("lost_undefined"), "{report}");
}

/// Builds the Go program against the shared object.
fn go(cgo: bool) -> Option<(TempDir, PathBuf)> {
    if !works("go", &["version"]) {
        skip("no Go");
        return None;
    }
    let folder = TempDir::new().expect("a folder");
    let (main, program) = (folder.path().join("main.go"), folder.path().join("program"));
    let text = if cgo {
        fs::read_to_string(source("lost.go")).expect("the source")
    } else {
        "package main\n\nfunc main() {\n\tprintln(\"ok\")\n}\n".to_owned()
    };
    fs::write(&main, text).expect("a source");
    let mut build = Command::new("go");
    build
        .args(["build", "-o"])
        .args([&program, &main])
        .env("CGO_ENABLED", if cgo { "1" } else { "0" })
        .env("CGO_LDFLAGS", lost())
        .env("GOCACHE", folder.path().join("cache"))
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("HOME", folder.path());
    let output = run(&mut build);
    assert!(output.status.success(), "{output:?}");
    Some((folder, program))
}

#[test]
fn go_calls_lost_code_among_nil_pointers_and_preemption() {
    let Some((_folder, program)) = go(true) else {
        return;
    };
    if has_xop() {
        return;
    }
    dies_alone(&mut bare(&program));
    for burst in BURSTS {
        succeeds(&mut preloaded(burst, &program));
    }
}

/// Go's own handler of SIGILL gets what is not emulated.
#[test]
fn go_is_told_of_an_undefined_instruction() {
    let Some((_folder, program)) = go(true) else {
        return;
    };
    let output = run(preloaded("4096", &program).arg("undefined"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(errors.contains("SIGILL: illegal instruction"), "{errors}");
    assert!(errors.contains("goroutine 1"), "{errors}");
}

#[test]
fn go_without_c_is_static_and_is_not_started() {
    let Some((_folder, program)) = go(false) else {
        return;
    };
    let output = run(
        Command::new(product("guest-agent").expect("the release build"))
            .arg("exec")
            .arg(&program),
    );
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("is linked statically"), "{errors}");
}
