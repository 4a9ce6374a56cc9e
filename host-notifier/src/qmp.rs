//! What a guest's QEMU tells over its QMP monitor.
//!
//! [`watch`] keeps a connection for as long as it is polled, through every
//! disappearance of the socket, and turns QMP into [`News`].

use std::convert::Infallible;
use std::future::poll_fn;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::Stream;
use isa::FeatureSet;
use qapi::futures::{QapiEvents, QapiService, QmpStreamTokio};
use qapi::qmp::{self, Event, MigrationCapability, MigrationCapabilityStatus, MigrationStatus};
use qapi::qmp::{QmpCommand, RunState};
use qapi::{Command, ExecuteError};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::cpu::{self, Accelerator, FeatureWord};

/// QEMU answers at once, or another client has the monitor.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a monitor told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A monitor is connected, or the machine was reset: this is the machine.
    Machine(Machine),
    /// No monitor, and why. Comes once for each reason.
    Absent(String),
    /// An outgoing or incoming migration has this status.
    Migration(Migration),
    /// The virtual CPUs run again.
    Resumed,
    /// The virtual CPUs stand still.
    Stopped,
    /// The machine was reset; [`News::Machine`] follows.
    Reset,
    /// The machine shuts down.
    Shutdown,
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// QEMU's version.
    pub qemu: String,
    /// Who executes.
    pub accelerator: Accelerator,
    /// What it can execute for the guest.
    pub executable: FeatureSet,
    /// Whether its guest has migrated away.
    pub left: bool,
}

/// How a migration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// It goes on; the status in QMP's word.
    Underway(&'static str),
    /// The guest has left for the destination.
    Left,
    /// The guest has arrived here.
    Arrived,
    /// It came to nothing: `failed` or `cancelled`.
    Ended(&'static str),
}

/// Why a monitor cannot be used.
#[derive(Debug, thiserror::Error)]
enum QmpError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("no greeting in {} s: does another client hold the monitor?", PATIENCE.as_secs())]
    NoGreeting,
    #[error("{command}: {error}")]
    Refused {
        command: &'static str,
        error: ExecuteError,
    },
    #[error("{command}: no answer in {} s", PATIENCE.as_secs())]
    NoAnswer { command: &'static str },
    #[error("feature-words of {cpu}: {error}")]
    Words {
        cpu: String,
        error: serde_json::Error,
    },
    #[error("closed")]
    Closed,
}

type Events = QapiEvents<QmpStreamTokio<ReadHalf<UnixStream>>>;
type Service = QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>;

/// Sends [`News`] of the monitor at `path` until nobody listens any more.
pub async fn watch(path: &Path, news: mpsc::Sender<News>) {
    let mut backoff = Backoff::new();
    let mut told = None;
    loop {
        let mut connected = false;
        let Err(error) = tokio::select! {
            ended = converse(path, &news, &mut connected) => ended,
            () = news.closed() => return,
        };
        let error = error.to_string();
        if connected {
            backoff = Backoff::new();
            told = None;
        }
        if told.as_ref() != Some(&error) {
            told = Some(error.clone());
            if news.send(News::Absent(error)).await.is_err() {
                return;
            }
        }
        sleep(backoff.next_pause()).await;
    }
}

/// One connection, until it ends or nobody listens.
async fn converse(
    path: &Path,
    news: &mpsc::Sender<News>,
    connected: &mut bool,
) -> Result<Infallible, QmpError> {
    let socket = UnixStream::connect(path).await?;
    let greeting = timeout(PATIENCE, QmpStreamTokio::open(socket)).await;
    let negotiation = greeting.map_err(|_| QmpError::NoGreeting)??;
    let version = &negotiation.capabilities.QMP.version.qemu;
    let version = format!("{}.{}.{}", version.major, version.minor, version.micro);
    let stream = timeout(PATIENCE, negotiation.negotiate()).await;
    let stream = stream.map_err(|_| QmpError::NoAnswer {
        command: "qmp_capabilities",
    })??;
    let (service, events) = stream.into_parts();

    let (heard, events_heard) = mpsc::unbounded_channel();
    let mut follow = pin!(follow(&service, version, events_heard, news, connected));
    tokio::select! {
        // The commands' answers arrive through the event stream, so both run.
        ended = listen(events, heard) => {
            // A machine's last words are followed too.
            follow.await?;
            Err(ended)
        }
        done = &mut follow => done.and(Err(QmpError::Closed)),
    }
}

