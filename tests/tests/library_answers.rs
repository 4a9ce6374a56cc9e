//! What a process answers to a planned removal, by way of a real agent, to the host: ready, not
//! yet, never; and that the operator can see it.

use std::path::Path;
use std::time::Duration;

use isa::{FeatureSet, features};
use isahotplug_tests::{Answered, LocalGuest, LocalProcess, Result, linked_c, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What every CPU here has, and goes.
const LOST: FeatureSet = features![Sse3];
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

/// A guest with everything that is visible, and a process that answers as `mode` says and is
/// registered.
fn process(mode: &str) -> Result<(LocalGuest, LocalProcess)> {
    let mut guest = LocalGuest::start()?;
    guest.offer(isa::detect())?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/library/answers.c");
    let (program, library) = linked_c(&source)?;
    let process = guest.spawn_with(&program, &[mode], &library)?;
    guest.wait_for_log_line("registered as answers, eager")?;
    Ok((guest, process))
}

fn signal(process: &LocalProcess) {
    send(process, Signal::SIGUSR1);
}

fn send(process: &LocalProcess, signal: Signal) {
    let pid = Pid::from_raw(process.pid().cast_signed());
    kill(pid, signal).expect("the process runs");
}

/// What the first registration of the status says, and what the host was told.
fn told(guest: &LocalGuest) -> Result<(String, String)> {
    let status = guest.status()?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok((
        text(&status["registrations"][0]["answer"]),
        text(&status["answer"]),
    ))
}

#[test]
fn ready_is_told_to_the_host_and_shown_to_the_operator() -> Result<()> {
    let (mut guest, mut process) = process("ready")?;
    let id = guest.prepare(LOST)?;
    let line = process
        .wait_for_line(|line| line.starts_with("event"))?
        .text;
    assert!(
        line.contains("cause=2 attempt=0 ") && line.ends_with("removed=pni"),
        "{line}"
    );
    let (process_said, host_heard) = told(&guest)?;
    assert!(
        process_said.starts_with("left generation "),
        "{process_said}"
    );
    assert!(
        host_heard.starts_with(&format!("prepare {id}: ready, after ")),
        "{host_heard}"
    );
    // Taken back: the features come again, and nobody has to answer.
    guest.abort(id)?;
    let line = process
        .wait_for_line(|line| line.starts_with("event"))?
        .text;
    assert!(
        line.contains("cause=3 ") && line.ends_with("removed="),
        "{line}"
    );
    Ok(())
}

#[test]
fn a_callback_that_needs_time_is_called_again_and_the_host_waits() -> Result<()> {
    let (mut guest, mut process) = process("again")?;
    guest.prepare(LOST)?;
    for attempt in 0..3 {
        let line = process
            .wait_for_line(|line| line.starts_with("event"))?
            .text;
        assert!(line.contains(&format!("attempt={attempt} ")), "{line}");
    }
    guest.wait_for_log_line("needs 20 ms to leave generation")?;
    Ok(())
}

#[test]
fn who_needs_long_says_himself_when_he_has_left() -> Result<()> {
    let (mut guest, mut process) = process("left")?;
    let id = guest.announce(LOST, LONG)?;
    let line = process
        .wait_for_line(|line| line.starts_with("event"))?
        .text;
    let left_ms = line.split_once("left_ms=").unwrap().1;
    let left_ms: i64 = left_ms.split_once(' ').unwrap().0.parse().unwrap();
    assert!((1..=60_000).contains(&left_ms), "the deadline, in {line}");
    guest.wait_for_log_line("needs 60000 ms to leave generation")?;
    let status = guest.status()?;
    assert_eq!(told(&guest)?.0, "needs 60000 ms: answers");
    let prepare = status["prepare"].as_str().unwrap_or_default();
    assert!(prepare.contains("waiting for answers["), "{prepare}");
    signal(&process);
    assert_eq!(
        process.wait_for_line(|line| line.starts_with("left"))?.text,
        "left 0"
    );
    assert_eq!(guest.answer(id)?, Answered::Ready);
    Ok(())
}

#[test]
fn at_the_deadline_the_host_is_told_who_has_not_left() -> Result<()> {
    let (mut guest, mut process) = process("left")?;
    let id = guest.announce(LOST, Duration::from_millis(400))?;
    assert_eq!(guest.answer(id)?, Answered::Busy(vec!["answers".into()]));
    let heard = told(&guest)?.1;
    assert!(
        heard.starts_with(&format!("prepare {id}: busy: answers[")),
        "{heard}"
    );
    // It is over: the features are back.
    process.wait_for_line(|line| line.contains("cause=2 "))?;
    process.wait_for_line(|line| line.contains("cause=4 "))?;
    Ok(())
}

#[test]
fn a_refusal_reaches_the_host_with_its_reason() -> Result<()> {
    let (mut guest, _process) = process("refuse")?;
    let id = guest.announce(LOST, LONG)?;
    let Answered::Refused(reason) = guest.answer(id)? else {
        panic!("not refused");
    };
    assert!(
        reason.starts_with("answers[") && reason.ends_with("]: a batch runs until noon"),
        "{reason}"
    );
    let (process_said, host_heard) = told(&guest)?;
    assert_eq!(process_said, "refused: a batch runs until noon");
    assert_eq!(host_heard, format!("prepare {id}: refused: {reason}"));
    Ok(())
}

/// The guest says that it waits, each time that it is asked; a process that did not wait for its
/// sections would have answered after the first.
fn is_waited_for(guest: &LocalGuest) -> Result<()> {
    for _ in 0..30 {
        let status = guest.status()?;
        let prepare = status["prepare"].as_str().unwrap_or_default();
        assert!(prepare.contains("waiting for answers["), "{status}");
    }
    Ok(())
}

#[test]
fn a_section_is_waited_for_after_the_callback_has_left() -> Result<()> {
    let (mut guest, mut process) = process("section")?;
    process.wait_for_line(|line| line == "inside")?;
    let id = guest.announce(LOST, LONG)?;
    process.wait_for_line(|line| line.contains("cause=2 "))?;
    is_waited_for(&guest)?;
    signal(&process);
    process.wait_for_line(|line| line == "outside")?;
    assert_eq!(guest.answer(id)?, Answered::Ready);
    Ok(())
}

/// A process with a thread in a section that began with a silent variant in force, which a removal
/// has taken out of the slot since. With the removal's number.
fn in_a_silent_section() -> Result<(LocalGuest, LocalProcess, u64)> {
    let (mut guest, mut process) = process("silent")?;
    process.wait_for_line(|line| line == "inside")?;
    let id = guest.announce(features![Abm], LONG)?;
    process.wait_for_line(|line| line == "slot best -> plain")?;
    Ok((guest, process, id))
}

#[test]
fn a_silent_variant_is_in_force_only_while_the_agent_waits_for_its_sections() -> Result<()> {
    if !isa::detect().contains(isa::Feature::Abm) {
        skip("this CPU has no LZCNT");
        return Ok(());
    }
    let (mut guest, mut process, id) = in_a_silent_section()?;
    is_waited_for(&guest)?;
    signal(&process);
    process.wait_for_line(|line| line == "outside")?;
    assert_eq!(guest.answer(id)?, Answered::Ready);
    Ok(())
}

/// A dead process computes nothing wrong. (One that lives and is not heard any more may.)
#[test]
fn a_process_that_is_killed_inside_a_section_is_waited_for_no_longer() -> Result<()> {
    if !isa::detect().contains(isa::Feature::Abm) {
        skip("this CPU has no LZCNT");
        return Ok(());
    }
    let (mut guest, process, id) = in_a_silent_section()?;
    send(&process, Signal::SIGKILL);
    assert_eq!(guest.answer(id)?, Answered::Ready);
    Ok(())
}
