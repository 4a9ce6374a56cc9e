//! The static library without its inner life.
//!
//! rustc makes an archive of everything: the library, std, and memory functions (`memcpy`, …) that
//! the trap handler needs for itself (`libisahotplug/src/freestanding.rs`). Linked into a program,
//! those functions would serve the whole program instead of libc's, and the symbols of std would
//! clash with another Rust library's. So all that the library's functions reach becomes one object,
//! in which only they are global.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::succeed;
use crate::{apt, cargo};

/// Replaces `archive` by one whose only global symbols are those that `shared`, the same library as
/// a shared object, exports.
pub(super) fn make_self_contained(archive: &Path, shared: &Path) -> Result<()> {
    let folder = cargo::target_dir()?
        .join("dist")
        .join(format!("static-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let made = make(archive, shared, &folder);
    let removed = fs::remove_dir_all(&folder);
    made?;
    removed.with_context(|| format!("removing {}", folder.display()))
}

fn make(archive: &Path, shared: &Path, folder: &Path) -> Result<()> {
    let shared = shared.display().to_string();
    let exported = apt::output(
        "nm",
        &[
            "--dynamic",
            "--defined-only",
            "--format=just-symbols",
            &shared,
        ],
    )?;
    // Without their versions.
    let names: Vec<&str> = exported
        .lines()
        .filter_map(|line| line.split('@').next())
        .filter(|name| name.starts_with("isahp_"))
        .collect();
    ensure!(!names.is_empty(), "{shared} exports no function");

    let all = folder.join("all.o");
    let mut link = Command::new("ld.bfd");
    // Groups are sections that the linker keeps one of by name: ours must not be dropped for those
    // of another Rust library.
    link.args(["--relocatable", "--gc-sections", "--force-group-allocation"]);
    for name in &names {
        link.args(["--undefined", name]);
    }
    succeed(link.arg("--output").arg(&all).arg(archive))?;

    let object = folder.join("isahotplug.o");
    let list = folder.join("exported");
    fs::write(&list, names.join("\n")).with_context(|| list.display().to_string())?;
    // LLVM's bitcode of std is of no use any more, and broken by its concatenation.
    let mut hide = Command::new("objcopy");
    hide.args(["--remove-section=.llvmbc", "--remove-section=.llvmcmd"]);
    hide.arg(format!("--keep-global-symbols={}", list.display()));
    succeed(hide.arg(&all).arg(&object))?;

    fs::remove_file(archive).with_context(|| format!("removing {}", archive.display()))?;
    // c: make it; r: put in; s: with an index; D: without times and owners.
    succeed(Command::new("ar").arg("crsD").arg(archive).arg(&object))
}
