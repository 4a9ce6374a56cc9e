//! The daemon must outlive the loss of everything above x86-64-v1. (That its own
//! code holds nothing above it is checked in `tests/tests/spine_binaries.rs`.)

use std::fs;

use crate::daemon::Guest;

#[test]
fn the_agents_libc_is_held_at_the_baseline() {
    let guest = Guest::new();
    let daemon = guest.start();
    let environment = fs::read(format!("/proc/{}/environ", daemon.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let tunables = environment
        .split('\0')
        .find_map(|v| v.strip_prefix("GLIBC_TUNABLES="))
        .unwrap();
    assert!(
        tunables.contains("glibc.cpu.hwcaps=-AVX512F,"),
        "{tunables}"
    );
    assert!(tunables.contains(",-AVX2,"), "{tunables}");
}
