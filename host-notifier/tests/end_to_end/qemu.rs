//! A real QEMU whose virtual CPUs stand still.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::daemon::PATIENCE;

const BINARY: &str = "qemu-system-x86_64";

/// Whether QEMU is installed; if not, `test` is noted as skipped.
pub(crate) fn installed(test: &str) -> bool {
    let installed = Command::new(BINARY)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !installed {
        let line = format!("{test}: {BINARY} is not installed");
        eprintln!("skipped {line}");
        if let Some(path) = std::env::var_os("ISAHOTPLUG_SKIPS") {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            writeln!(file, "{line}").unwrap();
        }
    }
    installed
}

pub(crate) struct Qemu {
    child: Child,
    monitor: BufReader<UnixStream>,
}

impl Qemu {
    /// Starts one whose monitor for the notifier is at `qmp`.
    pub(crate) fn start(qmp: &Path, cpu: &str) -> Self {
        // QEMU connects to the test: nobody has to guess when it listens.
        let own = own_monitor(qmp);
        let _ = std::fs::remove_file(&own);
        let listener = UnixListener::bind(&own).unwrap();
        let child = Command::new(BINARY)
            .args([
                "-accel",
                "tcg",
                "-M",
                "q35",
                "-m",
                "64",
                "-smp",
                "2",
                "-S",
                "-nodefaults",
            ])
            .args([
                "-display",
                "none",
                "-cpu",
                cpu,
                "-qmp",
                &format!("unix:{},server=on,wait=off", qmp.display()),
                "-qmp",
                &format!("unix:{},server=off", own.display()),
            ])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let monitor = BufReader::new(accept(&listener));
        let mut qemu = Self { child, monitor };
        qemu.read();
        qemu.execute("qmp_capabilities", &json!({}));
        qemu
    }

    /// Executes a QMP command on the test's own monitor.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Value {
        let line = json!({"execute": command, "arguments": arguments}).to_string();
        writeln!(self.monitor.get_mut(), "{line}").unwrap();
        loop {
            let mut message = self.read();
            assert!(message.get("error").is_none(), "{command}: {message}");
            if message.get("return").is_some() {
                return message["return"].take();
            }
        }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.monitor.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn own_monitor(qmp: &Path) -> PathBuf {
    qmp.with_extension("test")
}

/// The connection of a program that was just started.
fn accept(listener: &UnixListener) -> UnixStream {
    let patience = PollTimeout::try_from(PATIENCE).unwrap();
    let mut wait = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut wait, patience), Ok(1), "QEMU connects");
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
