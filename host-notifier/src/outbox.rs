//! Frames on their way to a guest that may not be reading.

use std::collections::VecDeque;
use std::io;

use protocol::frame::Decoder;
use protocol::{Moment, ToGuest};

use crate::clock;

/// Most bytes that wait for a guest.
const MOST: usize = 16 * 1024;

/// Frames that wait for the socket to take them.
///
/// State travels in them and not events, so when too many wait the oldest are
/// forgotten; a frame that has begun is always finished.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Waiting>,
    /// Bytes of the first frame that are written.
    written: usize,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    offer: Option<(u64, usize)>,
}

/// An offer that is in the socket now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentOffer {
    /// Which.
    pub sequence: u64,
    /// How many features it has.
    pub features: usize,
    /// When its last byte was given to the kernel.
    pub at: Moment,
}

impl Outbox {
    /// Appends a frame.
    pub fn push(&mut self, bytes: Vec<u8>) {
        let first_whole = usize::from(self.written > 0);
        while self.len() + bytes.len() > MOST && self.frames.len() > first_whole {
            self.frames.remove(first_whole);
        }
        let offer = offer_in(&bytes);
        self.frames.push_back(Waiting { bytes, offer });
    }

    /// Forgets everything: the connection is another.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.written = 0;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Writes with `write` until nothing waits or it would block; returns the
    /// offers that went out.
    ///
    /// # Errors
    /// What `write` says, [`io::ErrorKind::WouldBlock`] apart.
    pub fn flush(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<Vec<SentOffer>> {
        let mut sent = Vec::new();
        while let Some(first) = self.frames.front() {
            let at = clock::now();
            match write(&first.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.written >= first.bytes.len() {
                self.written = 0;
                let offer = self.frames.pop_front().and_then(|frame| frame.offer);
                sent.extend(offer.map(|(sequence, features)| SentOffer {
                    sequence,
                    features,
                    at,
                }));
            }
        }
        Ok(sent)
    }

    fn len(&self) -> usize {
        self.frames.iter().map(|frame| frame.bytes.len()).sum()
    }
}

/// Number and size of the offer in this frame, if it is one.
fn offer_in(bytes: &[u8]) -> Option<(u64, usize)> {
    let frame = Decoder::new().push(bytes).pop()?.ok()?;
    match frame.message() {
        Ok(ToGuest::Offer(offer)) => Some((offer.epoch.sequence, offer.available.len())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Epoch, Offer, frame};

    use super::*;

    fn flushed(outbox: &mut Outbox) -> Vec<u8> {
        let mut out = Vec::new();
        outbox
            .flush(|bytes| {
                out.extend_from_slice(bytes);
                Ok(bytes.len())
            })
            .unwrap();
        out
    }

    #[test]
    fn the_oldest_whole_frames_are_forgotten_and_a_begun_one_is_finished() {
        let mut outbox = Outbox::default();
        outbox.push(vec![0; 4000]);
        let mut room = 10;
        let sent = outbox.flush(|bytes| {
            let n = bytes.len().min(std::mem::take(&mut room));
            if n == 0 {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(n)
            }
        });
        assert_eq!(sent.unwrap(), []);
        for number in 1..10 {
            outbox.push(vec![number; 4000]);
        }
        let out = flushed(&mut outbox);
        let mut numbers = out[3990..].chunks(4000).map(|frame| frame[0]);
        assert_eq!(out[..3990], vec![0; 3990]);
        assert_eq!(numbers.by_ref().collect::<Vec<_>>(), [7, 8, 9]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn an_offer_is_named_when_its_last_byte_is_out() {
        let available = isa::features![Avx2, Fma];
        let offer = Offer {
            nonce: 1,
            epoch: Epoch {
                sequence: 17,
                ..Epoch::default()
            },
            available,
        };
        let mut outbox = Outbox::default();
        outbox.push(frame::encode(&ToGuest::Offer(offer)).unwrap());
        let mut calls = 0;
        let sent = outbox.flush(|bytes| {
            calls += 1;
            Ok(bytes.len().min(10))
        });
        let sent = sent.unwrap();
        assert_eq!((sent.len(), sent[0].sequence, sent[0].features), (1, 17, 2));
        assert!(calls > 1);
    }
}
