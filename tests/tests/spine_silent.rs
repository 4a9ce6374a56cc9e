//! The loss of LZCNT: not a fault, but another result.

use std::path::Path;
use std::time::{Duration, Instant};

use isahotplug_tests::{Agent, CpuModel, Guest, GuestImage, GuestProcess, Hold, Result, Site};

const SOON: Duration = Duration::from_secs(30);

fn scene() -> Result<(Site, Site, Guest, Agent)> {
    let mut a = Site::new("A", CpuModel::max())?;
    let b = Site::new("B", CpuModel::max().without(&["abm", "bmi1"]))?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/lzcnt.c");
    let guest = a
        .host
        .boot(&GuestImage::spine()?.linked_c("/bin/lzcnt", &source)?)?;
    let agent = Agent::start(&guest, &[])?;
    a.wait_published()?;
    Ok((a, b, guest, agent))
}

fn number(line: &str, key: &str) -> u64 {
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no {key} in {line:?}"))
}

/// The next line of counters not seen yet that arrived after `moment`.
fn next_tick_after(process: &mut GuestProcess, moment: Instant) -> Result<String> {
    loop {
        let line = process.wait_for_line(|line| line.starts_with("tick"), SOON)?;
        if line.at > moment {
            return Ok(line.text);
        }
    }
}

#[test]
fn an_unplanned_loss_makes_wrong_results_and_is_said_loudly() -> Result<()> {
    let (_a, mut b, guest, mut agent) = scene()?;
    let mut careless = guest.spawn("lzcnt", &["careless"])?;
    let before = careless
        .wait_for_line(|line| line.starts_with("tick"), SOON)?
        .text;
    assert_eq!(number(&before, "wrong"), 0);
    guest.migrate_to(&b.host)?;
    let said = agent
        .wait_for_log_line(|line| line.contains("unsafe: silent:"), SOON)?
        .text;
    assert!(said.contains("abm") && said.contains("bmi1"), "{said}");
    b.notifier
        .wait_for_log_line(|line| line.contains("unsafe: silent:"), SOON)?;
    let status = Agent::control(&guest, &["status"])?.stdout;
    assert!(status.contains("unsafe: silent: bmi1 abm"), "{status}");
    let silent = b.status()?["unsafe_silent"].clone();
    assert_eq!(silent, serde_json::json!(["bmi1", "abm"]), "{silent}");
    let after = careless
        .wait_for_line(
            |line| line.starts_with("tick") && number(line, "wrong") > 0,
            SOON,
        )?
        .text;
    assert!(number(&after, "wrong") > 0);
    Ok(())
}

#[test]
fn a_planned_move_prevents_every_wrong_result() -> Result<()> {
    let (a, mut b, guest, agent) = scene()?;
    let mut careful = guest.spawn("lzcnt", &["careful"])?;
    careful.wait_for_line(
        |line| line.starts_with("tick") && line.contains("use=1"),
        SOON,
    )?;
    let migration = guest.start_migration(&b.host, Hold::Copying)?;
    b.wait_machine()?;
    let answer = a.prepare_for(&b, "60s")?;
    assert!(answer.success(), "{answer:?}");
    let moved = migration.finish()?;
    b.wait_published()?;
    // The first that arrives after the move may have been written before it.
    for _ in 0..2 {
        let tick = next_tick_after(&mut careful, moved.arrived)?;
        assert!(tick.contains("use=0"), "{tick}");
        assert_eq!(number(&tick, "wrong"), 0, "{tick}");
    }
    let log = agent.log_lines();
    assert!(
        log.iter().all(|line| !line.text.contains("unsafe")),
        "{log:?}"
    );
    let status = b.status()?;
    assert_eq!(status["unsafe_silent"], serde_json::json!([]), "{status}");
    Ok(())
}
