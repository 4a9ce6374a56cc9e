//! The command line of the guest's daemon.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use guest_agent::exec::{self, Exec};
use guest_agent::{Options, Place, Status, baseline, log, run};
use isa::FeatureSet;

/// Tells the processes of a guest which instruction sets its host can execute.
#[derive(Debug, Parser)]
#[command(name = "guest-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Run(Run),
    /// Start a program under the preload object, which finishes instructions that the CPU has lost.
    ///
    /// A program that the object cannot be loaded into is not started. Exit status as of env(1): 127
    /// if there is no such program, 126 if it cannot be started so, 125 if the object is missing; else
    /// the program's own.
    Exec(Start),
    /// Print how things stand; exit status 1 if no daemon answers.
    Status {
        #[command(flatten)]
        place: RunDir,
        /// Print JSON, on one line.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct RunDir {
    /// Directory of the shared page and the socket, on a tmpfs.
    #[arg(long, value_name = "DIR", default_value = "/run/isahotplug")]
    run_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    place: RunDir,
    /// The channel to the host: a device, or a unix stream socket.
    #[arg(long, value_name = "PATH", conflicts_with = "port_name")]
    port: Option<PathBuf>,
    /// Name of the virtio-serial port that is the channel to the host.
    #[arg(long, value_name = "NAME", default_value = "org.isahotplug.0")]
    port_name: String,
}

#[derive(Debug, Args)]
struct Start {
    /// The preload object (by default beside this program, or in the system's folders).
    #[arg(long, value_name = "PATH")]
    preload: Option<PathBuf>,
    /// Keep glibc from using more: x86-64, x86-64-v2, x86-64-v3, x86-64-v4, or features.
    #[arg(long, value_name = "LEVEL|FEATURES", value_parser = baseline::parse)]
    baseline: Option<FeatureSet>,
    /// At exit, write what was finished and where to standard error, or append it to FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
        default_missing_value = "1")]
    statistics: Option<OsString>,
    /// Emulate at most N instructions after one that trapped.
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// The program and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    command: Vec<OsString>,
}

impl Start {
    fn run(self) -> ExitCode {
        // What this program uses may be lost already.
        let _ = baseline::hold();
        let Err(error) = exec::run(&Exec {
            preload: self.preload,
            baseline: self.baseline,
            statistics: self.statistics,
            burst: self.burst,
            command: self.command,
        });
        eprintln!("guest-agent: {error}");
        error.status().into()
    }
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Exec(options) => options.run(),
        Command::Run(options) => {
            log::to_stderr();
            if let Err(error) = baseline::hold() {
                tracing::warn!("glibc may use instructions that the guest can lose: {error}");
            }
            let place = options
                .port
                .map_or(Place::Name(options.port_name), Place::Path);
            match run(Options {
                run_dir: options.place.run_dir,
                place,
            }) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("guest-agent: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Command::Status { place, json } => {
            let status = Status::of(&place.run_dir);
            if json {
                println!("{}", status.to_json());
            } else {
                print!("{}", status.to_text());
            }
            if status.is_running() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
