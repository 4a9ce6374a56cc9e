//! Compiles a program of cases and runs them under the preload object.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::allow_attributes,
    reason = "what is dead differs between the test binaries"
)]
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) use support::{finish, skip};
use tempfile::TempDir;

/// Where cargo has put the preload object beside this test.
pub(crate) fn object() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    folder
        .join("libisahotplug_preload.so")
        .canonicalize()
        .unwrap()
}

/// Where a program runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cpu {
    /// Here, whatever that is.
    Native,
    /// Under qemu-user with this model.
    Model(&'static str),
}

/// A CPU of 2006: no SSE4, no AVX, and no state for it.
pub(crate) const CORE_2: Cpu = Cpu::Model("core2duo");

/// A compiled program.
pub(crate) struct Program {
    folder: TempDir,
}

impl Program {
    /// Compiles `tests/programs/NAME.c`.
    pub(crate) fn build(name: &str, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
        let output = Command::new("cc")
            .args(["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread"])
            .args([
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-deprecated-declarations",
            ])
            .args(options)
            .arg(programs.join(name).with_extension("c"))
            .arg("-o")
            .arg(folder.path().join("program"))
            .arg("-lm")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        Self { folder }
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    /// The command that runs `case` with these variables beside the environment; `None` where
    /// qemu-user is missing.
    pub(crate) fn command(
        &self,
        cpu: Cpu,
        case: &str,
        variables: &[(&str, &str)],
    ) -> Option<Command> {
        let program = self.path();
        let mut command = match cpu {
            Cpu::Native => {
                let mut command = Command::new(program);
                command.envs(variables.iter().copied());
                command
            }
            Cpu::Model(model) => {
                Command::new("qemu-x86_64").arg("--version").output().ok()?;
                let mut command = Command::new("qemu-x86_64");
                command.args(["-cpu", model]);
                for (name, value) in variables {
                    command.arg("-E").arg(format!("{name}={value}"));
                }
                command.arg(program);
                command
            }
        };
        command.arg(case);
        Some(command)
    }

    /// Runs `case` under the preload object; `None` if that cannot be done here.
    pub(crate) fn run(&self, cpu: Cpu, case: &str, variables: &[(&str, &str)]) -> Option<Output> {
        let object = object();
        let mut all = vec![("LD_PRELOAD", object.to_str().unwrap())];
        all.extend(variables);
        Some(finish(&mut self.command(cpu, case, &all)?))
    }

    /// Runs `case` in bursts and one instruction at a time; it must succeed.
    pub(crate) fn succeeds(&self, cpu: Cpu, case: &str, test: &str) {
        for burst in ["4096", "0", "3"] {
            let Some(output) = self.run(cpu, case, &[("ISAHOTPLUG_BURST", burst)]) else {
                return skip(test, "no qemu-x86_64");
            };
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            if let Some(reason) = text.strip_prefix("skip: ") {
                return skip(test, reason.trim());
            }
            let what = format!("{case} in bursts of {burst}: {}", output.status);
            assert!(output.status.success(), "{what}\n{text}{errors}");
            assert_eq!((&*text, &*errors), ("ok\n", ""), "{what}");
        }
    }

    /// Runs `case`; it must die of `signal` without a word of its own.
    pub(crate) fn dies_of(&self, signal: i32, cpu: Cpu, case: &str, test: &str) {
        let Some(output) = self.run(cpu, case, &[]) else {
            return skip(test, "no qemu-x86_64");
        };
        assert_eq!(output.status.signal(), Some(signal), "{output:?}");
        assert_eq!(output.stdout, b"", "{output:?}");
    }

    /// Whether `case` would do without the preload object: then it shows nothing here.
    pub(crate) fn needs_no_help(&self, cpu: Cpu, case: &str) -> bool {
        let command = self.command(cpu, case, &[]);
        command.is_some_and(|mut command| finish(&mut command).status.success())
    }
}
