//! What operators and the daemon say to each other on the control socket.
//!
//! A unix stream socket, mode 0600. Each side writes JSON objects, one a line:
//! a [`Request`], then its [`Reply`], any number of times. A request line has
//! at most [`MAX_REQUEST`] bytes. A line that is no request is answered with
//! [`Reply::Error`] and the connection is closed.
//!
//! ```text
//! → {"command":"guests"}
//! ← {"guests":[{"name":"vm1","state":"established","generation":3,…}]}
//! → {"command":"prepare","guest":"vm1","lost":["avx2","fma"],"deadline_ms":5000}
//! ← {"prepare":{"id":1795369380605799,"lost":["fma","avx2"],"latency_us":1804,
//!                "answer":"ready","generation":4}}
//! → {"command":"abort","guest":"vm2"}
//! ← {"error":{"kind":"unknown-guest","message":"no guest `vm2` here; there are: vm1"}}
//! ```
//!
//! Features travel by their names, as Linux prints them.

use isa::{FeatureSet, UnknownFeature};
use serde::{Deserialize, Serialize};

/// Most bytes of a request's line, its end included.
pub const MAX_REQUEST: usize = 64 * 1024;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// All guests; answered with [`Reply::Guests`].
    Guests {},
    /// One guest; answered with [`Reply::Guests`] of one.
    Status {
        /// Its name.
        guest: String,
    },
    /// Announce a removal; answered with [`Reply::Prepare`] when the guest has
    /// answered or the deadline is over.
    Prepare {
        /// The guest's name.
        guest: String,
        /// What will go. Either this…
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Vec<String>>,
        /// …or what there will be: everything else that this host has will go.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        available: Option<Vec<String>>,
        /// How long the guest has, in milliseconds.
        deadline_ms: u32,
    },
    /// Take the announced removal back; answered with [`Reply::Abort`].
    Abort {
        /// The guest's name.
        guest: String,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Guests`] and [`Request::Status`].
    Guests(Vec<GuestStatus>),
    /// To [`Request::Prepare`].
    Prepare(Prepared),
    /// To [`Request::Abort`].
    Abort(Aborted),
    /// To anything that could not be done.
    Error(Denial),
}

/// How the conversation with a guest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No QMP monitor, so nothing is known of the machine yet.
    NoQmp,
    /// The chardev's socket is not there.
    NoChannel,
    /// Connected; the guest's agent has not answered.
    Greeting,
    /// The guest's agent has answered and hears us.
    Established,
    /// The guest's agent has answered earlier and does no longer.
    Silent,
    /// The guest has migrated away.
    Left,
}

impl State {
    /// The state in one word, as it travels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoQmp => "no-qmp",
            Self::NoChannel => "no-channel",
            Self::Greeting => "greeting",
            Self::Established => "established",
            Self::Silent => "silent",
            Self::Left => "left",
        }
    }
}

/// What the daemon knows of a guest. In another state than
/// [`State::Established`], what the guest said is what it said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestStatus {
    /// Its name.
    pub name: String,
    /// How the conversation stands.
    pub state: State,
    /// QEMU's version, while its monitor is connected.
    pub qemu: Option<String>,
    /// `tcg` or `kvm`, while the monitor is connected.
    pub accelerator: Option<String>,
    /// The protocol version agreed upon.
    pub protocol: Option<u16>,
    /// The generation that the guest published last.
    pub generation: Option<u64>,
    /// Whether the guest has published the latest offer.
    pub up_to_date: bool,
    /// What this host can execute for the guest.
    pub available: Option<Vec<String>>,
    /// What the guest's CPUID shows.
    pub visible: Option<Vec<String>>,
    /// Available and not visible.
    pub bonus: Vec<String>,
    /// Visible and not available.
    pub lost: Vec<String>,
    /// Silent features that went without warning: results may be wrong.
    pub unsafe_silent: Vec<String>,
    /// The removal that is announced.
    pub prepare: Option<OpenPrepare>,
    /// From the latest acknowledged offer to its acknowledgement, in
    /// microseconds.
    pub ack_latency_us: Option<u64>,
}

/// A removal that is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPrepare {
    /// Its number.
    pub id: u64,
    /// What will go.
    pub lost: Vec<String>,
    /// Whether the guest has answered that it is ready.
    pub ready: bool,
}

/// How a prepare ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Its number.
    pub id: u64,
    /// What was announced.
    pub lost: Vec<String>,
    /// From the announcement to the answer, in microseconds.
    pub latency_us: u64,
    /// What the guest said.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What a guest said to a prepare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Everybody has left; migrate before the deadline.
    Ready {
        /// The generation from which the features are absent.
        generation: u64,
    },
    /// Some have not left. The removal is taken back.
    Busy {
        /// The first of them.
        holders: Vec<Holder>,
        /// How many more there are.
        more: u32,
    },
    /// The guest will not. The removal is taken back.
    Refused {
        /// Why.
        reason: String,
    },
    /// No answer by the deadline. The removal is taken back.
    Nothing,
}

/// A process in the guest that has not left a path that will go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id in the guest.
    pub pid: u32,
    /// The name it registered with.
    pub name: String,
}

/// What came of an abort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aborted {
    /// Whether the guest could be told at once; otherwise it is told when its
    /// agent answers again.
    pub told: bool,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// What kind of obstacle.
    pub kind: ErrorKind,
    /// What it is, for people.
    pub message: String,
}

/// Kinds of [`Denial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The line is no request. The connection is closed after it.
    BadRequest,
    /// A word is no feature's name.
    UnknownFeature,
    /// No guest has this name.
    UnknownGuest,
    /// The guest's agent does not answer.
    NoAgent,
    /// A removal is announced already.
    AlreadyOpen,
    /// The removal was taken back, or the guest left, before it was answered.
    Aborted,
    /// The daemon ends.
    Stopping,
}

