//! One QEMU process.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use crate::cpu::CpuModel;
use crate::error::{Doing, HarnessError, Result};
use crate::image::{BuiltImage, CHANNEL_PORT, QGA_PORT};
use crate::qmp::{Mark, Qmp};
use crate::run::Run;
use crate::wire::HARNESS_PORT;

/// How long QEMU may take to open its control channel, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a QEMU that is starting has died.
const LIVENESS_MS: u16 = 100;
/// Lines of a log that an error quotes.
const LAST_WORDS: usize = 15;

/// Where the guest's memory lies.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Memory<'a> {
    /// In memory of QEMU's own.
    Own,
    /// In a new file, which is part of what is saved.
    NewFile(&'a Path),
    /// In a file of which QEMU sees a private copy.
    CopyOf(&'a Path),
}

/// The sockets of one machine on the test machine, in a folder of their own.
///
/// Their names are the same whenever the guest is on this host, so that a
/// host-notifier can be configured before the guest comes.
#[derive(Debug, Clone)]
pub struct Sockets {
    folder: PathBuf,
}

impl Sockets {
    pub(crate) fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The port `org.isahotplug.0`, for host-notifier.
    #[must_use]
    pub fn channel(&self) -> PathBuf {
        self.folder.join("isahotplug.sock")
    }

    /// A QMP monitor for host-notifier.
    #[must_use]
    pub fn notifier_qmp(&self) -> PathBuf {
        self.folder.join("qmp-notifier.sock")
    }

    /// The port of qemu-guest-agent.
    #[must_use]
    pub fn qga(&self) -> PathBuf {
        self.folder.join("qga.sock")
    }

    pub(crate) fn harness(&self) -> PathBuf {
        self.folder.join("harness.sock")
    }

    /// Where QEMU listens for an incoming migration.
    pub(crate) fn migration(&self) -> PathBuf {
        self.folder.join("migration.sock")
    }

    /// Where QEMU connects to, to be controlled.
    fn qmp(&self) -> PathBuf {
        self.folder.join("qmp.sock")
    }
}

/// A QEMU that was started and cannot be forgotten: dropping it kills it.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) qmp: Qmp,
    pub(crate) sockets: Sockets,
    child: Mutex<Child>,
    pid: u32,
    serial_log: PathBuf,
    qemu_log: PathBuf,
}

