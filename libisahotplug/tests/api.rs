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
