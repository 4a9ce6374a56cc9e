//! The daemon: guests' tasks and the control socket.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::Config;
use crate::control::{Aborted, Denial, ErrorKind, MAX_REQUEST, Reply, Request, set_of};
use crate::guest::{self, Removal, Requests};
use crate::identity::Identity;

/// Pause after a connection could not be accepted (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A control socket that is ours until this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: StdListener,
    path: PathBuf,
    /// Held for as long as we live; tells a living daemon from a stale socket.
    _lock: File,
}

/// Why the control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A living daemon has it.
    #[error("control socket {}: another host-notifier serves it", .0.display())]
    Served(PathBuf),
    /// Something else is there.
    #[error("control socket {}: there is something that is no socket", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("control socket {}: {error}", path.display())]
    Io {
        /// Which socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl ControlSocket {
    /// Opens the control socket, mode 0600. One that no daemon serves any more
    /// is replaced; its directory is made if only that is missing.
    ///
    /// # Errors
    /// [`ControlError`]
    pub fn open(path: &Path) -> Result<Self, ControlError> {
        let io = |error| ControlError::Io {
            path: path.into(),
            error,
        };
        let served = || ControlError::Served(path.into());
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            fs::create_dir(directory).map_err(io)?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(lock_path)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(served()),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ControlError::NoSocket(path.into()));
            }
            // The lock is ours, but what listens may not know of locks.
            Ok(_) if StdStream::connect(path).is_ok() => return Err(served()),
            Ok(_) => fs::remove_file(path).map_err(io)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        let listener = bind_private(path).map_err(io)?;
        Ok(Self {
            listener,
            path: path.into(),
            _lock: lock,
        })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Nothing can be done about it here; the next daemon replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Nobody can connect before the mode is set: only then it listens.
fn bind_private(path: &Path) -> io::Result<StdListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &UnixAddr::new(path)?,
    )?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket.into())
}

/// Serves the guests of `config` until `ended` completes.
///
/// # Errors
/// What the system says when the control socket cannot be used.
pub async fn serve(
    config: Config,
    identity: &Identity,
    control: &ControlSocket,
    ended: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(control.listener.try_clone()?)?;
    let mut tasks = JoinSet::new();
    let guests: BTreeMap<String, Requests> = config
        .guests
        .into_iter()
        .map(|guest| {
            (
                guest.name.clone(),
                guest::serve(guest, identity, &mut tasks),
            )
        })
        .collect();
    let guests = Arc::new(guests);
    tokio::select! {
        () = ended => {}
        () = accept(&listener, &guests) => {}
    }
    tasks.shutdown().await;
    Ok(())
}

async fn accept(listener: &UnixListener, guests: &Arc<BTreeMap<String, Requests>>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let guests = Arc::clone(guests);
                    clients.spawn(async move {
                        if let Err(error) = attend(client, &guests).await {
                            info!("control: client lost: {error}");
                        }
                    });
                }
                Err(error) => {
                    warn!("control: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn attend(client: UnixStream, guests: &BTreeMap<String, Requests>) -> io::Result<()> {
    let (read, mut write) = client.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX) + 1;
        if (&mut read).take(limit).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let request = if line.len() > MAX_REQUEST {
            Err(format!("a request of more than {MAX_REQUEST} bytes"))
        } else {
            serde_json::from_slice(&line).map_err(|error| error.to_string())
        };
        let reply = match request {
            Ok(request) => answer(request, guests).await,
            Err(problem) => Err(Denial::new(ErrorKind::BadRequest, problem)),
        };
        let bad = matches!(&reply, Err(error) if error.kind == ErrorKind::BadRequest);
        let mut reply = serde_json::to_vec(&reply.unwrap_or_else(Reply::Error))?;
        reply.push(b'\n');
        write.write_all(&reply).await?;
        if bad {
            info!("control: a client was dropped for a bad request");
            return Ok(());
        }
    }
}

async fn answer(request: Request, guests: &BTreeMap<String, Requests>) -> Result<Reply, Denial> {
    match request {
        Request::Guests {} => {
            let mut all = Vec::new();
            for requests in guests.values() {
                all.push(ask(requests, guest::Request::Status).await?);
            }
            Ok(Reply::Guests(all))
        }
        Request::Status { guest } => {
            let requests = find(&guest, guests)?;
            Ok(Reply::Guests(vec![
                ask(requests, guest::Request::Status).await?,
            ]))
        }
        Request::Prepare {
            guest,
            lost,
            available,
            deadline_ms,
        } => {
            let set = |names: &[String]| {
                set_of(names).map_err(|e| Denial::new(ErrorKind::UnknownFeature, e.to_string()))
            };
            let removal = match (lost, available) {
                (Some(lost), None) => Removal::Lost(set(&lost)?),
                (None, Some(available)) => Removal::DownTo(set(&available)?),
                _ => {
                    let message = "prepare takes either `lost` or `available`";
                    return Err(Denial::new(ErrorKind::BadRequest, message));
                }
            };
            let requests = find(&guest, guests)?;
            let allowed = Duration::from_millis(deadline_ms.into());
            let prepare = |answer| guest::Request::Prepare {
                removal,
                allowed,
                answer,
            };
            Ok(Reply::Prepare(ask(requests, prepare).await??))
        }
        Request::Abort { guest } => {
            let told = ask(find(&guest, guests)?, guest::Request::Abort).await?;
            Ok(Reply::Abort(Aborted { told }))
        }
    }
}

fn find<'a>(name: &str, guests: &'a BTreeMap<String, Requests>) -> Result<&'a Requests, Denial> {
    guests.get(name).ok_or_else(|| {
        let there: Vec<&str> = guests.keys().map(String::as_str).collect();
        let message = format!("no guest `{name}` here; there are: {}", there.join(", "));
        Denial::new(ErrorKind::UnknownGuest, message)
    })
}

async fn ask<T>(
    requests: &Requests,
    request: impl FnOnce(oneshot::Sender<T>) -> guest::Request,
) -> Result<T, Denial> {
    let stopping = || Denial::new(ErrorKind::Stopping, "the daemon ends");
    let (wanted, answer) = oneshot::channel();
    requests
        .send(request(wanted))
        .await
        .map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}
