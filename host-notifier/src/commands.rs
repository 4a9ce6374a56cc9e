//! What operators type, and what they read.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use host_notifier::client::{self, ClientError};
use host_notifier::config::{Config, ConfigError, Flags};
use host_notifier::control::{
    Answer, ErrorKind, GuestStatus, Prepared, Reply, Request, State, known_of, names,
};
use host_notifier::guest::holder_list;
use serde::Serialize;

/// Widest line of what people read.
const COLUMNS: usize = 80;

/// Exit statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As asked.
    Done = 0,
    /// Something failed.
    Failed = 1,
    /// Wrong usage, unknown guest, daemon not reachable.
    Usage = 2,
    /// Processes in the guest have not left.
    Busy = 3,
    /// The guest refused.
    Refused = 4,
    /// The guest did not answer by the deadline.
    NoAnswer = 5,
    /// No agent answers in the guest.
    NoAgent = 6,
}

impl Exit {
    /// The status that tells of `error`.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<ConfigError>() {
            return Self::Usage;
        }
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::Unreachable { .. }) => Self::Usage,
            Some(ClientError::Denied(denied)) => match denied.kind {
                ErrorKind::NoAgent => Self::NoAgent,
                ErrorKind::BadRequest | ErrorKind::UnknownFeature | ErrorKind::UnknownGuest => {
                    Self::Usage
                }
                ErrorKind::AlreadyOpen | ErrorKind::Aborted | ErrorKind::Stopping => Self::Failed,
            },
            Some(ClientError::Unexpected { .. }) | None => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// `host-notifier guests`
pub(crate) fn guests(control: Option<PathBuf>, json: bool) -> anyhow::Result<Exit> {
    let guests = all(&control_socket(control)?)?;
    if json {
        print_json(&guests)
    } else {
        print(&table(&guests))
    }
}

/// `host-notifier status`
pub(crate) fn status(
    control: Option<PathBuf>,
    guest: Option<String>,
    json: bool,
) -> anyhow::Result<Exit> {
    let control = control_socket(control)?;
    let guests = match guest {
        None => all(&control)?,
        Some(guest) => vec![one(&control, guest)?],
    };
    if json {
        return print_json(&guests);
    }
    let pages: Vec<String> = guests.iter().map(page).collect();
    print(&pages.join("\n"))
}

/// `host-notifier prepare`
pub(crate) fn prepare(control: Option<PathBuf>, arguments: crate::Prepare) -> anyhow::Result<Exit> {
    let control = control_socket(control)?;
    let crate::Prepare {
        guest,
        lost,
        to,
        to_guest,
        available,
        deadline,
        json,
    } = arguments;
    let available = match to {
        None => available,
        Some(to) => Some(known_of(&there(
            &to,
            to_guest.unwrap_or_else(|| guest.clone()),
        )?)),
    };
    let request = Request::Prepare {
        guest,
        lost: lost.map(names),
        available: available.map(names),
        deadline_ms: u32::try_from(deadline.as_millis()).context("deadline")?,
    };
    let prepared = match client::ask(&control, &request, deadline)? {
        Reply::Prepare(prepared) => prepared,
        other => return Err(client::mismatch(&control, &other).into()),
    };
    if json {
        print_json(&prepared)?;
    } else {
        print(&answer(&prepared))?;
    }
    Ok(match prepared.answer {
        Answer::Ready { .. } => Exit::Done,
        Answer::Busy { .. } => Exit::Busy,
        Answer::Refused { .. } => Exit::Refused,
        Answer::Nothing => Exit::NoAnswer,
    })
}

/// `host-notifier abort`
pub(crate) fn abort(control: Option<PathBuf>, guest: String) -> anyhow::Result<Exit> {
    let control = control_socket(control)?;
    match client::ask(&control, &Request::Abort { guest }, Duration::ZERO)? {
        Reply::Abort(aborted) if aborted.told => print("aborted\n"),
        Reply::Abort(_) => print("aborted; the guest is told when its agent answers again\n"),
        other => Err(client::mismatch(&control, &other).into()),
    }
}

/// A time as `--deadline` takes it.
pub(crate) fn deadline(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds = match &text[number.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err("a number and ms, s or m is expected, like 5s".into()),
    };
    let count: u32 = number
        .parse()
        .map_err(|error| format!("`{number}`: {error}"))?;
    let all = count.checked_mul(milliseconds).filter(|&all| all > 0);
    let all = all.ok_or("between 1 ms and 49 days are possible")?;
    Ok(Duration::from_millis(all.into()))
}

