//! A state that one thread changes and others wait for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A value behind a lock. Whoever waits is woken by every [`Watched::change`].
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    /// The value, to look at, or to change where nobody waits for the change.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes everybody who waits.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Looks at the value, again after each change, until `look` finds
    /// something. `None` when the time is over.
    pub(crate) fn wait<R>(
        &self,
        within: Duration,
        mut look: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + within;
        let mut value = self.lock();
        loop {
            let found = look(&mut value);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || left.is_zero() {
                return found;
            }
            let waited = self.changed.wait_timeout(value, left);
            (value, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_change_wakes_who_waits_for_it() {
        let watched = Watched::<u32>::default();
        let (looked, looks) = mpsc::channel();
        thread::scope(|scope| {
            let watched = &watched;
            let waiter = scope.spawn(move || {
                watched.wait(Duration::from_secs(20), |value| {
                    looked.send(*value).unwrap();
                    (*value == 2).then_some("two")
                })
            });
            for expected in [0, 1] {
                assert_eq!(looks.recv_timeout(Duration::from_secs(10)), Ok(expected));
                watched.change(|value| *value += 1);
            }
            assert_eq!(looks.recv_timeout(Duration::from_secs(10)), Ok(2));
            assert_eq!(waiter.join().unwrap(), Some("two"));
        });
    }

    #[test]
    fn what_is_there_is_found_without_waiting_and_nothing_else_is() {
        let watched = Watched::<u32>::default();
        assert_eq!(watched.wait(Duration::ZERO, |value| Some(*value)), Some(0));
        assert_eq!(watched.wait(Duration::ZERO, |_| None::<()>), None);
    }
}
