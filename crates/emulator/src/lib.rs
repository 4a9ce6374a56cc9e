//! Finishes instructions that the CPU no longer has.
//!
//! After a live migration to a lesser CPU a program may meet an instruction that now raises #UD.
//! [`step`] carries out that one instruction on a [`State`] and a [`Memory`], bit for bit as the
//! CPU would have: MMX, 3DNow!, SSE … SSE4.2, SSE4A, AVX,
//! AVX2, XOP, FMA, FMA4, F16C, BMI1, BMI2, TBM, LZCNT, POPCNT, MOVBE, ADX, AES, PCLMULQDQ, SHA,
//! SHA512, SM3, SM4, GFNI, AVX-VNNI and its extensions, AVX-IFMA, AVX-NE-CONVERT, and some that
//! stand alone; see [`EMULATED`], and `docs/COVERAGE.md` for each code. AVX-512, AMX and APX are
//! refused.
//!
//! A trap costs as much as a hundred instructions that are interpreted. So [`burst`](burst()) goes
//! on after the first, through the lost instructions and the ordinary integer instructions between
//! them, until the lost code is left.
//!
//! ```
//! use emulator::{CodeOnly, EMULATED, State, Vector};
//!
//! emulator::init(); // once, before any signal handler calls `step`
//! let mut state = State::default();
//! state.vector[1] = Vector::from_lane(40u32);
//! state.vector[2] = Vector::from_lane(2u32);
//! // vpaddd ymm0, ymm1, ymm2
//! let mut memory = CodeOnly { address: 0, code: &[0xc5, 0xf5, 0xfe, 0xc2] };
//! let step = emulator::step(&mut state, &mut memory, EMULATED)?;
//! assert_eq!((step.length, state.rip), (4, 4));
//! assert_eq!(state.vector[0].lane::<u32>(0), 42);
//! # Ok::<(), emulator::Fault>(())
//! ```
//!
//! # For signal handlers
//! Nothing here allocates, locks, uses thread-local storage or panics. The one exception is the
//! decoder, which builds its tables on first use; [`init`] forces that, and must have returned
//! before the first [`step`] in a handler. Of the host's MXCSR it is expected what Rust expects
//! everywhere, round to nearest and all exceptions masked, and the flags in it may change: easy
//! cases of floating point are computed by the CPU, all others with integers.
//!
//! What keys go through (AES, SM4, GFNI, carry-less products) is computed without tables and without
//! branches on data, so that it takes the same time for all, as programs expect of these.
//!
//! # Where to find an instruction
//! [`family`] has a module for each kind of instruction, and in it a row for each mnemonic.
#![no_std]
#![forbid(unsafe_code)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "lane arithmetic truncates and reinterprets on purpose"
)]

mod burst;
mod context;
mod decoded;
mod execution;
mod family;
mod fault;
mod features;
mod float;
mod memory;
mod operation;
mod state;
mod step;
mod vector;

pub use burst::{Budget, Burst, Cache, End, burst};
pub use fault::{Fault, exception};
pub use features::EMULATED;
pub use memory::{Access, CodeOnly, FaultKind, Memory, MemoryFault};
pub use state::{State, Width, X87, flag};
pub use step::{Attribution, Step, attribute, init, step};
pub use vector::{Lane, Vector};
