//! The story of the demo: one guest, two hosts, three moves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::cpu::CpuModel;
use crate::demo::{Called, Demo, Tick};
use crate::error::HarnessError;
use crate::image::GuestImage;
use crate::migration::{Hold, Moved};
use crate::site::Site;

/// What host B lacks.
pub const LOST: [&str; 4] = ["avx2", "fma", "f16c", "bmi2"];

/// Why the story was not told to its end.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// Something did not work.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// Everything worked, but not as the story says.
    #[error("this differs from the story: {0}")]
    Differs(String),
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), StoryError> {
    if holds {
        Ok(())
    } else {
        Err(StoryError::Differs(otherwise()))
    }
}

/// One move, as the table at the end shows it.
#[derive(Clone, Debug)]
pub struct Row {
    /// `planned A → B`.
    pub name: &'static str,
    /// How long the guest stood still.
    pub downtime: Duration,
    /// What the latency is counted from.
    pub from: &'static str,
    /// From there to the callback in the program.
    pub latency: Duration,
    /// Undefined-opcode exceptions, each of which emulated one instruction.
    pub traps: u64,
    /// Rounds computed since the move before.
    pub rounds: u64,
    /// Those with a wrong result.
    pub wrong: u64,
    /// The path in force after it.
    pub path: String,
}

impl Row {
    fn new(
        name: &'static str,
        from: &'static str,
        moved: Moved,
        call: &Called,
        before: &Tick,
        after: &Tick,
    ) -> Self {
        Self {
            name,
            from,
            downtime: moved.downtime,
            latency: call.latency,
            traps: after.emulated - before.emulated,
            rounds: after.rounds - before.rounds,
            wrong: after.wrong,
            path: after.path.clone(),
        }
    }

    /// The row as JSON: durations in milliseconds and microseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "move": self.name,
            "downtime_ms": millis(self.downtime),
            "latency_from": self.from,
            "latency_us": u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX),
            "ud_exceptions": self.traps,
            "rounds": self.rounds,
            "wrong_results": self.wrong,
            "path_after": self.path,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The rows as a table for people.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<16} {:>9} {:>30} {:>5} {:>8} {:>6}  {}\n",
        "move", "downtime", "news -> callback", "#UDs", "rounds", "wrong", "path after"
    );
    for row in rows {
        let latency = format!(
            "{} -> callback {:.1} ms",
            row.from,
            row.latency.as_secs_f64() * 1e3
        );
        out += &format!(
            "{:<16} {:>6} ms {:>30} {:>5} {:>8} {:>6}  {}\n",
            row.name,
            millis(row.downtime),
            latency,
            row.traps,
            row.rounds,
            row.wrong,
            row.path
        );
    }
    out
}

/// Tells the story; `say` gets a line for each step.
///
/// # Errors
/// [`StoryError`] as soon as anything differs from it.
pub fn tell(mut say: impl FnMut(&str)) -> Result<Vec<Row>, StoryError> {
    let mut a = Site::new("A", CpuModel::max())?;
    let mut b = Site::new("B", CpuModel::max().without(&LOST))?;
    say(&format!(
        "two hosts, each with its notifier: A (-cpu {}) and B (-cpu {})",
        a.host.cpu(),
        b.host.cpu()
    ));

    let guest = a.host.boot(&GuestImage::with_demo()?)?;
    say("the guest is up on A: Debian's kernel, its programs held at the baseline");
    let _agent = Agent::start(&guest, &[])?;
    a.wait_published()?;
    let mut demo = Demo::start(&guest)?;
    let start = demo.fresh_tick()?;
    must(
        start.path == "avx2" && start.emulated == 0 && start.wrong == 0,
        || format!("at first {start:?}"),
    )?;
    say(&format!(
        "agent and demo run: {} rounds on the AVX2 path, all right",
        start.wide
    ));

    let planned = planned(&mut a, &mut b, &guest, &mut demo, &start, &mut say)?;

    let before = demo.fresh_tick()?;
    let moved = guest.migrate_to(&a.host)?;
    let (call, _) = demo.next_call()?;
    a.wait_published()?;
    must(call.cause == "offer" && call.path == "avx2", || {
        format!("on the way back {call:?}")
    })?;
    let after = demo.fresh_tick()?;
    must(
        after.path == "avx2" && after.emulated == 0 && after.wide > before.wide,
        || format!("back on A {after:?}"),
    )?;
    let back = Row::new("back B -> A", "offer", moved, &call, &before, &after);
    say(&format!(
        "back on A: the callback fired {:.1} ms after the offer came, the AVX2 path is in force",
        call.latency.as_secs_f64() * 1e3
    ));

    let unplanned = unplanned(&mut b, &guest, &mut demo, &mut say)?;
    let rows = vec![planned, back, unplanned];
    must(
        rows.iter().all(|row| row.wrong == 0 && row.rounds > 0),
        || format!("wrong results: {rows:?}"),
    )?;
    Ok(rows)
}

fn planned(
    a: &mut Site,
    b: &mut Site,
    guest: &crate::Guest,
    demo: &mut Demo,
    before: &Tick,
    say: &mut impl FnMut(&str),
) -> Result<Row, StoryError> {
    let migration = guest.start_migration(&b.host, Hold::Copying)?;
    b.wait_machine()?;
    let answer = a.prepare_for(b, "30s")?;
    must(answer.success(), || {
        format!("the prepare was answered {answer:?}")
    })?;
    let (call, _) = demo.next_call()?;
    must(call.cause == "prepare" && call.path == "sse2", || {
        format!("the prepare led to {call:?}")
    })?;
    say(&format!(
        "planned move A -> B: the demo left AVX2 {:.1} ms after the prepare came; ready",
        call.latency.as_secs_f64() * 1e3
    ));
    let moved = migration.finish()?;
    b.wait_published()?;
    let after = demo.fresh_tick()?;
    must(after.path == "sse2" && after.emulated == 0, || {
        format!("on B after the planned move {after:?}")
    })?;
    say(&format!(
        "on B after {} ms of downtime: the SSE2 path, no #UD",
        millis(moved.downtime)
    ));
    Ok(Row::new(
        "planned A -> B",
        "prepare",
        moved,
        &call,
        before,
        &after,
    ))
}

fn unplanned(
    b: &mut Site,
    guest: &crate::Guest,
    demo: &mut Demo,
    say: &mut impl FnMut(&str),
) -> Result<Row, StoryError> {
    // Nobody tells the guest: B's notifier comes only when all is over.
    b.notifier.kill();
    let before = demo.fresh_tick()?;
    let moved = guest.migrate_to(&b.host)?;
    let (call, _) = demo.next_call()?;
    must(
        call.cause == "trap" && call.path == "sse2" && call.emulated > before.emulated,
        || format!("the #UD led to {call:?}"),
    )?;
    say(&format!(
        "unplanned move A -> B: {} instructions were emulated, the library switched {:.1} ms after the first #UD",
        call.emulated - before.emulated,
        call.latency.as_secs_f64() * 1e3
    ));
    b.notifier.restart()?;
    b.wait_published()?;
    let after = demo.fresh_tick()?;
    must(
        after.path == "sse2" && after.emulated == call.emulated,
        || format!("on B after the unplanned move {after:?}"),
    )?;
    say("B's notifier came at last and said the same; every result was right");
    Ok(Row::new(
        "unplanned A -> B",
        "#UD",
        moved,
        &call,
        &before,
        &after,
    ))
}
