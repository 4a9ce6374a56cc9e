//! What the daemon is told: a TOML file, and flags that override it.
//!
//! ```toml
//! [host]
//! name = "rack3-host7"                      # default: the kernel's host name
//! id = "0f3c…"                              # 32 hex digits; default: /etc/machine-id
//!
//! [control]
//! socket = "/run/isahotplug/host-notifier.sock"
//!
//! [[guest]]
//! name = "vm1"
//! channel = "/run/vm1/isahotplug.sock"      # -chardev socket,path=…,server=on,wait=off
//! qmp = "/run/vm1/qmp-notifier.sock"        # a monitor of its own
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use protocol::Text;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

/// Read if no other file is named and it exists.
pub const DEFAULT_FILE: &str = "/etc/isahotplug/host-notifier.toml";
/// Where the daemon is controlled if nothing else is said.
pub const DEFAULT_CONTROL: &str = "/run/isahotplug/host-notifier.sock";
/// Most bytes of a guest's name.
pub const MAX_NAME: usize = 64;

/// What a daemon serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The host's name, if it is not the kernel's.
    pub host_name: Option<Text<64>>,
    /// The host's id, if it is not that of machine-id(5).
    pub host_id: Option<HostId>,
    /// The control socket.
    pub control: PathBuf,
    /// The guests, in the order given.
    pub guests: Vec<GuestConfig>,
}

/// Where one guest is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestConfig {
    /// What operators call it: no white space, at most [`MAX_NAME`] bytes.
    pub name: String,
    /// The socket of the chardev behind the port `org.isahotplug.0`.
    pub channel: PathBuf,
    /// The socket of a QMP monitor that nobody else uses.
    pub qmp: PathBuf,
}

/// What the command line says; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--control`.
    pub control: Option<PathBuf>,
    /// `--host-name`.
    pub host_name: Option<Text<64>>,
    /// `--host-id`.
    pub host_id: Option<HostId>,
    /// `--guest`: added to the guests of the file, or instead of the one of
    /// the same name.
    pub guests: Vec<GuestConfig>,
}

/// A host's id: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostId(pub [u8; 16]);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file says something that makes no sense.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The flags do.
    #[error("{0}")]
    Flags(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    host: HostSection,
    #[serde(default)]
    control: ControlSection,
    #[serde(default)]
    guest: Vec<Spanned<GuestSection>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostSection {
    name: Option<Text<64>>,
    id: Option<HostId>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlSection {
    socket: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestSection {
    name: GuestName,
    channel: PathBuf,
    qmp: PathBuf,
}

struct GuestName(String);

impl Config {
    /// Reads `file` (or [`DEFAULT_FILE`] if there is one) and lays `flags`
    /// over it.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file, the line and what is wrong.
    pub fn load(file: Option<&Path>, flags: Flags) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let mut config = match file.or_else(|| default.exists().then_some(default)) {
            None => Self::empty(),
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
                        path: path.into(),
                        error,
                    })?;
                Self::parse(&text).map_err(|(at, message)| ConfigError::Wrong {
                    path: path.into(),
                    line: line_of(&text, at.start),
                    message,
                })?
            }
        };
        config.lay_over(flags).map_err(ConfigError::Flags)?;
        Ok(config)
    }

    fn empty() -> Self {
        let control = DEFAULT_CONTROL.into();
        Self {
            host_name: None,
            host_id: None,
            control,
            guests: Vec::new(),
        }
    }

    fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let file: File = toml::from_str(text).map_err(|error| {
            let message = error.message().trim_end().replace('\n', "; ");
            (error.span().unwrap_or_default(), message)
        })?;
        let mut config = Self {
            host_name: file.host.name,
            host_id: file.host.id,
            control: file
                .control
                .socket
                .unwrap_or_else(|| DEFAULT_CONTROL.into()),
            guests: Vec::new(),
        };
        for section in file.guest {
            let span = section.span();
            let GuestSection {
                name: GuestName(name),
                channel,
                qmp,
            } = section.into_inner();
            config.guests.push(GuestConfig { name, channel, qmp });
            config.check().map_err(|message| (span, message))?;
        }
        Ok(config)
    }

    fn lay_over(&mut self, flags: Flags) -> Result<(), String> {
        if let Some(control) = flags.control {
            self.control = control;
        }
        self.host_name = flags.host_name.or_else(|| self.host_name.take());
        self.host_id = flags.host_id.or(self.host_id);
        let named: BTreeSet<&str> = flags
            .guests
            .iter()
            .map(|guest| guest.name.as_str())
            .collect();
        self.guests
            .retain(|guest| !named.contains(guest.name.as_str()));
        self.guests.extend(flags.guests);
        self.check()
    }

    /// No two guests share a name or a socket: each socket has one client.
    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let mut sockets = BTreeSet::new();
        for guest in &self.guests {
            if !names.insert(&guest.name) {
                return Err(format!("a second guest named `{}`", guest.name));
            }
            for socket in [&guest.channel, &guest.qmp] {
                if !sockets.insert(socket) {
                    let (name, socket) = (&guest.name, socket.display());
                    return Err(format!("guest `{name}`: socket {socket} is used twice"));
                }
            }
        }
        Ok(())
    }
}

