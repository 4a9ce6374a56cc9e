//! Files that are expensive to make, made once for all test programs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Doing, Result};
use crate::places;

/// A thing that nobody used for so long may go when another is made.
const STALE: Duration = Duration::from_secs(2 * 3600);

/// Returns `target/vm/<kind>/<name>`, made by `make` if it is not there.
///
/// Of several programs that want it at the same time one makes it while the
/// others wait. `make` is given a path to fill, a file or a folder, which
/// appears under its name when it is complete.
pub(crate) fn cached(
    kind: &str,
    name: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = places::vm_dir(kind)?;
    let path = folder.join(name);
    if path.exists() {
        touch(&path);
        return Ok(path);
    }
    let lock = folder.join(format!("{name}.lock"));
    let lock_file = File::create(&lock).doing(|| format!("making {}", lock.display()))?;
    lock_file
        .lock()
        .doing(|| format!("waiting for {}", lock.display()))?;
    if !path.exists() {
        remove_stale(&folder, &lock);
        let unfinished = folder.join(format!("{name}.unfinished"));
        remove(&unfinished);
        make(&unfinished)?;
        fs::rename(&unfinished, &path).doing(|| format!("making {}", path.display()))?;
    }
    Ok(path)
}

/// Says that it is in use: its lock file's time is when it was last wanted.
fn touch(path: &Path) {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    if let Ok(lock) = File::options().write(true).open(lock) {
        let _ = lock.set_modified(SystemTime::now());
    }
}

/// Removes what nobody wanted for long.
fn remove_stale(folder: &Path, but: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let locks = entries.map(|entry| entry.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "lock")
            && path != but
    });
    for lock in locks {
        let age = fs::metadata(&lock)
            .and_then(|metadata| metadata.modified())
            .map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        let held = || File::open(&lock).is_ok_and(|file| file.try_lock().is_err());
        if age.is_ok_and(|age| age > STALE) && !held() {
            remove(&lock.with_extension(""));
            remove(&lock.with_extension("unfinished"));
            remove(&lock);
        }
    }
}

fn remove(path: &Path) {
    let _ = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}
