//! What an x86 instruction set is: features, feature sets, detection.
//!
//! ```
//! use isa::{Feature, FeatureSet, RemovalClass, features};
//!
//! const NEEDED: FeatureSet = features![Avx2, Fma, Bmi1];
//! let here: FeatureSet = "pni ssse3 avx avx2 fma sse4.2 abm bmi1".parse()?;
//! let there = here - features![Avx2, Bmi1];
//! let lost = here - there;
//!
//! assert!(NEEDED.is_subset(&here));
//! assert_eq!(lost.faulting(), features![Avx2]); // raises #UD: can be emulated
//! assert_eq!(lost.silent(), features![Bmi1]); // TZCNT runs as BSF: must be announced first
//! assert_eq!(Feature::Abm.class(), RemovalClass::Silent);
//! # Ok::<(), isa::UnknownFeature>(())
//! ```
//!
//! The main type is [`FeatureSet`]: 512 bits, `Copy`, with the algebra of sets and the names of Linux.
//! [`Feature`] is one row of the crate's one table; `detect()` asks the running CPU, and
//! [`FeatureSet::from_cpuid`] decodes any other source of CPUID answers.
//!
//! # CPUID in short
//! The instruction CPUID takes a number in EAX, the *leaf*, and for some leaves another in ECX, the
//! *subleaf*; it answers in EAX, EBX, ECX and EDX. Most features are one bit of one of these four:
//! AVX2 is leaf 7, subleaf 0, EBX, bit 5. Leaves from 0 are Intel's (*basic*), from 0x8000_0000
//! AMD's (*extended*), from 0xC000_0000 those of VIA and Zhaoxin; each range begins with a leaf that gives the
//! highest in use. A few features are bits of a model-specific register, or a version number that
//! must be high enough. [`Place`] names all three.
//!
//! A hypervisor answers CPUID for its guest and can show less than the CPU has. The instructions behind
//! a hidden bit mostly still run: hardware does not look at the bit before it decodes them.
//!
//! # XCR0
//! Registers beyond XMM are *state components* that the operating system must save for each process.
//! It says which it does in XCR0, a register that programs can read with XGETBV. Where the bits of a
//! component are clear, its instructions raise #UD whatever CPUID shows. So what a program may use is
//! CPUID *and* XCR0; [`Feature::xcr0`] tells what each feature needs.
//!
//! # Why classes
//! When a guest moves to a lesser CPU, features differ in what their loss does. AVX2 instructions fault,
//! and a handler can finish them. LZCNT does not: its encoding is BSR with a prefix that old CPUs
//! ignore, so the program goes on with a wrong number. Others are used by the kernel, or only tell of
//! speed. [`RemovalClass`] is that distinction, and the default class of each feature is in the table.
//!
//! # Ids and newer peers
//! [`Feature::id`] is stable for ever: numbers are only appended. A set may carry ids that have no row
//! here, because the sender is newer; they survive every operation and print as `#417`.
#![no_std]
#![deny(unsafe_code)]

mod class;
mod decode;
#[cfg(target_arch = "x86_64")]
mod detect;
mod feature;
mod place;
mod set;
mod table;
pub mod xcr0;

pub use class::{Instructions, RemovalClass, Spelling, Vendor};
#[cfg(target_arch = "x86_64")]
pub use detect::{cpuid, detect, xcr0};
pub use feature::{Feature, UnknownFeature};
pub use place::{Place, Register};
pub use set::{FeatureSet, Iter};

/// How many 64-bit words a [`FeatureSet`] has.
pub const WORDS: usize = 8;

/// How many features a [`FeatureSet`] can hold: ids are below this.
pub const CAPACITY: usize = WORDS * 64;
