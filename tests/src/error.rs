//! What can go wrong between a test and its machines.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The harness's result.
pub type Result<T, E = HarnessError> = std::result::Result<T, E>;

/// Why the harness could not do what a test asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HarnessError {
    /// A system call on the test machine failed.
    #[error("{doing}: {source}")]
    Io {
        /// What the harness was doing.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Something that set-up or the build makes is not there.
    #[error("{what} is missing ({}): run `{make_it}`", .path.display())]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// The command that makes it.
        make_it: String,
    },
    /// A program of the test machine that the harness uses failed.
    #[error("{program} failed: {output}")]
    Tool {
        /// The command.
        program: String,
        /// What it wrote.
        output: String,
    },
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {why}")]
    Qmp {
        /// The QMP command.
        command: String,
        /// QEMU's description.
        why: String,
    },
    /// What was waited for did not happen in time.
    #[error("waited {after:?} for {what}")]
    Timeout {
        /// What was waited for, and what was seen instead.
        what: String,
        /// How long.
        after: Duration,
    },
    /// QEMU is no longer there.
    #[error("QEMU ended: {0}")]
    QemuEnded(String),
    /// A migration did not complete; the guest is still on its source unless
    /// that ended too.
    #[error("the migration ended as \"{status}\": {why}")]
    Migration {
        /// QEMU's migration status, `failed` or `cancelled`.
        status: String,
        /// QEMU's description, empty where it has none.
        why: String,
    },
    /// PID 1 of the guest refused a request.
    #[error("the guest refused: {0}")]
    Guest(String),
    /// A program in the guest ended in another way than the caller required.
    #[error("{program} ended with {status}\nstdout: {stdout}\nstderr: {stderr}")]
    Program {
        /// The command.
        program: String,
        /// How it ended.
        status: String,
        /// Its standard output.
        stdout: String,
        /// Its standard error.
        stderr: String,
    },
    /// The stream on the harness port is broken.
    #[error(transparent)]
    Wire(#[from] crate::wire::Malformed),
}

/// Names what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Adds the sentence that [`HarnessError::Io`] begins with.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| HarnessError::Io {
            doing: what(),
            source: source.into(),
        })
    }
}
