//! How this process stands with the agent: connecting, registering, and what is still to be said.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use isa::FeatureSet;
use protocol::local::{FromProcess, ToProcess, Urgency};
use protocol::{Text, Versions};

use crate::agent::{Connection, Received, Sent};
use crate::descriptors::Descriptors;
use crate::page;
use crate::slots::SILENT_FEATURES;
use crate::trap::TRAPS;

/// First pause before connecting again, doubled each time…
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// …up to this.
const RETRY_SLOWEST: Duration = Duration::from_secs(2);
/// How soon to try again what a slow agent did not take.
const BACKLOG: Duration = Duration::from_millis(50);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Link {
    connection: Option<Connection>,
    retry_at: Instant,
    retry_pause: Duration,
    /// What the agent was told this process wants to hear.
    told: Option<(FeatureSet, Urgency)>,
    /// Registrations that the agent has not confirmed.
    unconfirmed: u32,
    /// What of the lost features the agent knows.
    reported: FeatureSet,
    /// What the agent is still to be told about a generation.
    owed: Option<FromProcess>,
    /// Something could not be sent, for the agent does not read.
    backlog: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            connection: None,
            retry_at: Instant::now(),
            retry_pause: RETRY_FIRST,
            told: None,
            unconfirmed: 0,
            reported: FeatureSet::EMPTY,
            owed: None,
            backlog: false,
        }
    }
}

impl Link {
    /// Opens or closes the connection as it is `wanted`. Whether there is a new one, and how things
    /// stand if that is known anew.
    pub(crate) fn connect(
        &mut self,
        descriptors: &Descriptors,
        run_dir: &Path,
        wanted: bool,
    ) -> (bool, Option<String>) {
        self.backlog = false;
        if !wanted {
            // Closing it also ends the registration with the agent.
            let text = self
                .connection
                .is_some()
                .then(|| "nothing is registered".into());
            if let Some(connection) = &self.connection {
                descriptors.remove(connection);
                self.forget();
            }
            return (false, text);
        }
        if self.connection.is_some() || self.retry_at > Instant::now() {
            return (false, None);
        }
        let opened = Connection::open(&run_dir.join("agent.sock"));
        let added = opened.and_then(|connection| {
            descriptors.add(&connection)?;
            Ok(connection)
        });
        match added {
            Ok(connection) => {
                self.connection = Some(connection);
                (true, None)
            }
            Err(error) => {
                self.postpone();
                let known = if page::is_agents() {
                    "what was published last"
                } else {
                    "CPUID"
                };
                (false, Some(format!("no agent ({error}); going by {known}")))
            }
        }
    }

    /// Reads what the agent says, and tells it what is `wanted`, if that is new. `acted`: the
    /// generation that this process has acted upon.
    pub(crate) fn converse(
        &mut self,
        descriptors: &Descriptors,
        name: &str,
        wanted: Option<(FeatureSet, Urgency)>,
        acted: u64,
    ) -> Option<String> {
        let heard = self.read(descriptors);
        match wanted {
            Some(wanted) if self.told != Some(wanted) => {
                self.introduce(descriptors, name, wanted, acted).or(heard)
            }
            _ => heard,
        }
    }

    /// The connection is another process's, or not wanted any more.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// A new generation: what is missing is to be reported anew.
    pub(crate) fn forget_reported(&mut self) {
        self.reported = FeatureSet::EMPTY;
    }

    /// The silent features of which the agent has confirmed that planned removals wait for this
    /// process. It knows nothing of an interest that is still to be told.
    pub(crate) fn awaited(&self) -> FeatureSet {
        match self.told {
            Some((interest, Urgency::Eager)) if self.unconfirmed == 0 => {
                match interest.is_empty() {
                    true => SILENT_FEATURES,
                    false => SILENT_FEATURES.intersection(interest),
                }
            }
            _ => FeatureSet::EMPTY,
        }
    }

    /// What was owed was about another page.
    pub(crate) fn owe_nothing(&mut self) {
        self.owed = None;
    }

