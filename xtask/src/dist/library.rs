//! libisahotplug as C users want it: cargo-c installs it, and what cargo-c cannot do is done here.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Place, static_library, succeed};
use crate::{cargo, cargo_c};

/// Installs the library.
pub(super) fn install(place: &Place) -> Result<()> {
    let target = cargo::target_dir()?;
    let programs = cargo_c::programs(&target.join("vm"));
    let others = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([programs].into_iter().chain(env::split_paths(&others)))
        .context("PATH with cargo-c")?;
    let mut command = cargo::cargo();
    command
        .args(["cinstall", "--locked", "--package", "isahotplug"])
        .arg("--target-dir")
        .arg(&target)
        .arg("--prefix")
        .arg(&place.prefix)
        .arg("--libdir")
        .arg(&place.libdir)
        .arg("--destdir")
        .arg(&place.destdir)
        .env("PATH", path);
    succeed(&mut command).context("cargo cinstall")?;

    let libraries = place.libraries();
    static_library::make_self_contained(
        &libraries.join("libisahotplug.a"),
        &libraries.join("libisahotplug.so"),
    )?;
    leave_libgcc_to_the_compiler(&libraries.join("pkgconfig/isahotplug.pc"))
}

/// The static library needs libgcc's unwinder, which rustc names as the shared libgcc_s. The C
/// compiler adds that, or with `-static` the static libgcc_eh, where libgcc_s does not exist.
fn leave_libgcc_to_the_compiler(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text
        .lines()
        .map(|line| match line.strip_prefix("Libs.private:") {
            Some(libraries) => {
                let kept = libraries
                    .split_whitespace()
                    .filter(|&library| library != "-lgcc_s");
                format!("Libs.private: {}\n", kept.collect::<Vec<_>>().join(" "))
            }
            None => format!("{line}\n"),
        });
    fs::write(file, lines.collect::<String>()).with_context(|| file.display().to_string())
}
