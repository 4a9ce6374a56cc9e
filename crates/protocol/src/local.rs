//! What a process and the guest agent say to each other on the agent's socket.
//!
//! The socket (`/run/isahotplug/agent.sock`, `SOCK_SEQPACKET`) keeps message
//! boundaries, so a packet is one message: a format byte and postcard. With
//! [`FromProcess::Register`] travels, as ancillary data, an eventfd that the
//! agent writes whenever a new generation is published. What is new the
//! process reads from the shared [`page`](crate::page); nothing queues up for
//! a process that is slow.
//!
//! The kernel tells the agent who is connected (`SO_PEERCRED`); nothing here
//! claims an identity.

use alloc::vec::Vec;

use isa::FeatureSet;
use postcard::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::message::Versions;
use crate::text::Text;
use crate::wire_set;

/// The layout of a packet, its first byte.
pub const FORMAT: u8 = 1;
/// Longest packet from a process, in bytes.
pub const MAX_REQUEST: usize = 1024;
/// Longest packet from the agent, in bytes.
pub const MAX_REPLY: usize = 64 * 1024;
/// Most registrations that one [`Report`] lists.
pub const MAX_LISTED: usize = 256;

/// How a registered process hears of new generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Urgency {
    /// It is woken; nobody waits for it.
    #[default]
    Woken,
    /// It is woken first, acknowledges generations, and a prepare waits for it.
    Eager,
    /// It is not woken: it looks at the page when it wants to know, or at its first #UD. However
    /// many there are, they cost the agent nothing.
    Lazy,
}

impl Urgency {
    /// The more urgent one: a process has but one connection.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Eager, _) | (_, Self::Eager) => Self::Eager,
            (Self::Woken, _) | (_, Self::Woken) => Self::Woken,
            (Self::Lazy, Self::Lazy) => Self::Lazy,
        }
    }

    /// In one lower-case word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Woken => "woken",
            Self::Eager => "eager",
            Self::Lazy => "lazy",
        }
    }
}

/// Process → agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromProcess {
    /// I want to be woken. Comes with one eventfd; may be repeated to change
    /// the interest (without an eventfd then).
    Register {
        /// Versions of this protocol that the process speaks.
        versions: Versions,
        /// What it calls itself, for people.
        name: Text<64>,
        /// Features whose coming and going it wants to be woken for.
        #[serde(with = "wire_set")]
        interest: FeatureSet,
        /// How it wants to hear of new generations.
        urgency: Urgency,
        /// The generation that it has seen and acted upon.
        generation: u64,
    },
    /// I no longer use what this generation does not hold.
    Left {
        /// The generation acted upon.
        generation: u64,
    },
    /// I cannot leave what this generation takes away.
    Refuse {
        /// The generation refused.
        generation: u64,
        /// Why, for the operator.
        reason: Text<256>,
    },
    /// I met #UD at an instruction of these features.
    Trapped {
        /// The features that the instruction needs.
        #[serde(with = "wire_set")]
        features: FeatureSet,
        /// Address of the instruction.
        address: u64,
    },
    /// Tell me how things stand.
    Status,
    /// I am leaving what this generation takes away, and need time for it.
    Needs {
        /// The generation that I am acting upon.
        generation: u64,
        /// How long it will take, in milliseconds, as far as is known.
        ms: u32,
        /// Who needs it and for what, for the operator.
        what: Text<256>,
    },
}

/// Agent → process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
pub enum ToProcess {
    /// Registered.
    Welcome {
        /// The version of this protocol agreed upon.
        version: u16,
        /// What is published now.
        generation: u64,
    },
    /// Not understood; the agent closes the connection after it.
    Rejected {
        /// What was wrong.
        reason: Text<256>,
    },
    /// The answer to [`FromProcess::Status`].
    Status(Report),
    /// The answer to a [`FromProcess::Trapped`] whose features every CPU
    /// executes by now.
    Present {
        /// What was tried and found.
        #[serde(with = "wire_set")]
        features: FeatureSet,
    },
}

