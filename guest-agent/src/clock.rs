//! The guest's clock.

use nix::time::{ClockId, clock_gettime};
use protocol::Moment;

/// `CLOCK_MONOTONIC`, which goes on across a migration.
///
/// # Panics
/// Never: the clock is there on every Linux.
pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC always exists");
    let whole = u64::try_from(time.tv_sec()).unwrap_or_default() * 1_000_000;
    Moment::from_micros(whole + u64::try_from(time.tv_nsec()).unwrap_or_default() / 1000)
}
