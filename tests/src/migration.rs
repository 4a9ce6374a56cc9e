//! Live migration, in one go or held in the middle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::{HarnessError, Result};
use crate::guest::{Guest, Place};
use crate::host::Host;
use crate::port::Held;
use crate::qmp::Mark;
use crate::vm::{Memory, Sockets, Vm};

/// How long a migration may take.
const MOVE: Duration = Duration::from_secs(60);
/// Bytes a second that hold a migration in its first phase: the guest's memory
/// would need most of an hour.
const TRICKLE: u64 = 32 << 10;
/// Bytes a second of a migration in one go.
const FULL: u64 = 4 << 30;

/// Where a migration waits for the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nowhere.
    Nowhere,
    /// While memory is copied: the guest runs on the source.
    Copying,
    /// Before the switch-over: the guest is stopped and nothing but the rest
    /// of its state is missing on the destination. Programs in the guest
    /// cannot be started now.
    SwitchOver,
}

/// What a migration took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// How long the guest stood still, as QEMU reports it.
    pub downtime: Duration,
    /// From command to completion, as QEMU reports it.
    pub total: Duration,
    /// When the harness saw the destination run.
    pub arrived: Instant,
}

/// A live migration under way. Dropping it cancels it.
#[derive(Debug)]
pub struct Migration<'a> {
    guest: &'a Guest,
    from: Place,
    to: Place,
    /// Set once nothing may be sent to the guest.
    held: Option<Held<'a>>,
    hold: Hold,
    marks: Marks,
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Marks {
    source: Mark,
    destination: Mark,
}

/// The source's QEMU, kept after the guest left it. Its sockets still take
/// connections and deliver what is buffered in them. Dropping it kills it.
#[derive(Debug)]
pub struct LeftBehind(Arc<Vm>);

impl LeftBehind {
    /// Its sockets.
    #[must_use]
    pub fn sockets(&self) -> Sockets {
        self.0.sockets.clone()
    }
}

impl<'a> Migration<'a> {
    pub(crate) fn start(guest: &'a Guest, destination: &Host, hold: Hold) -> Result<Self> {
        let from = guest.place();
        let vm = destination.start(guest.name(), guest.image(), Memory::Own, true)?;
        let to = Place {
            host: destination.clone(),
            vm: Arc::new(vm),
        };
        let marks = Marks {
            source: from.vm.qmp.mark(),
            destination: to.vm.qmp.mark(),
        };
        let mut migration = Self {
            guest,
            from,
            to,
            held: None,
            hold,
            marks,
            over: false,
        };
        migration
            .begin()
            .map_err(|error| migration.to.vm.explain(error))?;
        Ok(migration)
    }

    fn begin(&mut self) -> Result<()> {
        let (source, destination) = (&self.from.vm.qmp, &self.to.vm.qmp);
        for qmp in [source, destination] {
            qmp.set_capability("pause-before-switchover", self.hold == Hold::SwitchOver)?;
        }
        let bandwidth = if self.hold == Hold::Copying {
            TRICKLE
        } else {
            FULL
        };
        self.set_bandwidth(bandwidth)?;
        let uri = format!("unix:{}", self.to.vm.sockets.migration().display());
        destination.execute("migrate-incoming", json!({"uri": uri}))?;
        if self.hold != Hold::Copying {
            self.held = Some(self.guest.port().hold()?);
        }
        source.execute("migrate", json!({"uri": uri}))?;
        let waits_at = match self.hold {
            Hold::Nowhere => return Ok(()),
            Hold::Copying => "active",
            Hold::SwitchOver => "pre-switchover",
        };
        let statuses = [waits_at, "completed", "failed", "cancelled"];
        let status = self
            .from
            .vm
            .wait_migration_status(self.marks.source, &statuses, MOVE)?;
        if status == waits_at {
            Ok(())
        } else {
            Err(HarnessError::Migration {
                status,
                why: format!("it was to wait at {waits_at}"),
            })
        }
    }

    /// The sockets of the destination's machine.
    #[must_use]
    pub fn destination_sockets(&self) -> Sockets {
        self.to.vm.sockets.clone()
    }

