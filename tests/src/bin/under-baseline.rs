//! Runs a program as if its CPU were a pool's baseline: see
//! `isahotplug_tests::baseline`.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use isahotplug_tests::baseline::cpuid::{Baseline, Level};
use isahotplug_tests::baseline::tracer::{Ended, Tracer, TracerError, Way};

/// The tracer could not do its work.
const FAILED: u8 = 125;
/// This machine lets no process be traced.
const REFUSED: u8 = 126;
/// What shells add to the number of the signal that ended a program.
const SIGNALED: i32 = 128;

/// Answer a program's CPUID with a pool's baseline; the CPU under it stays what
/// it is.
///
/// Exits as the program does: with its status, or with 128 and the number of
/// the signal that ended it; with 125 if it could not be run so, and with 126 if
/// this machine lets no process be traced.
#[derive(Debug, Parser)]
#[command(name = "under-baseline")]
struct Cli {
    /// The level of the pool's least host
    #[arg(long, default_value = "x86-64-v2", value_parser = level)]
    level: Level,
    /// Features that the pool has beyond the level, with all that they need
    #[arg(long, value_name = "NAMES", default_value = "")]
    with: isa::FeatureSet,
    /// How CPUID is caught; by default the best way that the machine has
    #[arg(long)]
    way: Option<How>,
    /// Write a line for each CPUID to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    /// The CPU faults at CPUID
    Faulting,
    /// Each CPUID is replaced by an instruction that faults
    Replacing,
}

fn level(name: &str) -> Result<Level, String> {
    let names = Level::ALL.map(Level::name).join(", ");
    Level::named(name).ok_or_else(|| format!("the levels are {names}"))
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Ended::Exited(status)) => code(status),
        Ok(Ended::Killed(signal)) => code(SIGNALED + signal),
        Err(error) => {
            eprintln!("under-baseline: {error}");
            ExitCode::from(match error {
                TracerError::Refused(_) => REFUSED,
                TracerError::Failed(_) => FAILED,
            })
        }
    }
}

fn run(options: Cli) -> Result<Ended, TracerError> {
    let instructions = options.level.features() | options.with.with_dependencies();
    let way = match options.way {
        Some(How::Faulting) => Way::Faulting,
        Some(How::Replacing) => Way::Replacing,
        None => Way::here(),
    };
    let mut tracer = Tracer::new(Baseline::new(instructions), way);
    if let Some(path) = options.log {
        tracer = tracer.log_to(File::options().append(true).create(true).open(path)?);
    }
    tracer.run(&options.program)
}

fn code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(FAILED))
}
