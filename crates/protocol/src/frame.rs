//! How a message becomes bytes on a stream that may be cut anywhere.
//!
//! ```text
//! 00 | COBS( format: u8 = 1 | postcard(message) | CRC-32C: u32 little-endian ) | 00
//! ```
//!
//! COBS leaves no zero byte inside, so a zero always ends a frame and the
//! stream finds itself again at the next one, whatever came before: half a
//! frame of a host that the guest has just left, or garbage. The leading zero
//! makes sure of it even if the sender before us stopped half-way. The
//! checksum is CRC-32C (RFC 3720, appendix B.4) over format and message.

use alloc::vec::Vec;

use crc::{CRC_32_ISCSI, Crc, NoTable};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The layout of a frame, its first byte.
pub const FORMAT: u8 = 1;

/// Most bytes between two delimiters. Longer is refused on both ends.
pub const MAX_ENCODED: usize = 4096;

const CHECKSUM_BYTES: usize = 4;
const CHECKSUM: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);

/// Why a message cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The frame would be longer than [`MAX_ENCODED`].
    #[error("message of {0} bytes is longer than a frame can hold ({MAX_ENCODED})")]
    TooLong(usize),
    /// The message cannot be serialised.
    #[error("message cannot be serialised: {0}")]
    Postcard(postcard::Error),
}

/// Why what stood between two delimiters is not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No delimiter within [`MAX_ENCODED`] bytes.
    #[error("oversized frame: no end within {MAX_ENCODED} bytes")]
    Oversized,
    /// Not COBS: the frame was cut, or this is not our protocol.
    #[error("garbage of {0} bytes: not a COBS frame")]
    Cobs(usize),
    /// Shorter than format and checksum.
    #[error("truncated frame of {0} bytes")]
    Truncated(usize),
    /// The checksum does not match: the frame was cut or altered.
    #[error("checksum {found:08x} where {expected:08x} was computed, in a frame of {len} bytes")]
    Checksum {
        /// The checksum in the frame.
        found: u32,
        /// The checksum of what the frame holds.
        expected: u32,
        /// Decoded length in bytes, checksum included.
        len: usize,
    },
    /// A whole frame of a format we do not know.
    #[error("frame format {0} where {FORMAT} is spoken")]
    Format(u8),
    /// A whole frame whose message we cannot read.
    #[error("unreadable message: {0}")]
    Message(postcard::Error),
    /// A whole frame with more in it than its message.
    #[error("{0} bytes left over after the message")]
    Trailing(usize),
}

/// Encodes one message with its delimiters.
///
/// # Errors
/// [`EncodeError::TooLong`] if it does not fit a frame.
pub fn encode<M: Serialize + ?Sized>(message: &M) -> Result<Vec<u8>, EncodeError> {
    let mut plain =
        postcard::to_extend(message, Vec::from([FORMAT])).map_err(EncodeError::Postcard)?;
    let checksum = CHECKSUM.checksum(&plain);
    plain.extend_from_slice(&checksum.to_le_bytes());
    let mut out = alloc::vec![0; 2 + cobs::max_encoding_length(plain.len())];
    let len = cobs::encode(&plain, &mut out[1..]);
    if len > MAX_ENCODED {
        return Err(EncodeError::TooLong(plain.len()));
    }
    out.truncate(len + 2);
    out[len + 1] = 0;
    Ok(out)
}

/// A frame whose checksum is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    message: Vec<u8>,
}

impl Frame {
    /// Reads the message, and nothing but the message.
    ///
    /// # Errors
    /// [`FrameError::Message`] if it is not an `M`, [`FrameError::Trailing`] if
    /// something follows it.
    pub fn message<M: DeserializeOwned>(&self) -> Result<M, FrameError> {
        let (message, rest) =
            postcard::take_from_bytes(&self.message).map_err(FrameError::Message)?;
        if rest.is_empty() {
            Ok(message)
        } else {
            Err(FrameError::Trailing(rest.len()))
        }
    }
}

/// Cuts a byte stream into frames.
///
/// Holds at most [`MAX_ENCODED`] bytes, whatever the peer sends.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
    /// The frame is already too long; wait for its end.
    skipping: bool,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub const fn new() -> Self {
        Self {
            pending: Vec::new(),
            skipping: false,
        }
    }

    /// Takes what arrived, however it was cut, and returns the frames that
    /// ended in it, good and bad, in order.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Result<Frame, FrameError>> {
        let mut frames = Vec::new();
        while let Some(end) = bytes.iter().position(|&b| b == 0) {
            let (head, tail) = bytes.split_at(end);
            bytes = &tail[1..];
            frames.extend(self.hold(head).err().map(Err));
            let skipped = core::mem::take(&mut self.skipping);
            if !skipped && !self.pending.is_empty() {
                frames.push(unwrap_frame(&mut self.pending));
            }
            self.pending.clear();
        }
        frames.extend(self.hold(bytes).err().map(Err));
        frames
    }

    /// Forgets a frame that has begun.
    pub fn reset(&mut self) {
        self.pending.clear();
        self.skipping = false;
    }

    /// Keeps bytes of the present frame; says once if it grows too long.
    fn hold(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        if self.skipping {
            return Ok(());
        }
        if self.pending.len() + bytes.len() > MAX_ENCODED {
            self.pending.clear();
            self.skipping = true;
            return Err(FrameError::Oversized);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }
}

