//! The guest's kernel: Debian's cloud kernel, unpacked into the cache. It is
//! not installed, which would change how this machine boots.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::apt;

/// Depends on the present kernel's package.
pub(crate) const PACKAGE: &str = "linux-image-cloud-amd64";

/// Whether the cache (`target/vm`) holds a kernel.
pub(crate) fn is_cached(cache: &Path) -> bool {
    let folder = cache.join("kernel");
    fs::read_to_string(folder.join("current"))
        .is_ok_and(|name| folder.join(name.trim_end()).join("boot").is_dir())
}

/// Downloads the kernel into the cache.
pub(crate) fn fetch(cache: &Path) -> Result<()> {
    let package = apt::depends(PACKAGE)?
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
        .with_context(|| format!("{PACKAGE} depends on no kernel"))?;
    let folder = cache.join("kernel");
    let unfinished = folder.join(format!("unfinished-{}", std::process::id()));
    apt::unpack(std::slice::from_ref(&package), &unfinished)?;
    let finished = folder.join(&package);
    let _ = fs::remove_dir_all(&finished);
    fs::rename(&unfinished, &finished).with_context(|| format!("making {}", finished.display()))?;
    // `current` is what makes it found; written last, and in one step.
    let current = folder.join(format!("current-{}", std::process::id()));
    fs::write(&current, format!("{package}\n")).context("naming the kernel")?;
    fs::rename(&current, folder.join("current")).context("naming the kernel")
}