/// `name=…,channel=…,qmp=…`, the paths without commas.
impl FromStr for GuestConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut name, mut channel, mut qmp) = (None, None, None);
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is not KEY=VALUE"))?;
            let field = match key {
                "name" => &mut name,
                "channel" => &mut channel,
                "qmp" => &mut qmp,
                _ => {
                    return Err(format!(
                        "unknown key `{key}`: name, channel and qmp are known"
                    ));
                }
            };
            if value.is_empty() {
                return Err(format!("`{key}` is empty"));
            }
            if field.replace(value).is_some() {
                return Err(format!("`{key}` is given twice"));
            }
        }
        let given = |key, value: Option<&str>| {
            value
                .map(str::to_owned)
                .ok_or_else(|| format!("`{key}` is missing"))
        };
        Ok(Self {
            name: guest_name(given("name", name)?)?,
            channel: given("channel", channel)?.into(),
            qmp: given("qmp", qmp)?.into(),
        })
    }
}

impl FromStr for HostId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = || text.chars().filter(|&c| c != '-');
        if digits().count() != 32 || !digits().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("`{text}` is not an id of 32 hexadecimal digits"));
        }
        let nibbles: Vec<u32> = digits().filter_map(|c| c.to_digit(16)).collect();
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(nibbles.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] << 4 | pair[1]).unwrap_or_default();
        }
        Ok(Self(id))
    }
}

impl<'de> Deserialize<'de> for HostId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for GuestName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        guest_name(String::deserialize(deserializer)?)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

