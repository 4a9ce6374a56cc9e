//! The C functions, from C: what each refuses and what it does.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use isa::features;
use support::{Deadline, Program};

#[test]
fn every_function_keeps_its_word() {
    let program = Program::build("libisahotplug/tests/programs/api.c");
    program.publish(7, isa::detect());
    let mut command = program.here();
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (mut child, deadline) = Deadline::start(&mut command);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in output.by_ref() {
        said.push(line.unwrap());
        if said.last().unwrap() == "ready" {
            break;
        }
    }
    assert_eq!(said, ["ready"]);
    program.publish_again(8, isa::detect() - features![Sse3]);
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let rest: Vec<_> = output.map(Result::unwrap).collect();
    assert_eq!(rest, ["ok"]);
    assert!(child.wait().unwrap().success());
    assert!(deadline.was_kept());
}

/// The header as C99, C11 and C++, with every warning an error.
#[test]
fn the_header_compiles_in_every_dialect() {
    let source = "#include <isahotplug.h>\n#include <isahotplug.h>\n\
                  isahp_slot slot = ISAHP_SLOT_INITIALIZER;\n\
                  int main(void) { return ISAHP_SLOT_CALL(&slot, int (*)(void)) != NULL; }\n";
    for (compiler, suffix, standard) in [
        ("cc", "c", "c99"),
        ("cc", "c", "c11"),
        ("c++", "cc", "c++11"),
        ("c++", "cc", "c++20"),
    ] {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join(format!("program.{suffix}"));
        std::fs::write(&file, source).unwrap();
        let output = std::process::Command::new(compiler)
            .args([
                &format!("-std={standard}"),
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fsyntax-only",
            ])
            .arg("-I")
            .arg(support::root().join("libisahotplug/include"))
            .arg(&file)
            .output();
        let Ok(output) = output else {
            support::skip(
                "the_header_compiles_in_every_dialect",
                &format!("no {compiler}"),
            );
            continue;
        };
        assert!(
            output.status.success(),
            "{standard}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
