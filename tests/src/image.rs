//! The guest: a kernel of Debian's and an initramfs of a few programs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::cached;
use crate::cpio::Archive;
use crate::error::{Doing, HarnessError, Result};
use crate::key::Key;
use crate::places::{self, Kernel};
use crate::program::output_of;
use crate::wire::HARNESS_PORT;

/// Modules that PID 1 loads, each after those it needs.
const MODULES: [&str; 6] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
];

/// The port that host-notifier and guest-agent speak on.
pub(crate) const CHANNEL_PORT: &str = "org.isahotplug.0";

/// The port of QEMU's own guest agent.
pub(crate) const QGA_PORT: &str = "org.qemu.guest_agent.0";

/// The static busybox of the test machine.
const BUSYBOX: &str = "/bin/busybox";

/// Debian's places for shared libraries, which the loader knows by itself.
const LIBRARIES: &str = "/lib/x86_64-linux-gnu";

/// Holds glibc's own choice of functions at what every x86-64 CPU has: with
/// what the CPU showed at boot, PID 1 and the shell would die at their first
/// `strlen` after the guest moved to a CPU without AVX2.
const GLIBC_AT_BASELINE: &str = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,\
     -AVX_Fast_Unaligned_Load,-AVX,-FMA,-BMI2";

/// What a guest consists of; made into an initramfs when it is first booted.
#[derive(Debug, Clone)]
pub struct GuestImage {
    files: BTreeMap<String, Content>,
    /// Modules that lie in the guest without being loaded.
    spare_modules: Vec<String>,
    library_dirs: Vec<PathBuf>,
    kernel_words: Vec<String>,
    glibc_at_baseline: bool,
    memory_mib: u32,
    vcpus: u32,
}

#[derive(Debug, Clone)]
enum Content {
    File { from: PathBuf, permissions: u32 },
    Program(PathBuf),
    Text(String),
}

/// An initramfs in the cache.
#[derive(Debug, Clone)]
pub(crate) struct BuiltImage {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) kernel_arguments: String,
    pub(crate) memory_mib: u32,
    pub(crate) vcpus: u32,
    /// Of all the above.
    pub(crate) key: String,
}

impl GuestImage {
    /// A guest with PID 1 and busybox, nothing else.
    #[must_use]
    pub fn minimal() -> Self {
        Self {
            files: BTreeMap::new(),
            spare_modules: vec!["msr".to_owned()],
            library_dirs: Vec::new(),
            kernel_words: Vec::new(),
            glibc_at_baseline: true,
            memory_mib: 256,
            vcpus: 1,
        }
    }

    /// The minimal guest with `guest-agent` in /bin.
    ///
    /// # Errors
    /// [`HarnessError::Missing`] when it was not built.
    pub fn spine() -> Result<Self> {
        Ok(Self::minimal().program("/bin/guest-agent", &places::product("guest-agent")?))
    }

    /// Adds QEMU's own guest agent, `/usr/sbin/qemu-ga`.
    ///
    /// # Errors
    /// [`HarnessError::Missing`] when set-up did not leave it in the cache.
    pub fn with_qemu_guest_agent(self) -> Result<Self> {
        let root = places::qemu_guest_agent()?;
        Ok(self
            .library_dir(&root.join("usr/lib/x86_64-linux-gnu"))
            .library_dir(&root.join("lib/x86_64-linux-gnu"))
            .program("/usr/sbin/qemu-ga", &root.join("usr/sbin/qemu-ga")))
    }

    /// Adds a program or shared object with the libraries it needs.
    #[must_use]
    pub fn program(mut self, path: &str, from: &Path) -> Self {
        self.files
            .insert(path.to_owned(), Content::Program(from.to_owned()));
        self
    }

    /// Adds a file as it is.
    #[must_use]
    pub fn file(mut self, path: &str, from: &Path, permissions: u32) -> Self {
        let content = Content::File {
            from: from.to_owned(),
            permissions,
        };
        self.files.insert(path.to_owned(), content);
        self
    }