impl Denial {
    /// A denial of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// The names of the features in `set`.
pub fn names(set: FeatureSet) -> Vec<String> {
    set.to_string()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect()
}

/// The set with these names.
///
/// # Errors
/// [`UnknownFeature`] names the first that is none.
pub fn set_of(names: &[String]) -> Result<FeatureSet, UnknownFeature> {
    names
        .iter()
        .map(|name| name.parse())
        .try_fold(FeatureSet::EMPTY, |set, one| Ok(set | one?))
}

/// The set with these names; those that only a newer peer knows are left out.
pub fn known_of(names: &[String]) -> FeatureSet {
    names
        .iter()
        .filter_map(|name| name.parse().ok())
        .fold(FeatureSet::EMPTY, FeatureSet::union)
}

#[cfg(test)]
mod tests {
    use isa::features;

    use super::*;

    #[test]
    fn requests_look_as_documented() {
        let cases = [
            (r#"{"command":"guests"}"#, Request::Guests {}),
            (
                r#"{"command":"status","guest":"a"}"#,
                Request::Status { guest: "a".into() },
            ),
            (
                r#"{"command":"prepare","guest":"a","lost":["avx2"],"deadline_ms":5000}"#,
                Request::Prepare {
                    guest: "a".into(),
                    lost: Some(vec!["avx2".into()]),
                    available: None,
                    deadline_ms: 5000,
                },
            ),
            (
                r#"{"command":"abort","guest":"a"}"#,
                Request::Abort { guest: "a".into() },
            ),
        ];
        for (line, request) in cases {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
    }

    #[test]
    fn what_is_no_request_is_not_taken_for_one() {
        for line in [
            "",
            "null",
            "{}",
            r#"{"command":"reboot"}"#,
            r#"{"command":"guests","x":1}"#,
            r#"{"command":"status"}"#,
            r#"{"command":"prepare","guest":"a","lost":["avx2"],"deadline_ms":-1}"#,
            r#"{"command":"prepare","guest":"a","lost":"avx2","deadline_ms":1}"#,
            r#"{"command":"abort","guest":"a"} {"command":"guests"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_answer_looks_as_documented() {
        let answer = Answer::Ready { generation: 4 };
        let prepared = Prepared {
            id: 7,
            lost: vec!["fma".into()],
            latency_us: 1804,
            answer,
        };
        let line = r#"{"prepare":{"id":7,"lost":["fma"],"latency_us":1804,"answer":"ready","generation":4}}"#;
        assert_eq!(
            serde_json::to_string(&Reply::Prepare(prepared.clone())).unwrap(),
            line
        );
        assert_eq!(
            serde_json::from_str::<Reply>(line).unwrap(),
            Reply::Prepare(prepared)
        );
    }

    #[test]
    fn sets_travel_by_names() {
        let set = features![Avx2, Sse42, Bmi1];
        assert_eq!(set_of(&names(set)).unwrap(), set);
        assert_eq!(names(FeatureSet::EMPTY), Vec::<String>::new());
        let odd = ["avx2".to_owned(), "avx9".to_owned()];
        assert!(set_of(&odd).unwrap_err().to_string().contains("avx9"));
        assert_eq!(known_of(&odd), features![Avx2]);
    }
}