    pub(crate) fn owe_left(&mut self, generation: u64) {
        self.owed = Some(FromProcess::Left { generation });
    }

    pub(crate) fn owe_refusal(&mut self, generation: u64, reason: &str) {
        let reason = Text::lossy(reason);
        self.owed = Some(FromProcess::Refuse { generation, reason });
    }

    pub(crate) fn owe_need(&mut self, generation: u64, ms: u32, who: &str) {
        self.owed = Some(FromProcess::Needs {
            generation,
            ms,
            what: Text::lossy(who),
        });
    }

    /// When to come back at the latest.
    pub(crate) fn deadline(&self, wanted: bool, at: Instant) -> Option<Instant> {
        match &self.connection {
            Some(_) => self.backlog.then(|| at + BACKLOG),
            None => wanted.then_some(self.retry_at),
        }
    }

    fn postpone(&mut self) {
        self.retry_at = Instant::now() + self.retry_pause;
        self.retry_pause = (self.retry_pause * 2).min(RETRY_SLOWEST);
    }

    fn introduce(
        &mut self,
        descriptors: &Descriptors,
        name: &str,
        wanted: (FeatureSet, Urgency),
        generation: u64,
    ) -> Option<String> {
        let connection = self.connection.as_ref()?;
        let (interest, urgency) = wanted;
        let message = FromProcess::Register {
            versions: Versions::SUPPORTED,
            name: Text::lossy(name),
            interest,
            urgency,
            generation,
        };
        let with = (urgency != Urgency::Lazy).then(|| descriptors.wake.as_fd());
        match connection.send(&message, with) {
            Sent::Yes => {
                self.told = Some(wanted);
                self.unconfirmed += 1;
            }
            Sent::Later => self.backlog = true,
            Sent::Gone => return Some(self.lose(descriptors, "the agent is gone")),
        }
        None
    }

    fn read(&mut self, descriptors: &Descriptors) -> Option<String> {
        let mut text = None;
        while let Some(connection) = &self.connection {
            match connection.receive() {
                Received::Nothing => break,
                Received::Message(ToProcess::Welcome { .. }) => {
                    self.retry_pause = RETRY_FIRST;
                    self.unconfirmed = self.unconfirmed.saturating_sub(1);
                    text = Some("registered with the agent".into());
                }
                Received::Message(ToProcess::Rejected { reason }) => {
                    text = Some(self.lose(descriptors, &format!("the agent refuses us: {reason}")));
                }
                Received::Message(ToProcess::Present { features }) => {
                    TRAPS.forget(features);
                    self.reported = self.reported.difference(features);
                }
                Received::Message(ToProcess::Status(_)) => {}
                Received::Gone(why) => text = Some(self.lose(descriptors, &why)),
            }
        }
        text
    }

    fn lose(&mut self, descriptors: &Descriptors, why: &str) -> String {
        if let Some(connection) = self.connection.take() {
            descriptors.remove(&connection);
        }
        self.told = None;
        self.unconfirmed = 0;
        self.reported = FeatureSet::EMPTY;
        self.postpone();
        format!("{why}; going by what was published last")
    }

    /// Tells the agent what is owed, and of `lost` what it does not know. How things stand, if
    /// that is known anew.
    pub(crate) fn tell(
        &mut self,
        descriptors: &Descriptors,
        lost: FeatureSet,
        address: u64,
    ) -> Option<String> {
        let connection = self.connection.as_ref()?;
        self.told?;
        let mut gone = false;
        if let Some(owed) = &self.owed {
            match connection.send(owed, None) {
                Sent::Yes => self.owed = None,
                Sent::Later => self.backlog = true,
                Sent::Gone => gone = true,
            }
        }
        let news = lost.difference(self.reported);
        if !news.is_empty() && !gone {
            let trapped = FromProcess::Trapped {
                features: lost,
                address,
            };
            match connection.send(&trapped, None) {
                Sent::Yes => self.reported = lost,
                Sent::Later => self.backlog = true,
                Sent::Gone => gone = true,
            }
        }
        gone.then(|| self.lose(descriptors, "the agent is gone"))
    }
}
