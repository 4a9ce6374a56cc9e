//! A program that closes the library.

mod support;

use std::process::Command;

use support::{finish, root, skip};

#[test]
fn the_handler_outlives_the_last_dlclose() {
    let test = "the_handler_outlives_the_last_dlclose";
    if isa::detect().contains(isa::Feature::Xop) {
        return skip(test, "this CPU has XOP");
    }
    let folder = tempfile::TempDir::new().unwrap();
    let program = folder.path().join("program");
    let output = Command::new("cc")
        .args([
            "-std=gnu11",
            "-pthread",
            "-O1",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I",
        ])
        .arg(root().join("libisahotplug/include"))
        .arg(root().join("libisahotplug/tests/programs/dlclose.c"))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let library = std::env::current_exe().unwrap();
    let library = library.with_file_name("libisahotplug.so");
    let output = finish(
        Command::new(&program)
            .arg(&library)
            .env("ISAHOTPLUG_RUN_DIR", folder.path()),
    );
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.ends_with(b"ok\n"), "{output:?}");
}
