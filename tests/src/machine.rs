//! The machine that figures were measured on.

use std::fs;
use std::io;
use std::process::Command;

use serde_json::{Value, json};

use crate::error::HarnessError;

/// Processor, kernel, QEMU and compiler, for the head of a report.
#[must_use]
pub fn describe() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpus = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .map(str::to_owned)
    };
    json!({
        "cpu": format!(
            "{} x {} (family {} model {} stepping {})",
            cpus,
            field("model name").unwrap_or_default(),
            field("cpu family").unwrap_or_default(),
            field("model\t").unwrap_or_default(),
            field("stepping").unwrap_or_default()
        ),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "qemu": first_line("qemu-system-x86_64", "--version"),
        "qemu-user": first_line("qemu-x86_64", "--version"),
        "rustc": first_line("rustc", "--version"),
        "gcc": first_line("gcc", "--version"),
    })
}

/// Gives a failure of the system the words for what was being done.
pub fn io(doing: &'static str) -> impl FnOnce(io::Error) -> HarnessError {
    move |source| HarnessError::Io {
        doing: doing.into(),
        source,
    }
}
