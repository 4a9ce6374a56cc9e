//! The daemon, run as a program between a host that the test plays and
//! processes that the test plays. Nothing here sleeps: every wait is for
//! something that is said, written or woken, and fails after [`PATIENCE`].
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod baseline;
mod channel;
mod daemon;
mod host;
mod page;
mod prepares;
mod process;
mod processes;
mod traps;

use std::time::Duration;

/// How long anything is waited for before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Notes that a case could not be tried on this machine.
fn skip(test: &str, reason: &str) {
    use std::io::Write;
    eprintln!("skipped: {test}: {reason}");
    if let Some(path) = std::env::var_os("ISAHOTPLUG_SKIPS") {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        writeln!(file.unwrap(), "{test}: {reason}").unwrap();
    }
}
