//! How much of something a guest may cause in a span of time.

use std::time::Duration;

use protocol::Moment;

/// So much per window; what is left at its end is not carried over.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    most: u64,
    window: Duration,
    since: Moment,
    used: u64,
}

impl Allowance {
    /// At most `most` in each `window`.
    pub fn new(most: u64, window: Duration) -> Self {
        Self {
            most,
            window,
            since: Moment::default(),
            used: 0,
        }
    }

    /// Takes `amount`, also if less is left; says whether anything was left.
    pub fn take(&mut self, amount: u64, now: Moment) -> bool {
        if self.is_over(now) {
            self.since = now;
            self.used = 0;
        }
        let left = self.used < self.most;
        self.used = self.used.saturating_add(amount);
        left
    }

    /// When there is something to take again, if there is nothing now.
    pub fn returns_at(&self, now: Moment) -> Option<Moment> {
        let spent = self.used >= self.most && !self.is_over(now);
        spent.then(|| self.since.after(self.window))
    }

    fn is_over(&self, now: Moment) -> bool {
        self.since.after(self.window) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_returns_with_the_next_window() {
        let at = |seconds: u64| Moment::from_micros(seconds * 1_000_000);
        let mut lines = Allowance::new(2, Duration::from_secs(10));
        assert_eq!(lines.returns_at(at(100)), None);
        assert!(lines.take(1, at(100)));
        assert!(lines.take(5, at(101)), "more than is left, once");
        assert!(!lines.take(1, at(109)));
        assert_eq!(lines.returns_at(at(109)), Some(at(110)));
        assert_eq!(lines.returns_at(at(110)), None);
        assert!(lines.take(1, at(110)));
        assert_eq!(lines.returns_at(at(110)), None);
    }
}
