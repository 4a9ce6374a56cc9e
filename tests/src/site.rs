//! A hypervisor host with its notifier, and what is asked of it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cpu::CpuModel;
use crate::error::{HarnessError, Result};
use crate::guest::Output;
use crate::host::Host;
use crate::notifier::Notifier;
use crate::port::Line;

/// How long the notifier and the guest may take for what takes milliseconds.
const SOON: Duration = Duration::from_secs(30);

/// What the notifier logs when QEMU has told it what the machine can execute.
const MACHINE_KNOWN: &str = ": executes ";

/// The name of the guest that a site's notifier serves.
const GUEST: &str = "guest";

/// A host whose notifier runs and waits for the guest named `guest`.
#[derive(Debug)]
pub struct Site {
    /// The host.
    pub host: Host,
    /// Its notifier.
    pub notifier: Notifier,
    control: PathBuf,
}

impl Site {
    /// A host with this CPU, and its notifier. Its identity is made from its
    /// name.
    ///
    /// # Errors
    /// When the notifier was not built or does not start.
    pub fn new(name: &str, cpu: CpuModel) -> Result<Self> {
        let host = Host::new(name, cpu)?;
        let control = host.folder()?.join("control.sock");
        let sockets = host.sockets(GUEST)?;
        let id: String = name
            .bytes()
            .chain(std::iter::repeat(0))
            .take(16)
            .map(|b| format!("{b:02x}"))
            .collect();
        let config = format!(
            "[host]\nname = \"{name}\"\nid = \"{id}\"\n\n[control]\nsocket = {control:?}\n\n\
             [[guest]]\nname = \"{GUEST}\"\nchannel = {:?}\nqmp = {:?}\n",
            sockets.channel(),
            sockets.notifier_qmp(),
        );
        let notifier = Notifier::start(&host, &config)?;
        Ok(Self {
            host,
            notifier,
            control,
        })
    }

    /// Waits until the guest has published an offer of this host that nobody
    /// has waited for yet.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn wait_published(&mut self) -> Result<Line> {
        self.notifier
            .wait_for_log_line(|line| line.contains(" published as generation "), SOON)
    }

    /// Waits until the notifier knows what the machine that has just been
    /// started here can execute.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn wait_machine(&mut self) -> Result<Line> {
        self.notifier
            .wait_for_log_line(|line| line.contains(MACHINE_KNOWN), SOON)
    }

    /// Runs an operator's command against this host's notifier.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn control(&self, arguments: &[&str]) -> Result<Output> {
        let socket = self.control.to_string_lossy();
        self.notifier
            .control(&[&["--control", &socket], arguments].concat())
    }

    /// What the notifier knows of the guest.
    ///
    /// # Errors
    /// [`HarnessError::Program`] when the notifier does not answer.
    pub fn status(&self) -> Result<Value> {
        let output = self.control(&["status", GUEST, "--json"])?;
        let parsed = serde_json::from_str::<Value>(&output.stdout).ok();
        let status = parsed.map(|value| value.get(0).cloned().unwrap_or(value));
        status
            .filter(|_| output.success())
            .ok_or_else(|| HarnessError::Program {
                program: "host-notifier status".into(),
                status: output.status.to_string(),
                stdout: output.stdout,
                stderr: output.stderr,
            })
    }

    /// Announces to the guest what it will lose on `destination`, whose
    /// machine must be waiting for it.
    ///
    /// # Errors
    /// When the command cannot be started; what it says is in its output.
    pub fn prepare_for(&self, destination: &Self, deadline: &str) -> Result<Output> {
        let to = destination.control.to_string_lossy();
        self.control(&[
            "prepare",
            GUEST,
            "--to",
            &to,
            "--deadline",
            deadline,
            "--json",
        ])
    }

    /// Announces to the guest that these features will go.
    ///
    /// # Errors
    /// As [`Site::prepare_for`].
    pub fn prepare(&self, lost: &str, deadline: &str) -> Result<Output> {
        self.control(&[
            "prepare",
            GUEST,
            "--lost",
            lost,
            "--deadline",
            deadline,
            "--json",
        ])
    }

    /// Takes the announced removal back.
    ///
    /// # Errors
    /// As [`Site::prepare_for`].
    pub fn abort(&self) -> Result<Output> {
        self.control(&["abort", GUEST])
    }
}
