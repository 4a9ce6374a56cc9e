//! The library, installed once for all tests, and the page that its programs read.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use isahotplug_tests::{skip, target_dir};

use crate::published;

/// An installation of the library below the target directory.
pub(crate) struct Installed {
    folder: PathBuf,
}

impl Installed {
    /// Installs it when it is first asked for. `None`, and the test counts as skipped, if this
    /// machine lacks something for it.
    pub(crate) fn get() -> Option<&'static Self> {
        static INSTALLED: OnceLock<Result<Installed, String>> = OnceLock::new();
        match INSTALLED.get_or_init(Self::install) {
            Ok(installed) => Some(installed),
            Err(missing) => {
                skip(missing);
                None
            }
        }
    }

    fn install() -> Result<Self, String> {
        let folder = target_dir().join("vm/installed");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => fs::create_dir_all(&folder).expect("a folder in the target directory"),
        }
        let installed = Self { folder };
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .env("CARGO_TARGET_DIR", target_dir())
            .args(["xtask", "dist", "--no-install", "library", "--prefix"])
            .arg(installed.prefix());
        let output = output(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        let missing: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("missing: "))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "to install the library it lacks {}",
                missing.join("; ")
            ));
        }
        assert!(output.status.success(), "{said}");
        published::without_avx2(&installed.run_dir());
        Ok(installed)
    }

    /// The installation's prefix.
    pub(crate) fn prefix(&self) -> PathBuf {
        self.folder.join("prefix")
    }

    /// The folder of its libraries.
    pub(crate) fn libraries(&self) -> PathBuf {
        self.prefix().join("lib")
    }

    /// A new folder.
    pub(crate) fn scratch(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("scratch-{number}"));
        fs::create_dir(&folder).expect("a folder in the target directory");
        folder
    }

    /// What pkg-config says of the library.
    pub(crate) fn pkg_config(&self, options: &[&str]) -> Vec<String> {
        let path = self.libraries().join("pkgconfig");
        let mut command = Command::new("pkg-config");
        command
            .args(options)
            .arg("isahotplug")
            .env("PKG_CONFIG_PATH", path);
        let output = output(&mut command);
        assert!(output.status.success(), "{output:?}");
        let words = String::from_utf8(output.stdout).expect("UTF-8");
        words.split_whitespace().map(str::to_owned).collect()
    }

    /// The functions that the installed header declares.
    pub(crate) fn functions(&self) -> BTreeSet<String> {
        let file = self.prefix().join("include/isahotplug.h");
        let header = fs::read_to_string(file).expect("the installed header");
        // A declaration begins at the line's beginning with its type; so do type definitions,
        // whose first parenthesis has no name before it.
        let declarations = header
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()))
            .filter(|line| !line.starts_with("typedef") && !line.starts_with("static"));
        let names = declarations.filter_map(|line| {
            let (before, _) = line.split_once('(')?;
            let name = before.rsplit([' ', '*']).next()?;
            name.starts_with("isahp_").then(|| name.to_owned())
        });
        let names: BTreeSet<String> = names.collect();
        assert!(
            names.contains("isahp_init") && names.len() > 10,
            "{names:?}"
        );
        names
    }

    /// The environment in which a program finds the library, and the page.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_LIBRARY_PATH", self.libraries())
            .env("ISAHOTPLUG_RUN_DIR", self.run_dir())
    }

    fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }
}

/// Runs a program to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
