//! One guest: its session, its channel, its monitor, and who asks about it.

mod asked;
mod channel;
mod monitor;
mod session;

use std::fmt;
use std::time::Duration;

use isa::FeatureSet;
use protocol::host::Output;
use protocol::{HostSession, Moment};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{Level, event};

use crate::allowance::Allowance;
use crate::backoff::Backoff;
use crate::clock;
use crate::config::GuestConfig;
use crate::control::{Denial, GuestStatus, Holder, Prepared};
use crate::identity::Identity;
use crate::outbox::Outbox;
use crate::qmp::{self, Machine, News};

/// Pause after a guest was dropped for not speaking the protocol.
const DROP_PAUSE: Duration = Duration::from_secs(1);
/// An agent says a few hundred bytes a second when it has much to say.
const MOST_BYTES: (u64, Duration) = (256 * 1024, Duration::from_secs(1));
/// What one guest may write into this host's log.
const MOST_LINES: (u64, Duration) = (1000, Duration::from_secs(60));

/// What is asked of a guest's task.
#[derive(Debug)]
pub enum Request {
    /// How do things stand?
    Status(oneshot::Sender<GuestStatus>),
    /// Announce a removal.
    Prepare {
        /// What will go.
        removal: Removal,
        /// How long the guest has.
        allowed: Duration,
        /// Where the answer is wanted.
        answer: Answered,
    },
    /// Take it back; the answer is whether the guest could be told at once.
    Abort(oneshot::Sender<bool>),
}

/// Where the answer to a prepare is wanted.
pub type Answered = oneshot::Sender<Result<Prepared, Denial>>;

/// How a removal is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// These will go.
    Lost(FeatureSet),
    /// Only these will remain.
    DownTo(FeatureSet),
}

/// What is asked of a guest's task goes through here.
pub type Requests = mpsc::Sender<Request>;

/// Starts the task of one guest on `tasks`.
pub fn serve(config: GuestConfig, identity: &Identity, tasks: &mut JoinSet<()>) -> Requests {
    let (requests, asked) = mpsc::channel(16);
    let session = HostSession::new(identity.host, identity.name.clone(), identity.sequence);
    tasks.spawn(async move {
        let (news, told) = mpsc::channel(16);
        let path = config.qmp.clone();
        let monitor = qmp::watch(&path, news);
        tokio::select! {
            () = monitor => {}
            () = Guest::new(config, session).run(told, asked) => {}
        }
    });
    requests
}

/// What the guest said last, whether or not it still answers.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    version: Option<u16>,
    visible: Option<FeatureSet>,
    generation: Option<u64>,
    unsafe_silent: FeatureSet,
    latency: Option<Duration>,
}

#[derive(Debug)]
struct Guest {
    config: GuestConfig,
    session: HostSession,
    channel: Option<UnixStream>,
    outbox: Outbox,
    /// When the channel is to be opened, if it is not open but should be.
    connect_at: Moment,
    backoff: Backoff,
    /// Why the channel could not be opened, as logged.
    no_channel: Option<String>,
    machine: Option<Machine>,
    left: bool,
    silent: bool,
    said: Said,
    waiting: Option<(u64, Answered)>,
    /// The latest prepare: its number and what it takes.
    announced: (u64, FeatureSet),
    bytes: Allowance,
    lines: Allowance,
    lines_left_out: u64,
}

impl Guest {
    fn new(config: GuestConfig, session: HostSession) -> Self {
        Self {
            config,
            session,
            channel: None,
            outbox: Outbox::default(),
            connect_at: Moment::default(),
            backoff: Backoff::new(),
            no_channel: None,
            machine: None,
            left: false,
            silent: false,
            said: Said::default(),
            waiting: None,
            announced: (0, FeatureSet::EMPTY),
            bytes: Allowance::new(MOST_BYTES.0, MOST_BYTES.1),
            lines: Allowance::new(MOST_LINES.0, MOST_LINES.1),
            lines_left_out: 0,
        }
    }

    /// Runs until nobody can ask any more.
    async fn run(mut self, mut told: mpsc::Receiver<News>, mut asked: mpsc::Receiver<Request>) {
        let mut buffer = [0; 4096];
        loop {
            let now = clock::now();
            let may_read = self.bytes.returns_at(now);
            let wake = [self.session.deadline(), self.wants_channel(), may_read];
            let pause = wake.into_iter().flatten().min().map(|at| at.since(now));
            let may_read = may_read.is_none();
            tokio::select! {
                news = told.recv() => match news {
                    Some(news) => self.hear_monitor(news),
                    None => return,
                },
                request = asked.recv() => match request {
                    Some(request) => self.hear_request(request),
                    None => return,
                },
                ready = channel::ready(self.channel.as_ref(), may_read, !self.outbox.is_empty()) => {
                    self.channel_ready(ready, &mut buffer);
                }
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => self.pass().await,
            }
            self.act();
        }
    }

    /// Time has passed.
    async fn pass(&mut self) {
        let now = clock::now();
        if self.wants_channel().is_some_and(|at| at <= now) {
            self.connect(now).await;
        }
        self.session.tick(random(), now);
    }

    /// Does what the session asks for.
    fn act(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Transmit(bytes) => self.outbox.push(bytes),
                Output::Event(event) => self.hear_session(event),
                Output::Drop if self.channel.is_some() => {
                    self.warn(format_args!(
                        "dropped: it does not speak our protocol; connecting again in {} s",
                        DROP_PAUSE.as_secs()
                    ));
                    self.disconnect(DROP_PAUSE);
                }
                Output::Drop => {}
            }
        }
        self.flush();
    }

    fn info(&mut self, line: impl fmt::Display) {
        if self.may_log() {
            event!(Level::INFO, "guest {}: {line}", self.config.name);
        }
    }

    fn warn(&mut self, line: impl fmt::Display) {
        if self.may_log() {
            event!(Level::WARN, "guest {}: {line}", self.config.name);
        }
    }

    /// A guest that misbehaves must not fill this host's disk.
    fn may_log(&mut self) -> bool {
        let may = self.lines.take(1, clock::now());
        let left_out = if may {
            std::mem::take(&mut self.lines_left_out)
        } else {
            0
        };
        if left_out > 0 {
            event!(
                Level::WARN,
                "guest {}: {left_out} lines left out here",
                self.config.name
            );
        }
        self.lines_left_out += u64::from(!may);
        may
    }
}

/// A number that nobody can guess.
fn random() -> u64 {
    getrandom::u64().expect("getrandom(2) does not fail once the system is up")
}

/// The holders in one line: `demo (33), bench (40) and 2 more`.
pub fn holder_list(holders: &[Holder], more: u32) -> String {
    let list: Vec<String> = holders
        .iter()
        .map(|h| format!("{} ({})", h.name, h.pid))
        .collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    list.join(", ") + &more
}
