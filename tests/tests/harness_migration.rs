//! The test bed itself: guests move, or do not, and nothing is lost.

use std::time::Duration;

use isahotplug_tests::{
    CpuModel, Guest, GuestImage, GuestProcess, HarnessError, Hold, Host, Result, compiled,
    must_fail,
};

const SOON: Duration = Duration::from_secs(60);
const SIGILL: u32 = 4;
const SIGTERM: u32 = 15;

fn host_a() -> Result<Host> {
    Host::new("A", CpuModel::max())
}

fn host_b() -> Result<Host> {
    Host::new(
        "B",
        CpuModel::max().without(&["avx2", "fma", "f16c", "bmi2"]),
    )
}

fn with_programs() -> Result<GuestImage> {
    Ok(GuestImage::minimal()
        .program("/bin/counter", &compiled("counter")?)
        .program("/bin/probe", &compiled("probe")?))
}

/// Starts `counter`, and waits until it counts.
fn counting(guest: &Guest) -> Result<GuestProcess> {
    let mut counter = guest.spawn("counter", &[])?;
    counter.wait_for_line(|line| line == "1000", SOON)?;
    Ok(counter)
}

/// Tells `counter` to end, and checks that it printed every number once, in
/// order, up to the one that it says was its last.
fn assert_counted(counter: &GuestProcess) -> Result<()> {
    counter.kill(SIGTERM)?;
    let output = counter.wait(SOON)?;
    assert!(
        output.success() && output.stderr.is_empty(),
        "{}: {}",
        output.status,
        output.stderr
    );
    let mut lines = output.stdout.lines();
    let last = lines.next_back().unwrap_or_default();
    let mut count = 0;
    for line in lines {
        count += 1;
        assert_eq!(line, count.to_string(), "lost or torn at line {count}");
    }
    assert_eq!(last, format!("last {count}"));
    Ok(())
}

#[test]
fn a_running_process_loses_no_line_to_moves() -> Result<()> {
    let (host_a, host_b) = (host_a()?, host_b()?);
    let guest = host_a.boot(&with_programs()?)?;
    let counter = counting(&guest)?;
    for host in [&host_b, &host_a, &host_b] {
        let moved = guest.migrate_to(host)?;
        assert!(moved.downtime < Duration::from_secs(5), "{moved:?}");
        assert_eq!(guest.host().name(), host.name());
    }
    assert_counted(&counter)
}

#[test]
fn an_instruction_that_the_new_host_lacks_raises_sigill() -> Result<()> {
    let (host_a, host_b) = (host_a()?, host_b()?);
    let guest = host_a.boot(&with_programs()?)?;
    assert_eq!(guest.check("probe", &["avx2"])?, "24\n");
    guest.migrate_to(&host_b)?;
    assert_eq!(guest.run("probe", &["avx2"])?.signal(), Some(SIGILL));
    guest.migrate_to(&host_a)?;
    assert_eq!(guest.check("probe", &["avx2"])?, "24\n");
    Ok(())
}

#[test]
fn lzcnt_and_tzcnt_turn_silently_into_bsr_and_bsf() -> Result<()> {
    let host_a = host_a()?;
    let host_b = Host::new("B", CpuModel::max().without(&["abm", "bmi1"]))?;
    let guest = host_a.boot(&with_programs()?)?;
    assert_eq!(guest.check("probe", &["lzcnt"])?, "21\n");
    assert_eq!(guest.check("probe", &["tzcnt"])?, "32\n");
    guest.migrate_to(&host_b)?;
    assert_eq!(guest.check("probe", &["lzcnt"])?, "10\n");
    assert_eq!(guest.check("probe", &["tzcnt"])?, "77\n");
    Ok(())
}