/// How things stand in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The published generation.
    pub generation: u64,
    /// What CPUID shows.
    #[serde(with = "wire_set")]
    pub visible: FeatureSet,
    /// What registered processes may use.
    #[serde(with = "wire_set")]
    pub available: FeatureSet,
    /// Silent features that went without warning.
    #[serde(with = "wire_set")]
    pub unsafe_silent: FeatureSet,
    /// Why the generation came to be, in one word.
    pub cause: Text<16>,
    /// The channel to the host, in words.
    pub channel: Text<256>,
    /// The open prepare, if any, in words.
    pub prepare: Option<Text<256>>,
    /// What the host was told about the latest prepare that was answered, in words.
    pub answer: Option<Text<256>>,
    /// Registered processes.
    pub registered: u32,
    /// The first [`MAX_LISTED`] of them.
    pub registrations: Vec<Registration>,
}

/// One registered process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its process id.
    pub pid: u32,
    /// The name it gave.
    pub name: Text<64>,
    /// How it hears of new generations.
    pub urgency: Urgency,
    /// The generation that it has acted upon.
    pub generation: u64,
    /// Undefined-opcode exceptions that it reported.
    pub trapped: u64,
    /// What it said last about leaving what a generation takes away, in words; empty for nothing.
    pub answer: Text<96>,
}

/// Why a packet cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Longer than the reader's limit.
    #[error("packet of {len} bytes where at most {max} are allowed")]
    Oversized {
        /// Length found, in bytes.
        len: usize,
        /// Length allowed, in bytes.
        max: usize,
    },
    /// Nothing in it.
    #[error("empty packet")]
    Empty,
    /// A format that is not known.
    #[error("packet format {0} where {FORMAT} is spoken")]
    Format(u8),
    /// Not a message.
    #[error("unreadable packet of {len} bytes: {error}")]
    Unreadable {
        /// Length, in bytes.
        len: usize,
        /// What postcard said.
        error: Error,
    },
    /// More in it than a message.
    #[error("{0} bytes left over after the message")]
    Trailing(usize),
}

/// Encodes one packet.
///
/// # Errors
/// [`PacketError::Oversized`] if it is longer than `max`.
pub fn encode<M: Serialize>(message: &M, max: usize) -> Result<Vec<u8>, PacketError> {
    let packet = postcard::to_extend(message, Vec::from([FORMAT]))
        .map_err(|error| PacketError::Unreadable { len: 0, error })?;
    if packet.len() > max {
        return Err(PacketError::Oversized {
            len: packet.len(),
            max,
        });
    }
    Ok(packet)
}

/// Reads one packet, and nothing but it.
///
/// # Errors
/// [`PacketError`] says what is wrong with it.
pub fn decode<M: DeserializeOwned>(packet: &[u8], max: usize) -> Result<M, PacketError> {
    let len = packet.len();
    if len > max {
        return Err(PacketError::Oversized { len, max });
    }
    let (&format, body) = packet.split_first().ok_or(PacketError::Empty)?;
    if format != FORMAT {
        return Err(PacketError::Format(format));
    }
    let (message, rest) =
        postcard::take_from_bytes(body).map_err(|error| PacketError::Unreadable { len, error })?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(PacketError::Trailing(rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use isa::features;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_is_one_message_and_nothing_else() {
        let message = FromProcess::Trapped {
            features: features![Avx2],
            address: 0x1234,
        };
        let mut packet = encode(&message, MAX_REQUEST).unwrap();
        assert_eq!(decode(&packet, MAX_REQUEST), Ok(message));
        packet.push(0);
        assert_eq!(
            decode::<FromProcess>(&packet, MAX_REQUEST),
            Err(PacketError::Trailing(1))
        );
        packet[0] = 8;
        assert_eq!(
            decode::<FromProcess>(&packet, MAX_REQUEST),
            Err(PacketError::Format(8))
        );
        assert_eq!(
            decode::<FromProcess>(&[], MAX_REQUEST),
            Err(PacketError::Empty)
        );
        let oversized = PacketError::Oversized {
            len: 2000,
            max: MAX_REQUEST,
        };
        assert_eq!(
            decode::<FromProcess>(&[1; 2000], MAX_REQUEST),
            Err(oversized)
        );
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_a_message_and_never_a_panic(
            mut packet in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            packet[0] = FORMAT;
            if let Ok(message) = decode::<FromProcess>(&packet, MAX_REQUEST) {
                let again = encode(&message, MAX_REQUEST).unwrap();
                prop_assert_eq!(decode(&again, MAX_REQUEST), Ok(message));
            }
            let _: Result<ToProcess, _> = decode(&packet, MAX_REPLY);
        }
    }
}