    /// Lets the migration go on, and waits until the guest runs on the
    /// destination and the source's QEMU ended.
    ///
    /// # Errors
    /// [`HarnessError::Migration`] when QEMU could not: the guest is where it was.
    pub fn finish(self) -> Result<Moved> {
        let guest = self.guest;
        let (moved, left) = self.finish_and_keep_source()?;
        guest.noted(left.0.quit())?;
        Ok(moved)
    }

    /// As [`Migration::finish`], with the source's QEMU left alive.
    ///
    /// # Errors
    /// As [`Migration::finish`].
    pub fn finish_and_keep_source(mut self) -> Result<(Moved, LeftBehind)> {
        let completed = self.complete();
        let moved = self.guest.noted(completed)?;
        let left = self.guest.arrive(self.to.clone());
        Ok((moved, LeftBehind(left.vm)))
    }

    fn complete(&mut self) -> Result<Moved> {
        let (source, destination) = (&self.from.vm, &self.to.vm);
        if self.held.is_none() {
            self.held = Some(self.guest.port().hold()?);
        }
        match self.hold {
            Hold::Nowhere => {}
            Hold::Copying => self.set_bandwidth(FULL)?,
            Hold::SwitchOver => {
                let state = json!({"state": "pre-switchover"});
                source.qmp.execute("migrate-continue", state)?;
            }
        }
        // Connected before the guest arrives, it never sees its port closed.
        let harness = destination.connect_harness()?;
        source.wait_migrated(self.marks.source, MOVE)?;
        destination.wait_migrated(self.marks.destination, MOVE)?;
        destination
            .qmp
            .wait_event(self.marks.destination, "RESUME", |_| true, MOVE)?;
        let arrived = Instant::now();
        self.over = true;
        if let Some(held) = &self.held {
            held.switch_to(harness)?;
        }
        let answer = source.qmp.execute("query-migrate", json!({}))?;
        let milliseconds =
            |name: &str| Duration::from_millis(answer[name].as_u64().unwrap_or_default());
        Ok(Moved {
            downtime: milliseconds("downtime"),
            total: milliseconds("total-time"),
            arrived,
        })
    }

    /// Gives the migration up: the guest goes on on the source.
    ///
    /// # Errors
    /// When QEMU does not obey, for it has completed the migration already.
    pub fn cancel(mut self) -> Result<()> {
        let cancelled = self.cancel_and_wait();
        self.guest.noted(cancelled)
    }

    fn cancel_and_wait(&mut self) -> Result<()> {
        self.over = true;
        let source = &self.from.vm;
        source.qmp.execute("migrate_cancel", json!({}))?;
        let statuses = ["cancelled", "completed", "failed"];
        let status = source.wait_migration_status(self.marks.source, &statuses, MOVE)?;
        if status == "completed" {
            return Err(HarnessError::Migration {
                status,
                why: "too late to cancel".into(),
            });
        }
        self.to.vm.kill();
        self.set_bandwidth(FULL)
    }

    /// Ends the destination's QEMU by SIGKILL. The migration then fails and
    /// the guest goes on on the source.
    pub fn kill_destination(&self) {
        self.to.vm.kill();
    }

    /// Waits until QEMU gives the migration up.
    ///
    /// # Errors
    /// When it completed instead.
    pub fn wait_failed(mut self) -> Result<()> {
        let statuses = ["failed", "completed", "cancelled"];
        let status = self
            .from
            .vm
            .wait_migration_status(self.marks.source, &statuses, MOVE);
        self.over = true;
        match self.guest.noted(status)?.as_str() {
            "failed" => Ok(()),
            other => Err(HarnessError::Migration {
                status: other.to_owned(),
                why: String::new(),
            }),
        }
    }

    fn set_bandwidth(&self, bytes_a_second: u64) -> Result<()> {
        let parameters = json!({"max-bandwidth": bytes_a_second});
        self.from
            .vm
            .qmp
            .execute("migrate-set-parameters", parameters)
            .map(drop)
    }
}

impl Drop for Migration<'_> {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.cancel_and_wait();
        }
    }
}