async fn listen(events: Events, heard: mpsc::UnboundedSender<Event>) -> QmpError {
    let mut events = pin!(events);
    loop {
        match poll_fn(|context| Pin::as_mut(&mut events).poll_next(context)).await {
            None => return QmpError::Closed,
            Some(Err(error)) => return QmpError::Io(error),
            Some(Ok(event)) => {
                if heard.send(event).is_err() {
                    return QmpError::Closed;
                }
            }
        }
    }
}

/// Turns events into news until there are no more, or nobody listens.
async fn follow(
    service: &Service,
    version: String,
    mut events: mpsc::UnboundedReceiver<Event>,
    news: &mpsc::Sender<News>,
    connected: &mut bool,
) -> Result<(), QmpError> {
    let wanted = [MigrationCapabilityStatus {
        capability: MigrationCapability::events,
        state: true,
    }];
    let wanted = qmp::migrate_set_capabilities {
        capabilities: wanted.into(),
    };
    match execute(service, wanted).await {
        // A migration that already runs forbids it, or it was set before.
        Ok(_)
        | Err(QmpError::Refused {
            error: ExecuteError::Qapi(_),
            ..
        }) => {}
        Err(error) => return Err(error),
    }
    let machine = machine(service, &version).await?;
    *connected = true;
    if news.send(News::Machine(machine)).await.is_err() {
        return Ok(());
    }
    while let Some(event) = events.recv().await {
        let item = match event {
            Event::MIGRATION { data, .. } => match data.status {
                MigrationStatus::completed if has_left(run_state(service).await?) => {
                    News::Migration(Migration::Left)
                }
                MigrationStatus::completed => News::Migration(Migration::Arrived),
                MigrationStatus::failed => News::Migration(Migration::Ended("failed")),
                MigrationStatus::cancelled => News::Migration(Migration::Ended("cancelled")),
                other => News::Migration(Migration::Underway(qapi::Enum::name(&other))),
            },
            Event::RESUME { .. } => News::Resumed,
            Event::STOP { .. } => News::Stopped,
            Event::SHUTDOWN { .. } => News::Shutdown,
            Event::RESET { .. } => {
                if news.send(News::Reset).await.is_err() {
                    return Ok(());
                }
                News::Machine(self::machine(service, &version).await?)
            }
            _ => continue,
        };
        if news.send(item).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn machine(service: &Service, version: &str) -> Result<Machine, QmpError> {
    let accelerator = match execute(service, qmp::query_kvm {}).await {
        Ok(kvm) if kvm.enabled => Accelerator::Kvm,
        // A QEMU built without KVM does not know the command.
        Ok(_)
        | Err(QmpError::Refused {
            error: ExecuteError::Qapi(_),
            ..
        }) => Accelerator::Tcg,
        Err(error) => return Err(error),
    };
    let mut cpus = Vec::new();
    for cpu in execute(service, qmp::query_cpus_fast {}).await? {
        let path = match cpu {
            qmp::CpuInfoFast::x86_64(base) | qmp::CpuInfoFast::i386(base) => base.qom_path,
            other => format!("{other:?}"),
        };
        let property = "feature-words".to_owned();
        let words = execute(
            service,
            qmp::qom_get {
                path: path.clone(),
                property,
            },
        )
        .await?;
        let words: Vec<FeatureWord> =
            serde_json::from_value(words).map_err(|error| QmpError::Words { cpu: path, error })?;
        cpus.push(words);
    }
    let left = has_left(run_state(service).await?);
    let executable = cpu::executable(accelerator, &cpus, isa::detect());
    Ok(Machine {
        qemu: version.to_owned(),
        accelerator,
        executable,
        left,
    })
}

async fn run_state(service: &Service) -> Result<RunState, QmpError> {
    Ok(execute(service, qmp::query_status {}).await?.status)
}

/// Whether a machine in this state has given its guest away. One that
/// receives a guest is in none of these.
fn has_left(state: RunState) -> bool {
    matches!(state, RunState::postmigrate | RunState::finish_migrate)
}

async fn execute<C: Command + QmpCommand>(
    service: &Service,
    command: C,
) -> Result<C::Ok, QmpError> {
    match timeout(PATIENCE, service.execute(command)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(QmpError::Refused {
            command: C::NAME,
            error,
        }),
        // The connection is given up: a command that was abandoned half-way
        // confuses the answers of the next.
        Err(_) => Err(QmpError::NoAnswer { command: C::NAME }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_source_of_a_migration_has_given_its_guest_away() {
        for state in [RunState::postmigrate, RunState::finish_migrate] {
            assert!(has_left(state), "{state:?}");
        }
        for state in [
            RunState::inmigrate,
            RunState::running,
            RunState::paused,
            RunState::prelaunch,
        ] {
            assert!(!has_left(state), "{state:?}");
        }
    }
}
