//! `guest-agent status`: how things stand.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use isa::FeatureSet;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use protocol::Text;
use protocol::local::{self, FromProcess, MAX_REPLY, MAX_REQUEST, Report, ToProcess};

use crate::clients::SOCKET;
use crate::json::Json;
use crate::packet;
use crate::page;

/// The daemon has this long to answer, in seconds.
const PATIENCE: i64 = 5;
/// Widest line, in columns.
const WIDTH: usize = 80;
/// Columns before the values.
const INDENT: usize = 12;

/// How things stand in the guest, as far as it can be found out.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the daemon says, or only the page if it is not running.
    report: Option<Report>,
    /// Why the daemon does not answer.
    problem: Option<String>,
}

impl Status {
    /// Asks the daemon of `run_dir`, or reads the page if it does not answer.
    pub fn of(run_dir: &Path) -> Self {
        match ask(run_dir) {
            Ok(report) => Self {
                report: Some(report),
                problem: None,
            },
            Err(error) => Self {
                report: read_page(run_dir),
                problem: Some(format!(
                    "guest-agent is not running in {}: {error}",
                    run_dir.display()
                )),
            },
        }
    }

    /// Whether the daemon answered.
    pub const fn is_running(&self) -> bool {
        self.problem.is_none()
    }

    /// On one line, for programs.
    pub fn to_json(&self) -> String {
        let text = |text: &str| Json::Text(text.into());
        let mut members = vec![
            ("running", Json::Bool(self.is_running())),
            ("problem", self.problem.as_deref().map_or(Json::Null, text)),
        ];
        let Some(report) = &self.report else {
            return Json::Object(members).to_string();
        };
        members.extend([
            ("generation", Json::Number(report.generation)),
            ("cause", text(report.cause.as_str())),
            ("visible", list(report.visible)),
            ("available", list(report.available)),
            ("bonus", list(report.available.difference(report.visible))),
            ("lost", list(report.visible.difference(report.available))),
            ("unsafe_silent", list(report.unsafe_silent)),
        ]);
        if self.is_running() {
            let registrations = report.registrations.iter().map(|registration| {
                Json::Object(vec![
                    ("pid", Json::Number(registration.pid.into())),
                    ("name", text(registration.name.as_str())),
                    ("urgency", text(registration.urgency.name())),
                    ("generation", Json::Number(registration.generation)),
                    ("trapped", Json::Number(registration.trapped)),
                    ("answer", text(registration.answer.as_str())),
                ])
            });
            members.extend([
                ("channel", text(report.channel.as_str())),
                (
                    "prepare",
                    report
                        .prepare
                        .as_ref()
                        .map_or(Json::Null, |p| text(p.as_str())),
                ),
                (
                    "answer",
                    report
                        .answer
                        .as_ref()
                        .map_or(Json::Null, |a| text(a.as_str())),
                ),
                ("registered", Json::Number(report.registered.into())),
                ("registrations", Json::Array(registrations.collect())),
            ]);
        }
        Json::Object(members).to_string()
    }

    /// For people, no line wider than 80 columns unless a single word is.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        if let Some(problem) = &self.problem {
            out += &wrap("", 0, problem);
        }
        let Some(report) = &self.report else {
            return out;
        };
        if !self.is_running() {
            out += "The page that it left says:\n";
        }
        let bonus = report.available.difference(report.visible);
        let lost = report.visible.difference(report.available);
        out += &row(
            "generation",
            &format!("{} ({})", report.generation, report.cause),
        );
        out += &row("visible", &names(report.visible));
        let available = if bonus.is_empty() && lost.is_empty() {
            "what is visible".into()
        } else {
            names(report.available)
        };
        out += &row("available", &available);
        out += &row("bonus", &names(bonus));
        out += &row("lost", &names(lost));
        if !report.unsafe_silent.is_empty() {
            out += &row(
                "WARNING",
                &format!("unsafe: silent: {}", report.unsafe_silent),
            );
        }
        if !self.is_running() {
            return out;
        }
        out += &row("channel", report.channel.as_str());
        out += &row(
            "prepare",
            report.prepare.as_ref().map_or("none", Text::as_str),
        );
        if let Some(answer) = &report.answer {
            out += &row("answered", answer.as_str());
        }
        out += &row("registered", &report.registered.to_string());
        for registration in &report.registrations {
            let kind = registration.urgency.name();
            let mut what = format!(
                "{}[{}], {kind}, generation {}, {} #UD",
                registration.name, registration.pid, registration.generation, registration.trapped
            );
            if !registration.answer.as_str().is_empty() {
                what += &format!(", {}", registration.answer);
            }
            out += &row("", &what);
        }
        let more = (report.registered as usize).saturating_sub(report.registrations.len());
        if more > 0 {
            out += &row("", &format!("and {more} more"));
        }
        out
    }
}

