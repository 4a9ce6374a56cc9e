//! Finding the program, and whether it can run under the preload object.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, getegid, geteuid, getgid, getuid};

use super::kind::Kind;

/// Why a program is not started. Each says what to do, if there is something.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is none of this name.
    #[error("{0}: there is no such program")]
    NotFound(PathBuf),
    /// It is there and cannot be executed.
    #[error("{0}: it cannot be executed: {1}")]
    NotExecutable(PathBuf, String),
    /// No dynamic linker would load the object.
    #[error(
        "{0} is linked statically: no dynamic linker loads {object} for it. Run a dynamically \
         linked build of it, or link it with libisahotplug; or start it by itself, on hosts that \
         have what it uses",
        object = super::OBJECT
    )]
    Static(PathBuf),
    /// The dynamic linker ignores `LD_PRELOAD` for a program that gets more rights than its user.
    #[error(
        "{path} {right}: the dynamic linker preloads nothing named by a user with fewer rights. \
         Start it as the user whose rights it takes"
    )]
    Privileged {
        /// The program.
        path: PathBuf,
        /// Where its rights come from.
        right: &'static str,
    },
    /// A 32-bit program.
    #[error("{0} is a 32-bit program; the emulator is for 64-bit code alone")]
    Bits32(PathBuf),
    /// For other CPUs.
    #[error("{0} is a program for another kind of CPU")]
    Foreign(PathBuf),
    /// musl's dynamic linker, or another.
    #[error(
        "{path} is loaded by {linker}; {object} needs glibc's dynamic linker (ld-linux-x86-64.so.2). \
         Run a build for glibc, or link the program with libisahotplug",
        object = super::OBJECT
    )]
    Linker {
        /// The program.
        path: PathBuf,
        /// Its dynamic linker.
        linker: PathBuf,
    },
    /// Neither ELF nor a script.
    #[error(
        "{0} is neither a program nor a script that names its interpreter; name the interpreter, as \
         in `sh {0}`"
    )]
    Unknown(PathBuf),
    /// The interpreter of a script is refused.
    #[error("{script} is a script, and its interpreter is refused: {refusal}")]
    Interpreter {
        /// The script.
        script: PathBuf,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// Interpreters that are scripts that name interpreters…
    #[error("{0}: too many interpreters that are scripts themselves")]
    TooDeep(PathBuf),
}

/// As many interpreters in a row as the kernel takes (fs/exec.c, `exec_binprm`).
const DEPTH: usize = 5;
/// Where programs are if the environment does not say (execvp(3)).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The file that execvp(3) would start for `name`.
///
/// # Errors
/// [`Refusal::NotFound`] and [`Refusal::NotExecutable`].
pub(super) fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Refusal> {
    if name.is_empty() {
        return Err(Refusal::NotFound(name.into()));
    }
    if name.as_bytes().contains(&b'/') {
        let file = PathBuf::from(name);
        is_executable(&file)?;
        return Ok(file);
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut reason = Refusal::NotFound(name.into());
    for folder in path.as_bytes().split(|&byte| byte == b':') {
        // An empty one is the current directory.
        let folder = if folder.is_empty() { b"." } else { folder };
        let file = Path::new(OsStr::from_bytes(folder)).join(name);
        match is_executable(&file) {
            Ok(()) => return Ok(file),
            Err(Refusal::NotFound(_)) => {}
            Err(other) => reason = other,
        }
    }
    Err(reason)
}

fn is_executable(file: &Path) -> Result<(), Refusal> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Refusal::NotFound(file.into()),
        _ => Refusal::NotExecutable(file.into(), error.to_string()),
    };
    let metadata = fs::metadata(file).map_err(cannot)?;
    if !metadata.is_file() {
        let reason = "it is not a file".to_owned();
        return Err(Refusal::NotExecutable(file.into(), reason));
    }
    access(file, AccessFlags::X_OK).map_err(|error| cannot(error.into()))
}

/// Whether the preload object will be loaded into the program at `path`, or into the interpreter of a
/// script.
///
/// # Errors
/// The reason why not.
pub(super) fn check(path: &Path) -> Result<(), Refusal> {
    check_nested(path, DEPTH)
}

