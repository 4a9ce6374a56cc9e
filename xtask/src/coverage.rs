//! `cargo xtask coverage`: docs/COVERAGE.md. A test of the emulator makes it, and checks it in every
//! other run.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cargo;

#[derive(clap::Args)]
pub(crate) struct Coverage {
    /// Only say whether the committed document is up to date
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Coverage) -> Result<ExitCode> {
    let mut command = cargo::cargo();
    command.args(["test", "--quiet", "--package", "isahotplug-emulator"]);
    command.args(["--test", "coverage"]);
    if !options.check {
        command.env("ISAHOTPLUG_COVERAGE", "write");
    }
    let status = command.status().context("starting cargo")?;
    Ok(cargo::exit_code(status))
}
