//! Who this host is, and where its numbers start.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::{HostIdentity, Text};

use crate::config::{Config, HostId};

const MACHINE_ID: &str = "/etc/machine-id";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// How this daemon speaks to every guest.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The host and its boot.
    pub host: HostIdentity,
    /// The host's name, for people.
    pub name: Text<64>,
    /// Offers and prepares are numbered from here: microseconds since the
    /// epoch, so that a notifier that restarts goes on upwards.
    pub sequence: u64,
}

/// Why a host does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file of the system cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// Which file.
        path: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A file of the system holds no id.
    #[error("{path}: {problem}")]
    NoId {
        /// Which file.
        path: &'static str,
        /// What it holds.
        problem: String,
    },
}

impl Identity {
    /// What `config` says, completed with what the system says.
    ///
    /// # Errors
    /// [`IdentityError`] if an id is needed and cannot be read.
    pub fn read(config: &Config) -> Result<Self, IdentityError> {
        let HostId(machine) = match config.host_id {
            Some(id) => id,
            None => id_in(MACHINE_ID)?,
        };
        let HostId(boot) = id_in(BOOT_ID)?;
        let name = match &config.host_name {
            Some(name) => name.clone(),
            None => Text::lossy(text_in(HOST_NAME)?.trim_end()),
        };
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let sequence = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
        Ok(Self {
            host: HostIdentity { machine, boot },
            name,
            sequence,
        })
    }
}

fn text_in(path: &'static str) -> Result<String, IdentityError> {
    std::fs::read_to_string(path).map_err(|error| IdentityError::Unreadable { path, error })
}

fn id_in(path: &'static str) -> Result<HostId, IdentityError> {
    text_in(path)?
        .trim_end()
        .parse()
        .map_err(|problem| IdentityError::NoId { path, problem })
}