#[test]
fn a_migration_held_while_it_copies_can_be_cancelled() -> Result<()> {
    let (host_a, host_b) = (host_a()?, host_b()?);
    let guest = host_a.boot(&with_programs()?)?;
    let migration = guest.start_migration(&host_b, Hold::Copying)?;
    assert_eq!(
        guest.check("probe", &["avx2"])?,
        "24\n",
        "the guest has to run meanwhile"
    );
    migration.cancel()?;
    assert_eq!(guest.host().name(), "A");
    assert_eq!(guest.check("probe", &["avx2"])?, "24\n");
    guest.migrate_to(&host_b)?;
    assert_eq!(guest.run("probe", &["avx2"])?.signal(), Some(SIGILL));
    Ok(())
}

#[test]
fn a_migration_held_while_it_copies_can_be_finished() -> Result<()> {
    let (host_a, host_b) = (host_a()?, host_b()?);
    let guest = host_a.boot(&with_programs()?)?;
    let migration = guest.start_migration(&host_b, Hold::Copying)?;
    let counter = counting(&guest)?;
    migration.finish()?;
    assert_counted(&counter)
}

#[test]
fn a_migration_held_at_the_switch_over_can_be_finished_or_cancelled() -> Result<()> {
    let (host_a, host_b) = (host_a()?, host_b()?);
    let guest = host_a.boot(&with_programs()?)?;
    let counter = counting(&guest)?;
    guest.start_migration(&host_b, Hold::SwitchOver)?.cancel()?;
    assert_eq!(guest.host().name(), "A");
    guest.start_migration(&host_b, Hold::SwitchOver)?.finish()?;
    assert_eq!(guest.host().name(), "B");
    assert_counted(&counter)
}

#[test]
fn a_destination_that_dies_leaves_the_guest_on_its_source() -> Result<()> {
    let (host_a, host_b) = (host_a()?, host_b()?);
    let guest = host_a.boot(&with_programs()?)?;
    let migration = guest.start_migration(&host_b, Hold::Copying)?;
    migration.kill_destination();
    migration.wait_failed()?;
    assert_eq!(guest.check("probe", &["avx2"])?, "24\n");
    guest.migrate_to(&host_b)?;
    assert_eq!(guest.host().name(), "B");
    Ok(())
}

#[test]
fn a_source_that_dies_takes_the_guest_with_it() -> Result<()> {
    let (host_a, host_b) = (host_a()?, host_b()?);
    let guest = host_a.boot(&with_programs()?)?;
    let migration = guest.start_migration(&host_b, Hold::Copying)?;
    guest.kill();
    let ended = must_fail(migration.finish());
    assert!(matches!(ended, HarnessError::QemuEnded(_)), "{ended}");
    Ok(())
}

#[test]
fn a_source_kept_after_the_move_still_has_its_sockets() -> Result<()> {
    let (host_a, host_b) = (host_a()?, host_b()?);
    let guest = host_a.boot(&with_programs()?)?;
    let (_, left) = guest
        .start_migration(&host_b, Hold::Nowhere)?
        .finish_and_keep_source()?;
    std::os::unix::net::UnixStream::connect(left.sockets().channel()).unwrap();
    assert_eq!(guest.run("probe", &["avx2"])?.signal(), Some(SIGILL));
    Ok(())
}

#[test]
fn a_guest_is_reverted_to_a_snapshot() -> Result<()> {
    let guest = host_a()?.boot(&with_programs()?)?;
    guest.shell("echo before > /tmp/file")?;
    let script = "read word; echo got $word";
    let reader = guest.spawn_with("sh", &["-c", script], &[], true)?;
    let snapshot = guest.save_snapshot()?;

    guest.shell("echo after > /tmp/file")?;
    let younger = guest.spawn("sleep", &["1000"])?;
    reader.write(b"one\n")?;
    assert_eq!(reader.wait(SOON)?.stdout, "got one\n");

    guest.load_snapshot(&snapshot)?;
    assert_eq!(guest.shell("cat /tmp/file")?, "before\n");
    reader.write(b"two\n")?;
    assert_eq!(reader.wait(SOON)?.stdout, "got one\ngot two\n");
    let gone = must_fail(younger.wait(SOON));
    assert!(matches!(gone, HarnessError::Guest(_)), "{gone}");
    Ok(())
}