    /// Adds a readable file with this content.
    #[must_use]
    pub fn text(mut self, path: &str, text: &str) -> Self {
        self.files
            .insert(path.to_owned(), Content::Text(text.to_owned()));
        self
    }

    /// Looks for the libraries of programs in this folder first.
    #[must_use]
    pub fn library_dir(mut self, folder: &Path) -> Self {
        self.library_dirs.push(folder.to_owned());
        self
    }

    /// Adds a word to the kernel's command line. A `NAME=value` that the
    /// kernel does not know becomes PID 1's environment.
    #[must_use]
    pub fn kernel_word(mut self, word: &str) -> Self {
        self.kernel_words.push(word.to_owned());
        self
    }

    /// Lets glibc choose its functions by the CPU that the guest sees at boot,
    /// as it does on an ordinary machine.
    #[must_use]
    pub fn glibc_follows_cpu(mut self) -> Self {
        self.glibc_at_baseline = false;
        self
    }

    /// Lays a module's file in /lib/modules, for `insmod`.
    #[must_use]
    pub fn spare_module(mut self, name: &str) -> Self {
        self.spare_modules.push(name.to_owned());
        self
    }

    /// The number of virtual CPUs, 1 if not set.
    #[must_use]
    pub fn vcpus(mut self, count: u32) -> Self {
        self.vcpus = count;
        self
    }

    /// The guest's memory in MiB, 256 if not set.
    #[must_use]
    pub fn memory_mib(mut self, size: u32) -> Self {
        self.memory_mib = size;
        self
    }

    /// Makes the initramfs if the cache does not have it.
    pub(crate) fn build(&self) -> Result<BuiltImage> {
        let kernel = Kernel::find()?;
        let archive = self.archive(&kernel)?.bytes();
        let mut key = Key::new("initramfs");
        key.add(&archive);
        let initramfs = cached("images", &key.name(), |unfinished| {
            fs::write(unfinished, &archive).doing(|| "writing the initramfs".into())
        })?;

        let kernel_arguments = self.kernel_arguments();
        let kernel = kernel.image();
        key.add(&fs::read(&kernel).doing(|| format!("reading {}", kernel.display()))?);
        key.add(&kernel_arguments);
        key.add(&(self.memory_mib, self.vcpus));
        Ok(BuiltImage {
            kernel,
            initramfs,
            kernel_arguments,
            memory_mib: self.memory_mib,
            vcpus: self.vcpus,
            key: key.name(),
        })
    }

