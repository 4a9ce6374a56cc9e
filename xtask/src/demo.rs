//! `cargo xtask demo`. The story itself is `tests/src/bin/demo.rs`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cargo, setup};

#[derive(clap::Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    setup: setup::Install,
    /// Print the final table as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Demo) -> Result<ExitCode> {
    if !setup::ready(&options.setup, setup::Purpose::Run)? {
        return Ok(ExitCode::FAILURE);
    }
    let arguments: &[&str] = if options.json { &["--json"] } else { &[] };
    cargo::run_test_program("demo", arguments)
}
