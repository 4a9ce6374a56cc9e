//! `cargo xtask header`. The program that makes it is `xtask/header`, a package
//! of its own because it takes long to compile.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cargo;

#[derive(clap::Args)]
pub(crate) struct Header {
    /// Only say whether the committed header is up to date
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Header) -> Result<ExitCode> {
    let mut command = cargo::cargo();
    command.args(["run", "--quiet", "--package", "isahotplug-header", "--"]);
    if options.check {
        command.arg("--check");
    }
    let status = command.status().context("starting cargo")?;
    Ok(cargo::exit_code(status))
}
