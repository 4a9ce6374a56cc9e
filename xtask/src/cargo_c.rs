//! cargo-c, which installs a Rust library as a C library. Debian 12's is older than the edition
//! that this project is written in, so cargo installs this one below `target/vm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// The last one for the workspace's `rust-version`.
const VERSION: &str = "0.10.24+cargo-0.98.0";

/// Its one program that is used here.
const PROGRAM: &str = "cargo-cinstall";

/// Where it is in the cache (`target/vm`).
fn folder(cache: &Path) -> PathBuf {
    cache.join("cargo-c").join(VERSION)
}

/// The folder of its programs, for PATH.
pub(crate) fn programs(cache: &Path) -> PathBuf {
    folder(cache).join("bin")
}

/// Whether the cache holds it.
pub(crate) fn is_cached(cache: &Path) -> bool {
    programs(cache).join(PROGRAM).is_file()
}

/// Compiles it into the cache: without optimisation, which takes two minutes on two cores.
pub(crate) fn fetch(cache: &Path) -> Result<()> {
    let folder = folder(cache);
    let build = folder.join("build");
    let status = cargo::cargo()
        .args(["install", "cargo-c", "--locked", "--debug"])
        .args(["--version", VERSION, "--bin", PROGRAM, "--root"])
        .arg(&folder)
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "cargo-c {VERSION} was not built");
    fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))
}
