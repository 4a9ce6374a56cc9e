//! What this machine needs: found, said, and installed.
//!
//! Programs come from Debian's packages and need root. The guest's kernel and
//! QEMU's guest agent are unpacked below `target/vm` and need none; nor does
//! cargo-c, which cargo compiles there.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::{apt, cargo, cargo_c, debian_root, kernel, qemu_guest_agent, sources};

/// The first QEMU that models what the two vendors do with SYSENTER and
/// SYSCALL, and that migrates to a file.
const OLDEST_QEMU: (u32, u32) = (8, 2);

/// How `apt-get` is told to install.
const INSTALL: [&str; 3] = ["install", "--yes", "--no-install-recommends"];

#[derive(clap::Args)]
pub(crate) struct Install {
    /// Install and download nothing: say what is missing
    #[arg(long)]
    no_install: bool,
}

/// Something that this machine lacks.
#[derive(Debug, Clone, Copy)]
enum Missing {
    /// A program of a Debian package.
    Program {
        what: &'static str,
        package: &'static str,
    },
    /// A QEMU, or one that is new enough.
    Qemu {
        what: &'static str,
        package: &'static str,
    },
    /// A package that is unpacked into the cache.
    Cached {
        what: &'static str,
        package: &'static str,
        fetch: fn(&Path) -> Result<()>,
    },
    /// A program that cargo compiles into the cache.
    Compiled {
        what: &'static str,
        fetch: fn(&Path) -> Result<()>,
    },
}

/// What the machine is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To build the products, and run them in virtual machines.
    Run,
    /// To install the library, use what is installed, and make packages.
    Package,
    /// Both, and to install the packages somewhere.
    All,
}

/// A step towards what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Write { path: &'static str, content: String },
    Run(Vec<String>),
}

/// `cargo xtask install`.
pub(crate) fn run(options: &Install) -> Result<ExitCode> {
    if !ready(options, Purpose::All)? {
        return Ok(ExitCode::FAILURE);
    }
    println!("everything that the tests and the demo need is there");
    Ok(ExitCode::SUCCESS)
}

/// Makes the machine ready. Returns whether it is; if it is not, what is
/// missing was said.
pub(crate) fn ready(options: &Install, purpose: Purpose) -> Result<bool> {
    let cache = cargo::target_dir()?.join("vm");
    let missing = find_missing(&cache, purpose);
    if missing.is_empty() {
        return Ok(true);
    }
    for missing in &missing {
        eprintln!("missing: {}", missing.what());
    }
    ensure!(
        is_program("apt-get"),
        "this machine has no apt-get; install what is missing by its own means"
    );
    let update = Step::apt_get(&["update"]);
    let mut unknown = is_any_unknown(&missing)?;
    if unknown && is_root() && !options.no_install {
        update.take()?;
        unknown = false;
    }
    let mut steps = steps(&missing)?;
    if unknown && !steps.contains(&update) {
        steps.insert(0, update.clone());
    }
    if options.no_install {
        if !steps.is_empty() {
            say_commands(&steps);
        }
        eprintln!("`cargo xtask install` does all of it");
        return Ok(false);
    }
    if !steps.is_empty() && !is_root() {
        say_commands(&steps);
        return Ok(false);
    }
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let installed = install(&steps, &missing, &cache);
    if let Err(error) = installed {
        // The lists may name versions that the archive has no more.
        if steps.contains(&update) || !is_root() {
            return Err(error);
        }
        eprintln!("{error:#}; once more, with new package lists");
        update.take()?;
        install(&steps, &missing, &cache)?;
    }
    let still = find_missing(&cache, purpose);
    let still: Vec<&str> = still.iter().map(Missing::what).collect();
    ensure!(still.is_empty(), "still missing: {}", still.join("; "));
    Ok(true)
}

fn install(steps: &[Step], missing: &[Missing], cache: &Path) -> Result<()> {
    steps.iter().try_for_each(Step::take)?;
    for missing in missing {
        match missing {
            Missing::Cached { what, fetch, .. } => {
                eprintln!("downloading into {}: {what}", cache.display());
                fetch(cache)?;
            }
            Missing::Compiled { what, fetch } => {
                eprintln!("compiling into {}: {what}", cache.display());
                fetch(cache)?;
            }
            Missing::Program { .. } | Missing::Qemu { .. } => {}
        }
    }
    Ok(())
}

