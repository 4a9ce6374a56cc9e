//! Builds C programs against the library as a user would, and runs them on
//! this CPU or on a lesser one.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::allow_attributes,
    reason = "what is dead differs between the test binaries"
)]
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

pub(crate) mod agent;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use isa::FeatureSet;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use protocol::availability::{Cause, Publication};
use protocol::page::{Page, SIZE};
use tempfile::TempDir;

/// The root of the project.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").exists());
    root.unwrap().to_owned()
}

/// Where cargo has put the shared object beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .join("libisahotplug.so")
        .canonicalize()
        .unwrap()
}

/// A compiler and how it is called.
pub(crate) const C11: &[&str] = &["cc", "-std=c11", "-O1"];
/// The same for a shared object.
pub(crate) const SHARED_C11: &[&str] = &["cc", "-std=c11", "-O1", "-shared", "-fPIC"];

/// A folder with a program built from C, and the library by its soname.
pub(crate) struct Program {
    folder: TempDir,
}

impl Program {
    /// Compiles `source` (a path from the project's root).
    pub(crate) fn build(source: &str) -> Self {
        Self::build_as(C11, source).unwrap()
    }

    /// The same, with more options for the compiler.
    pub(crate) fn build_with(source: &str, options: &[&str]) -> Self {
        Self::build_as(&[C11, options].concat(), source).unwrap()
    }

    /// Compiles `source` as `dialect`; `None` where its compiler is missing.
    pub(crate) fn build_as(dialect: &[&str], source: &str) -> Option<Self> {
        let program = Self::without_program();
        for name in ["libisahotplug.so", "libisahotplug.so.1"] {
            symlink(library(), program.file(name)).unwrap();
        }
        program.add("program", dialect, source).then_some(program)
    }

    /// Only the folder, as the agent's directory of a program that is built otherwise.
    pub(crate) fn without_program() -> Self {
        let folder = TempDir::new().unwrap();
        Self { folder }
    }

    /// Compiles `source` as `dialect` into a file of this name beside the program. Whether there is
    /// a compiler.
    pub(crate) fn add(&self, name: &str, dialect: &[&str], source: &str) -> bool {
        let (compiler, options) = dialect.split_first().unwrap();
        let output = Command::new(compiler)
            .args(options)
            .args([
                "-D_GNU_SOURCE",
                "-g",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-pthread",
            ])
            .arg("-I")
            .arg(root().join("libisahotplug/include"))
            .arg(root().join(source))
            .arg("-o")
            .arg(self.folder.path().join(name))
            .arg("-L")
            .arg(self.folder.path())
            .args(["-lisahotplug", "-Wl,-rpath,$ORIGIN"])
            .output();
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            other => other.unwrap(),
        };
        assert!(
            output.status.success(),
            "{dialect:?} {source}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        true
    }

    /// Writes what an agent would have published, so that the program believes
    /// that `available` is there.
    pub(crate) fn publish(&self, generation: u64, available: FeatureSet) {
        let page = Page::new();
        page.format([7, 7]);
        page.publish(&publication(generation, available));
        let mut file = std::fs::File::create(self.run_dir().join("page")).unwrap();
        // SAFETY: a Page is SIZE bytes of plain integers that nobody writes now.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const page).cast::<u8>(), SIZE) };
        file.write_all(bytes).unwrap();
    }

    /// Publishes in the page that a program has mapped already.
    pub(crate) fn publish_again(&self, generation: u64, available: FeatureSet) {
        let path = self.run_dir().join("page");
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let length = std::num::NonZeroUsize::new(SIZE).unwrap();
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping of a file of SIZE bytes, at an address of the
        // kernel's choice; any bytes are a Page.
        unsafe {
            let mapping = mmap(None, length, access, MapFlags::MAP_SHARED, &file, 0).unwrap();
            mapping
                .cast::<Page>()
                .as_ref()
                .publish(&publication(generation, available));
            munmap(mapping, SIZE).unwrap();
        }
    }

    /// A file beside the program.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The agent's directory of the programs run from here.
    pub(crate) fn run_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The command that runs the program on this CPU.
    pub(crate) fn here(&self) -> Command {
        self.with(Command::new(self.folder.path().join("program")))
    }

    /// The command that runs the program on a CPU that lacks AVX2, FMA, F16C
    /// and BMI2 and raises #UD for them; `None` where qemu-user is missing.
    pub(crate) fn on_lesser_cpu(&self) -> Option<Command> {
        self.on_cpu("max,-avx2,-fma,-f16c,-bmi2")
    }

