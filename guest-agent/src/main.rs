//! The command line of the guest's daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use guest_agent::{Options, Place, Status, baseline, log, run};

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

fn main() -> ExitCode {
    match Cli::parse().command {
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
