//! A pool's baseline, shown to processes of this machine.
//!
//! The recommended way to run a guest is *baseline + bonus*: its CPUID shows
//! what every host of the pool has, and the agent announces what the present
//! host can execute beyond that. QEMU's TCG cannot show this, for it refuses
//! what its `-cpu` hides. Hardware does not look at CPUID before it executes:
//! a process whose CPUID instructions are answered by somebody else has the
//! baseline in view and the whole CPU under it, just as such a guest has.
//!
//! Somebody else is a tracer, the program `under-baseline`:
//!
//! ```text
//! under-baseline --level x86-64-v2 -- guest-agent run …
//! ```
//!
//! - [`cpuid`]: what is answered;
//! - [`tracer`]: how the instruction is caught, in the process and in all that
//!   it starts;
//! - [`faulting`]: by the CPU, where it can;
//! - [`sites`]: where a program file executes CPUID, to replace it elsewhere;
//! - [`guest`]: an agent and programs under it, and a host to talk to them.

pub mod cpuid;
pub mod faulting;
pub mod guest;
mod mappings;
pub mod sites;
mod tracee;
pub mod tracer;