    fn archive(&self, kernel: &Kernel) -> Result<Archive> {
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "run", "tmp", "etc", "root", "var"] {
            archive.directory(folder);
        }
        archive.link("var/run", "../run");
        archive.device("dev/console", 5, 1);
        archive.device("dev/null", 1, 3);
        let mut list = Command::new(BUSYBOX);
        list.arg("--list");
        for applet in output_of(list)?.lines() {
            archive.link(&format!("bin/{applet}"), "busybox");
        }
        for (path, (from, permissions)) in self.sources(kernel)? {
            let bytes = fs::read(&from).doing(|| format!("reading {}", from.display()))?;
            archive.file(&path, permissions, bytes);
        }
        let order = MODULES.map(|module| format!("{module}.ko\n")).concat();
        archive.file("lib/modules/order", 0o644, order.into_bytes());
        for (path, content) in &self.files {
            if let Content::Text(text) = content {
                archive.file(path, 0o644, text.as_bytes().to_vec());
            }
        }
        Ok(archive)
    }

    /// The files of the test machine that go into the guest, by their path
    /// there, with their permissions.
    fn sources(&self, kernel: &Kernel) -> Result<BTreeMap<String, (PathBuf, u32)>> {
        let mut sources = BTreeMap::new();
        for module in MODULES
            .iter()
            .copied()
            .chain(self.spare_modules.iter().map(String::as_str))
        {
            let path = format!("lib/modules/{module}.ko");
            sources.insert(path, (kernel.module(module)?, 0o644));
        }
        sources.insert("bin/busybox".into(), (BUSYBOX.into(), 0o755));
        let init = stripped(&places::guest_init()?)?;
        self.add_program("/init", &init, &mut sources)?;
        for (path, content) in &self.files {
            match content {
                Content::File { from, permissions } => {
                    sources.insert(path.clone(), (from.clone(), *permissions));
                }
                Content::Program(from) => self.add_program(path, from, &mut sources)?,
                Content::Text(_) => {}
            }
        }
        Ok(sources)
    }

    fn add_program(
        &self,
        path: &str,
        from: &Path,
        sources: &mut BTreeMap<String, (PathBuf, u32)>,
    ) -> Result<()> {
        for library in self.libraries_of(from)? {
            // The loader itself is named by its whole path in each program.
            let in_guest = match &library {
                Library::Loader(path) => path.display().to_string(),
                Library::Named(name, _) => format!("{LIBRARIES}/{name}"),
            };
            let (Library::Loader(file) | Library::Named(_, file)) = library;
            sources.insert(in_guest.trim_start_matches('/').to_owned(), (file, 0o755));
        }
        let path = path.trim_start_matches('/').to_owned();
        sources.insert(path, (stripped(from)?, 0o755));
        Ok(())
    }

    fn libraries_of(&self, program: &Path) -> Result<Vec<Library>> {
        let mut folders = OsString::new();
        for folder in &self.library_dirs {
            folders.push(folder);
            folders.push(":");
        }
        let output = Command::new("ldd")
            .arg(program)
            .env("LD_LIBRARY_PATH", folders)
            .output()
            .doing(|| "starting ldd".into())?;
        // A static program is no failure, though ldd calls it one.
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .filter_map(|line| Library::parse(program, line).transpose())
            .collect()
    }

    fn kernel_arguments(&self) -> String {
        let ports = [CHANNEL_PORT, HARNESS_PORT, QGA_PORT].join(",");
        let mut arguments = format!("console=ttyS0 quiet panic=-1 ISAHOTPLUG_GUEST_PORTS={ports}");
        let held = self.glibc_at_baseline.then_some(GLIBC_AT_BASELINE);
        for word in held
            .into_iter()
            .chain(self.kernel_words.iter().map(String::as_str))
        {
            arguments.push(' ');
            arguments.push_str(word);
        }
        arguments
    }
}

enum Library {
    Loader(PathBuf),
    Named(String, PathBuf),
}

impl Library {
    /// Reads a line of ldd(1): `libc.so.6 => /lib/…/libc.so.6 (0x…)`,
    /// `/lib64/ld-linux-x86-64.so.2 (0x…)`, or one about no file.
    fn parse(program: &Path, line: &str) -> Result<Option<Self>> {
        let line = line.trim();
        let file_of = |text: &str| text.split(" (").next().unwrap_or(text).trim().to_owned();
        if let Some((name, file)) = line.split_once(" => ") {
            let file = file_of(file);
            if file == "not found" {
                let program = format!("ldd {}", program.display());
                return Err(HarnessError::Tool {
                    program,
                    output: line.to_owned(),
                });
            }
            if name.starts_with('/') {
                return Ok(Some(Self::Loader(PathBuf::from(name))));
            }
            return Ok(Some(Self::Named(name.to_owned(), PathBuf::from(file))));
        }
        Ok(line
            .starts_with('/')
            .then(|| Self::Loader(PathBuf::from(file_of(line)))))
    }
}

/// The program without its debugging information, which may be most of it.
fn stripped(program: &Path) -> Result<PathBuf> {
    let bytes = fs::read(program).doing(|| format!("reading {}", program.display()))?;
    let mut key = Key::new("stripped");
    key.add(&bytes);
    let stem = program.file_name().unwrap_or_default().to_string_lossy();
    cached(
        "programs",
        &format!("{stem}-{}", key.name()),
        |unfinished| {
            let mut strip = Command::new("strip");
            strip
                .arg("--strip-debug")
                .arg("-o")
                .arg(unfinished)
                .arg(program);
            output_of(strip).map(drop)
        },
    )
}