fn unwrap_frame(encoded: &mut [u8]) -> Result<Frame, FrameError> {
    let len = cobs::decode_in_place(encoded).map_err(|_| FrameError::Cobs(encoded.len()))?;
    let plain = &encoded[..len];
    if len < 1 + CHECKSUM_BYTES {
        return Err(FrameError::Truncated(len));
    }
    let (covered, checksum) = plain.split_at(len - CHECKSUM_BYTES);
    let mut found = [0; CHECKSUM_BYTES];
    found.copy_from_slice(checksum);
    let (found, expected) = (u32::from_le_bytes(found), CHECKSUM.checksum(covered));
    if found != expected {
        return Err(FrameError::Checksum {
            found,
            expected,
            len,
        });
    }
    if covered[0] != FORMAT {
        return Err(FrameError::Format(covered[0]));
    }
    Ok(Frame {
        message: covered[1..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    fn texts(frames: Vec<Result<Frame, FrameError>>) -> Vec<String> {
        frames
            .into_iter()
            .map(|f| f.unwrap().message().unwrap())
            .collect()
    }

    #[test]
    fn a_frame_is_delimited_on_both_sides_and_holds_no_zero_inside() {
        let bytes = encode(&[0u8; 300].to_vec()).unwrap();
        assert_eq!((bytes[0], bytes[bytes.len() - 1]), (0, 0));
        assert!(bytes[1..bytes.len() - 1].iter().all(|&b| b != 0));
    }

    #[test]
    fn an_oversized_frame_is_reported_once_and_the_next_one_is_heard() {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.extend(decoder.push(&[7; 1000]));
            assert!(decoder.pending.len() <= MAX_ENCODED);
        }
        assert_eq!(seen, [Err(FrameError::Oversized)]);
        assert_eq!(texts(decoder.push(&encode("next").unwrap())), ["next"]);
    }

    #[test]
    fn a_message_too_long_for_a_frame_is_not_sent() {
        assert_eq!(
            encode(&[1u8; 5000].to_vec()),
            Err(EncodeError::TooLong(5007))
        );
    }

    #[test]
    fn another_format_and_trailing_bytes_are_named() {
        let wrap = |plain: &[u8]| {
            let mut plain = plain.to_vec();
            plain.extend_from_slice(&CHECKSUM.checksum(&plain).to_le_bytes());
            let mut out = alloc::vec![0; cobs::max_encoding_length(plain.len()) + 1];
            let len = cobs::encode(&plain, &mut out);
            out.truncate(len + 1);
            out
        };
        let mut decoder = Decoder::new();
        assert_eq!(decoder.push(&wrap(&[9, 1])), [Err(FrameError::Format(9))]);
        let frames = decoder.push(&wrap(&[FORMAT, 5, 6, 7]));
        assert_eq!(
            frames[0].as_ref().unwrap().message::<u8>(),
            Err(FrameError::Trailing(2))
        );
        assert_eq!(decoder.push(&[3, 1, 1, 0]), [Err(FrameError::Truncated(2))]);
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_messages(
            messages in prop::collection::vec(".{0,80}", 1..6),
            cuts in prop::collection::vec(1usize..40, 1..40),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| encode(m).unwrap()).collect();
            let mut decoder = Decoder::new();
            let (mut rest, mut heard) = (stream.as_slice(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                heard.extend(texts(decoder.push(head)));
                rest = tail;
            }
            prop_assert_eq!(heard, messages);
        }

        #[test]
        fn a_cut_frame_never_becomes_a_message_and_never_costs_the_next(
            lost in ".{0,80}", next in ".{0,80}", keep in 0usize..90,
        ) {
            let whole = encode(&lost).unwrap();
            let keep = keep.min(whole.len() - 2);
            let mut decoder = Decoder::new();
            let mut frames = decoder.push(&whole[..keep]);
            frames.extend(decoder.push(&encode(&next).unwrap()));
            let good: Vec<String> = frames.into_iter().flatten().map(|f| f.message().unwrap()).collect();
            prop_assert_eq!(good, [next]);
        }

        #[test]
        fn one_flipped_bit_is_always_found(message in ".{0,80}", at in any::<prop::sample::Index>(), bit in 0u32..8) {
            let mut bytes = encode(&message).unwrap();
            let inside = 1 + at.index(bytes.len() - 2);
            bytes[inside] ^= 1 << bit;
            let mut decoder = Decoder::new();
            prop_assert!(decoder.push(&bytes).iter().all(Result::is_err));
        }

        #[test]
        fn garbage_is_never_a_frame_and_never_a_panic(garbage in prop::collection::vec(any::<u8>(), 0..9000)) {
            let mut decoder = Decoder::new();
            prop_assert!(decoder.push(&garbage).iter().all(Result::is_err));
        }
    }
}