impl fmt::Debug for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn guest_name(name: String) -> Result<String, String> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME;
    if fits && !name.contains(|c: char| c.is_control() || c.is_whitespace()) {
        Ok(name)
    } else {
        Err(format!(
            "guest name {name:?}: 1 to {MAX_NAME} bytes without white space"
        ))
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(text: &str) -> GuestConfig {
        text.parse().unwrap()
    }

    #[test]
    fn everything_that_a_file_can_say() {
        let config = Config::parse(
            "[host]\nname = 'h'\nid = '000102030405060708090a0b0c0d0e0F'\n\
             [control]\nsocket = '/c'\n\
             [[guest]]\nname = 'a'\nchannel = '/a.c'\nqmp = '/a.q'\n\
             [[guest]]\nname = 'b'\nchannel = '/b.c'\nqmp = '/b.q'\n",
        )
        .unwrap();
        let id = std::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(config.host_id, Some(HostId(id)));
        assert_eq!(config.host_name.unwrap().as_str(), "h");
        assert_eq!(config.control, Path::new("/c"));
        let guests = [
            guest("name=a,channel=/a.c,qmp=/a.q"),
            guest("qmp=/b.q,channel=/b.c,name=b"),
        ];
        assert_eq!(config.guests, guests);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        let a = "[[guest]]\nname = 'a'\nchannel = '/a.c'\nqmp = '/a.q'\n";
        let cases: [(String, usize, &str); 13] = [
            (
                "[host]\nnmae = 'x'\n".into(),
                2,
                "unknown field `nmae`, expected `name` or `id`",
            ),
            ("[hots]\n".into(), 1, "unknown field `hots`"),
            ("[host]\nname = 3\n".into(), 2, "invalid type: integer `3`"),
            (
                "[host]\nname = \"a\\u0007\"\n".into(),
                2,
                "control character U+0007",
            ),
            (
                "\n[host]\nid = 'abc'\n".into(),
                3,
                "`abc` is not an id of 32 hexadecimal digits",
            ),
            ("[host\n".into(), 1, "unclosed table"),
            (
                "[control]\npath = '/x'\n".into(),
                2,
                "unknown field `path`, expected `socket`",
            ),
            (
                "[[guest]]\nname = 'a'\nqmp = '/q'\n".into(),
                1,
                "missing field `channel`",
            ),
            (
                "[[guest]]\nname = 'a b'\nchannel = '/a'\nqmp = '/q'\n".into(),
                2,
                "\"a b\"",
            ),
            (format!("{a}{a}"), 5, "a second guest named `a`"),
            (
                format!("{a}\n[[guest]]\nname = 'b'\nchannel = '/b.c'\nqmp = '/a.q'\n"),
                6,
                "guest `b`: socket /a.q is used twice",
            ),
            (
                "guest = 3\n".into(),
                1,
                "invalid type: integer `3`, expected a sequence",
            ),
            (
                format!("[[guest]]\nname = '{}'\n", "x".repeat(65)),
                2,
                "1 to 64 bytes",
            ),
        ];
        for (text, line, what) in cases {
            let (at, message) = Config::parse(&text).expect_err(&text);
            assert!(message.contains(what), "{text}: {message}");
            assert!(!message.contains('\n'), "one line: {message}");
            assert_eq!(line_of(&text, at.start), line, "{text}: {message}");
        }
    }

    #[test]
    fn flags_that_make_no_sense_are_refused() {
        let cases = [
            ("", "`` is not KEY=VALUE"),
            ("name=a", "`channel` is missing"),
            ("name=a,channel=/c,qmp=", "`qmp` is empty"),
            ("name=a,channel=/c,qmp=/q,mode=1", "unknown key `mode`"),
            ("name=a,name=b,channel=/c,qmp=/q", "`name` is given twice"),
            ("name=a\tb,channel=/c,qmp=/q", "without white space"),
        ];
        for (flag, what) in cases {
            let error = flag.parse::<GuestConfig>().unwrap_err();
            assert!(error.contains(what), "{flag}: {error}");
        }
        for id in [
            "",
            "0123",
            "g0000000000000000000000000000000",
            "é00000000000000000000000000000",
        ] {
            assert!(id.parse::<HostId>().is_err(), "{id}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let mut config = Config::parse(
            "[control]\nsocket = '/file'\n[[guest]]\nname = 'a'\nchannel = '/1'\nqmp = '/2'\n",
        )
        .unwrap();
        let flags = Flags {
            control: Some("/flag".into()),
            guests: vec![
                guest("name=a,channel=/3,qmp=/4"),
                guest("name=b,channel=/5,qmp=/6"),
            ],
            ..Flags::default()
        };
        config.lay_over(flags.clone()).unwrap();
        assert_eq!(config.control, Path::new("/flag"));
        assert_eq!(config.guests, flags.guests);
        let twice = Flags {
            guests: vec![flags.guests[0].clone(); 2],
            ..Flags::default()
        };
        assert_eq!(
            config.lay_over(twice),
            Err("a second guest named `a`".into())
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_that_names_it() {
        let error = Config::load(Some(Path::new("/nonexistent/x.toml")), Flags::default());
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("/nonexistent/x.toml: ")
        );
    }
}
