//! `cargo xtask man`: libisahotplug's manual pages, from its header.
//!
//! A page for each function and function-like macro, and isahotplug(7), whose prose is
//! `man/isahotplug.7.in`. They are committed, as the header is. The pages of the programs and of
//! the preload object are written by hand and lie beside them.

mod header;
mod roff;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::cargo;
use header::{Header, Item, Kind};

const HEADER: &str = "libisahotplug/include/isahotplug.h";
const PAGES: &str = "docs/man";
const OVERVIEW: &str = include_str!("man/isahotplug.7.in");

/// What a page that is made begins with: by this those of functions that went are found.
const MADE: &str =
    ".\\\" Made from libisahotplug/include/isahotplug.h by `cargo xtask man`; do not edit.\n";

#[derive(clap::Args)]
pub(crate) struct Man {
    /// Only say whether the committed pages are up to date
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Man) -> Result<ExitCode> {
    let text = fs::read_to_string(cargo::root().join(HEADER)).context(HEADER)?;
    let pages = pages(&text)?;
    let folder = cargo::root().join(PAGES);
    let committed = committed(&folder)?;
    if !options.check {
        for (name, page) in &pages {
            fs::write(folder.join(name), page).with_context(|| name.clone())?;
        }
        for name in committed.keys().filter(|name| !pages.contains_key(*name)) {
            fs::remove_file(folder.join(name)).with_context(|| name.clone())?;
        }
        println!("{} pages written into {PAGES}", pages.len());
    } else if committed == pages {
        println!("{PAGES} is up to date");
    } else {
        eprintln!("{PAGES} is not what {HEADER} makes; run `cargo xtask man`");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The made pages in the folder, by their file names.
fn committed(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(folder).context(PAGES)? {
        let path: PathBuf = entry.context(PAGES)?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if let (true, Some(name)) = (text.starts_with(MADE), path.file_name()) {
            pages.insert(name.to_string_lossy().into_owned(), text);
        }
    }
    Ok(pages)
}

/// The pages that a header makes, by their file names.
fn pages(text: &str) -> Result<BTreeMap<String, String>> {
    let header = Header::parse(text)?;
    let functions: Vec<&Item> = header
        .items
        .iter()
        .filter(|item| matches!(item.kind, Kind::Function | Kind::Macro))
        .collect();
    ensure!(!functions.is_empty(), "{HEADER} declares no function");
    let mut pages: BTreeMap<String, String> = functions
        .iter()
        .map(|item| (format!("{}.3", item.name), page(&header, item)))
        .collect();
    pages.insert("isahotplug.7".to_owned(), overview(&header, &functions));
    Ok(pages)
}

/// The page of one function or macro.
fn page(header: &Header, item: &Item) -> String {
    let mut page = MADE.to_owned();
    page += &title(&item.name.to_uppercase(), 3);
    page += &format!(
        ".SH NAME\n{} \\- {}\n",
        item.name,
        roff::plain(&item.summary())
    );
    page += ".SH LIBRARY\nlibisahotplug\n.RI ( \\-lisahotplug ,\n.BR pkg\\-config (1)\nname\n.BR isahotplug )\n";
    page += ".SH SYNOPSIS\n";
    page += &roff::code(&format!("#include <isahotplug.h>\n\n{}", item.declaration));
    page += ".SH DESCRIPTION\n";
    page += &roff::text(&item.doc);
    let types = header.types_of(item);
    if !types.is_empty() {
        page += ".SH TYPES\n";
        let texts: Vec<String> = types.iter().map(|item| item.with_doc()).collect();
        page += &roff::code(&texts.join("\n\n"));
    }
    let constants = header.constants_of(item);
    if !constants.is_empty() {
        page += ".SH CONSTANTS\n";
    }
    for constant in constants {
        page += &format!(".TP\n.B {}\n{}", constant.name, roff::text(&constant.doc));
    }
    if item.returns_result() {
        page += ".SH RETURN VALUE\n.B ISAHP_OK\n(0), or a negative\n.BR ISAHP_ERROR_... ;\nsee\n\
                 .BR isahotplug (7).\nOn an error what the pointers point to is untouched.\n";
    }
    page += ".SH ATTRIBUTES\nMT-Safe";
    if item.doc.contains("Async-signal-safe") {
        page += ", AS-Safe";
    }
    page += ".\n.SH SEE ALSO\n";
    for other in header.mentioned_by(item) {
        page += &format!(".BR {other} (3),\n");
    }
    page + ".BR isahotplug (7)\n"
}

/// isahotplug(7).
fn overview(header: &Header, functions: &[&Item]) -> String {
    let list = |items: &[&Item], section: &str| -> String {
        let entry = |item: &&Item| {
            let summary = roff::prose(&item.doc.lines().collect::<Vec<_>>().join(" "));
            let summary = if section.is_empty() {
                summary
            } else {
                roff::prose(&item.summary())
            };
            format!(".TP\n.BR {} {section}\n{summary}\n", item.name)
        };
        items.iter().map(entry).collect()
    };
    let results: Vec<&Item> = header
        .items
        .iter()
        .filter(|item| item.is_result())
        .collect();
    let body = OVERVIEW
        .replace("@CONVENTIONS@\n", &roff::text(&header.conventions))
        .replace("@FUNCTIONS@\n", &list(functions, "(3)"))
        .replace("@RESULTS@\n", &list(&results, ""));
    format!("{MADE}{}{body}", title("ISAHOTPLUG", 7))
}

fn title(name: &str, section: u32) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {name} {section} \"\" \"isahotplug {version}\" \"isahotplug\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "/*\n * Follow.\n *\n * Results are int32_t.\n *\n * SPDX-License-Identifier: X\n */\n\
        #ifndef A\n#define A\n\n// All went well.\n#define ISAHP_OK 0\n\n\
        // isahp_options.flags: no thread.\n#define ISAHP_POLL 1\n\n// None of its.\n#define ISAHP_EAGER 1\n\n// How it runs; ISAHP_POLL.\ntypedef struct isahp_options {\n  // The size.\n  size_t size;\n} isahp_options;\n\n\
        // Starts the library; again does nothing.\n//\n// Async-signal-safe.\n//\n// # Safety\n\
        // `options` may be NULL; see isahp_stop().\n\
        int32_t isahp_start(const struct isahp_options *options,\n                   int n);\n\n\
        // 1 if it runs, 0 if not.\nint32_t isahp_runs(void);\n\n\
        /*\n * Calls it:\n *\n *     CALL(a)\n */\n#define ISAHP_CALL(a) \\\n    ((a)())\n\
        /*\n * Both.\n */\n#define ISAHP_ONE() one()\n#define ISAHP_TWO() two()\n#ifndef B\n#define B\n";

    #[test]
    fn a_function_has_a_page_with_its_declaration_types_and_safety() {
        let pages = pages(EXAMPLE).unwrap();
        assert_eq!(
            pages.keys().map(String::as_str).collect::<Vec<_>>(),
            [
                "ISAHP_CALL.3",
                "ISAHP_ONE.3",
                "ISAHP_TWO.3",
                "isahotplug.7",
                "isahp_runs.3",
                "isahp_start.3"
            ]
        );
        let page = &pages["isahp_start.3"];
        for part in [
            "isahp_start \\- starts the library\n",
            "int32_t isahp_start(const struct isahp_options *options,\n                   int n);\n",
            "typedef struct isahp_options {\n",
            ".SS What the caller has to see to\n\\fBoptions\\fP may be NULL; see \\fBisahp_stop\\fP(3).\n",
            "MT-Safe, AS-Safe.\n",
            ".SH CONSTANTS\n.TP\n.B ISAHP_POLL\nisahp_options.flags: no thread.\n.SH RETURN VALUE\n",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(!pages["isahp_runs.3"].contains(".SH RETURN VALUE"));
        assert!(!pages["isahp_runs.3"].contains("AS-Safe"));
        assert!(pages["ISAHP_CALL.3"].contains("#define ISAHP_CALL(a)\n.EE\n"));
        assert!(pages["ISAHP_TWO.3"].contains(".SH NAME\nISAHP_TWO \\- both\n"));
        assert!(pages["ISAHP_CALL.3"].contains("Calls it:\n.PP\n.in +4n\n.EX\nCALL(a)\n.EE\n"));
    }

    #[test]
    fn the_overview_lists_functions_and_results() {
        let page = &pages(EXAMPLE).unwrap()["isahotplug.7"];
        assert!(
            page.contains(".BR isahp_start (3)\nstarts the library\n"),
            "{page}"
        );
        assert!(page.contains(".BR ISAHP_OK \nAll went well.\n"), "{page}");
        assert!(page.contains("Results are int32_t.\n"), "{page}");
        assert!(!page.contains('@') && !page.contains("SPDX"), "{page}");
    }
}
