//! Waiting for the end of a callback that runs on another thread.

use std::sync::PoisonError;

use crate::sync::{Condvar, MutexGuard, ThreadId, current};

/// Who runs what, and who waits for whom; guarded by the lock that a [`Condvar`] belongs to.
pub(crate) trait Callbacks {
    /// The thread that runs the callback, or `release`, of registration `id`.
    fn runner(&self, id: u64) -> Option<ThreadId>;
    /// Threads that wait, and for what.
    fn waiting(&mut self) -> &mut Vec<(ThreadId, u64)>;
}

/// Somebody waits, over any number of others, for the calling thread.
#[derive(Debug)]
pub(crate) struct WaitsForItself;

/// Whether the callback `id` runs on a thread that waits, over any number of others, for one that `me`
/// runs.
fn waits_for(callbacks: &mut impl Callbacks, me: ThreadId, id: u64) -> bool {
    let mut seen = Vec::new();
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        let Some(runner) = callbacks.runner(id) else {
            continue;
        };
        if runner == me {
            return true;
        }
        if !seen.contains(&runner) {
            seen.push(runner);
            let waits = callbacks.waiting().iter();
            next.extend(
                waits
                    .filter(|(waiter, _)| *waiter == runner)
                    .map(|(_, id)| *id),
            );
        }
    }
    false
}

/// Waits until the callback of registration `id`, which has ended, runs on no thread but this one.
/// Whoever lets one end notifies `changed`. `callbacks` finds them under the lock; `None` if there are
/// none any more.
///
/// # Errors
/// [`WaitsForItself`], at once.
pub(crate) fn wait<'a, T, C: Callbacks>(
    mut guard: MutexGuard<'a, T>,
    changed: &Condvar,
    id: u64,
    callbacks: impl Fn(&mut T) -> Option<&mut C>,
) -> (MutexGuard<'a, T>, Result<(), WaitsForItself>) {
    let me = current().id();
    while let Some(held) = callbacks(&mut guard) {
        held.waiting().retain(|waiter| *waiter != (me, id));
        match held.runner(id) {
            Some(runner) if runner != me => {}
            _ => break,
        }
        if waits_for(held, me, id) {
            return (guard, Err(WaitsForItself));
        }
        held.waiting().push((me, id));
        guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    (guard, Ok(()))
}
