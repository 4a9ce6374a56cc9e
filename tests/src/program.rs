//! Small C programs for the guest, compiled when a test needs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::cached;
use crate::error::{Doing, HarnessError, Result};
use crate::key::Key;

/// Compiles `tests/programs/<name>.c` for plain x86-64.
///
/// # Errors
/// [`HarnessError::Tool`] with the compiler's words.
pub fn compiled(name: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    compiled_c(&folder.join(format!("{name}.c")), &["-O1", "-static"])
}

/// Compiles one C file with these further arguments of gcc(1).
///
/// The result is cached by the source's content and the arguments: a header or
/// library that changes has to be named by a path that changes with it.
///
/// # Errors
/// [`HarnessError::Tool`] with the compiler's words.
pub fn compiled_c(source: &Path, arguments: &[&str]) -> Result<PathBuf> {
    compiled_with_headers(source, &[], arguments)
}

/// As [`compiled_c`], for a file that includes these headers.
///
/// # Errors
/// As [`compiled_c`].
pub(crate) fn compiled_with_headers(
    source: &Path,
    headers: &[PathBuf],
    arguments: &[&str],
) -> Result<PathBuf> {
    let mut key = Key::new("C program");
    for file in headers.iter().map(PathBuf::as_path).chain([source]) {
        let text = fs::read(file).doing(|| format!("reading {}", file.display()))?;
        key.add(&text);
    }
    key.add(arguments);
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    cached("programs", &format!("{stem}-{}", key.name()), |path| {
        let mut gcc = Command::new("gcc");
        gcc.arg("-Wall")
            .arg("-o")
            .arg(path)
            .arg(source)
            .args(arguments);
        output_of(gcc).map(drop)
    })
}

/// The standard output of a program that has to succeed.
pub(crate) fn output_of(mut command: Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().doing(|| format!("starting {program}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(HarnessError::Tool {
            program: format!("{command:?}"),
            output,
        })
    }
}
