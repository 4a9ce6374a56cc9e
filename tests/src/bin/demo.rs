//! The main job, for `cargo xtask demo`: one guest, two hosts, three moves.

use std::process::ExitCode;
use std::time::Instant;

use isahotplug_tests::story;
use serde_json::json;

fn main() -> ExitCode {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let start = Instant::now();
    let mut steps = 0;
    let told = story::tell(|line| {
        steps += 1;
        eprintln!("[{:5.1} s] {steps}. {line}", start.elapsed().as_secs_f64());
    });
    match told {
        Ok(rows) => {
            if as_json {
                let moves: Vec<_> = rows.iter().map(story::Row::json).collect();
                println!(
                    "{:#}",
                    json!({"ok": true, "seconds": start.elapsed().as_secs_f64(), "moves": moves})
                );
            } else {
                print!("\n{}", story::table(&rows));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            if as_json {
                println!("{:#}", json!({"ok": false, "error": error.to_string()}));
            }
            ExitCode::FAILURE
        }
    }
}
