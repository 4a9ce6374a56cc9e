//! The pieces of C and C++ in the guides compile. (Those in Rust are doctests.)

mod support;

use std::fmt::Write;
use std::process::Command;

use support::{root, skip};

const GUIDES: [&str; 2] = ["docs/guides/follow-the-isa.md", "docs/guides/silent.md"];

/// The blocks of `language` in `text`, with the lines at which they begin.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, Vec<&'a str>)> {
    let mut found: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(name) if name == language => {
                inside = true;
                found.push((number + 2, Vec::new()));
            }
            Some(_) => {}
            None if inside => found.last_mut().expect("a block").1.push(line),
            None => {}
        }
    }
    found
}

/// All pieces of a guide in one file: each may use what came before.
#[test]
fn what_the_guides_show_compiles() {
    let dialects = [
        (
            "c",
            "#include <pthread.h>\n#include <stdio.h>\n#include <isahotplug.h>\n",
            "cc",
            "-std=c99",
        ),
        ("cpp", "#include <isahotplug.hpp>\n", "c++", "-std=c++11"),
    ];
    let mut pieces = 0;
    for guide in GUIDES {
        let text = std::fs::read_to_string(root().join(guide)).expect(guide);
        for (language, includes, compiler, standard) in dialects {
            let mut source = includes.to_owned();
            for (line, block) in blocks(&text, language) {
                pieces += 1;
                write!(source, "#line {line} \"{guide}\"\n{}\n", block.join("\n")).expect("text");
            }
            let folder = tempfile::TempDir::new().expect("a folder");
            let file = folder.path().join(format!("guide.{language}"));
            std::fs::write(&file, source).expect("a file");
            let output = Command::new(compiler)
                .args([
                    standard,
                    "-D_GNU_SOURCE",
                    "-Wall",
                    "-Wextra",
                    "-Wpedantic",
                    "-Werror",
                ])
                .args(["-fsyntax-only", "-I"])
                .arg(root().join("libisahotplug/include"))
                .arg(&file)
                .output();
            let Ok(output) = output else {
                skip("what_the_guides_show_compiles", &format!("no {compiler}"));
                continue;
            };
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    assert!(pieces >= 8, "{pieces} pieces found");
}

/// Every file and every function that a guide names is there.
#[test]
fn what_the_guides_name_exists() {
    let header = std::fs::read_to_string(root().join("libisahotplug/include/isahotplug.h"));
    let header = header.expect("the header");
    for guide in GUIDES {
        let text = std::fs::read_to_string(root().join(guide)).expect(guide);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("isahp_") || word.starts_with("ISAHP_")) {
            assert!(header.contains(word), "{guide}: {word}");
        }
        let folder = root().join(guide);
        let folder = folder.parent().expect("a folder");
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            assert!(folder.join(target).exists(), "{guide}: {target}");
        }
    }
}
