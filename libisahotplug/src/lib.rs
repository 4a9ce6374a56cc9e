//! Follow the instruction set of a virtual machine that migrates.
//!
//! A math library links this library, through C or Rust, and
//! - **dispatches** through slots that always hold the best variant for the
//!   features there are *now*;
//! - is **called back** when features come and go, on a thread of this library,
//!   when it polls, or inside the #UD handler;
//! - **survives** an unannounced removal: the first #UD is caught, the
//!   instruction is emulated, the code finishes, and the slots switch.
//!
//! ```
//! use isahotplug::{Answer, Options, Registering, Urgency, features};
//!
//! isahotplug::init(Options { poll: true, ..Options::default() })?;
//! let path = std::sync::Arc::new(std::sync::Mutex::new("any"));
//! let seen = path.clone();
//! let registering = Registering { urgency: Urgency::Eager, initial: true, ..Registering::default() };
//! let _registration = isahotplug::register(features![Avx2, Fma], registering, move |event| {
//!     let wide = event.available.is_superset(&features![Avx2, Fma]);
//!     *seen.lock().unwrap() = if wide { "avx2" } else { "any" };
//!     Answer::Left
//! })?;
//! isahotplug::poll()?; // at a point where no AVX2 code is running
//! # Ok::<(), isahotplug::Error>(())
//! ```
//!
//! The C functions are in [`c`]; `include/isahotplug.h` is made from them.
//! Several copies of the library in one process, of different versions even,
//! agree on one trap handler and one connection with the agent.
//!
//! # Threads, signals, forks
//! Every function may be called from any thread, and none but those that say
//! so from a signal handler: there [`Error::Busy`] is the answer if the handler
//! has interrupted this library. After `fork` the child keeps its slots, its
//! registrations and the #UD handler; it gets events again from its first
//! [`init`], [`poll`] or [`register`] on.

mod agent;
mod api;
pub mod c;
mod declared;
mod descriptors;
mod ending;
mod entry;
mod epoch;
mod event;
mod fork;
mod freestanding;
mod grace;
mod in_trap;
mod junction;
mod link;
mod local;
mod names;
mod page;
mod registrations;
mod runtime;
pub mod seatbelt;
mod section;
mod slot;
mod slot_macro;
mod slots;
mod sync;
mod target_features;
mod trap;
mod view;

pub use api::{
    Counters, Registering, Registration, Section, available, bonus, counters, generation, has,
    init, left, lost, poll, register, state, unload, visible,
};
pub use dispatch::Variant;
pub use event::{Answer, Event};
pub use isa::{Feature, FeatureSet, features};
pub use protocol::Epoch;
pub use protocol::availability::Cause;
pub use protocol::local::Urgency;
pub use runtime::{Error, Log, Options};
pub use slot::{SectionedSlot, Slot, SlotOptions};
#[doc(hidden)]
pub use slot_macro::private as __private;

/// Its pieces of Rust are tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/follow-the-isa.md")]
struct Guide;
