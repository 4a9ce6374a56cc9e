//! Tells the guests of a hypervisor host what they can execute now.
//!
//! The daemon runs one task a guest. The task listens to the guest's QEMU over
//! QMP ([`qmp`]), works out what the virtual CPUs can execute ([`cpu`]), and
//! says so over the guest's virtio-serial port in a [`protocol::HostSession`]
//! ([`guest`]). Operators announce removals and ask how things stand over a
//! unix socket ([`control`] describes what is said on it, [`server`] and
//! [`client`] are its ends).
//!
//! What the machine executes depends on who executes it:
//!
//! ```
//! use host_notifier::cpu::{Accelerator, FeatureWord, Register, executable};
//! use isa::features;
//!
//! // As QEMU tells it: this virtual CPU shows SSE3 and no more.
//! let words = [FeatureWord { register: Register::Ecx, leaf: 1, subleaf: 0, features: 1 }];
//! let host = features![Sse3, Popcnt];
//!
//! let tcg = executable(Accelerator::Tcg, &[words.to_vec()], host);
//! assert_eq!(tcg, features![Sse3]); // the rest faults
//! let kvm = executable(Accelerator::Kvm, &[words.to_vec()], host);
//! assert_eq!(kvm, features![Sse3, Popcnt]); // the rest runs, though hidden
//! ```

pub mod allowance;
pub mod backoff;
pub mod client;
pub mod clock;
pub mod config;
pub mod control;
pub mod cpu;
pub mod guest;
pub mod identity;
pub mod outbox;
pub mod qmp;
pub mod server;