/// The arguments that make the machine what it is; saved states depend on them.
fn machine_arguments(cpu: &CpuModel, image: &BuiltImage) -> Vec<String> {
    [
        "-machine",
        "q35,accel=tcg,memory-backend=ram0",
        "-cpu",
        &cpu.to_string(),
        "-m",
        &format!("{}M", image.memory_mib),
        "-smp",
        &image.vcpus.to_string(),
        "-no-user-config",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-append",
        &image.kernel_arguments,
        "-device",
        "virtio-serial-pci,id=serial,max_ports=8",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// All that a saved state of this machine depends on, beside the image.
pub(crate) fn machine_identity(cpu: &CpuModel, image: &BuiltImage) -> Result<String> {
    let qemu = qemu();
    let file = fs::metadata(&qemu).doing(|| format!("looking at {}", qemu.display()))?;
    let modified = file
        .modified()
        .doing(|| format!("looking at {}", qemu.display()))?;
    let arguments = machine_arguments(cpu, image);
    Ok(format!(
        "{} {} {modified:?} {arguments:?}",
        qemu.display(),
        file.len()
    ))
}

/// QEMU's program, found in `PATH`.
fn qemu() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("qemu-system-x86_64"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| PathBuf::from("/usr/bin/qemu-system-x86_64"))
}

impl Vm {
    /// Starts QEMU. With `incoming` it waits for a guest to arrive, else it
    /// boots the image.
    pub(crate) fn start(
        run: &Run,
        name: &str,
        sockets: Sockets,
        cpu: &CpuModel,
        image: &BuiltImage,
        memory: Memory<'_>,
        incoming: bool,
    ) -> Result<Self> {
        let log = |what: &str| {
            run.logs()
                .join(format!("{:02}-{name}-{what}.log", run.number()))
        };
        let (qmp_log, serial_log, qemu_log) = (log("qmp"), log("serial"), log("qemu"));
        let qmp_path = sockets.qmp();
        let _ = fs::remove_file(&qmp_path);
        let listener = UnixListener::bind(&qmp_path)
            .doing(|| format!("listening at {}", qmp_path.display()))?;

        let mut command = Command::new(qemu());
        command
            .args(machine_arguments(cpu, image))
            .args(["-kernel".as_ref(), image.kernel.as_os_str()])
            .args(["-initrd".as_ref(), image.initramfs.as_os_str()])
            .args(["-object", &memory.argument(image.memory_mib)])
            .args(["-name", name])
            .args([
                "-chardev",
                &format!("file,id=console,path={}", serial_log.display()),
            ])
            .args(["-serial", "chardev:console"]);
        let ports = [
            (CHANNEL_PORT, sockets.channel()),
            (HARNESS_PORT, sockets.harness()),
            (QGA_PORT, sockets.qga()),
        ];
        for (number, (port, path)) in (1..).zip(ports) {
            let path = path.display();
            command
                .args([
                    "-chardev",
                    &format!("socket,id=port{number},path={path},server=on,wait=off"),
                ])
                .args([
                    "-device",
                    &format!("virtserialport,nr={number},chardev=port{number},name={port}"),
                ]);
        }
        let monitors = [
            (
                "notifier",
                format!(
                    "path={},server=on,wait=off",
                    sockets.notifier_qmp().display()
                ),
            ),
            ("harness", format!("path={},server=off", qmp_path.display())),
        ];
        for (id, socket) in monitors {
            command
                .args(["-chardev", &format!("socket,id={id},{socket}")])
                .args(["-mon", &format!("chardev={id},mode=control")]);
        }
        if incoming {
            command.args(["-incoming", "defer"]);
        }
        let qemu_file =
            File::create(&qemu_log).doing(|| format!("making {}", qemu_log.display()))?;
        let qemu_file_too = qemu_file
            .try_clone()
            .doing(|| "sharing QEMU's log".into())?;
        command
            .stdin(Stdio::null())
            .stdout(qemu_file_too)
            .stderr(qemu_file);

        let mut child = crate::spawn::spawn(command).doing(|| "starting QEMU".into())?;
        let connected = accept(&listener, &mut child)
            .and_then(|stream| Qmp::new(stream, &qmp_log))
            .and_then(|qmp| {
                qmp.set_capability("events", true)?;
                Ok(qmp)
            });
        let qmp = match connected {
            Ok(qmp) => qmp,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(with_tail(error, &[&qemu_log]));
            }
        };
        let pid = child.id();
        Ok(Self {
            qmp,
            sockets,
            child: Mutex::new(child),
            pid,
            serial_log,
            qemu_log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Connects to the harness port of this machine.
    pub(crate) fn connect_harness(&self) -> Result<UnixStream> {
        let path = self.sockets.harness();
        UnixStream::connect(&path).doing(|| format!("connecting to {}", path.display()))
    }

    /// What the guest's kernel and PID 1 wrote to the console on this machine.
    pub(crate) fn console(&self) -> String {
        fs::read(&self.serial_log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Ends QEMU as its power cord would.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Tells QEMU to end, and waits until it did.
    pub(crate) fn quit(&self) -> Result<()> {
        // The answer may be lost with the connection.
        let _ = self.qmp.execute("quit", json!({}));
        let closed = self.qmp.wait_closed(PATIENCE);
        self.kill();
        closed
    }

    /// Waits until a migration, to or from this machine, completed.
    pub(crate) fn wait_migrated(&self, since: Mark, within: Duration) -> Result<()> {
        let status =
            self.wait_migration_status(since, &["completed", "failed", "cancelled"], within)?;
        if status == "completed" {
            return Ok(());
        }
        let answer = self.qmp.execute("query-migrate", json!({}))?;
        let why = answer["error-desc"].as_str().unwrap_or_default().to_owned();
        Err(HarnessError::Migration { status, why })
    }

    /// Waits until a migration has one of these statuses, and returns it.
    pub(crate) fn wait_migration_status(
        &self,
        since: Mark,
        statuses: &[&str],
        within: Duration,
    ) -> Result<String> {
        let is_one = |data: &Value| {
            data["status"]
                .as_str()
                .is_some_and(|status| statuses.contains(&status))
        };
        let event = self.qmp.wait_event(since, "MIGRATION", is_one, within)?;
        Ok(event.data["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Adds the last words of guest and QEMU to an error about their end.
    pub(crate) fn explain(&self, error: HarnessError) -> HarnessError {
        match error {
            HarnessError::QemuEnded(_) => with_tail(error, &[&self.serial_log, &self.qemu_log]),
            other => other,
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Memory<'_> {
    /// The argument of QEMU's `-object`.
    fn argument(self, mib: u32) -> String {
        match self {
            Self::Own => format!("memory-backend-ram,id=ram0,size={mib}M"),
            Self::NewFile(path) => format!(
                "memory-backend-file,id=ram0,size={mib}M,mem-path={},share=on",
                path.display()
            ),
            Self::CopyOf(path) => format!(
                "memory-backend-file,id=ram0,size={mib}M,mem-path={},share=off,readonly=on,rom=off",
                path.display()
            ),
        }
    }
}

impl Qmp {
    /// Switches a capability of migration on or off.
    pub(crate) fn set_capability(&self, name: &str, on: bool) -> Result<()> {
        let capabilities = json!([{"capability": name, "state": on}]);
        self.execute(
            "migrate-set-capabilities",
            json!({"capabilities": capabilities}),
        )
        .map(drop)
    }
}

/// Waits until QEMU connects, or died.
fn accept(listener: &UnixListener, child: &mut Child) -> Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, LIVENESS_MS) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => {
                let accepted = listener.accept();
                return accepted
                    .map(|(stream, _)| stream)
                    .doing(|| "meeting QEMU".into());
            }
            Err(error) => return Err(io::Error::from(error)).doing(|| "meeting QEMU".into()),
        }
        if let Some(status) = child.try_wait().doing(|| "looking after QEMU".into())? {
            return Err(HarnessError::QemuEnded(status.to_string()));
        }
        if Instant::now() > deadline {
            return Err(HarnessError::Timeout {
                what: "QEMU's control channel".into(),
                after: PATIENCE,
            });
        }
    }
}

fn with_tail(error: HarnessError, logs: &[&PathBuf]) -> HarnessError {
    let mut text = match error {
        HarnessError::QemuEnded(text) => text,
        other => return other,
    };
    for log in logs {
        let bytes = fs::read(log).unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = content
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = lines.len().saturating_sub(LAST_WORDS);
        // A kernel's last words begin where it says what went wrong.
        let wrong = |line: &&str| {
            ["Kernel panic", "BUG:", "Oops"]
                .iter()
                .any(|word| line.contains(word))
        };
        let from = lines.iter().position(wrong).unwrap_or(last);
        for line in lines[from..].iter().take(2 * LAST_WORDS) {
            text.push_str("\n  | ");
            text.push_str(line);
        }
    }
    HarnessError::QemuEnded(text)
}