fn find_missing(cache: &Path, purpose: Purpose) -> Vec<Missing> {
    let mut missing = Vec::new();
    if purpose != Purpose::Package {
        missing.extend(find_missing_to_run(cache));
    }
    if purpose != Purpose::Run {
        missing.extend(find_missing_to_package(cache));
    }
    // Others can neither make it nor use it.
    if purpose == Purpose::All && is_root() && !debian_root::is_cached(cache) {
        missing.push(Missing::Cached {
            what: "a small Debian to install the packages in",
            package: "debootstrap",
            fetch: debian_root::fetch,
        });
    }
    missing
}

fn find_missing_to_package(cache: &Path) -> Vec<Missing> {
    // Each with a file by which it is found.
    let programs = [
        ("/usr/bin/gcc", "a C compiler (gcc)", "gcc"),
        ("/usr/bin/g++", "a C++ compiler (g++)", "g++"),
        ("/usr/bin/ld.bfd", "binutils", "binutils"),
        ("/usr/bin/cmake", "cmake", "cmake"),
        ("/usr/sbin/debootstrap", "debootstrap", "debootstrap"),
        ("/usr/bin/dh", "debhelper", "debhelper"),
        ("/usr/bin/dpkg-shlibdeps", "dpkg-dev", "dpkg-dev"),
        (
            "/usr/bin/groff",
            "groff, which reads man pages",
            "groff-base",
        ),
        ("/usr/bin/pkg-config", "pkg-config", "pkg-config"),
        (
            "/usr/include/openssl/ssl.h",
            "OpenSSL's headers, for cargo-c",
            "libssl-dev",
        ),
        ("/usr/bin/valgrind", "valgrind", "valgrind"),
        ("/usr/bin/make", "make", "make"),
    ];
    let programs = programs.into_iter().filter_map(|(file, what, package)| {
        (!Path::new(file).is_file()).then_some(Missing::Program { what, package })
    });
    let cargo_c = (!cargo_c::is_cached(cache)).then_some(Missing::Compiled {
        what: "cargo-c, which installs the library",
        fetch: cargo_c::fetch,
    });
    programs.chain(cargo_c).collect()
}

fn find_missing_to_run(cache: &Path) -> Vec<Missing> {
    let qemu = |what, package| Missing::Qemu { what, package };
    let program = |what, package| Missing::Program { what, package };
    let cached = |what, package, fetch| Missing::Cached {
        what,
        package,
        fetch,
    };
    // QEMU takes its time to say its version.
    let (system, user) = thread::scope(|scope| {
        let system = scope.spawn(|| is_qemu_new_enough("qemu-system-x86_64"));
        let user = is_qemu_new_enough("qemu-x86_64");
        (system.join().unwrap_or(false), user)
    });
    let checks = [
        (
            system,
            qemu("QEMU 8.2 or later (qemu-system-x86_64)", "qemu-system-x86"),
        ),
        (
            user,
            qemu("QEMU 8.2 or later for programs (qemu-x86_64)", "qemu-user"),
        ),
        (
            is_busybox_static(),
            program("a static busybox (/bin/busybox)", "busybox-static"),
        ),
        (is_program("gcc"), program("a C compiler (gcc)", "gcc")),
        (
            is_program("valgrind"),
            program("a memory checker (valgrind)", "valgrind"),
        ),
        (is_program("g++"), program("a C++ compiler (g++)", "g++")),
        (is_program("objdump"), program("objdump and nm", "binutils")),
        (is_program("strip"), program("binutils (strip)", "binutils")),
        (
            is_program("java") && is_program("javac"),
            program("a JDK (java and javac)", "default-jdk-headless"),
        ),
        (is_program("go"), program("Go", "golang-go")),
        (
            Path::new("/usr/bin/python3").is_file(),
            program("Debian's Python", "python3"),
        ),
        (
            Path::new("/usr/include/stdio.h").is_file(),
            program("the C library's headers", "libc6-dev"),
        ),
        (
            kernel::is_cached(cache),
            cached("the guest's kernel", kernel::PACKAGE, kernel::fetch),
        ),
        (
            qemu_guest_agent::is_cached(cache),
            cached(
                "QEMU's guest agent, for the benchmark",
                qemu_guest_agent::PACKAGE,
                qemu_guest_agent::fetch,
            ),
        ),
    ];
    checks
        .into_iter()
        .filter(|(is_there, _)| !is_there)
        .map(|(_, missing)| missing)
        .collect()
}

