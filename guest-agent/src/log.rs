//! The log: one line an event, to standard error, and no floods.
//!
//! Lines are written after the work of the event is done, for standard error
//! may be a slow serial console; each carries the time of its event, in
//! seconds and microseconds of `CLOCK_MONOTONIC`.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::Moment;
use tracing::Level;

use crate::clock;

/// Lines of one kind are counted over this time.
const WINDOW: Duration = Duration::from_secs(10);
/// Most kinds that are counted at a time.
const KINDS: usize = 256;

/// Sends what is logged to standard error, without colours.
pub fn to_stderr() {
    // An error means that there is a subscriber already, and that is as good.
    let _already = tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_writer(std::io::stderr)
        .try_init();
}

/// Lines waiting to be written, and how often each kind was seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    waiting: Vec<(Level, Moment, String)>,
    kinds: BTreeMap<String, Kind>,
}

#[derive(Debug)]
struct Kind {
    level: Level,
    until: Moment,
    seen: u32,
    held: u64,
}

impl Log {
    /// An event that comes as often as it has to.
    pub(crate) fn info(&mut self, text: impl Into<String>) {
        self.waiting.push((Level::INFO, clock::now(), text.into()));
    }

    /// Something the operator should look at.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.waiting.push((Level::WARN, clock::now(), text.into()));
    }

    /// An event that somebody else can cause at will: of one `kind`, at most
    /// `most` lines in ten seconds are written, and the rest counted.
    pub(crate) fn limited(
        &mut self,
        level: Level,
        kind: impl Into<String>,
        most: u32,
        text: impl Into<String>,
    ) {
        let now = clock::now();
        let mut kind = kind.into();
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&kind) {
            kind = "everything else".into();
        }
        let fresh = Kind {
            level,
            until: now.after(WINDOW),
            seen: 0,
            held: 0,
        };
        let known = self.kinds.entry(kind).or_insert(fresh);
        known.seen += 1;
        if known.seen <= most {
            self.waiting.push((level, now, text.into()));
        } else {
            known.held += 1;
        }
    }

    /// When [`flush`](Self::flush) has a summary to write.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.kinds.values().map(|kind| kind.until).min()
    }

    /// Writes what waits, and the summaries that are due.
    pub(crate) fn flush(&mut self, now: Moment) {
        let waiting = &mut self.waiting;
        self.kinds.retain(|name, kind| {
            let keep = kind.until > now;
            if !keep && kind.held > 0 {
                let text = format!("{name}: {} more lines in {} s", kind.held, WINDOW.as_secs());
                waiting.push((kind.level, now, text));
            }
            keep
        });
        for (level, at, text) in waiting.drain(..) {
            let (whole, micros) = (at.micros() / 1_000_000, at.micros() % 1_000_000);
            match level {
                Level::ERROR | Level::WARN => tracing::warn!("[{whole}.{micros:06}] {text}"),
                _ => tracing::info!("[{whole}.{micros:06}] {text}"),
            }
        }
    }
}

#[cfg(test)]
impl Log {
    /// The lines that wait.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.waiting
            .iter()
            .map(|(_, _, text)| text.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_kind_only_so_many_lines_are_written_and_the_rest_is_summed_up() {
        let mut log = Log::default();
        for _ in 0..9 {
            log.limited(Level::WARN, "bad frames", 5, "bad frame: garbage");
        }
        log.limited(Level::WARN, "another kind", 5, "something else");
        assert_eq!(log.waiting.len(), 6);
        let end = log.deadline().unwrap();
        log.waiting.clear();
        log.flush(Moment::default());
        assert_eq!(log.kinds["bad frames"].held, 4);
        log.flush(end.after(WINDOW));
        assert!(log.kinds.is_empty(), "a new window begins");
    }

    #[test]
    fn the_number_of_kinds_is_bounded() {
        let mut log = Log::default();
        for n in 0..10 * KINDS {
            log.limited(Level::WARN, format!("kind {n}"), 1, "line");
        }
        assert!(log.kinds.len() <= KINDS + 1);
    }
}
