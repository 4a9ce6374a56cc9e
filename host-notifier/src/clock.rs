//! The clock that the sessions run on.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use protocol::Moment;

/// Now, on `CLOCK_MONOTONIC`: comparable between the processes of one host.
pub fn now() -> Moment {
    // The clock exists on every Linux, so the default is never used.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .unwrap_or_default();
    Moment::from_micros(u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}
