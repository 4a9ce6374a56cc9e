//! Frames on their way to the host.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// Most frames that wait for a host that does not read.
pub(crate) const MOST: usize = 64;

/// A queue of whole frames.
///
/// When it is full the oldest frame goes: each message repeats what an earlier
/// one said. A frame of which the first bytes are already written is finished
/// first, or the host would see it run into the next one.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    frames: VecDeque<Vec<u8>>,
    /// Bytes of the first frame that are written.
    written: usize,
}

impl Outgoing {
    /// Adds a frame; `true` if an older one had to go for it.
    pub(crate) fn push(&mut self, frame: Vec<u8>) -> bool {
        let full = self.frames.len() >= MOST;
        if full {
            self.frames.remove(usize::from(self.written > 0));
        }
        self.frames.push_back(frame);
        full
    }

    /// Writes as much as `write` takes; `write` returns how many bytes it took.
    pub(crate) fn flush(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        while let Some(frame) = self.frames.front() {
            match write(&frame[self.written..]) {
                // virtio_console says 0 when its queue is full.
                Ok(0) => return Ok(()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.written >= frame.len() {
                self.frames.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }

    /// Forgets everything: the channel was closed.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then no more.
    fn into(sink: &mut Vec<u8>, mut room: usize) -> impl FnMut(&[u8]) -> io::Result<usize> {
        move |bytes| {
            let count = bytes.len().min(room);
            room -= count;
            sink.extend_from_slice(&bytes[..count]);
            if count == 0 {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(count)
            }
        }
    }

    #[test]
    fn a_full_queue_loses_its_oldest_whole_frame_and_never_half_of_one() {
        let mut queue = Outgoing::default();
        let mut sink = Vec::new();
        assert!(!queue.push(b"<first>".to_vec()));
        queue.flush(into(&mut sink, 3)).unwrap();
        for n in 0..MOST - 1 {
            assert!(!queue.push(format!("<{n}>").into_bytes()));
        }
        assert!(queue.push(b"<last>".to_vec()));
        queue.flush(into(&mut sink, usize::MAX)).unwrap();
        let mut expected = String::from("<first>");
        expected.extend((1..MOST - 1).map(|n| format!("<{n}>")));
        expected.push_str("<last>");
        assert_eq!(String::from_utf8(sink).unwrap(), expected);
    }

    #[test]
    fn any_room_gives_the_same_bytes() {
        for room in 1..12 {
            let mut queue = Outgoing::default();
            let mut sink = Vec::new();
            queue.push(b"abcde".to_vec());
            queue.push(b"fghij".to_vec());
            for _ in 0..12 {
                queue.flush(into(&mut sink, room)).unwrap();
            }
            assert_eq!(sink, b"abcdefghij");
        }
    }
}
