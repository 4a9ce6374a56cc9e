//! The shared page in the run directory.
//!
//! The page outlives the agent: one that starts goes on in the page that it
//! finds, so that processes keep their mapping and no generation repeats. A
//! page that is damaged is replaced by another under the same name and marked
//! as retired, which tells its readers to open the name anew.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use isa::FeatureSet;
use protocol::Moment;
use protocol::availability::Publication;
use protocol::page::SIZE;

use crate::mapping::Mapping;

/// The page's file in the run directory.
pub(crate) const PAGE: &str = "page";
/// The file whose lock says who owns the run directory. It is the agent's
/// alone: the page can be locked by everybody who can read it.
const LOCK: &str = "agent.lock";

/// Why the run directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Another agent has it.
    #[error("another guest-agent{0} serves {1}")]
    Taken(String, PathBuf),
    /// The system refused something.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// The run directory, locked for this agent.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    /// Closing it gives the lock up.
    _lock: File,
}

impl RunDir {
    /// Makes the directory if it is not there, and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, RunDirError> {
        let io = |error| RunDirError::Io(path.to_path_buf(), error);
        if !path.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .map_err(io)?;
            // Whatever our umask is, everybody must get at the page.
            fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(io)?;
        }
        let lock_path = path.join(LOCK);
        let io = |error| RunDirError::Io(lock_path.clone(), error);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut lock = options
            .custom_flags(libc::O_NOFOLLOW)
            .open(&lock_path)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&lock_path).unwrap_or_default();
                let pid = holder
                    .trim()
                    .parse::<u32>()
                    .map(|pid| format!(" (pid {pid})"));
                return Err(RunDirError::Taken(
                    pid.unwrap_or_default(),
                    path.to_path_buf(),
                ));
            }
            Err(fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self {
            path: path.to_path_buf(),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The page, and what it held when it was opened.
#[derive(Debug)]
pub(crate) struct SharedPage {
    mapping: Mapping,
}

/// How the page was come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There was none.
    Nothing,
    /// An earlier agent's, gone on with.
    Kept,
    /// It was of no use, for this reason.
    Replaced(String),
}

impl SharedPage {
    /// Opens the page of an earlier agent, or makes one. `visible` is what
    /// CPUID shows, for a page that is made; the publication returned is in the
    /// page.
    pub(crate) fn open(
        run_dir: &RunDir,
        visible: FeatureSet,
        now: Moment,
    ) -> Result<(Self, Publication, Found), RunDirError> {
        let path = run_dir.path.join(PAGE);
        let io = |error| RunDirError::Io(path.clone(), error);
        let fresh = Publication {
            generation: 1,
            available: visible,
            visible,
            since: now,
            ..Publication::default()
        };
        let old = match open_mapping(&path) {
            Ok(mapping) => mapping,
            Err(error) => {
                let found = match error.kind() {
                    io::ErrorKind::NotFound => Found::Nothing,
                    _ => Found::Replaced(error.to_string()),
                };
                let mapping = make(&path, &fresh).map_err(io)?;
                return Ok((Self { mapping }, fresh, found));
            }
        };
        match readable(&old, now) {
            // Programs have gone by what CPUID showed when the guest booted, also
            // where it shows something else since a move, as under TCG.
            Ok(kept) => Ok((Self { mapping: old }, kept, Found::Kept)),
            Err(problem) => {
                // Readers remember the generation that they have seen.
                let next = match old.check() {
                    Ok(()) if old.generation() < u64::MAX / 2 => old.generation() + 1,
                    _ => 1,
                };
                let fresh = Publication {
                    generation: next,
                    ..fresh
                };
                let mapping = make(&path, &fresh).map_err(io)?;
                if old.check().is_ok() {
                    old.retire();
                }
                Ok((Self { mapping }, fresh, Found::Replaced(problem)))
            }
        }
    }

    /// Publishes: one write, whoever reads.
    pub(crate) fn publish(&self, publication: &Publication) {
        self.mapping.publish(publication);
    }
}

/// What the page of `run_dir` holds, for one who only reads.
///
/// # Errors
/// If there is no page that can be read.
pub(crate) fn read(run_dir: &Path) -> io::Result<Publication> {
    let mapping = Mapping::new(&File::open(run_dir.join(PAGE))?, false)?;
    mapping
        .read()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn open_mapping(path: &Path) -> io::Result<Mapping> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a regular file",
        ));
    }
    file.set_permissions(Permissions::from_mode(0o644))?;
    Mapping::new(&file, true)
}

/// What an earlier agent published in this boot of the guest, or why its page
/// cannot be gone on with.
fn readable(page: &Mapping, now: Moment) -> Result<Publication, String> {
    let held = page.read().map_err(|error| error.to_string())?;
    if page.is_retired() {
        return Err("retired".into());
    }
    if held.since > now {
        return Err("published in the future: it is of an earlier boot".into());
    }
    Ok(held)
}

/// Makes a page with `publication` in it and puts it at `path`, in one step.
fn make(path: &Path, publication: &Publication) -> io::Result<Mapping> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&draft)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.set_len(SIZE as u64)?;
    let mapping = Mapping::new(&file, true)?;
    let random = || getrandom::u64().map_err(io::Error::other);
    mapping.format([random()?, random()?]);
    mapping.publish(publication);
    fs::rename(&draft, path)?;
    Ok(mapping)
}
