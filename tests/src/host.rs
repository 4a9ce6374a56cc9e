//! A hypervisor host: a name, a CPU, and the machines on it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cpu::CpuModel;
use crate::error::Result;
use crate::guest::Guest;
use crate::image::{BuiltImage, GuestImage};
use crate::port::Port;
use crate::run::Run;
use crate::saved::{self, SavedState};
use crate::vm::{Memory, Sockets, Vm};
use crate::wire::Request;

/// One of several hypervisor hosts that the test machine plays.
///
/// Make all hosts of a test on the test's own thread: they share the test's
/// slot on this machine and its folder of logs.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    cpu: CpuModel,
    run: Arc<Run>,
}

impl Host {
    /// A host whose machines have this CPU.
    ///
    /// # Errors
    /// [`crate::HarnessError::Io`] when the test machine has no room for its files.
    pub fn new(name: &str, cpu: CpuModel) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            cpu,
            run: Run::current()?,
        })
    }

    /// The name given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The CPU given.
    #[must_use]
    pub fn cpu(&self) -> &CpuModel {
        &self.cpu
    }

    /// A guest that has just booted. In truth it was booted once and saved,
    /// and goes on from there.
    ///
    /// # Errors
    /// When something is missing on this machine, or the guest does not boot.
    pub fn boot(&self, image: &GuestImage) -> Result<Guest> {
        self.boot_named("guest", image)
    }

    /// As [`Host::boot`], for a test with several guests: the name chooses the
    /// folder of the guest's sockets.
    ///
    /// # Errors
    /// As [`Host::boot`].
    pub fn boot_named(&self, name: &str, image: &GuestImage) -> Result<Guest> {
        self.run.note_failure(self.restore(name, image))
    }

    fn restore(&self, name: &str, image: &GuestImage) -> Result<Guest> {
        let image = image.build()?;
        let state = SavedState::of(&self.run, &self.cpu, &image)?;
        let vm = self.start(name, &image, Memory::CopyOf(&state.memory()), true)?;
        let port = Port::new(vm.connect_harness()?)?;
        state.load(&vm).map_err(|error| vm.explain(error))?;
        port.request(&Request::Resume)?;
        Ok(Guest::new(name, self, image, vm, port))
    }

    /// A guest that boots from its kernel, without a saved state.
    ///
    /// # Errors
    /// As [`Host::boot`].
    pub fn boot_from_kernel(&self, image: &GuestImage) -> Result<Guest> {
        let boot = || {
            let name = "guest";
            let image = image.build()?;
            let vm = self.start(name, &image, Memory::Own, false)?;
            let port = saved::boot(&vm)?;
            Ok(Guest::new(name, self, image, vm, port))
        };
        self.run.note_failure(boot())
    }

    /// The sockets that a guest of this name has while it is on this host.
    ///
    /// # Errors
    /// [`crate::HarnessError::Io`] when their folder cannot be made.
    pub fn sockets(&self, guest: &str) -> Result<Sockets> {
        Sockets::new(self.run.sockets().join(&self.name).join(guest))
    }

    /// A folder of this host's own, for configuration files and sockets of
    /// daemons. It goes when the test ends.
    ///
    /// # Errors
    /// [`crate::HarnessError::Io`] when it cannot be made.
    pub fn folder(&self) -> Result<PathBuf> {
        use crate::error::Doing;
        let folder = self.run.sockets().join(&self.name);
        std::fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }

    pub(crate) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    pub(crate) fn start(
        &self,
        guest: &str,
        image: &BuiltImage,
        memory: Memory<'_>,
        incoming: bool,
    ) -> Result<Vm> {
        let name = format!("{}-{guest}", self.name);
        let sockets = self.sockets(guest)?;
        Vm::start(
            &self.run, &name, sockets, &self.cpu, image, memory, incoming,
        )
    }
}
