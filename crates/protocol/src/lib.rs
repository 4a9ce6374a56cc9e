//! What is said when an instruction set changes under a running guest.
//!
//! Three places talk to each other, and this crate holds the words of all
//! three, so that a daemon, a bare-metal kernel, a test or a fuzzer can speak
//! them without a socket or a clock:
//!
//! - **host ↔ guest**, over a virtio channel: [`ToGuest`] and [`ToHost`] in
//!   [`frame`]s, spoken by the sans-I/O state machines [`HostSession`] and
//!   [`GuestSession`] (bytes and time in, bytes and events out);
//! - **agent ↔ process**, over a local socket: the messages in [`local`];
//! - **agent → every process**, by one write: the shared [`page`].
//!
//! State travels, not events: each offer holds everything the host can
//! execute, and the receiver works out what was added and removed. A lost,
//! repeated or late frame therefore never adds up to a wrong set.
//!
//! ```
//! use protocol::frame::{self, Decoder};
//! use protocol::{Epoch, HostIdentity, Offer, ToGuest};
//!
//! let offer = ToGuest::Offer(Offer {
//!     nonce: 7,
//!     epoch: Epoch { host: HostIdentity { machine: [1; 16], boot: [2; 16] }, sequence: 1 },
//!     available: isa::features![Avx2, Fma],
//! });
//! let bytes = frame::encode(&offer)?;
//! let mut decoder = Decoder::new();
//! // Half a frame from the source host, then the destination speaks.
//! let mut heard = decoder.push(&bytes[..bytes.len() / 2]);
//! heard.extend(decoder.push(&bytes));
//! let good: Vec<ToGuest> = heard.into_iter().flatten().map(|f| f.message().unwrap()).collect();
//! assert_eq!(good, [offer]);
//! # Ok::<(), frame::EncodeError>(())
//! ```
//!
//! docs/PROTOCOL.md draws every frame and the page byte by byte.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod availability;
pub mod frame;
pub mod guest;
pub mod host;
pub mod local;
mod message;
pub mod page;
mod strikes;
mod sync;
mod text;
mod time;
mod wire_set;

pub use availability::Availability;
pub use guest::GuestSession;
pub use host::HostSession;
pub use message::{
    Abort, Acknowledgement, Beat, BeatReply, Busy, Epoch, GuestHello, GuestIdentity, Holder,
    HostHello, HostIdentity, MAX_HOLDERS, Offer, Prepare, Ready, Refused, ToGuest, ToHost,
    Versions,
};
pub use strikes::{BAD_FRAME_WINDOW, BAD_FRAMES};
pub use text::{Text, TextError};
pub use time::Moment;