    /// The command that runs the program on a CPU that qemu-user plays; `None` where that is
    /// missing.
    pub(crate) fn on_cpu(&self, cpu: &str) -> Option<Command> {
        Command::new("qemu-x86_64").arg("--version").output().ok()?;
        let mut command = Command::new("qemu-x86_64");
        command.args(["-cpu", cpu]);
        command.arg(self.folder.path().join("program"));
        Some(self.with(command))
    }

    fn with(&self, mut command: Command) -> Command {
        command
            .env("ISAHOTPLUG_RUN_DIR", self.run_dir())
            // cargo's, which comes before the program's own.
            .env_remove("LD_LIBRARY_PATH");
        command
    }
}

/// A program that is told what to do by lines, and answers by lines. Killed when dropped.
pub(crate) struct Dialogue {
    child: Killed,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    deadline: Deadline,
}

impl Dialogue {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (mut child, deadline) = Deadline::start(command);
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            child: Killed(child),
            deadline,
        }
    }

    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; `None` when the program has closed its output.
    pub(crate) fn hear(&mut self) -> Option<String> {
        self.output.next().map(Result::unwrap)
    }

    /// Says a line and gives the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear().unwrap_or_else(|| panic!("no answer to {line}"))
    }

    /// The next line that begins so; others are passed over.
    pub(crate) fn wait_for(&mut self, beginning: &str) -> String {
        let mut passed = Vec::new();
        while let Some(line) = self.hear() {
            if line.starts_with(beginning) {
                return line;
            }
            passed.push(line);
        }
        panic!("no {beginning:?} in {passed:#?}")
    }

    /// The end of its input; the program must end by itself and be content.
    pub(crate) fn end(mut self) {
        drop(self.input.take());
        let rest: Vec<String> = self.output.map(Result::unwrap).collect();
        let status = self.child.0.wait().unwrap();
        assert!(self.deadline.was_kept(), "hangs: {rest:#?}");
        assert!(status.success(), "{status}: {rest:#?}");
    }
}

/// A child of a test that may fail before the child ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has been waited for is not there any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills a program, and those that it has started, when its time is over.
pub(crate) struct Deadline {
    watchdog: JoinHandle<bool>,
    /// Dropped when the program has ended.
    running: Sender<()>,
}

impl Deadline {
    /// Starts `command` in a process group of its own, with a time that is too long for any case.
    pub(crate) fn start(command: &mut Command) -> (Child, Self) {
        let emulated = command.get_program() == "qemu-x86_64";
        let limit = Duration::from_secs(if emulated { 120 } else { 60 });
        Self::start_within(command, limit)
    }

    /// The same, with a time of its own.
    pub(crate) fn start_within(command: &mut Command, limit: Duration) -> (Child, Self) {
        let child = command.process_group(0).spawn().unwrap();
        let group = child.id().cast_signed();
        let (running, ended) = channel();
        let watchdog = std::thread::spawn(move || {
            let late = ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if late {
                // SAFETY: kill(2) reads no memory; the group is that of the child.
                unsafe { libc::kill(-group, libc::SIGKILL) };
            }
            late
        });
        (child, Self { watchdog, running })
    }

    /// The program has ended. Whether by itself.
    pub(crate) fn was_kept(self) -> bool {
        drop(self.running);
        !self.watchdog.join().unwrap()
    }
}

/// Runs `command` to its end and gives what it printed. One that hangs is killed and fails the test.
pub(crate) fn finish(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (child, deadline) = Deadline::start(command);
    let output = child.wait_with_output().unwrap();
    assert!(deadline.was_kept(), "hangs: {command:?}\n{output:?}");
    output
}

fn publication(generation: u64, available: FeatureSet) -> Publication {
    Publication {
        generation,
        available,
        visible: isa::detect(),
        cause: Cause::Offer,
        ..Publication::default()
    }
}

/// Counts a test that cannot run on this machine.
pub(crate) fn skip(test: &str, reason: &str) {
    println!("skipped: {test}: {reason}");
    if let Some(path) = std::env::var_os("ISAHOTPLUG_SKIPS") {
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "{test}: {reason}").unwrap();
    }
}

/// Standard output as text, after checking that standard error is empty.
pub(crate) fn stdout(output: &Output) -> String {
    let mut error = String::new();
    output.stderr.as_slice().read_to_string(&mut error).unwrap();
    assert_eq!(error, "", "stderr");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The number behind `key=` in the last line that has it.
pub(crate) fn last_number(text: &str, key: &str) -> u64 {
    let key = format!("{key}=");
    text.split_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix(&key))
        .unwrap_or_else(|| panic!("no {key} in:\n{text}"))
        .parse()
        .unwrap()
}
