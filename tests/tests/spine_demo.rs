//! The main job as `cargo xtask demo --json` runs and reports it.

use std::process::Command;

use serde_json::{Value, json};

#[test]
fn the_demo_tells_of_a_planned_move_an_addition_and_an_unplanned_move() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .arg("--json")
        .output()
        .expect("the demo starts");
    let steps = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{steps}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], true, "{report:#}");

    let column = |name: &str| -> Vec<Value> {
        let rows = report["moves"].as_array().into_iter().flatten();
        rows.map(|row| row[name].clone()).collect()
    };
    assert_eq!(
        column("move"),
        ["planned A -> B", "back B -> A", "unplanned A -> B"]
    );
    assert_eq!(column("path_after"), ["sse2", "avx2", "sse2"]);
    assert_eq!(column("wrong_results"), [json!(0), json!(0), json!(0)]);
    let traps: Vec<_> = column("ud_exceptions").iter().map(Value::as_u64).collect();
    assert!(
        matches!(traps[..], [Some(0), Some(0), Some(1..)]),
        "{report:#}"
    );
    let computed = |rounds: &Value| rounds.as_u64().is_some_and(|rounds| rounds > 0);
    assert!(column("rounds").iter().all(computed), "{report:#}");
}
