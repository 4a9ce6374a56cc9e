//! The measurements, for `cargo xtask bench`: `bench [--json] [AREA]`.
//!
//! Every figure is a ratio to something measured in the same run, and comes
//! with the medians it is made of and their spread.

mod emulator;
mod library;
mod samples;
mod spine;

use std::process::ExitCode;

use isahotplug_tests::Result;
use serde_json::Value;

/// What is measured together.
struct Area {
    name: &'static str,
    measure: fn() -> Result<Value>,
    readable: fn(&Value) -> String,
}

const AREAS: [Area; 3] = [
    Area {
        name: "spine",
        measure: spine::measure,
        readable: spine::readable,
    },
    Area {
        name: "emulator",
        measure: emulator::measure,
        readable: emulator::readable,
    },
    Area {
        name: "library",
        measure: library::measure,
        readable: library::readable,
    },
];

fn main() -> ExitCode {
    let mut as_json = false;
    let mut wanted = None;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => as_json = true,
            name => wanted = Some(name.to_owned()),
        }
    }
    let is_wanted = |area: &&Area| wanted.as_deref().is_none_or(|name| name == area.name);
    let areas: Vec<&Area> = AREAS.iter().filter(is_wanted).collect();
    if areas.is_empty() {
        eprintln!(
            "there is nothing to measure in `{}`, but: {}",
            wanted.unwrap_or_default(),
            AREAS.each_ref().map(|area| area.name).join(", ")
        );
        return ExitCode::FAILURE;
    }
    let mut reports = Vec::new();
    for area in areas {
        match (area.measure)() {
            Ok(report) if as_json => reports.push(report),
            Ok(report) => print!("{}{}", heading(&report), (area.readable)(&report)),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    // One area is an object, all of them an array of such.
    match reports.as_slice() {
        [] => {}
        [report] => println!("{report:#}"),
        _ => println!("{:#}", Value::from(reports)),
    }
    ExitCode::SUCCESS
}

/// The machine of a report, a line for each fact.
fn heading(report: &Value) -> String {
    let facts = report["machine"].as_object().into_iter().flatten();
    let mut out: String = facts
        .map(|(name, value)| format!("{name:<10} {}\n", value.as_str().unwrap_or_default()))
        .collect();
    out.push('\n');
    out
}
