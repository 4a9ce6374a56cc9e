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

/// Where the packages of a release come from: the first address of the first configured source.
pub(crate) fn mirror(release: &str) -> Option<String> {
    first_address(&backports(release)?)
}

/// The first address in a stanza.
fn first_address(stanza: &str) -> Option<String> {
    let lines: Vec<&str> = stanza.lines().collect();
    let addresses = field(&lines, "URIs")?;
    Some(addresses.split_whitespace().next()?.to_owned())
}

/// Derives from the one-line format: `deb [option=value …] URI SUITE COMPONENT…`.
fn from_lines(text: &str, release: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let (kind, rest) = line.trim().split_once(char::is_whitespace)?;
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        if kind != "deb" || suite != release || !words.any(|component| component == "main") {
            return None;
        }
        let fields = options.split_whitespace().filter_map(field_of_option);
        Some(stanza(uri, release, &fields.collect::<String>()))
    })
}

/// An option of the one-line format, `name=value`, as a field of a stanza.
/// Names that differ are those of sources.list(5); the others differ in
/// their case only, which does not count.
fn field_of_option(option: &str) -> Option<String> {
    let (name, value) = option.split_once('=')?;
    let (name, suffix) = match (name.strip_suffix('+'), name.strip_suffix('-')) {
        (Some(name), _) => (name, "-Add"),
        (_, Some(name)) => (name, "-Remove"),
        _ => (name, ""),
    };
    let name = match name {
        "arch" => "Architectures".to_owned(),
        "lang" => "Languages".to_owned(),
        "target" => "Targets".to_owned(),
        other => capitalized(other),
    };
    Some(format!("{name}{suffix}: {}\n", value.replace(',', " ")))
}

/// `check-valid-until` as `Check-Valid-Until`.
fn capitalized(name: &str) -> String {
    let mut at_start = true;
    name.chars()
        .map(|c| {
            let c = if at_start { c.to_ascii_uppercase() } else { c };
            at_start = c == '-';
            c
        })
        .collect()
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
            let names = stanza_lines.iter().filter_map(|line| {
                let (name, _) = line.split_once(':')?;
                let own = OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name));
                (!own && !name.starts_with([' ', '\t'])).then_some(name)
            });
            let kept = names.filter_map(|name| {
                let value = field(name)?;
                // A key may stand here itself, over several lines.
                let gap = if value.starts_with('\n') { "" } else { " " };
                Some(format!("{name}:{gap}{value}\n"))
            });
            Some(stanza(&field("URIs")?, release, &kept.collect::<String>()))
        })
}

/// The fields that a derived stanza has of its own, or need not repeat.
const OWN_FIELDS: [&str; 5] = ["Types", "URIs", "Suites", "Components", "Enabled"];

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
    fn the_mirror_is_the_first_address() {
        let stanza = stanza("http://a.example/debian http://b.example", "bookworm", "");
        assert_eq!(
            first_address(&stanza).as_deref(),
            Some("http://a.example/debian")
        );
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

    #[test]
    fn all_options_of_a_line_are_kept() {
        let text = "deb [ check-valid-until=no signed-by=/a.gpg,/b.gpg arch+=arm64 \
                    arch-=i386 lang=de,en by-hash=force ] u bookworm main";
        assert_eq!(
            from_lines(text, "bookworm").unwrap(),
            "Types: deb\nURIs: u\nSuites: bookworm-backports\nComponents: main\n\
             Check-Valid-Until: no\nSigned-By: /a.gpg /b.gpg\nArchitectures-Add: arm64\n\
             Architectures-Remove: i386\nLanguages: de en\nBy-Hash: force\n"
        );
    }

    #[test]
    fn the_words_of_a_line_are_apart_by_any_white_space() {
        let derived = |text: &str| from_lines(text, "bookworm");
        let plain = derived("deb u bookworm main").unwrap();
        for line in [
            "\tdeb\tu\tbookworm\tmain",
            "deb  u \t bookworm  contrib main # a note",
            "deb-src u bookworm main\ndeb\tu bookworm main",
        ] {
            assert_eq!(derived(line).as_ref(), Some(&plain), "{line:?}");
        }
        let with_option = derived("deb\t[trusted=yes]\tu\tbookworm\tmain").unwrap();
        assert_eq!(with_option, plain + "Trusted: yes\n");
        assert_eq!(derived("deb-src\tu bookworm main"), None);
        assert_eq!(derived("deb\tu bookworm contrib"), None);
    }

    #[test]
    fn all_fields_of_a_stanza_are_kept() {
        let text = "types: deb\nURIs: u\nSuites: bookworm\nComponents: main\n\
                    Enabled: yes\nCheck-Valid-Until: no\nSigned-By: /k.gpg\n";
        assert_eq!(
            from_stanzas(text, "bookworm").unwrap(),
            "Types: deb\nURIs: u\nSuites: bookworm-backports\nComponents: main\n\
             Check-Valid-Until: no\nSigned-By: /k.gpg\n"
        );
    }
}
