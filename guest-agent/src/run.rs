//! `guest-agent run`: the loop around the agent.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::clock;
use crate::page::RunDirError;
use crate::port::Place;

/// What the daemon is told on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory of page and socket.
    pub run_dir: PathBuf,
    /// The channel to the host.
    pub place: Place,
}

/// Why the daemon ended, other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The run directory cannot be had.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The event loop failed.
    #[error("event loop: {0}")]
    EventLoop(#[from] std::io::Error),
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`] if it cannot start, or cannot go on.
pub fn run(options: Options) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), RunError> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut agent = Agent::new(&options.run_dir, options.place, clock::now())?;
    let poller = agent.poller().duplicate()?;
    // SAFETY: an OwnedFd is open, and is the same descriptor, until it is dropped.
    let ready = unsafe { AsyncFd::register_with_interest(poller, Interest::READABLE) }
        .map_err(std::io::Error::from)?;
    let why = loop {
        let now = clock::now();
        agent.tick(now);
        let wait = agent
            .deadline(now)
            .map_or(Duration::MAX, |at| at.since(clock::now()));
        tokio::select! {
            biased;
            _ = terminated.recv() => break "SIGTERM",
            _ = interrupted.recv() => break "SIGINT",
            guard = ready.readable() => {
                if !agent.serve_ready(clock::now())? {
                    guard?.clear_ready();
                }
            }
            () = pause(wait) => {}
        }
    };
    agent.stop(why, clock::now());
    Ok(())
}

/// Waits; if there is nothing to wait for, signals and descriptors still get
/// their turn.
async fn pause(wait: Duration) {
    if wait.is_zero() {
        yield_now().await;
    } else {
        sleep(wait).await;
    }
}
