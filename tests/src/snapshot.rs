//! Snapshots inside QEMU: `snapshot-save` and `snapshot-load`, which are
//! `savevm` and `loadvm` by their older names.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::error::{HarnessError, Result};
use crate::guest::Guest;
use crate::port::Living;
use crate::qmp::Qmp;
use crate::wire::Request;

/// How long QEMU may take for a job.
const JOB: Duration = Duration::from_secs(60);
/// The disk that holds a snapshot: memory and devices, and room for qcow2's own.
const DISK_BYTES: u64 = 4 << 30;

/// A state that a guest can be reverted to as long as it stays on its host.
#[derive(Debug)]
pub struct Snapshot {
    /// Names the disk in QEMU and the snapshot on it.
    node: String,
    living: Living,
    qemu_pid: u32,
}

impl Guest {
    /// Saves the guest's state and lets it go on.
    ///
    /// # Errors
    /// When QEMU cannot.
    pub fn save_snapshot(&self) -> Result<Snapshot> {
        self.noted(self.save())
    }

    /// Reverts the guest to a snapshot. Programs that were started since do
    /// not exist any more; those that ended since run again.
    ///
    /// # Errors
    /// When QEMU cannot, or the guest has moved since.
    pub fn load_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        self.noted(self.load(snapshot))
    }

    fn save(&self) -> Result<Snapshot> {
        static DISKS: AtomicU32 = AtomicU32::new(0);
        let node = format!("disk{}", DISKS.fetch_add(1, Ordering::Relaxed));
        let place = self.place();
        let path = place.host.folder()?.join(format!("{node}.qcow2"));
        let qmp = &place.vm.qmp;
        add_disk(qmp, &node, &path)?;
        let held = self.port().hold()?;
        // A snapshot never begins in the middle of a frame: see `load`.
        held.request(&Request::Hush)?;
        let living = self.port().living();
        run_snapshot_job(qmp, "snapshot-save", &node)?;
        held.request(&Request::Resume)?;
        Ok(Snapshot {
            node,
            living,
            qemu_pid: place.vm.pid(),
        })
    }

    fn load(&self, snapshot: &Snapshot) -> Result<()> {
        let vm = self.place().vm;
        if vm.pid() != snapshot.qemu_pid {
            return Err(HarnessError::Guest(
                "its snapshot is on the host that it left".into(),
            ));
        }
        let held = self.port().hold()?;
        // The stream that is given up ends between two frames, and that of the
        // snapshot begins between two.
        held.request(&Request::Hush)?;
        run_snapshot_job(&vm.qmp, "snapshot-load", &snapshot.node)?;
        // The job leaves the machine stopped.
        vm.qmp.execute("cont", json!({}))?;
        self.port().revert(&snapshot.living);
        held.request(&Request::Resume)?;
        Ok(())
    }
}

/// Gives QEMU an empty qcow2 disk that the guest does not see.
fn add_disk(qmp: &Qmp, node: &str, path: &PathBuf) -> Result<()> {
    let file = format!("{node}-file");
    let job = format!("{node}-create");
    let create = |options| {
        run_job(
            qmp,
            &job,
            "blockdev-create",
            json!({"job-id": job, "options": options}),
        )
    };
    create(json!({"driver": "file", "filename": path, "size": 0}))?;
    qmp.execute(
        "blockdev-add",
        json!({"driver": "file", "node-name": file, "filename": path}),
    )?;
    create(json!({"driver": "qcow2", "file": file, "size": DISK_BYTES}))?;
    qmp.execute(
        "blockdev-add",
        json!({"driver": "qcow2", "node-name": node, "file": file}),
    )?;
    Ok(())
}

fn run_snapshot_job(qmp: &Qmp, command: &str, node: &str) -> Result<()> {
    let job = format!("{node}-{command}");
    let arguments = json!({"job-id": job, "tag": node, "vmstate": node, "devices": [node]});
    run_job(qmp, &job, command, arguments)
}

/// Starts a job of QEMU's and waits until it has succeeded.
fn run_job(qmp: &Qmp, job: &str, command: &str, arguments: serde_json::Value) -> Result<()> {
    let mark = qmp.mark();
    qmp.execute(command, arguments)?;
    let concluded = |data: &serde_json::Value| data["id"] == job && data["status"] == "concluded";
    qmp.wait_event(mark, "JOB_STATUS_CHANGE", concluded, JOB)?;
    let jobs = qmp.execute("query-jobs", json!({}))?;
    let ours = jobs
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["id"] == job);
    let why = ours
        .and_then(|entry| entry["error"].as_str())
        .map(str::to_owned);
    qmp.execute("job-dismiss", json!({"id": job}))?;
    match why {
        Some(why) => Err(HarnessError::Qmp {
            command: command.to_owned(),
            why,
        }),
        None => Ok(()),
    }
}
