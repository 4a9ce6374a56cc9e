//! Tests that this machine cannot run.

use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

/// The environment's name for the file that takes the reasons; `cargo xtask
/// test` sets it, prints each of them and counts them.
const SKIPS: &str = "ISAHOTPLUG_SKIPS";

/// Says that the calling test cannot run on this machine, and why.
///
/// libtest has no skipped tests, so the test has to return right after this:
///
/// ```no_run
/// # fn has_kvm() -> bool { false }
/// if !has_kvm() {
///     return isahotplug_tests::skip("there is no KVM that runs guests");
/// }
/// ```
///
/// # Panics
/// If the reason cannot be written down: a test must not vanish.
pub fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("{test} is skipped: {reason}");
    let Some(path) = std::env::var_os(SKIPS) else {
        return;
    };
    let line = format!("{test}\t{}\n", reason.replace('\n', " "));
    // One write in append mode: lines of programs side by side stay whole.
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("writing to {}: {error}", path.display());
    }
}