/// Whether apt's lists do not know a package that is needed.
fn is_any_unknown(missing: &[Missing]) -> Result<bool> {
    for missing in missing {
        let (Missing::Program { package, .. }
        | Missing::Qemu { package, .. }
        | Missing::Cached { package, .. }) = missing
        else {
            continue;
        };
        if apt::policy(package)?.candidate.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What root has to do, in order.
fn steps(missing: &[Missing]) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut update = false;
    let mut install = Vec::new();
    let mut install_qemu = Vec::new();
    let mut suite = None;
    for missing in missing {
        match missing {
            Missing::Program { package, .. } => install.push(*package),
            Missing::Qemu { package, .. } => {
                let policy = apt::policy(package)?;
                let new_enough = |version: &String| {
                    apt::major_minor(version).is_some_and(|version| version >= OLDEST_QEMU)
                };
                if policy.candidate.as_ref().is_some_and(new_enough) {
                    install.push(*package);
                    continue;
                }
                let release = release()?;
                if !policy.versions.iter().any(new_enough) {
                    let content = sources::backports(&release).with_context(|| {
                        format!(
                            "no configured package source of {release} to derive backports from"
                        )
                    })?;
                    let write = Step::Write {
                        path: sources::BACKPORTS_FILE,
                        content,
                    };
                    if !steps.contains(&write) {
                        steps.push(write);
                    }
                    update = true;
                }
                suite = Some(format!("{release}-backports"));
                install_qemu.push(*package);
            }
            Missing::Cached { .. } | Missing::Compiled { .. } => {}
        }
    }
    if update {
        steps.push(Step::apt_get(&["update"]));
    }
    if !install.is_empty() {
        steps.push(Step::apt_get(&[&INSTALL[..], &install].concat()));
    }
    if let Some(suite) = &suite {
        let from = ["--target-release", suite];
        steps.push(Step::apt_get(
            &[&INSTALL[..], &from, &install_qemu].concat(),
        ));
    }
    Ok(steps)
}

fn say_commands(steps: &[Step]) {
    eprintln!("to be run as root:");
    for step in steps {
        eprintln!("{step}");
    }
}

impl Missing {
    fn what(&self) -> &'static str {
        match self {
            Self::Program { what, .. }
            | Self::Qemu { what, .. }
            | Self::Cached { what, .. }
            | Self::Compiled { what, .. } => what,
        }
    }
}

impl std::fmt::Display for Step {
    /// The step as a command of the shell.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write { path, content } => write!(f, "cat > {path} <<'END'\n{content}END"),
            Self::Run(words) => f.write_str(&words.join(" ")),
        }
    }
}

impl Step {
    fn apt_get(arguments: &[&str]) -> Self {
        let words = ["apt-get"].iter().chain(arguments);
        Self::Run(words.map(|word| (*word).to_owned()).collect())
    }

    fn take(&self) -> Result<()> {
        eprintln!("as root: {self}");
        match self {
            Self::Write { path, content } => {
                fs::write(path, content).with_context(|| format!("writing {path}"))
            }
            Self::Run(words) => {
                let (program, arguments) = words.split_first().context("an empty command")?;
                let status = Command::new(program)
                    .args(arguments)
                    .env("DEBIAN_FRONTEND", "noninteractive")
                    .stdin(Stdio::null())
                    // The caller's standard output is for results.
                    .stdout(std::io::stderr())
                    .status()
                    .with_context(|| format!("starting {program}"))?;
                ensure!(status.success(), "{self} ended with {status}");
                Ok(())
            }
        }
    }
}

fn is_root() -> bool {
    // /proc/self belongs to the effective user.
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Reads `QEMU emulator version 10.0.2 (…)` and `qemu-x86_64 version 10.0.2 (…)`.
fn is_qemu_new_enough(program: &str) -> bool {
    let Ok(text) = apt::output(program, &["--version"]) else {
        return false;
    };
    let version = text
        .split_once(" version ")
        .and_then(|(_, rest)| apt::major_minor(rest));
    version.is_some_and(|version| version >= OLDEST_QEMU)
}

/// Debian's other busybox needs libraries, and its shell would follow the CPU
/// of the guest's first host.
fn is_busybox_static() -> bool {
    let loader = b"ld-linux-x86-64.so.2";
    fs::read("/bin/busybox").is_ok_and(|bytes| {
        !bytes
            .windows(loader.len())
            .take(4096)
            .any(|window| window == loader)
    })
}

/// The release's name, such as `bookworm`.
pub(crate) fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .context("/etc/os-release names no release")?
        .trim_matches('"')
        .to_owned())
}
