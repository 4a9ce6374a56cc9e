//! A host with its guests in a directory of their own.

use std::path::PathBuf;

use isa::{FeatureSet, features};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::guest::{Guest, Manner};
use crate::qemu::Qemu;

/// What the played guests' CPUID shows, all of it within `-cpu max`.
pub(crate) const VISIBLE: FeatureSet = features![Sse2, Sse3, Avx, Avx2, Fma, Abm, Bmi1];

pub(crate) struct Scene {
    directory: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn channel(&self, guest: &str) -> PathBuf {
        self.path(&format!("{guest}.channel"))
    }

    pub(crate) fn qmp(&self, guest: &str) -> PathBuf {
        self.path(&format!("{guest}.qmp"))
    }

    /// The daemon for these guests.
    pub(crate) fn daemon(&self, guests: &[&str]) -> Daemon {
        let flag = |guest: &&str| {
            let (channel, qmp) = (self.channel(guest), self.qmp(guest));
            format!(
                "name={guest},channel={},qmp={}",
                channel.display(),
                qmp.display()
            )
        };
        let flags: Vec<String> = guests.iter().map(flag).collect();
        Daemon::start(&self.path("control"), &flags)
    }

    pub(crate) fn qemu(&self, guest: &str, cpu: &str) -> Qemu {
        Qemu::start(&self.qmp(guest), cpu)
    }

    pub(crate) fn guest(&self, name: &str, manner: Manner) -> Guest {
        Guest::start(&self.channel(name), VISIBLE, manner)
    }

    /// A daemon with one guest `vm1` that is up to date.
    pub(crate) fn one(&self, manner: Manner) -> (Qemu, Guest, Daemon) {
        let qemu = self.qemu("vm1", "max");
        let guest = self.guest("vm1", manner);
        let mut daemon = self.daemon(&["vm1"]);
        daemon.wait_for("guest vm1: offer");
        daemon.wait_for("published as generation");
        (qemu, guest, daemon)
    }
}
