//! Debian's packages, by debhelper: `debian/` says what is in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::succeed;
use crate::cargo;

/// Builds the packages into `target/dist`, in place of those of an earlier run.
pub(super) fn build() -> Result<()> {
    let target = cargo::target_dir()?;
    let dist = target.join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("making {}", dist.display()))?;
    for package in packages(&dist)? {
        fs::remove_file(&package).with_context(|| format!("removing {}", package.display()))?;
    }
    for goal in ["clean", "binary", "clean"] {
        let mut rules = Command::new("make");
        rules
            .args(["--file=debian/rules", goal])
            .current_dir(cargo::root())
            // As dpkg-buildpackage reads from debian/control.
            .env("DEB_RULES_REQUIRES_ROOT", "no")
            .env("CARGO_TARGET_DIR", &target)
            .env("DESTINATION", &dist);
        succeed(&mut rules).with_context(|| format!("debian/rules {goal}"))?;
    }
    let built = packages(&dist)?;
    ensure!(!built.is_empty(), "no package was built");
    for package in built {
        println!("{}", package.display());
    }
    Ok(())
}

/// The packages in a folder.
fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut packages = Vec::new();
    for entry in entries {
        let path = entry.context("reading a folder")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            packages.push(path);
        }
    }
    packages.sort();
    Ok(packages)
}