fn check_nested(path: &Path, depth: usize) -> Result<(), Refusal> {
    let here = || path.to_owned();
    let kind = Kind::of(path)
        // A program that can be executed but not read.
        .map_err(|error| Refusal::NotExecutable(here(), format!("looking into it: {error}")))?;
    match kind {
        Kind::Dynamic { linker } => {
            check_rights(path)?;
            let linker = PathBuf::from(linker);
            let is_glibc = linker
                .file_name()
                .is_some_and(|name| name == "ld-linux-x86-64.so.2");
            if is_glibc {
                Ok(())
            } else {
                Err(Refusal::Linker {
                    path: here(),
                    linker,
                })
            }
        }
        Kind::Static { .. } => Err(Refusal::Static(here())),
        Kind::Bits32 => Err(Refusal::Bits32(here())),
        Kind::Foreign => Err(Refusal::Foreign(here())),
        Kind::Unknown => Err(Refusal::Unknown(here())),
        Kind::Script { interpreter } => {
            let depth = depth
                .checked_sub(1)
                .ok_or_else(|| Refusal::TooDeep(here()))?;
            let interpreter = PathBuf::from(interpreter);
            is_executable(&interpreter)
                .and_then(|()| check_nested(&interpreter, depth))
                .map_err(|refusal| match refusal {
                    // Not the depth at which it was noticed.
                    Refusal::TooDeep(_) => Refusal::TooDeep(here()),
                    refusal => Refusal::Interpreter {
                        script: here(),
                        // The kernel says of a missing interpreter that there is no such file, too,
                        // but it is not the program that is missing.
                        refusal: Box::new(refusal),
                    },
                })
        }
    }
}

/// Whether the kernel would tell the dynamic linker that the program has more rights than its user
/// (`AT_SECURE`; security/commoncap.c).
fn check_rights(path: &Path) -> Result<(), Refusal> {
    let refuse = |right| {
        Err(Refusal::Privileged {
            path: path.to_owned(),
            right,
        })
    };
    if geteuid() != getuid() || getegid() != getgid() {
        return refuse("would inherit the rights of this program, which is not its user's own");
    }
    let metadata = fs::metadata(path)
        .map_err(|error| Refusal::NotExecutable(path.into(), error.to_string()))?;
    if let Some(right) = takes_rights(&metadata, getuid().as_raw(), getgid().as_raw()) {
        return refuse(right);
    }
    // The real root has all of them anyway.
    if !getuid().is_root() && has_capabilities(path) {
        return refuse("has capabilities of its own (setcap(8))");
    }
    Ok(())
}

fn takes_rights(metadata: &Metadata, user: u32, group: u32) -> Option<&'static str> {
    const SET_USER: u32 = 0o4000;
    const SET_GROUP: u32 = 0o2000;
    const GROUP_EXECUTES: u32 = 0o0010;
    let mode = metadata.mode();
    if mode & SET_USER != 0 && metadata.uid() != user {
        return Some("takes the rights of its owner (setuid)");
    }
    // Without the group's execute bit it meant mandatory locking.
    let takes_group = mode & (SET_GROUP | GROUP_EXECUTES) == SET_GROUP | GROUP_EXECUTES;
    (takes_group && metadata.gid() != group).then_some("takes the rights of its group (setgid)")
}

fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: getxattr(2) reads two C strings; with a size of 0 it writes nothing.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        )
    };
    length > 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::kind::tests::elf;
    use super::*;
    use tempfile::TempDir;

    const GLIBC: &str = "/lib64/ld-linux-x86-64.so.2";

    fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn refusal(path: &Path) -> String {
        check(path).unwrap_err().to_string()
    }

    #[test]
    fn dynamic_programs_of_glibc_can_run() {
        let folder = TempDir::new().unwrap();
        let made = write(&folder, "made", elf(2, 62, 3, Some(GLIBC)), 0o755);
        check(&made).unwrap();
        check(Path::new("/bin/sh")).unwrap();
        check(&std::env::current_exe().unwrap()).unwrap();
    }

    #[test]
    fn programs_that_would_get_no_seatbelt_are_refused_with_a_reason() {
        let folder = TempDir::new().unwrap();
        let cases = [
            ("static", elf(2, 62, 2, None), "linked statically"),
            ("static-pie", elf(2, 62, 3, None), "linked statically"),
            ("32", elf(1, 3, 2, None), "a 32-bit program"),
            ("x32", elf(1, 62, 2, None), "a 32-bit program"),
            ("arm", elf(2, 183, 2, None), "another kind of CPU"),
            ("text", b"echo".to_vec(), "names its interpreter"),
            (
                "musl",
                elf(2, 62, 2, Some("/lib/ld-musl-x86_64.so.1")),
                "is loaded by /lib/ld-musl-x86_64.so.1",
            ),
        ];
        for (name, content, reason) in cases {
            let path = write(&folder, name, content, 0o755);
            let said = refusal(&path);
            assert!(said.contains(reason), "{said}");
            assert!(said.contains(path.to_str().unwrap()), "{said}");
        }
    }

    #[test]
    fn a_script_is_as_good_as_its_interpreter() {
        let folder = TempDir::new().unwrap();
        let good = write(&folder, "good", "#!/bin/sh\n", 0o755);
        check(&good).unwrap();
        let nested = write(&folder, "nested", format!("#!{}\n", good.display()), 0o755);
        check(&nested).unwrap();
        let closed = write(&folder, "static", elf(2, 62, 2, None), 0o755);
        let bad = write(
            &folder,
            "bad",
            format!("#!{} -x\n", closed.display()),
            0o755,
        );
        let said = refusal(&bad);
        assert!(
            said.contains("is a script") && said.contains("linked statically"),
            "{said}"
        );
        let missing = write(&folder, "missing", "#!/nowhere/sh\n", 0o755);
        let said = refusal(&missing);
        assert!(
            said.contains("/nowhere/sh: there is no such program"),
            "{said}"
        );
        let round = folder.path().join("round");
        let round = write(&folder, "round", format!("#!{}\n", round.display()), 0o755);
        assert!(refusal(&round).contains("too many interpreters"));
    }

    #[test]
    fn programs_that_take_rights_are_refused() {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, "program", elf(2, 62, 3, Some(GLIBC)), 0o755);
        let takes = |mode: u32, user: u32, group: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            // Whoever runs the test owns it.
            let (user, group) = (metadata.uid() + user, metadata.gid() + group);
            takes_rights(&metadata, user, group)
        };
        assert_eq!(takes(0o755, 1, 1), None);
        assert!(takes(0o4755, 1, 0).unwrap().contains("setuid"));
        assert_eq!(takes(0o4755, 0, 0), None, "of one's own");
        assert!(takes(0o2755, 0, 1).unwrap().contains("setgid"));
        assert_eq!(takes(0o2755, 0, 0), None);
        assert_eq!(takes(0o2745, 0, 1), None, "mandatory locking");
    }

    #[test]
    fn a_setuid_program_is_refused() {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, "program", elf(2, 62, 3, Some(GLIBC)), 0o755);
        if std::os::unix::fs::chown(&path, Some(getuid().as_raw() + 1), None).is_err() {
            // Who is not root cannot make one; `takes_rights` has a test of its own.
            return;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        let said = refusal(&path);
        assert!(
            said.contains("setuid") && said.contains("fewer rights"),
            "{said}"
        );
    }

    #[test]
    fn programs_are_found_as_execvp_finds_them() {
        let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        write(&one, "tool", "", 0o644);
        let tool = write(&two, "tool", "", 0o755);
        fs::create_dir(one.path().join("folder")).unwrap();
        let path = std::env::join_paths([one.path(), two.path()]).unwrap();
        let found = |name: &str| find(OsStr::new(name), Some(&path));
        // One that cannot be executed is passed over.
        assert_eq!(found("tool").unwrap(), tool);
        assert!(matches!(found("none"), Err(Refusal::NotFound(_))));
        assert!(matches!(found(""), Err(Refusal::NotFound(_))));
        assert!(matches!(found("folder"), Err(Refusal::NotExecutable(..))));
        let direct = one.path().join("tool");
        assert!(matches!(
            find(direct.as_os_str(), None),
            Err(Refusal::NotExecutable(..))
        ));
        assert_eq!(find(tool.as_os_str(), None).unwrap(), tool);
        assert!(find(OsStr::new("sh"), None).is_ok());
    }
}
