//! `cargo xtask bench`. The measurements are in `tests/src/bin/bench/`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cargo, setup};

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Measure only this
    area: Option<String>,
    #[command(flatten)]
    setup: setup::Install,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Bench) -> Result<ExitCode> {
    if !setup::ready(&options.setup, setup::Purpose::Run)? {
        return Ok(ExitCode::FAILURE);
    }
    let area = options.area.as_deref();
    let json = options.json.then_some("--json");
    let arguments: Vec<&str> = area.into_iter().chain(json).collect();
    cargo::run_test_program("bench", &arguments)
}
