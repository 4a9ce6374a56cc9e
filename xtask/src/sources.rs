//! The backports suite, derived from the package sources already configured.
//!
//! sources.list(5) has two formats, and Debian 12 may use either.

use std::fs;
use std::path::Path;

/// Where the derived source is written.
pub(crate) const BACKPORTS_FILE: &str = "/etc/apt/sources.list.d/isahotplug-backports.sources";

/// The content of [`BACKPORTS_FILE`] for a release such as `bookworm`, with
/// the first configured source of that release as the pattern.
pub(crate) fn backports(release: &str) -> Option<String> {
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    let parts = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    let mut parts: Vec<_> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    files.extend(parts);
    files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        match file.extension()?.to_str()? {
            "list" => from_lines(&text, release),
            "sources" => from_stanzas(&text, release),
            _ => None,
        }
    })
}

/// Derives from the one-line format: `deb [option=value …] URI SUITE COMPONENT…`.
fn from_lines(text: &str, release: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let rest = line.strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        if suite != release || !words.any(|component| component == "main") {
            return None;
        }
        let fields = options.split_whitespace().filter_map(|option| {
            let (name, value) = option.split_once('=')?;
            let name = match name {
                "signed-by" => "Signed-By",
                "arch" => "Architectures",
                "trusted" => "Trusted",
                _ => return None,
            };
            Some(format!("{name}: {}\n", value.replace(',', " ")))
        });
        Some(stanza(uri, release, &fields.collect::<String>()))
    })
}

/// Derives from the format of stanzas with fields (deb822).
fn from_stanzas(text: &str, release: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.trim().is_empty())
        .find_map(|stanza_lines| {
            let field = |name: &str| field(stanza_lines, name);
            let has = |name: &str, word: &str| {
                field(name).is_some_and(|value| value.split_whitespace().any(|part| part == word))
            };
            let enabled = field("Enabled").is_none_or(|value| value.trim() != "no");
            if !(enabled
                && has("Types", "deb")
                && has("Suites", release)
                && has("Components", "main"))
            {
                return None;
            }
            let kept = ["Signed-By", "Architectures", "Trusted"]
                .iter()
                .filter_map(|name| {
                    let value = field(name)?;
                    // A key may stand here itself, over several lines.
                    let gap = if value.starts_with('\n') { "" } else { " " };
                    Some(format!("{name}:{gap}{value}\n"))
                });
            Some(stanza(&field("URIs")?, release, &kept.collect::<String>()))
        })
}

/// The value of a field with its continuation lines.
fn field(stanza: &[&str], name: &str) -> Option<String> {
    let at = stanza.iter().position(|line| {
        line.split_once(':')
            .is_some_and(|(field, _)| field.eq_ignore_ascii_case(name))
    })?;
    let (_, first) = stanza[at].split_once(':')?;
    let more = stanza[at + 1..]
        .iter()
        .take_while(|line| line.starts_with([' ', '\t']));
    Some(more.fold(first.trim().to_owned(), |value, line| value + "\n" + line))
}

fn stanza(uris: &str, release: &str, fields: &str) -> String {
    format!("Types: deb\nURIs: {uris}\nSuites: {release}-backports\nComponents: main\n{fields}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_is_the_pattern() {
        let text = "# where packages come from\n\
                    Types: deb\nURIs: http://mirror.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\
                    Signed-By: /usr/share/keyrings/k.gpg\n\n\
                    Types: deb\nURIs: http://mirror.example/security\n\
                    Suites: bookworm-security\nComponents: main\n";
        assert_eq!(
            from_stanzas(text, "bookworm").unwrap(),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\n\
             Components: main\nSigned-By: /usr/share/keyrings/k.gpg\n"
        );
        assert_eq!(from_stanzas(text, "trixie"), None);
    }

    #[test]
    fn a_disabled_stanza_is_none_and_a_key_in_it_is_kept() {
        let text = "Enabled: no\nTypes: deb\nURIs: u\nSuites: bookworm\nComponents: main\n";
        assert_eq!(from_stanzas(text, "bookworm"), None);
        let text = "Types: deb\nURIs: u\nSuites: bookworm\nComponents: main contrib\n\
                    Signed-By:\n -----BEGIN\n .\n abc\n";
        let derived = from_stanzas(text, "bookworm").unwrap();
        assert!(
            derived.ends_with("Signed-By:\n -----BEGIN\n .\n abc\n"),
            "{derived}"
        );
    }

    #[test]
    fn a_line_is_the_pattern() {
        let text = "# deb http://no.example bookworm main\n\
                    deb-src http://no.example bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\n";
        assert_eq!(
            from_lines(text, "bookworm").unwrap(),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\n\
             Components: main\nArchitectures: amd64\nSigned-By: /k.gpg\n"
        );
        assert_eq!(
            from_lines("deb http://m.example bookworm-updates main", "bookworm"),
            None
        );
    }
}
