//! Starting a program under the preload object.
//!
//! `LD_PRELOAD` does it, but where the dynamic linker cannot load the object, or ignores the variable,
//! it says so with a warning at best, and the program runs without a seatbelt. So what can be known
//! beforehand is looked at here, and a program that would get none is not started.
//!
//! The program takes the place of the agent's process (execve(2)), as with env(1).

mod environment;
mod kind;
mod program;

use std::convert::Infallible;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use isa::FeatureSet;
use nix::sys::signal::{SigHandler, Signal};

use crate::baseline;
use kind::Kind;
pub use program::Refusal;

/// File name of the preload object.
const OBJECT: &str = "libisahotplug_preload.so";

/// What is to be started, and how.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// The preload object; looked for beside the agent and in the system's folders if not given.
    pub preload: Option<PathBuf>,
    /// What glibc may use beyond x86-64-v1; `None` leaves it its own choice.
    pub baseline: Option<FeatureSet>,
    /// Where the program writes what was finished: `1` for standard error, or a file.
    pub statistics: Option<OsString>,
    /// The most instructions that are emulated after one that trapped.
    pub burst: Option<u32>,
    /// The program, as execvp(3) takes it, and its arguments.
    pub command: Vec<OsString>,
}

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// No command was given.
    #[error("there is no program to start")]
    NoProgram,
    /// There is no preload object at the places where it could be.
    #[error("there is no {OBJECT}: looked for {0}; --preload says where it is")]
    NoObject(String),
    /// This is not the preload object.
    #[error("{path} cannot be preloaded: {why}")]
    Object {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The program cannot run under the object, or not at all.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An argument with a zero byte.
    #[error("an argument or variable has a zero byte in it")]
    ZeroByte,
    /// What execve(2) says.
    #[error("starting {path}: {error}")]
    Start {
        /// The file.
        path: PathBuf,
        /// Its answer.
        error: io::Error,
    },
}

impl ExecError {
    /// The exit status that env(1) has for such a case: 127 if there is no such program, 126 if it
    /// cannot be started, 125 if it did not come to that.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Refused(Refusal::NotFound(_)) => 127,
            Self::Start { error, .. } if error.kind() == io::ErrorKind::NotFound => 127,
            Self::Refused(_) | Self::Start { .. } => 126,
            Self::NoProgram | Self::NoObject(_) | Self::Object { .. } | Self::ZeroByte => 125,
        }
    }
}

/// Replaces this process by the program; returns only if that cannot be.
///
/// # Errors
/// [`ExecError`].
pub fn run(options: &Exec) -> Result<Infallible, ExecError> {
    let (name, _) = options.command.split_first().ok_or(ExecError::NoProgram)?;
    let object = object(options.preload.as_deref())?;
    let path = program::find(name, env::var_os("PATH").as_deref())?;
    program::check(&path)?;

    let mut variables = baseline::original_environment();
    let mut set = |name: &str, value: OsString| variables.insert(name.into(), value);
    if let Some(target) = &options.statistics {
        set("ISAHOTPLUG_STATISTICS", absolute(target));
    }
    if let Some(burst) = options.burst {
        set("ISAHOTPLUG_BURST", burst.to_string().into());
    }
    environment::preload(&mut variables, &object);
    if let Some(allowed) = options.baseline {
        environment::hold_glibc(&mut variables, allowed);
    }

    let arguments = options.command.iter().map(|argument| c_string(argument));
    let arguments = arguments.collect::<Result<Vec<CString>, _>>()?;
    let variables = variables.into_iter().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        c_string(&name)
    });
    let variables = variables.collect::<Result<Vec<CString>, _>>()?;
    let file = c_string(path.as_os_str())?;
    // Rust ignores it in each of its programs, which the next one would inherit.
    // SAFETY: the default action runs no code of this program.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    nix::unistd::execve(&file, &arguments, &variables).map_err(|error| ExecError::Start {
        path,
        error: error.into(),
    })
}

fn c_string(text: &OsStr) -> Result<CString, ExecError> {
    CString::new(text.as_bytes()).map_err(|_| ExecError::ZeroByte)
}

/// A file's name that stays right when the program changes its directory.
fn absolute(target: &OsStr) -> OsString {
    if target == "1" {
        return target.to_owned();
    }
    std::path::absolute(target).map_or_else(|_| target.to_owned(), PathBuf::into_os_string)
}

/// The preload object that was given, or the first there is.
fn object(given: Option<&Path>) -> Result<PathBuf, ExecError> {
    let places = match given {
        Some(given) => vec![given.to_owned()],
        None => places(&env::current_exe().unwrap_or_default()),
    };
    let Some(found) = places.iter().find(|place| place.is_file()) else {
        let names = places.iter().map(|place| place.display().to_string());
        return Err(ExecError::NoObject(names.collect::<Vec<_>>().join(", ")));
    };
    let wrong = |why: String| ExecError::Object {
        path: found.clone(),
        why,
    };
    let path = found
        .canonicalize()
        .map_err(|error| wrong(error.to_string()))?;
    // What ld.so(8) takes for the end of a name in LD_PRELOAD; it knows no quoting.
    let name = path.as_os_str().as_bytes();
    if name.iter().any(|byte| b" :\t\n$".contains(byte)) {
        return Err(wrong(
            "its path has a character that LD_PRELOAD cannot hold".into(),
        ));
    }
    match Kind::of(&path).map_err(|error| wrong(error.to_string()))? {
        Kind::Static { is_shared: true } => Ok(path),
        _ => Err(wrong("it is no shared object for x86-64".into())),
    }
}

/// Where the object is for an agent that is `agent`.
fn places(agent: &Path) -> Vec<PathBuf> {
    let beside = agent.parent().unwrap_or(Path::new("/"));
    let above = beside.parent().unwrap_or(Path::new("/"));
    [
        beside.to_owned(),
        above.join("lib/x86_64-linux-gnu"),
        above.join("lib"),
        "/usr/lib/x86_64-linux-gnu".into(),
        "/usr/lib64".into(),
        "/usr/lib".into(),
    ]
    .map(|folder| folder.join(OBJECT))
    .into()
}

/// The text of a path or of what stands in a `#!` line.
fn os_string(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_looked_for_beside_the_agent_and_in_its_own_tree_first() {
        let places = places(Path::new("/opt/isahotplug/sbin/guest-agent"));
        assert_eq!(
            places[1],
            Path::new("/opt/isahotplug/lib/x86_64-linux-gnu/libisahotplug_preload.so")
        );
        assert_eq!(places[5], Path::new("/usr/lib/libisahotplug_preload.so"));
    }

    #[test]
    fn what_is_no_shared_object_is_not_preloaded() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("text.so");
        std::fs::write(&file, "text").unwrap();
        let error = object(Some(&file)).unwrap_err();
        assert!(
            error.to_string().ends_with("no shared object for x86-64"),
            "{error}"
        );
        assert_eq!(error.status(), 125);
        let with_space = folder.path().join("a b.so");
        std::fs::write(&with_space, "text").unwrap();
        let error = object(Some(&with_space)).unwrap_err();
        assert!(error.to_string().contains("LD_PRELOAD"), "{error}");
        let error = object(Some(&folder.path().join("none.so"))).unwrap_err();
        assert!(error.to_string().contains("none.so"), "{error}");
    }

    #[test]
    fn a_file_for_the_statistics_is_named_from_the_root() {
        assert_eq!(absolute(OsStr::new("1")), "1");
        assert_eq!(absolute(OsStr::new("/tmp/x")), "/tmp/x");
        assert!(Path::new(&absolute(OsStr::new("x"))).is_absolute());
    }
}
