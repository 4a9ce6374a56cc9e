//! `cargo xtask dist`: what users install.

mod debian;
mod library;
mod stage;
mod static_library;
mod third_party;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;

use crate::setup;

#[derive(clap::Args)]
pub(crate) struct Dist {
    #[command(flatten)]
    setup: setup::Install,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Builds Debian's packages into target/dist (the default)
    Debian,
    /// Installs libisahotplug for C: shared and static library, header, pkg-config, CMake
    Library(Place),
    /// Installs all that Debian's packages hold, for debian/rules
    Stage(Place),
}

/// Where to install.
#[derive(clap::Args)]
struct Place {
    /// Where the files will be when they are used
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// The libraries' folder below the prefix
    #[arg(long, value_name = "DIR", default_value = "lib")]
    libdir: PathBuf,
    /// Write everything below this folder instead of the root
    #[arg(long, value_name = "DIR", default_value = "/")]
    destdir: PathBuf,
}

impl Place {
    /// A folder below the prefix, where it is written.
    fn below_prefix(&self, folder: &str) -> PathBuf {
        self.written(&self.prefix.join(folder))
    }

    /// The libraries' folder, where it is written.
    fn libraries(&self) -> PathBuf {
        self.written(&self.prefix.join(&self.libdir))
    }

    /// Where a path of the installation is written.
    fn written(&self, path: &Path) -> PathBuf {
        self.destdir.join(path.strip_prefix("/").unwrap_or(path))
    }
}

pub(crate) fn run(options: &Dist) -> Result<ExitCode> {
    if !setup::ready(&options.setup, setup::Purpose::Package)? {
        return Ok(ExitCode::FAILURE);
    }
    match &options.what {
        None | Some(What::Debian) => debian::build()?,
        Some(What::Library(place)) => library::install(place)?,
        Some(What::Stage(place)) => stage::install(place)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a program that has to succeed; its output goes to standard error.
fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("starting {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}
