//! Cargo, and the directory that it builds into.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, ensure};

/// What the VM tests take from the release build.
const PRODUCTS: [&str; 5] = [
    "isahotplug-example-rust",
    "isahotplug-guest-agent",
    "isahotplug-host-notifier",
    "isahotplug",
    "isahotplug-preload",
];

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target directory: the one that this program was built into.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    let tagged = program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let target =
        tagged.with_context(|| format!("{} is not in a target directory", program.display()))?;
    Ok(target.to_owned())
}

/// Builds the daemons and the library in release.
pub(crate) fn build_products() -> Result<()> {
    build(&PRODUCTS, &[])
}

/// Builds and runs a program of the tests package, in release. Its standard
/// output is the only thing that appears on this one's.
pub(crate) fn run_test_program(name: &str, arguments: &[&str]) -> Result<ExitCode> {
    build_products()?;
    build(&["isahotplug-tests"], &["--bins"])?;
    let program = target_dir()?.join("release").join(name);
    ensure!(
        program.is_file(),
        "the tests package has no program `{name}`"
    );
    let status = Command::new(&program)
        .args(arguments)
        .current_dir(root())
        .status()
        .with_context(|| format!("starting {}", program.display()))?;
    Ok(exit_code(status))
}

/// Builds packages in release.
pub(crate) fn build(packages: &[&str], arguments: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--release"]).args(arguments);
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "{} were not built", packages.join(", "));
    Ok(())
}

/// A program's exit status as this one's; an end by a signal is a failure.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
