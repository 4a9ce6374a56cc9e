//! Debian's package tools.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The versions of a package that the configured sources offer.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    /// The version that would be installed.
    pub(crate) candidate: Option<String>,
    /// All of them.
    pub(crate) versions: Vec<String>,
}

/// Looks a package up in apt's lists.
pub(crate) fn policy(package: &str) -> Result<Policy> {
    Ok(Policy::parse(&output("apt-cache", &["policy", package])?))
}

impl Policy {
    fn parse(text: &str) -> Self {
        let candidate = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "))
            .filter(|version| *version != "(none)")
            .map(str::to_owned);
        let table = text
            .lines()
            .skip_while(|line| line.trim() != "Version table:")
            .skip(1);
        // ` *** 1:10.0.2+ds 100` or `     1:7.2 500`; lines of sources are
        // indented further.
        let versions = table
            .filter(|line| !line.starts_with("        "))
            .filter_map(|line| line.trim().trim_start_matches("*** ").split(' ').next())
            .map(str::to_owned)
            .collect();
        Self {
            candidate,
            versions,
        }
    }
}

/// The packages that a package depends on, alternatives included.
pub(crate) fn depends(package: &str) -> Result<Vec<String>> {
    let text = output("apt-cache", &["depends", package])?;
    let names = text.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches('|');
        line.strip_prefix("Depends: ")
            .or_else(|| line.strip_prefix("PreDepends: "))
    });
    // A virtual package stands in angle brackets.
    Ok(names
        .filter(|name| !name.starts_with('<'))
        .map(str::to_owned)
        .collect())
}

/// Whether a package is installed.
pub(crate) fn is_installed(package: &str) -> bool {
    output(
        "dpkg-query",
        &["--show", "--showformat=${db:Status-Status}", package],
    )
    .is_ok_and(|status| status == "installed")
}

/// Downloads packages and unpacks them into a folder, without installing them.
pub(crate) fn unpack(packages: &[String], folder: &Path) -> Result<()> {
    let download = folder.join("download");
    std::fs::create_dir_all(&download).with_context(|| format!("making {}", download.display()))?;
    let status = Command::new("apt-get")
        .args(["--quiet=2", "download"])
        .args(packages)
        .current_dir(&download)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // As root it would warn that it cannot become another user here.
        .stderr(Stdio::piped())
        .output()
        .context("starting apt-get")?;
    ensure!(
        status.status.success(),
        "apt-get download {}: {}",
        packages.join(" "),
        String::from_utf8_lossy(&status.stderr).trim()
    );
    for entry in std::fs::read_dir(&download).context("reading what was downloaded")? {
        let package = entry?.path().display().to_string();
        output(
            "dpkg-deb",
            &["--extract", &package, &folder.display().to_string()],
        )?;
    }
    std::fs::remove_dir_all(&download).context("removing what was downloaded")
}

/// The standard output of a program that has to succeed.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first two numbers of a version such as `1:10.0.2+ds-2` or `8.2`.
pub(crate) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let upstream = version
        .split_once(':')
        .map_or(version, |(_, upstream)| upstream);
    let mut numbers = upstream.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_first_numbers() {
        assert_eq!(major_minor("1:10.0.2+ds-2+deb13u1~bpo12+1"), Some((10, 0)));
        assert_eq!(major_minor("1:7.2+dfsg-7"), Some((7, 2)));
        assert_eq!(major_minor("unknown"), None);
    }

    #[test]
    fn the_version_table_is_read() {
        let policy = Policy::parse(
            "qemu-user:\n  Installed: (none)\n  Candidate: 1:7.2-1\n  Version table:\n     \
             1:10.0-2 100\n        100 somewhere suite/main amd64 Packages\n *** 1:7.2-1 500\n        \
             500 somewhere suite/main amd64 Packages\n",
        );
        assert_eq!(policy.candidate.as_deref(), Some("1:7.2-1"));
        assert_eq!(policy.versions, ["1:10.0-2", "1:7.2-1"]);
    }
}