fn ask(run_dir: &Path) -> io::Result<Report> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(&run_dir.join(SOCKET))?)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
    let question = local::encode(&FromProcess::Status, MAX_REQUEST).map_err(io::Error::other)?;
    packet::reply(socket.as_fd(), &question)?;
    let mut answer = vec![0; MAX_REPLY];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match local::decode(&answer[..length], MAX_REPLY) {
        Ok(ToProcess::Status(report)) => Ok(report),
        Ok(ToProcess::Rejected { reason }) => Err(io::Error::other(reason.to_string())),
        Ok(other) => Err(io::Error::other(format!("it answers {other:?}"))),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The part of a report that the page holds.
fn read_page(run_dir: &Path) -> Option<Report> {
    let held = page::read(run_dir).ok()?;
    Some(Report {
        generation: held.generation,
        visible: held.visible,
        available: held.available,
        unsafe_silent: held.unsafe_silent,
        cause: Text::lossy(held.cause.name()),
        channel: Text::default(),
        prepare: None,
        answer: None,
        registered: 0,
        registrations: Vec::new(),
    })
}

fn list(features: FeatureSet) -> Json {
    Json::Array(
        features
            .to_string()
            .split_whitespace()
            .map(|name| Json::Text(name.into()))
            .collect(),
    )
}

fn names(features: FeatureSet) -> String {
    if features.is_empty() {
        "none".into()
    } else {
        features.to_string()
    }
}

fn row(title: &str, value: &str) -> String {
    wrap(title, INDENT, value)
}

/// `title`, then the words of `value` on as many lines as they need.
fn wrap(title: &str, indent: usize, value: &str) -> String {
    let mut out = format!("{title:indent$}");
    let mut column = out.chars().count();
    let mut first = true;
    for word in value.split_whitespace() {
        let width = word.chars().count();
        if first {
            column += width;
        } else if column + 1 + width > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent + width;
        } else {
            out.push(' ');
            column += 1 + width;
        }
        out += word;
        first = false;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            generation: 7,
            visible: isa::FeatureSet::ALL_KNOWN.difference(isa::features![Avx512f]),
            available: isa::FeatureSet::ALL_KNOWN.difference(isa::features![Abm, Avx2]),
            unsafe_silent: isa::features![Abm],
            cause: Text::lossy("offer"),
            channel: Text::lossy("/dev/vport1p1: open"),
            prepare: None,
            answer: Some(Text::lossy("prepare 3: ready, after 812 µs")),
            registered: 1,
            registrations: vec![local::Registration {
                pid: 9,
                name: Text::lossy("demo"),
                urgency: local::Urgency::Eager,
                generation: 7,
                trapped: 3,
                answer: Text::lossy("left generation 7"),
            }],
        }
    }

    #[test]
    fn a_status_for_people_is_at_most_80_columns_wide_and_says_what_is_unsafe() {
        let status = Status {
            report: Some(report()),
            problem: None,
        };
        let text = status.to_text();
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        for expected in [
            "generation  7 (offer)\n",
            "bonus       avx512f\n",
            "lost        avx2 abm\n",
            "unsafe: silent: abm\n",
            "demo[9], eager, generation 7, 3 #UD, left generation 7\n",
            "answered    prepare 3: ready, after 812 µs\n",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_status_for_programs_has_every_set_as_a_list() {
        let status = Status {
            report: Some(report()),
            problem: None,
        };
        let json = status.to_json();
        assert!(
            json.contains(r#""lost": ["avx2", "abm"], "unsafe_silent": ["abm"]"#),
            "{json}"
        );
        let status = Status {
            report: None,
            problem: Some("not running".into()),
        };
        assert_eq!(
            status.to_json(),
            r#"{"running": false, "problem": "not running"}"#
        );
    }
}
