//! Programs that know nothing of the library, under its preload object, on this
//! CPU or on a lesser one.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::{Doing, Result};
use crate::places::product;
use crate::program::compiled_with_headers;

/// A program that runs longer has got stuck: it is killed.
const LONGEST_SECONDS: &str = "600";

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// On this machine's own CPU.
    Here,
    /// On QEMU's, as its `-cpu` says, in user mode.
    Qemu(&'static str),
}

/// Whether `qemu-x86_64` is installed.
#[must_use]
pub fn has_qemu_user() -> bool {
    let version = Command::new("qemu-x86_64").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Compiles `tests/programs/emulator/<name>.c` with these further arguments of
/// gcc(1), such as `-march=haswell`.
///
/// # Errors
/// [`HarnessError::Tool`](crate::HarnessError::Tool) with the compiler's words.
pub fn emulator_program(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/emulator");
    let headers = ["program.h", "lanes.h", "variants.h"].map(|header| folder.join(header));
    let always = [
        "-std=gnu11",
        // A product and a sum are rounded once only where the source says so:
        // the result must not hang on whether the CPU could.
        "-ffp-contract=off",
        "-pthread",
        "-lm",
    ];
    let arguments = [&always, arguments].concat();
    compiled_with_headers(&folder.join(format!("{name}.c")), &headers, &arguments)
}

/// A program to be run to its end.
#[derive(Debug, Clone)]
pub struct Preloaded {
    cpu: Cpu,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl Preloaded {
    /// The program by itself, without the preload object.
    #[must_use]
    pub fn without(cpu: Cpu, program: &Path) -> Self {
        Self {
            cpu,
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The program with the preload object.
    ///
    /// # Errors
    /// [`HarnessError::Missing`](crate::HarnessError::Missing) if it was not
    /// built.
    pub fn with(cpu: Cpu, program: &Path) -> Result<Self> {
        let object = product("libisahotplug_preload.so")?;
        Ok(Self::without(cpu, program).env("LD_PRELOAD", object))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, arguments: &[T]) -> Self {
        let arguments = arguments.iter().map(|text| text.as_ref().to_owned());
        self.arguments.extend(arguments);
        self
    }

    /// Sets a variable of the program's environment.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name, value.as_ref().to_owned()));
        self
    }

    /// The command that runs it. If it is killed by a signal, so is the command.
    #[must_use]
    pub fn command(&self) -> Command {
        // No core is written for a death that a test waits for.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c 0; exec \"$@\"", "sh"]);
        command.args(["timeout", "--signal=KILL", LONGEST_SECONDS]);
        // The environment is the program's alone: neither timeout(1) nor QEMU
        // is to load the object.
        command.arg(match self.cpu {
            Cpu::Here => "env",
            Cpu::Qemu(_) => "qemu-x86_64",
        });
        if let Cpu::Qemu(model) = self.cpu {
            command.args(["-cpu", model]);
        }
        for (name, value) in &self.environment {
            let mut setting = OsString::from(name);
            setting.push("=");
            setting.push(value);
            if self.cpu != Cpu::Here {
                command.arg("-E");
            }
            command.arg(setting);
        }
        command.arg(&self.program).args(&self.arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`HarnessError::Io`](crate::HarnessError::Io) if it cannot be started;
    /// how it ended is in the output.
    pub fn run(&self) -> Result<Output> {
        self.command()
            .output()
            .doing(|| format!("starting {}", self.program.display()))
    }
}
