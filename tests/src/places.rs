//! Where things are: cargo's target directory and what lies in it.
//!
//! ```text
//! target/
//!   release/            guest-agent, host-notifier, libisahotplug.so,
//!                       libisahotplug_preload.so
//!   vm/kernel/current   name of the folder beside it that holds the kernel
//!   vm/images/          initramfs images, by the hash of their content
//!   vm/states/          booted guests, saved
//!   vm/programs/        test programs, compiled
//!   vm/logs/            logs of failed tests
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Doing, HarnessError, Result};

/// The command that sets the machine up.
pub(crate) const INSTALL: &str = "cargo xtask install";

/// Cargo's target directory: the one this program was built into.
///
/// # Panics
/// If this program does not lie in a target directory.
#[must_use]
pub fn target_dir() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| {
        let program = std::env::current_exe().expect("this program has a path");
        program
            .ancestors()
            .find(|folder| folder.join("CACHEDIR.TAG").is_file())
            .unwrap_or_else(|| panic!("{} is not in a target directory", program.display()))
            .to_owned()
    })
}

/// A folder below `target/vm`, made if it is not there.
pub(crate) fn vm_dir(name: &str) -> Result<PathBuf> {
    let folder = target_dir().join("vm").join(name);
    fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// A product of the workspace, built in release: a program (`guest-agent`,
/// `host-notifier`) or a library (`libisahotplug.so`).
///
/// # Errors
/// [`HarnessError::Missing`] when it was not built.
pub fn product(name: &str) -> Result<PathBuf> {
    let path = target_dir().join("release").join(name);
    if path.is_file() {
        Ok(path)
    } else {
        let make_it = "cargo build --release --workspace".to_owned();
        Err(HarnessError::Missing {
            what: "a product of the workspace",
            path,
            make_it,
        })
    }
}

/// PID 1 of the guest, built beside this program.
pub(crate) fn guest_init() -> Result<PathBuf> {
    let program = std::env::current_exe().doing(|| "finding this program".into())?;
    let path = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("guest-init"));
    path.clone()
        .find(|path| path.is_file())
        .ok_or_else(|| HarnessError::Missing {
            what: "PID 1 of the guest",
            path: path.last().unwrap_or_default(),
            make_it: "cargo build --package isahotplug-tests --bins".into(),
        })
}

/// The unpacked package of QEMU's own guest agent.
pub(crate) fn qemu_guest_agent() -> Result<PathBuf> {
    let path = target_dir().join("vm/qemu-guest-agent");
    if path.is_dir() {
        Ok(path)
    } else {
        let make_it = INSTALL.to_owned();
        Err(HarnessError::Missing {
            what: "QEMU's guest agent",
            path,
            make_it,
        })
    }
}

/// The unpacked kernel package.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// The folder that holds `boot` and `lib/modules`.
    root: PathBuf,
    /// As in the names of the kernel's own files.
    version: String,
}

impl Kernel {
    /// The kernel that set-up left in the cache.
    pub(crate) fn find() -> Result<Self> {
        let current = target_dir().join("vm/kernel/current");
        let missing = |path: &Path| HarnessError::Missing {
            what: "the guest's kernel",
            path: path.to_owned(),
            make_it: INSTALL.into(),
        };
        let name = fs::read_to_string(&current).map_err(|_| missing(&current))?;
        let root = current.with_file_name(name.trim_end());
        let boot = root.join("boot");
        let version = fs::read_dir(&boot)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()))
            .ok_or_else(|| missing(&boot))?;
        Ok(Self { root, version })
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.root
            .join("boot")
            .join(format!("vmlinuz-{}", self.version))
    }

    /// The file of a module, without its folder known.
    pub(crate) fn module(&self, name: &str) -> Result<PathBuf> {
        let kernel = self
            .root
            .join("lib/modules")
            .join(&self.version)
            .join("kernel");
        let file = format!("{name}.ko");
        find_file(&kernel, &file).ok_or_else(|| HarnessError::Missing {
            what: "a module of the guest's kernel",
            path: kernel.join(file),
            make_it: INSTALL.into(),
        })
    }
}

fn find_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    let here = entries
        .iter()
        .find(|path| path.file_name().is_some_and(|file| file == name));
    here.cloned().or_else(|| {
        entries
            .iter()
            .filter(|path| path.is_dir())
            .find_map(|path| find_file(path, name))
    })
}
