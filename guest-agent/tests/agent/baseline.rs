//! The daemon must outlive the loss of everything above x86-64-v1.

use std::fs;
use std::process::Command;

use crate::daemon::{Guest, PROGRAM};

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

/// An instruction beyond x86-64-v1 outside the probes would be one that the
/// agent dies of. YMM and ZMM registers and VEX mnemonics show most of them.
#[test]
fn only_the_probes_hold_instructions_above_the_baseline() {
    let objdump = Command::new("objdump")
        .args(["-d", "-j", ".text", PROGRAM])
        .output();
    let Ok(output) = objdump else {
        let test = "only_the_probes_hold_instructions_above_the_baseline";
        return crate::skip(test, "objdump is not installed");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut seen = 0;
    for line in text.lines() {
        let Some(instruction) = line.splitn(3, '\t').nth(2) else {
            continue;
        };
        seen += 1;
        let mnemonic = instruction.split_whitespace().next().unwrap_or_default();
        // Not TZCNT: compilers write it as a faster BSF where the operand is
        // known not to be 0, and then both give the same result.
        let above = [
            "popcnt", "lzcnt", "andn", "pshufb", "ptest", "crc32", "aesenc",
        ];
        let is_above = instruction.contains("%ymm")
            || instruction.contains("%zmm")
            || above.contains(&mnemonic)
            || (mnemonic.starts_with('v') && !mnemonic.starts_with("ver"));
        assert!(!is_above, "above x86-64-v1, outside the probes: {line}");
    }
    assert!(seen > 10_000, "the disassembly holds {seen} instructions");
}
