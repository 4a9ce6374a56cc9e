//! Moves of a guest, and what the programs in it live through.

use std::time::Duration;

use isahotplug_tests::{
    Agent, CpuModel, Demo, Guest, GuestImage, Hold, Result, Site, product, story,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// Hosts A and B, a guest on A whose agent and demo run and follow.
fn scene() -> Result<(Site, Site, Guest, Agent, Demo)> {
    let mut a = Site::new("A", CpuModel::max())?;
    let b = Site::new("B", CpuModel::max().without(&story::LOST))?;
    let guest = a.host.boot(&GuestImage::with_demo()?)?;
    let agent = Agent::start(&guest, &[])?;
    a.wait_published()?;
    let mut demo = Demo::start(&guest)?;
    assert_eq!(demo.next_tick()?.path, "avx2");
    Ok((a, b, guest, agent, demo))
}

/// The generation that the agent has published.
fn published_in(guest: &Guest) -> Result<u64> {
    let status = Agent::control(guest, &["status", "--json"])?;
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    Ok(status["generation"].as_u64().expect("a generation"))
}

#[test]
fn the_rust_demo_follows_on_the_library_thread() -> Result<()> {
    let (mut a, mut b) = (
        Site::new("A", CpuModel::max())?,
        Site::new("B", CpuModel::max().without(&story::LOST))?,
    );
    let image = GuestImage::spine()?.program("/bin/rust-demo", &product("rust-demo")?);
    let guest = a.host.boot(&image)?;
    let _agent = Agent::start(&guest, &[])?;
    a.wait_published()?;
    let mut demo = Demo::start_program(&guest, "rust-demo")?;
    assert_eq!(demo.next_tick()?.path, "avx2");
    guest.migrate_to(&b.host)?;
    b.wait_published()?;
    demo.tick(|tick| tick.path == "any")?;
    guest.migrate_to(&a.host)?;
    a.wait_published()?;
    demo.tick(|tick| tick.path == "avx2")?;
    assert_eq!(demo.fresh_tick()?.wrong, 0);
    Ok(())
}

#[test]
fn twenty_moves_lose_nothing() -> Result<()> {
    let (mut a, mut b, guest, _agent, mut demo) = scene()?;
    let first = a.status()?["generation"].as_u64().unwrap();
    for _ in 0..10 {
        guest.migrate_to(&b.host)?;
        b.wait_published()?;
        assert_eq!(demo.fresh_tick()?.path, "sse2");
        guest.migrate_to(&a.host)?;
        a.wait_published()?;
        let tick = demo.fresh_tick()?;
        assert_eq!((tick.path.as_str(), tick.wrong), ("avx2", 0));
    }
    let status = a.status()?;
    assert_eq!(status["generation"].as_u64(), Some(first + 20), "{status}");
    let calls = demo.calls();
    assert_eq!(calls.last().unwrap().path, "avx2");
    assert!(
        calls
            .windows(2)
            .all(|pair| pair[0].generation <= pair[1].generation),
        "{calls:?}"
    );
    Ok(())
}

#[test]
fn ten_moves_in_a_row_without_a_pause_end_in_the_last_state() -> Result<()> {
    let (a, mut b, guest, _agent, mut demo) = scene()?;
    for _ in 0..5 {
        guest.migrate_to(&b.host)?;
        guest.migrate_to(&a.host)?;
    }
    guest.migrate_to(&b.host)?;
    demo.fresh_tick()?;
    // Earlier visits to B may have been published too: wait for the last.
    let settled = |b: &Site| -> Result<bool> {
        let status = b.status()?;
        let published = published_in(&guest)?;
        Ok(status["up_to_date"] == true && status["generation"].as_u64() == Some(published))
    };
    while !settled(&b)? {
        b.wait_published()?;
    }
    let tick = demo.fresh_tick()?;
    assert_eq!((tick.path.as_str(), tick.wrong), ("sse2", 0));
    let last = demo.calls().pop().expect("a call");
    assert_eq!(last.path, "sse2", "{last:?}");
    assert!(last.generation <= published_in(&guest)?, "{last:?}");
    Ok(())
}

#[test]
fn a_migration_that_is_cancelled_half_way_gives_the_features_back() -> Result<()> {
    let (mut a, mut b, guest, _agent, mut demo) = scene()?;
    let migration = guest.start_migration(&b.host, Hold::Copying)?;
    b.wait_machine()?;
    assert!(a.prepare_for(&b, "60s")?.success());
    let (left, _) = demo.next_call()?;
    assert_eq!(
        (left.cause.as_str(), left.path.as_str()),
        ("prepare", "sse2")
    );
    migration.cancel()?;
    a.notifier
        .wait_for_log_line(|line| line.contains("aborting prepare"), SOON)?;
    let (back, _) = demo.next_call()?;
    assert_eq!((back.cause.as_str(), back.path.as_str()), ("abort", "avx2"));
    assert_eq!(back.generation, left.generation + 1);
    let tick = demo.fresh_tick()?;
    assert_eq!((tick.wrong, tick.emulated), (0, 0));
    Ok(())
}

#[test]
fn a_migration_cancelled_after_the_notifier_was_restarted_gives_them_back_too() -> Result<()> {
    let (mut a, mut b, guest, _agent, mut demo) = scene()?;
    let migration = guest.start_migration(&b.host, Hold::Copying)?;
    b.wait_machine()?;
    assert!(a.prepare_for(&b, "60s")?.success());
    let (left, _) = demo.next_call()?;
    assert_eq!(left.path, "sse2");
    // The new one has not heard of the prepare.
    a.notifier.restart()?;
    a.wait_published()?;
    assert_eq!(demo.fresh_tick()?.path, "sse2");
    migration.cancel()?;
    let (back, _) = demo.next_call()?;
    assert_eq!((back.cause.as_str(), back.path.as_str()), ("abort", "avx2"));
    assert_eq!(back.generation, left.generation + 1);
    assert_eq!(demo.fresh_tick()?.wrong, 0);
    Ok(())
}

#[test]
fn a_prepare_that_nobody_follows_up_ends_at_its_deadline() -> Result<()> {
    let (a, _b, _guest, _agent, mut demo) = scene()?;
    // Long enough for a slow machine to answer in the first nine tenths.
    assert!(a.prepare("avx2", "6s")?.success());
    assert_eq!(demo.next_call()?.0.path, "sse2");
    let (back, _) = demo.next_call()?;
    assert_eq!(
        (back.cause.as_str(), back.path.as_str()),
        ("deadline", "avx2")
    );
    Ok(())
}

#[test]
fn a_guest_reverted_to_a_snapshot_follows_again() -> Result<()> {
    let (mut a, mut b, guest, _agent, mut demo) = scene()?;
    let before = a.status()?["generation"].as_u64().unwrap();
    let snapshot = guest.save_snapshot()?;
    // The guest stood still: it is greeted and offered to anew.
    a.wait_published()?;
    assert!(a.prepare("avx2,fma", "60s")?.success());
    assert_eq!(demo.next_call()?.0.path, "sse2");
    assert!(a.abort()?.success());
    assert_eq!(demo.next_call()?.0.path, "avx2");
    guest.load_snapshot(&snapshot)?;
    // The generations begin again; the notifier notices and offers anew.
    a.wait_published()?;
    demo.fresh_tick()?;
    let status = a.status()?;
    assert_eq!(status["generation"].as_u64(), Some(before), "{status}");
    assert_eq!(status["up_to_date"], true, "{status}");
    let migration = guest.start_migration(&b.host, Hold::Copying)?;
    b.wait_machine()?;
    assert!(a.prepare_for(&b, "60s")?.success());
    migration.finish()?;
    b.wait_published()?;
    let tick = demo.fresh_tick()?;
    assert_eq!(
        (tick.path.as_str(), tick.wrong, tick.emulated),
        ("sse2", 0, 0)
    );
    Ok(())
}

#[test]
fn a_guest_reverted_into_an_open_prepare_gets_its_features_back() -> Result<()> {
    let (mut a, _b, guest, _agent, mut demo) = scene()?;
    assert!(a.prepare("avx2,fma", "60s")?.success());
    let (left, _) = demo.next_call()?;
    assert_eq!(left.path, "sse2");
    let snapshot = guest.save_snapshot()?;
    a.wait_published()?;
    assert!(a.abort()?.success());
    assert_eq!(demo.next_call()?.0.path, "avx2");
    guest.load_snapshot(&snapshot)?;
    // The prepare is open again, in the guest only: the notifier notices.
    let (back, _) = demo.next_call()?;
    assert_eq!((back.cause.as_str(), back.path.as_str()), ("abort", "avx2"));
    assert_eq!(back.generation, left.generation + 1);
    let tick = demo.fresh_tick()?;
    assert_eq!((tick.path.as_str(), tick.wrong), ("avx2", 0));
    Ok(())
}
