//! Guests that were booted once and saved.
//!
//! A saved state is a folder of two files: the guest's memory, which a
//! restored machine maps as a private copy and so reads only where the guest
//! does, and everything else, which QEMU reads as an incoming migration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::cache::cached;
use crate::cpu::CpuModel;
use crate::error::{Doing, Result};
use crate::image::BuiltImage;
use crate::key::Key;
use crate::port::Port;
use crate::run::Run;
use crate::vm::{Memory, Sockets, Vm, machine_identity};
use crate::wire::Request;

/// How long a guest may take to boot, on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
/// How long a state may take to be written or read.
const MOVE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct SavedState {
    folder: PathBuf,
}

impl SavedState {
    /// The saved state of this guest on this CPU; boots it if there is none.
    pub(crate) fn of(run: &Run, cpu: &CpuModel, image: &BuiltImage) -> Result<Self> {
        let mut key = Key::new("saved state");
        key.add(&image.key);
        key.add(&machine_identity(cpu, image)?);
        let folder = cached("states", &key.name(), |unfinished| {
            fs::create_dir(unfinished).doing(|| format!("making {}", unfinished.display()))?;
            boot_and_save(run, cpu, image, unfinished)
        })?;
        Ok(Self { folder })
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.folder.join("memory")
    }

    /// Makes a machine, started with [`SavedState::memory`] and waiting for a
    /// guest, go on where the saved one stopped.
    pub(crate) fn load(&self, vm: &Vm) -> Result<()> {
        vm.qmp.set_capability("x-ignore-shared", true)?;
        let mark = vm.qmp.mark();
        let uri = format!("file:{}", self.folder.join("devices").display());
        vm.qmp.execute("migrate-incoming", json!({"uri": uri}))?;
        vm.wait_migrated(mark, MOVE)?;
        vm.qmp.set_capability("x-ignore-shared", false)
    }
}

/// Boots a guest and waits until PID 1 serves.
pub(crate) fn boot(vm: &Vm) -> Result<Port> {
    let port = Port::new(vm.connect_harness()?)?;
    port.wait_ready(BOOT).map_err(|error| vm.explain(error))?;
    Ok(port)
}

fn boot_and_save(run: &Run, cpu: &CpuModel, image: &BuiltImage, folder: &Path) -> Result<()> {
    let memory = folder.join("memory");
    let sockets = Sockets::new(run.sockets().join(format!("save{}", run.number())))?;
    let vm = Vm::start(
        run,
        "save",
        sockets,
        cpu,
        image,
        Memory::NewFile(&memory),
        false,
    )?;
    let port = boot(&vm)?;
    let held = port.hold()?;
    held.request(&Request::Hush)?;
    vm.qmp.set_capability("x-ignore-shared", true)?;
    let mark = vm.qmp.mark();
    let uri = format!("file:{}", folder.join("devices").display());
    vm.qmp.execute("migrate", json!({"uri": uri}))?;
    vm.wait_migrated(mark, MOVE)
}
