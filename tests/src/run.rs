//! One run of a test: its slot on this machine, its sockets and its logs.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::error::{Doing, HarnessError, Result};
use crate::places;

/// A unix socket's path has at most 107 bytes (`sun_path` of unix(7)); the
/// names that the harness adds to the folder need 40 of them.
const LONGEST_SOCKET_FOLDER: usize = 67;

/// How the folders of sockets begin.
const SOCKETS: &str = "isahotplug-";
/// The file in each of them that is locked while it is in use.
const ALIVE: &str = "alive";
/// A file that is no older may be about to be locked.
const NEW: Duration = Duration::from_secs(60);

/// How long the logs of a failed test are kept.
const LOGS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What all hosts and guests of one test share.
///
/// The first host of a test makes it, the last of its hosts and guests ends
/// it. It holds one of as many slots as the machine has CPUs, over all test
/// programs that run; a test may have several machines in its slot, for most
/// of the time only one of them computes.
#[derive(Debug)]
pub(crate) struct Run {
    logs: PathBuf,
    sockets: tempfile::TempDir,
    keep_logs: AtomicBool,
    names: AtomicU32,
    /// Both are locked; the kernel lets go of them when the program ends.
    _alive: File,
    _slot: File,
}

thread_local! {
    static CURRENT: RefCell<Weak<Run>> = const { RefCell::new(Weak::new()) };
}

impl Run {
    /// The run of the test on this thread.
    pub(crate) fn current() -> Result<Arc<Self>> {
        if let Some(run) = CURRENT.with_borrow(Weak::upgrade) {
            return Ok(run);
        }
        let run = Arc::new(Self::start()?);
        CURRENT.set(Arc::downgrade(&run));
        Ok(run)
    }

    fn start() -> Result<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let slot = take_slot()?;
        let (sockets, alive) = socket_folder()?;
        // libtest names a test's thread after the test.
        let test = thread::current().name().unwrap_or("run").replace("::", ".");
        let unique = format!(
            "{}-{}",
            std::process::id(),
            RUNS.fetch_add(1, Ordering::Relaxed)
        );
        let all_logs = places::vm_dir("logs")?;
        forget_old_logs(&all_logs);
        let logs = all_logs.join(format!("{test}-{unique}"));
        fs::create_dir_all(&logs).doing(|| format!("making {}", logs.display()))?;
        Ok(Self {
            logs,
            sockets,
            _alive: alive,
            keep_logs: AtomicBool::new(false),
            names: AtomicU32::new(0),
            _slot: slot,
        })
    }

    /// The folder of this run's logs.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }

    /// The folder for this run's sockets, short enough for unix(7).
    pub(crate) fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    /// A number that no other log file of this run has.
    pub(crate) fn number(&self) -> u32 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    /// The path of a new log file.
    pub(crate) fn new_log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{:02}-{name}.log", self.number()))
    }

    /// Keeps the logs though the test may not panic: an error was returned.
    pub(crate) fn note_failure<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.keep_logs.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// The error of something that had to fail; the test's logs are then not kept
/// for its sake.
///
/// # Panics
/// If it succeeded.
#[must_use]
pub fn must_fail<T>(result: Result<T>) -> HarnessError {
    match result {
        Ok(_) => panic!("this had to fail"),
        Err(error) => {
            if let Some(run) = CURRENT.with_borrow(Weak::upgrade) {
                run.keep_logs.store(false, Ordering::Relaxed);
            }
            error
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if thread::panicking() || self.keep_logs.load(Ordering::Relaxed) {
            eprintln!("the machines' logs are in {}", self.logs.display());
        } else {
            let _ = fs::remove_dir_all(&self.logs);
        }
    }
}

/// Removes the logs of failures that are a week old.
fn forget_old_logs(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if age(&entry.path()) > LOGS_KEPT {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes the folder of a run's sockets, with a file in it that is locked as
/// long as the run lasts; folders of programs that were killed are removed.
fn socket_folder() -> Result<(tempfile::TempDir, File)> {
    let short = |folder: &Path| folder.as_os_str().as_bytes().len() + 20 < LONGEST_SOCKET_FOLDER;
    let preferred = std::env::temp_dir();
    let parent = if short(&preferred) {
        preferred
    } else {
        PathBuf::from("/tmp")
    };
    remove_left_sockets(&parent);
    let doing = || format!("making a folder in {}", parent.display());
    let folder = tempfile::Builder::new()
        .prefix(SOCKETS)
        .tempdir_in(&parent)
        .doing(doing)?;
    let alive = File::create(folder.path().join(ALIVE)).doing(doing)?;
    alive.lock().doing(doing)?;
    Ok((folder, alive))
}

fn remove_left_sockets(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().as_bytes().starts_with(SOCKETS.as_bytes()) {
            continue;
        }
        let alive = entry.path().join(ALIVE);
        // One that was just made may not be locked yet; it has no file then.
        let is_dead = File::open(&alive).is_ok_and(|file| file.try_lock().is_ok());
        if is_dead && age(&alive) > NEW {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// How long ago a file was changed; nothing if it cannot be seen.
fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.map_or(Duration::ZERO, |time| {
        SystemTime::now().duration_since(time).unwrap_or_default()
    })
}

/// Waits for one of the machine's slots.
fn take_slot() -> Result<File> {
    let folder = places::vm_dir("slots")?;
    let count = thread::available_parallelism().map_or(1, usize::from);
    let open = |slot: usize| {
        let path = folder.join(slot.to_string());
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .doing(|| format!("opening {}", path.display()))
    };
    for slot in 0..count {
        let file = open(slot)?;
        if file.try_lock().is_ok() {
            return Ok(file);
        }
    }
    // All are taken: stand in one queue, chosen so that the queues are even.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let turn = std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let file = open(turn as usize % count)?;
    file.lock().doing(|| "waiting for a slot".into())?;
    Ok(file)
}

impl HarnessError {
    /// Whether this is the end of a wait rather than a refusal.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}