/// The socket that was named, or what the configuration says.
fn control_socket(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        Some(path) => Ok(path),
        None => Ok(Config::load(None, Flags::default())?.control),
    }
}

fn all(control: &Path) -> anyhow::Result<Vec<GuestStatus>> {
    match client::ask(control, &Request::Guests {}, Duration::ZERO)? {
        Reply::Guests(guests) => Ok(guests),
        other => Err(client::mismatch(control, &other).into()),
    }
}

fn one(control: &Path, guest: String) -> anyhow::Result<GuestStatus> {
    match client::ask(control, &Request::Status { guest }, Duration::ZERO)? {
        Reply::Guests(mut guests) if guests.len() == 1 => Ok(guests.remove(0)),
        other => Err(client::mismatch(control, &other).into()),
    }
}

/// What the destination can execute for the guest.
fn there(control: &Path, guest: String) -> anyhow::Result<Vec<String>> {
    let status = one(control, guest)?;
    status.available.with_context(|| {
        let (name, state) = (&status.name, status.state.name());
        format!("the destination does not know yet what it executes for {name} ({state})")
    })
}

// ── What is printed ──

fn print(text: &str) -> anyhow::Result<Exit> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        other => other.map(|()| Exit::Done).context("standard output"),
    }
}

fn print_json(value: &impl Serialize) -> anyhow::Result<Exit> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

