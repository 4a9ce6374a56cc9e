//! The guest's daemon: hears what the host can execute, and tells every
//! process of the guest.
//!
//! It reads offers on a virtio-serial port, keeps the shared page, wakes the
//! processes that registered at its socket, and answers the host when all have
//! left what will go. One thread and one task own everything; nothing in it
//! waits, except the loop in [`run()`].
//!
//! ```no_run
//! use guest_agent::{Options, Place, run};
//!
//! // What `guest-agent run` does.
//! let place = Place::Name("org.isahotplug.0".into());
//! run(Options { run_dir: "/run/isahotplug".into(), place })?;
//! # Ok::<(), guest_agent::RunError>(())
//! ```
//!
//! It outlives the loss of everything above x86-64-v1: the only instructions
//! beyond are the guarded probes, no dependency chooses code by CPUID, and
//! [`baseline`] keeps glibc from doing so.

mod agent;
pub mod baseline;
mod clients;
mod clock;
pub mod exec;
mod json;
pub mod log;
mod machine;
mod mapping;
mod outgoing;
mod packet;
mod page;
mod poller;
mod port;
mod probe;
mod registry;
mod run;
mod status;
mod waker;

pub use page::RunDirError;
pub use port::Place;
pub use run::{Options, RunError, run};
pub use status::Status;
