//! The manual pages: each is one that groff reads without a warning, each function of the header has
//! one, and those of the programs name all commands and options.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use isahotplug_tests::{product, skip};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    let file = root().join("docs/man").join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn groff_reads_each_page_without_a_warning() {
    if Command::new("groff").arg("--version").output().is_err() {
        return skip("there is no groff");
    }
    let pages = fs::read_dir(root().join("docs/man")).expect("docs/man");
    let mut count = 0;
    for page in pages {
        let page = page.expect("docs/man").path();
        let output = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z"])
            .arg(&page)
            .output()
            .expect("groff starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        count += 1;
    }
    assert!(count > 10, "{count} pages");
}

/// `cargo xtask man --check` says whether they are up to date; this that they are there, in the form
/// that man(1) finds them by.
#[test]
fn each_function_of_the_header_has_a_page_of_its_name() {
    let header = fs::read_to_string(root().join("libisahotplug/include/isahotplug.h"))
        .expect("the committed header");
    let mut count = 0;
    for line in header
        .lines()
        .filter(|line| line.starts_with(char::is_alphabetic))
    {
        let Some((before, _)) = line.split_once('(') else {
            continue;
        };
        let name = before.rsplit([' ', '*']).next().unwrap_or_default();
        let is_declared = !line.starts_with("typedef") && !line.starts_with("static");
        if is_declared && name.starts_with("isahp_") {
            let beginning = format!("\n.SH NAME\n{name} \\- ");
            assert!(page(&format!("{name}.3")).contains(&beginning), "{name}");
            count += 1;
        }
    }
    assert!(count > 10, "{count} functions");
}

/// What a program's help offers: its commands, and its options and theirs.
fn offered(program: &Path, commands: &[&str]) -> BTreeSet<String> {
    let output = Command::new(program)
        .args(commands)
        .arg("--help")
        .output()
        .expect("the release build starts");
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let mut offered = BTreeSet::new();
    let mut section = "";
    for line in help.lines() {
        if line.ends_with(':') && !line.starts_with(' ') {
            section = line;
            continue;
        }
        let Some(line) = line.strip_prefix("  ") else {
            continue;
        };
        if section == "Commands:" {
            let Some(command) = line.split(' ').next().filter(|word| !word.is_empty()) else {
                continue;
            };
            offered.insert(command.to_owned());
            if command != "help" {
                offered.extend(self::offered(program, &[commands, &[command]].concat()));
            }
        } else if section == "Options:" && line.trim_start().starts_with('-') {
            let words = line.trim_start().split([' ', ',', '=', '[']);
            offered.extend(
                words
                    .take_while(|word| !word.starts_with('<'))
                    .filter(|word| word.starts_with('-'))
                    .map(str::to_owned),
            );
        }
    }
    offered
}

#[test]
fn the_pages_of_the_programs_name_every_command_and_option() {
    for (program, some) in [
        ("guest-agent", ["run", "--port-name", "--json", "-V"]),
        (
            "host-notifier",
            ["prepare", "--to-guest", "--control", "-h"],
        ),
    ] {
        let offered = offered(&product(program).expect("the release build"), &[]);
        for expected in some {
            assert!(offered.contains(expected), "{expected} in {offered:?}");
        }
        let page = page(&format!("{program}.8")).replace("\\-", "-");
        // Where a command or an option is described, it stands at the beginning of a line of its own.
        let described: BTreeSet<&str> = page
            .lines()
            .filter(|line| {
                [".B ", ".BI ", ".BR "]
                    .iter()
                    .any(|macro_| line.starts_with(macro_))
            })
            .flat_map(|line| line.split([' ', '"', ',', '~', '\\']))
            .collect();
        let missing: Vec<&String> = offered
            .iter()
            .filter(|word| !described.contains(word.as_str()))
            .collect();
        assert!(
            missing.is_empty(),
            "{program}.8 says nothing of {missing:?}"
        );
    }
}

#[test]
fn each_page_says_the_version_of_the_workspace() {
    let title = format!("\"isahotplug {}\"", env!("CARGO_PKG_VERSION"));
    for page in fs::read_dir(root().join("docs/man")).expect("docs/man") {
        let page = page.expect("docs/man").path();
        let text = fs::read_to_string(&page).expect("a page");
        let line = text.lines().find(|line| line.starts_with(".TH "));
        assert!(
            line.is_some_and(|line| line.contains(&title)),
            "{}: {line:?}",
            page.display()
        );
    }
}
