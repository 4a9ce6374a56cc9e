//! `host-notifier`: tells the guests of a hypervisor host what they can
//! execute, and lets operators announce what will go.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Args, Parser, Subcommand};
use host_notifier::config::{Config, Flags, GuestConfig, HostId};
use host_notifier::identity::Identity;
use host_notifier::server::{self, ControlSocket};
use isa::FeatureSet;
use protocol::Text;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::commands::Exit;

/// Tells the guests of this host which instruction sets they can use now.
#[derive(Parser)]
#[command(name = "host-notifier", version, max_term_width = 80)]
struct Cli {
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "PATH", env = "ISAHOTPLUG_CONTROL")]
    control: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Serve(Serve),
    /// List the guests.
    Guests {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell all that is known of one guest, or of each.
    Status {
        /// The guest; all if none is named.
        guest: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Announce to a guest that features will go, and wait for its answer.
    ///
    /// Exit status: 0 ready, 3 busy, 4 refused, 5 no answer by the deadline,
    /// 6 no agent answers in the guest, 2 wrong usage or unknown guest or no
    /// daemon, 1 anything else.
    Prepare(Prepare),
    /// Take the announced removal back: the migration will not happen.
    Abort {
        /// The guest.
        guest: String,
    },
}

#[derive(Args)]
struct Serve {
    /// The configuration [default: /etc/isahotplug/host-notifier.toml, if it
    /// exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// This host's id, 32 hexadecimal digits [default: /etc/machine-id].
    #[arg(long, value_name = "HEX")]
    host_id: Option<HostId>,
    /// This host's name, for people [default: the kernel's host name].
    #[arg(long, value_name = "NAME", value_parser = Text::<64>::new)]
    host_name: Option<Text<64>>,
    /// A guest, `name=…,channel=…,qmp=…` (paths without commas); repeatable.
    #[arg(long = "guest", value_name = "GUEST")]
    guests: Vec<GuestConfig>,
}

#[derive(Args)]
#[command(
    group = ArgGroup::new("removal").required(true).args(["lost", "to", "available"]),
    override_usage = "host-notifier prepare [OPTIONS] \\\n       \
        <--lost LIST|--to CONTROL_SOCKET|--available LIST> GUEST"
)]
struct Prepare {
    /// The guest.
    guest: String,
    /// The features that will go, separated by commas or spaces.
    #[arg(long, value_name = "LIST")]
    lost: Option<FeatureSet>,
    /// What the destination cannot execute will go: ask its daemon, at this
    /// control socket.
    #[arg(long, value_name = "CONTROL_SOCKET")]
    to: Option<PathBuf>,
    /// The guest's name there, if it is another.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["lost", "available"])]
    to_guest: Option<String>,
    /// What this host has and LIST has not will go.
    #[arg(long, value_name = "LIST")]
    available: Option<FeatureSet>,
    /// How long the guest may take, and then waits for the move: 500ms, 5s,
    /// 2m. When it is over the guest takes the features back.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = commands::deadline)]
    deadline: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let control = cli.control;
    let exit = match cli.command {
        Command::Serve(arguments) => serve(arguments, control),
        Command::Guests { json } => commands::guests(control, json),
        Command::Status { guest, json } => commands::status(control, guest, json),
        Command::Prepare(arguments) => commands::prepare(control, arguments),
        Command::Abort { guest } => commands::abort(control, guest),
    };
    match exit {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("host-notifier: {error:#}");
            Exit::of(&error).into()
        }
    }
}

fn serve(arguments: Serve, control: Option<PathBuf>) -> anyhow::Result<Exit> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    let Serve {
        config,
        host_id,
        host_name,
        guests,
    } = arguments;
    let flags = Flags {
        control,
        host_name,
        host_id,
        guests,
    };
    let config = Config::load(config.as_deref(), flags)?;
    let identity = Identity::read(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before the socket is there: whoever sees it may end us.
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let ended = async {
            tokio::select! {
                _ = terminate.recv() => info!("ends on SIGTERM"),
                _ = interrupt.recv() => info!("ends on SIGINT"),
            }
        };
        let socket = ControlSocket::open(&config.control)?;
        info!(
            "host {} ({}), guests: {}, control at {}",
            identity.name,
            identity.host,
            config.guests.len(),
            config.control.display()
        );
        if config.guests.is_empty() {
            warn!("no guest is configured");
        }
        server::serve(config, &identity, &socket, ended)
            .await
            .context("control socket")
    })?;
    Ok(Exit::Done)
}
