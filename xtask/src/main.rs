//! `cargo xtask`: what one does with this repository.
//!
//! Each command first sees to it that the machine has what it needs
//! (`setup.rs`). Nothing here knows QEMU's command line: machines are the
//! business of `tests/`, whose programs are built and run from here.

mod apt;
mod bench;
mod cargo;
mod cargo_c;
mod coverage;
mod debian_root;
mod demo;
mod dist;
mod header;
mod kernel;
mod man;
mod qemu_guest_agent;
mod setup;
mod sources;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "What one does with this repository",
    version
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what the tests and the demo need, and says what that is
    Install(setup::Install),
    /// Shows the whole story in two virtual machines
    Demo(demo::Demo),
    /// Runs the tests: all, or those of one area
    Test(test::Test),
    /// Measures
    Bench(bench::Bench),
    /// Makes libisahotplug's C header
    Header(header::Header),
    /// Makes libisahotplug's manual pages
    Man(man::Man),
    /// Makes docs/COVERAGE.md, the table of what the emulator covers
    Coverage(coverage::Coverage),
    /// Installs the library for C, or builds Debian's packages
    Dist(dist::Dist),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Install(options) => setup::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Header(options) => header::run(&options),
        Command::Man(options) => man::run(&options),
        Command::Coverage(options) => coverage::run(&options),
        Command::Dist(options) => dist::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
