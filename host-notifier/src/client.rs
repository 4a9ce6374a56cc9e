//! The operator's end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::{Denial, Reply, Request};

/// Most bytes of a reply.
const MAX_REPLY: u64 = 64 * 1024 * 1024;
/// A living daemon answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a daemon did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be reached, or does not answer.
    #[error("host-notifier at {}: {error}", path.display())]
    Unreachable {
        /// Its control socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It answers something else than was asked, or nothing readable.
    #[error("host-notifier at {}: unexpected reply: {problem}", path.display())]
    Unexpected {
        /// Its control socket.
        path: PathBuf,
        /// What is odd.
        problem: String,
    },
    /// It says no.
    #[error(transparent)]
    Denied(#[from] Denial),
}

/// Asks the daemon at `path`; waits `allowed` longer than for other answers.
///
/// # Errors
/// [`ClientError`]; [`Reply::Error`] becomes [`ClientError::Denied`].
pub fn ask(path: &Path, request: &Request, allowed: Duration) -> Result<Reply, ClientError> {
    let line =
        exchange(path, request, PATIENCE + allowed).map_err(|error| ClientError::Unreachable {
            path: path.into(),
            error,
        })?;
    match serde_json::from_str(&line) {
        Ok(Reply::Error(error)) => Err(error.into()),
        Ok(reply) => Ok(reply),
        Err(error) => Err(ClientError::Unexpected {
            path: path.into(),
            problem: error.to_string(),
        }),
    }
}

/// The reply was of another kind than the request.
pub fn mismatch(path: &Path, reply: &Reply) -> ClientError {
    let kind = match reply {
        Reply::Guests(_) => "guests",
        Reply::Prepare(_) => "prepare",
        Reply::Abort(_) => "abort",
        Reply::Error(_) => "error",
    };
    ClientError::Unexpected {
        path: path.into(),
        problem: format!("it is about `{kind}`"),
    }
}

fn exchange(path: &Path, request: &Request, patience: Duration) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = String::new();
    match BufReader::new(stream.take(MAX_REPLY)).read_line(&mut reply) {
        Ok(0) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "closed without an answer",
        )),
        Ok(_) => Ok(reply),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
        }
        Err(error) => Err(error),
    }
}
