//! All that Debian's packages hold, in one folder: debian/*.install says what goes where.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Place, library, third_party};
use crate::cargo;

/// What cargo-c does not build.
const BUILT_BY_CARGO: [&str; 3] = [
    "isahotplug-guest-agent",
    "isahotplug-host-notifier",
    "isahotplug-preload",
];

/// Installs the library, the daemons, the preload object, and what others want said.
pub(super) fn install(place: &Place) -> Result<()> {
    library::install(place)?;
    cargo::build(&BUILT_BY_CARGO, &[])?;
    let products = cargo::target_dir()?.join("release");
    let programs = place.below_prefix("sbin");
    let libraries = place.libraries();
    let files = [
        ("guest-agent", &programs, 0o755),
        ("host-notifier", &programs, 0o755),
        ("libisahotplug_preload.so", &libraries, 0o644),
    ];
    for (name, folder, mode) in files {
        copy(&products.join(name), &folder.join(name), mode)?;
    }
    let configuration = place.written(Path::new("/etc/isahotplug/host-notifier.toml"));
    let example = cargo::root().join("host-notifier/host-notifier.toml");
    copy(&example, &configuration, 0o644)?;

    let notices = place.below_prefix("share/doc/isahotplug/third-party");
    let doing = || format!("installing {}", notices.display());
    fs::create_dir_all(notices.with_file_name("")).with_context(doing)?;
    fs::write(&notices, third_party::notices()?).with_context(doing)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let doing = || format!("installing {}", to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(doing)?;
    }
    fs::copy(from, to).with_context(doing)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(doing)
}
