//! The VM harness and the end-to-end tests.
//!
//! Two QEMUs on one machine are two hypervisor hosts: QEMU's TCG raises #UD
//! for instructions that its `-cpu` lacks, migrates between different ones,
//! and needs neither root nor KVM. A test reads like the story it tells:
//!
//! ```no_run
//! use isahotplug_tests::{CpuModel, GuestImage, Host};
//!
//! # fn main() -> isahotplug_tests::Result<()> {
//! let host_a = Host::new("A", CpuModel::max())?;
//! let host_b = Host::new("B", CpuModel::max().without(&["avx2", "fma", "f16c", "bmi2"]))?;
//! let guest = host_a.boot(&GuestImage::spine()?)?;
//! guest.migrate_to(&host_b)?;
//! assert!(guest.run("uname", &["-r"])?.success());
//! # Ok(())
//! # }
//! ```
//!
//! Whatever happens to a test, no QEMU outlives it. Its machines' logs are
//! deleted when it succeeds; when it panics or the harness returned an error
//! they stay under `target/vm/logs`, and their place is printed.

pub mod wire;

mod agent;
pub mod baseline;
mod cache;
mod cpio;
mod cpu;
mod daemon;
mod demo;
mod error;
mod guest;
mod host;
mod image;
mod key;
mod local;
pub mod machine;
mod migration;
mod notifier;
mod places;
mod port;
mod preloaded;
mod program;
mod qmp;
mod raw;
mod run;
mod saved;
mod site;
mod skip;
mod snapshot;
mod spawn;
pub mod story;
mod vm;
mod watched;

pub use agent::Agent;
pub use cpu::CpuModel;
pub use demo::{Called, Demo, Tick, linked_c};
pub use error::{HarnessError, Result};
pub use guest::{Guest, GuestProcess, Output};
pub use host::Host;
pub use image::GuestImage;
pub use local::{Answered, LocalGuest, LocalProcess};
pub use migration::{Hold, LeftBehind, Migration, Moved};
pub use notifier::Notifier;
pub use places::{product, target_dir};
pub use port::Line;
pub use preloaded::{Cpu, Preloaded, emulator_program, has_qemu_user};
pub use program::{compiled, compiled_c};
pub use qmp::{Event, Mark, Qmp};
pub use raw::RawHost;
pub use run::must_fail;
pub use site::Site;
pub use skip::skip;
pub use snapshot::Snapshot;
pub use vm::Sockets;
pub use wire::{Status, Stream};