fn table(guests: &[GuestStatus]) -> String {
    let mut out = format!(
        "{:<24} {:<11} {:>10} {:>9} {:>5} {:>4} NOTE\n",
        "NAME", "STATE", "GENERATION", "AVAILABLE", "BONUS", "LOST"
    );
    for guest in guests {
        let count = |set: &Option<Vec<String>>| set.as_ref().map(|set| set.len().to_string());
        let both = guest.available.is_some() && guest.visible.is_some();
        let counted = |set: &[String]| {
            if both {
                set.len().to_string()
            } else {
                "-".into()
            }
        };
        let note = if guest.unsafe_silent.is_empty() {
            match &guest.prepare {
                Some(open) if open.ready => "ready",
                Some(_) => "preparing",
                None if guest.state == State::Established && !guest.up_to_date => "behind",
                None => "",
            }
        } else {
            "unsafe"
        };
        let line = format!(
            "{:<24} {:<11} {:>10} {:>9} {:>5} {:>4} {note}",
            shortened(&guest.name, 24),
            guest.state.name(),
            guest
                .generation
                .map_or_else(|| "-".into(), |generation| generation.to_string()),
            count(&guest.available).unwrap_or_else(|| "-".into()),
            counted(&guest.bonus),
            counted(&guest.lost),
        );
        out += line.trim_end();
        out.push('\n');
    }
    out
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

fn page(guest: &GuestStatus) -> String {
    let mut out = format!("{}\n", guest.name);
    let mut row = |key: &str, value: &str| {
        let _ = writeln!(out, "  {key:<11} {value}");
    };
    let unknown = || "unknown".to_owned();
    let state = guest.state.name();
    row(
        "state",
        &match guest.protocol {
            Some(version) => format!("{state}, protocol {version}"),
            None => state.to_owned(),
        },
    );
    row(
        "qemu",
        &match (&guest.qemu, &guest.accelerator) {
            (Some(version), Some(accelerator)) => format!("{version}, {accelerator}"),
            _ => unknown(),
        },
    );
    row(
        "generation",
        &match guest.generation {
            Some(generation) if guest.up_to_date => format!("{generation}, up to date"),
            Some(generation) => format!("{generation}, behind the latest offer"),
            None => unknown(),
        },
    );
    if let Some(latency) = guest.ack_latency_us {
        row("latest ack", &format!("after {}", milliseconds(latency)));
    }
    if let Some(open) = &guest.prepare {
        let stands = if open.ready {
            "ready"
        } else {
            "waiting for the guest"
        };
        row("prepare", &format!("{}, {stands}", open.id));
        row("  takes", &features(&open.lost));
    }
    for (key, set) in [("available", &guest.available), ("visible", &guest.visible)] {
        row(key, &set.as_ref().map_or_else(unknown, |set| features(set)));
    }
    if guest.available.is_some() && guest.visible.is_some() {
        row("bonus", &features(&guest.bonus));
        row("lost", &features(&guest.lost));
    }
    if !guest.unsafe_silent.is_empty() {
        let list = wrapped(guest.unsafe_silent.iter().map(String::as_str), 18, 4);
        let _ = writeln!(out, "  unsafe: silent: {list}");
    }
    out
}

fn features(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    let count = format!("{}:", names.len());
    wrapped(
        std::iter::once(count.as_str()).chain(names.iter().map(String::as_str)),
        14,
        14,
    )
}

/// Words in lines of at most [`COLUMNS`], the first beginning at column
/// `first`, the others indented by `indent`.
fn wrapped<'a>(words: impl Iterator<Item = &'a str>, first: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = first;
    for word in words {
        let width = word.chars().count();
        if out.is_empty() {
            // The first word stands wherever it is.
        } else if column + 1 + width > COLUMNS {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += width;
    }
    out
}

fn answer(prepared: &Prepared) -> String {
    let after = milliseconds(prepared.latency_us);
    let first = match &prepared.answer {
        Answer::Ready { generation } => format!("ready: generation {generation} after {after}"),
        Answer::Busy { holders, more } => {
            format!("busy after {after}: {}", holder_list(holders, *more))
        }
        Answer::Refused { reason } => format!("refused after {after}: {reason}"),
        Answer::Nothing => format!("no answer in {after}"),
    };
    let first = wrapped(first.split(' '), 0, 2);
    let lost = if prepared.lost.is_empty() {
        "  nothing goes".to_owned()
    } else {
        let goes = std::iter::once("goes:").chain(prepared.lost.iter().map(String::as_str));
        format!("  {}", wrapped(goes, 2, 8))
    };
    format!("{first}\n{lost}\n")
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}

#[cfg(test)]
mod tests {
    use host_notifier::control::{Denial, Holder, OpenPrepare};

    use super::*;

    fn some_names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("feature_{i}")).collect()
    }

    fn guest(name: &str, n: usize) -> GuestStatus {
        GuestStatus {
            name: name.into(),
            state: State::Established,
            qemu: Some("10.0.2".into()),
            accelerator: Some("tcg".into()),
            protocol: Some(1),
            generation: Some(u64::from(u32::MAX)),
            up_to_date: true,
            available: Some(some_names(n)),
            visible: Some(some_names(n)),
            bonus: some_names(n),
            lost: Vec::new(),
            unsafe_silent: some_names(n / 3),
            prepare: Some(OpenPrepare {
                id: u64::MAX,
                lost: some_names(n),
                ready: true,
            }),
            ack_latency_us: Some(1804),
        }
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let guests = [
            guest(&"x".repeat(64), 170),
            guest("vm1", 0),
            guest("vm2", 40),
        ];
        let holder = |i: u32| Holder {
            pid: i * 1000,
            name: format!("program-{i}"),
        };
        let busy = Answer::Busy {
            holders: (0..16).map(holder).collect(),
            more: 7,
        };
        let prepared = Prepared {
            id: 1,
            lost: some_names(50),
            latency_us: 5_000_000,
            answer: busy,
        };
        let mut out = table(&guests) + &answer(&prepared);
        out.extend(guests.iter().map(page));
        for line in out.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert_eq!(line.trim_end(), line);
        }
        assert!(out.contains("  unsafe: silent: feature_0 feature_1"));
    }

    #[test]
    fn deadlines() {
        assert_eq!(deadline("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(deadline("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(deadline("2m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "5",
            "s",
            "-1s",
            "5h",
            "0s",
            "1.5s",
            "4294967296ms",
            "100000m",
            "5 s",
            "é",
        ] {
            assert!(deadline(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exit_statuses_tell_what_kind_of_failure_it_was() {
        use ErrorKind::*;
        let cases = [
            (NoAgent, Exit::NoAgent),
            (UnknownGuest, Exit::Usage),
            (UnknownFeature, Exit::Usage),
            (BadRequest, Exit::Usage),
            (AlreadyOpen, Exit::Failed),
            (Aborted, Exit::Failed),
            (Stopping, Exit::Failed),
        ];
        for (kind, exit) in cases {
            let error = ClientError::from(Denial::new(kind, "x"));
            assert_eq!(Exit::of(&error.into()), exit, "{kind:?}");
        }
    }
}
