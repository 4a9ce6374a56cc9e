//! What others wrote and the products hold: the crates, with the texts of their licences, which
//! want to go with every copy.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// The packages that are installed, with all that they are compiled with.
const PRODUCTS: [&str; 4] = [
    "isahotplug",
    "isahotplug-guest-agent",
    "isahotplug-host-notifier",
    "isahotplug-preload",
];

/// The text that names each crate and quotes its licences.
pub(super) fn notices() -> Result<String> {
    let crates = crates()?;
    let metadata = output(&["metadata", "--format-version=1", "--locked"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let mut text = "isahotplug's programs and libraries hold code of Rust's standard library (MIT or \
                    Apache-2.0,\nsee https://www.rust-lang.org/policies/licenses) and of the following \
                    crates.\n"
        .to_owned();
    let mut found = 0;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let name = format!("{} v{}", field("name"), field("version"));
        if package["source"].is_null() || !crates.contains(&name) {
            continue;
        }
        found += 1;
        text += &format!("\n{0}\n{name} ({1})\n", "=".repeat(72), field("license"));
        let folder = Path::new(field("manifest_path"))
            .parent()
            .context("a crate's folder")?;
        for (file, content) in licences(folder)? {
            text += &format!("\n--- {file}\n\n{}\n", content.trim_end());
        }
    }
    ensure!(
        found == crates.len(),
        "{found} of {} crates were found",
        crates.len()
    );
    Ok(text)
}

/// The crates from elsewhere that the products are compiled with, as `name v1.2.3`.
fn crates() -> Result<BTreeSet<String>> {
    let mut arguments = vec![
        "tree",
        "--locked",
        "--edges=normal",
        "--prefix=none",
        "--format={p}",
    ];
    for product in PRODUCTS {
        arguments.extend(["--package", product]);
    }
    let tree = output(&arguments)?;
    // What is of this workspace has its path behind it.
    let lines = tree.lines().filter(|line| !line.contains("(/"));
    let names = lines.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    Ok(names.filter(|name| !name.is_empty()).collect())
}

/// The files of a crate that hold a licence or a copyright, by their names.
fn licences(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.context("reading a crate")?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let upper = name.to_uppercase();
        let beginnings = [
            "LICENSE",
            "LICENCE",
            "COPYING",
            "COPYRIGHT",
            "NOTICE",
            "UNLICENSE",
        ];
        if path.is_file()
            && beginnings
                .iter()
                .any(|beginning| upper.starts_with(beginning))
        {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            files.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    files.sort();
    Ok(files)
}

/// What cargo prints.
fn output(arguments: &[&str]) -> Result<String> {
    let mut cargo = cargo::cargo();
    let output = cargo.args(arguments).output().context("starting cargo")?;
    ensure!(
        output.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout).context("cargo's output")
}
