//! `guest-agent exec`: programs that can run under the preload object do, and the others are not
//! started.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use isa::Feature;
use isahotplug_tests::{product, skip};
use tempfile::TempDir;

/// `guest-agent exec` with these options and this program.
fn exec(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the agent starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(product("guest-agent").expect("the release build"));
    command.arg("exec").args(arguments).stdin(Stdio::null());
    for name in ["GLIBC_TUNABLES", "LD_PRELOAD", "ISAHOTPLUG_BURST"] {
        command.env_remove(name);
    }
    command
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the agent says instead of starting the program, after its exit status was seen to be this.
fn refusal(arguments: &[&str], status: i32) -> String {
    let output = exec(arguments);
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert_eq!(output.stdout, b"");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A C program.
fn compiled(folder: &TempDir, name: &str, source: &str, options: &[&str]) -> PathBuf {
    let (path, file) = (folder.path().join(name), folder.path().join("source.c"));
    std::fs::write(&file, source).expect("a source");
    let output = Command::new("gcc")
        .args(["-O1", "-o"])
        .args([&path, &file])
        .args(options)
        .output()
        .expect("gcc");
    assert!(output.status.success(), "{output:?}");
    path
}

/// Executes `vprotd $3, %xmm0, %xmm0` three times.
const XOP: &str = r#"
#include <stdio.h>
int main(void)
{
    unsigned in[4] = { 0x80000001, 2, 3, 4 };
    for (int i = 0; i < 3; i++)
        __asm__ volatile("movdqu (%0), %%xmm0\n\t.byte 0x8f,0xe8,0x78,0xc2,0xc0,0x03\n\t"
                         "movdqu %%xmm0, (%0)" : : "r"(in) : "xmm0", "memory");
    printf("%08x\n", in[0]);
    return 0;
}
"#;

fn text(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

#[test]
fn a_program_finishes_what_the_cpu_lacks() {
    if isa::detect().contains(Feature::Xop) {
        return skip("this CPU has XOP");
    }
    let folder = TempDir::new().expect("a folder");
    let program = compiled(&folder, "program", XOP, &[]);
    let bare = Command::new(&program).output().expect("it starts");
    assert!(!bare.status.success(), "or this shows nothing: {bare:?}");
    assert_eq!(stdout(&exec(&["--", text(&program)])), "00000300\n");
}

#[test]
fn statistics_and_bursts_are_as_asked_for() {
    if isa::detect().contains(Feature::Xop) {
        return skip("this CPU has XOP");
    }
    let folder = TempDir::new().expect("a folder");
    let program = compiled(&folder, "program", XOP, &[]);
    let output = exec(&["--statistics", "--burst", "0", "--", text(&program)]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("3 lost instructions finished after 3 traps"),
        "{errors}"
    );
    let file = folder.path().join("statistics");
    let option = format!("--statistics={}", text(&file));
    assert_eq!(stdout(&exec(&[&option, text(&program)])), "00000300\n");
    let written = std::fs::read_to_string(file).expect("it was written");
    assert!(
        written.contains("3 lost instructions finished"),
        "{written}"
    );
}

#[test]
fn the_program_finds_its_arguments_and_its_environment() {
    let output = command(&[
        "sh",
        "-c",
        "echo \"$0 $1 $HOME\"; env; exit 7",
        "zero",
        "--burst",
    ])
    .env("HOME", "/a home")
    .env("GLIBC_TUNABLES", "glibc.malloc.check=0")
    .output()
    .expect("the agent starts");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("zero --burst /a home"));
    let environment: Vec<&str> = lines.collect();
    assert!(
        environment.contains(&"GLIBC_TUNABLES=glibc.malloc.check=0"),
        "{text}"
    );
    let ours = product("libisahotplug_preload.so").expect("the release build");
    let preload = format!(
        "LD_PRELOAD={}",
        ours.canonicalize().expect("it is there").display()
    );
    assert!(environment.contains(&&*preload), "{text}");
    assert!(
        !text.contains("ISAHOTPLUG_AGENT"),
        "nothing of the agent's own: {text}"
    );
}

#[test]
fn without_tunables_of_the_users_the_program_gets_none() {
    let text = stdout(&exec(&["env"]));
    assert!(!text.contains("GLIBC_TUNABLES"), "{text}");
}

#[test]
fn a_baseline_holds_glibc_and_keeps_the_users_tunables() {
    let output = command(&["--baseline", "x86-64-v2", "env"])
        .env("GLIBC_TUNABLES", "glibc.malloc.check=0")
        .output()
        .expect("the agent starts");
    let text = stdout(&output);
    let line = text
        .lines()
        .find(|line| line.starts_with("GLIBC_TUNABLES="));
    let line = line.expect("there are some");
    assert!(line.starts_with("GLIBC_TUNABLES=glibc.malloc.check=0:glibc.cpu.hwcaps="));
    assert!(
        line.contains("-AVX2") && !line.contains("-SSE4_2"),
        "{line}"
    );
    let said = refusal(&["--baseline", "x86-64-v9", "env"], 2);
    assert!(said.contains("x86-64-v9"), "{said}");
}

/// glibc itself says what it would use.
#[test]
fn a_baseline_is_what_glibc_goes_by() {
    let linker = "/lib64/ld-linux-x86-64.so.2";
    let output = Command::new(linker).arg("--list-diagnostics").output();
    let plain = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let Ok(plain) = plain else {
        return skip("glibc's dynamic linker says nothing of itself");
    };
    let uses_avx2 = |text: &str| {
        // Leaf 7, EBX, bit 5.
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("x86.cpu_features.features[0x1].active[0x1]="))
            .and_then(|word| u32::from_str_radix(word.trim_start_matches("0x"), 16).ok());
        line.map(|word| word >> 5 & 1 == 1)
    };
    if uses_avx2(&plain) != Some(true) {
        return skip("glibc uses no AVX2 here, or does not say");
    }
    let script = format!("LD_PRELOAD= exec {linker} --list-diagnostics");
    for (level, uses) in [("x86-64-v2", false), ("x86-64-v3", true)] {
        let text = stdout(&exec(&["--baseline", level, "sh", "-c", &script]));
        assert_eq!(uses_avx2(&text), Some(uses), "{level}");
    }
}

#[test]
fn programs_that_cannot_have_it_are_not_started() {
    let folder = TempDir::new().expect("a folder");
    let source = "int main(void) { return 0; }";
    let fixed = compiled(&folder, "static", source, &["-static"]);
    let said = refusal(&[text(&fixed)], 126);
    assert!(
        said.contains("is linked statically") && said.contains("Run a dynamically"),
        "{said}"
    );
    let movable = compiled(&folder, "static-pie", source, &["-static-pie"]);
    assert!(refusal(&[text(&movable)], 126).contains("is linked statically"));
    let script = folder.path().join("script");
    std::fs::write(&script, format!("#!{}\n", text(&fixed))).expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("it is ours");
    let said = refusal(&[text(&script)], 126);
    assert!(
        said.contains("is a script, and its interpreter is refused"),
        "{said}"
    );
    assert!(refusal(&["/nowhere/program"], 127).contains("there is no such program"));
    assert!(refusal(&["no-such-program-anywhere"], 127).contains("there is no such program"));
    assert!(refusal(&["/etc/passwd"], 126).contains("cannot be executed"));
    assert!(refusal(&["/tmp"], 126).contains("it is not a file"));
    let said = refusal(&["--preload", "/nowhere/object.so", "true"], 125);
    assert!(said.contains("/nowhere/object.so"), "{said}");
}

/// The same with a program that really is setuid: started by itself it would run without.
#[test]
fn a_program_with_more_rights_than_its_user_is_not_started() {
    let candidates = ["/usr/bin/su", "/usr/bin/passwd", "/usr/bin/chage"];
    let is_set_id = |path: &&&str| {
        let metadata = std::fs::metadata(path).ok();
        metadata.is_some_and(|it| it.permissions().mode() & 0o6000 != 0)
    };
    // As a user who is nobody; root takes no rights that it has not.
    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let may = Command::new("setpriv").args(as_nobody).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        return skip("no setpriv(1) that may change the user");
    }
    let Some(program) = candidates.iter().find(is_set_id) else {
        return skip("no setuid program of those that are looked for");
    };
    // Where nobody may go.
    let folder = TempDir::new().expect("a folder");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).expect("it is ours");
    for name in ["guest-agent", "libisahotplug_preload.so"] {
        let product = product(name).expect("the release build");
        std::fs::copy(product, folder.path().join(name)).expect("a copy");
    }
    let output = Command::new("setpriv")
        .args(as_nobody)
        .arg(folder.path().join("guest-agent"))
        .args(["exec", "--", program, "--help"])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("with fewer rights"), "{said}");
}
