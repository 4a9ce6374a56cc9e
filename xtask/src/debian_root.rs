//! A small Debian in a folder, with a C compiler, for the test that installs the packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{setup, sources};

/// Where it is in the cache (`target/vm`). Its files belong to root.
fn folder(cache: &Path) -> PathBuf {
    cache.join("debian-root")
}

/// Whether the cache holds it.
pub(crate) fn is_cached(cache: &Path) -> bool {
    folder(cache).is_dir()
}

/// Makes it, of this machine's release, from the package source that this machine uses. Only root
/// can.
pub(crate) fn fetch(cache: &Path) -> Result<()> {
    let release = setup::release()?;
    let mirror = sources::mirror(&release)
        .with_context(|| format!("no configured package source of {release}"))?;
    let unfinished = cache.join(format!("debian-root-{}", std::process::id()));
    let status = Command::new("debootstrap")
        .args(["--variant=minbase", "--include=gcc,libc6-dev,pkg-config"])
        .arg(&release)
        .arg(&unfinished)
        .arg(&mirror)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status()
        .context("starting debootstrap")?;
    if !status.success() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    ensure!(
        status.success(),
        "debootstrap {release} from {mirror} ended with {status}"
    );
    let folder = folder(cache);
    fs::rename(&unfinished, &folder).with_context(|| format!("making {}", folder.display()))
}
