//! QEMU's own guest agent, which the benchmark measures itself against:
//! unpacked into the cache, for its package would start a service here.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::apt;

pub(crate) const PACKAGE: &str = "qemu-guest-agent";

/// Whether the cache (`target/vm`) holds the agent.
pub(crate) fn is_cached(cache: &Path) -> bool {
    cache.join(PACKAGE).join("usr/sbin/qemu-ga").is_file()
}

/// Downloads the agent into the cache, with the libraries that are not here.
pub(crate) fn fetch(cache: &Path) -> Result<()> {
    let needed = apt::depends(PACKAGE)?
        .into_iter()
        .filter(|name| !apt::is_installed(name));
    // Of what it needs only libraries are of use without an installation.
    let libraries = needed.filter(|name| name.starts_with("lib"));
    let packages: Vec<String> = [PACKAGE.to_owned()].into_iter().chain(libraries).collect();
    let unfinished = cache.join(format!("{PACKAGE}-unfinished-{}", std::process::id()));
    apt::unpack(&packages, &unfinished)?;
    let finished = cache.join(PACKAGE);
    let _ = fs::remove_dir_all(&finished);
    fs::rename(&unfinished, &finished).with_context(|| format!("making {}", finished.display()))
}
