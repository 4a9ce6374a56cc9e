//! How many bad frames a peer may send.

use core::time::Duration;

use crate::time::Moment;

/// This many bad frames within [`BAD_FRAME_WINDOW`] and the peer is dropped.
pub const BAD_FRAMES: u32 = 32;
/// See [`BAD_FRAMES`].
pub const BAD_FRAME_WINDOW: Duration = Duration::from_secs(10);

/// Counts bad frames in windows of [`BAD_FRAME_WINDOW`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strikes {
    count: u32,
    since: Moment,
}

impl Strikes {
    /// One more; says whether it was the last that is borne.
    pub(crate) fn strike(&mut self, now: Moment) -> bool {
        if self.count == 0 || self.since.after(BAD_FRAME_WINDOW) <= now {
            *self = Self {
                count: 0,
                since: now,
            };
        }
        self.count += 1;
        let out = self.count >= BAD_FRAMES;
        if out {
            self.count = 0;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_in_one_window_are_out_and_a_few_in_each_are_borne() {
        let at = |seconds: u64| Moment::from_micros(seconds * 1_000_000);
        let mut strikes = Strikes::default();
        let outs =
            |strikes: &mut Strikes, n: u32, now| (0..n).filter(|_| strikes.strike(now)).count();
        assert_eq!(outs(&mut strikes, BAD_FRAMES - 1, at(0)), 0);
        assert_eq!(
            outs(&mut strikes, BAD_FRAMES - 1, at(10)),
            0,
            "another window"
        );
        assert_eq!(outs(&mut strikes, 1, at(11)), 1);
        assert_eq!(outs(&mut strikes, 1, at(11)), 0, "and from the beginning");
    }
}
