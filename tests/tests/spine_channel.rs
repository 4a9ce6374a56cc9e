//! The channel cut, late, garbled, and without anybody at its ends.

use std::time::Duration;

use isa::features;
use isahotplug_tests::{
    Agent, CpuModel, Demo, Guest, GuestImage, RawHost, Result, Site, compiled, story,
};

const SOON: Duration = Duration::from_secs(30);
const SIGSTOP: u32 = 19;
const SIGCONT: u32 = 18;

fn sites() -> Result<(Site, Site)> {
    Ok((
        Site::new("A", CpuModel::max())?,
        Site::new("B", CpuModel::max().without(&story::LOST))?,
    ))
}

fn image() -> Result<GuestImage> {
    Ok(GuestImage::with_demo()?.program("/bin/garbage", &compiled("garbage")?))
}

/// Seconds since the guest booted.
fn uptime(guest: &Guest) -> Result<f64> {
    let text = guest.check("cat", &["/proc/uptime"])?;
    let seconds = text.split_whitespace().next();
    Ok(seconds.and_then(|s| s.parse().ok()).expect("an uptime"))
}

fn start(a: &mut Site) -> Result<(Guest, Agent, Demo)> {
    let guest = a.host.boot(&image()?)?;
    let agent = Agent::start(&guest, &[])?;
    a.wait_published()?;
    let demo = Demo::start(&guest)?;
    Ok((guest, agent, demo))
}

#[test]
fn a_frame_cut_in_half_by_the_migration_costs_nothing() -> Result<()> {
    let (mut a, mut b) = sites()?;
    let (guest, mut agent, mut demo) = start(&mut a)?;
    a.notifier.kill();
    let mut raw = RawHost::connect(&guest.sockets(), b'A')?;
    let nonce = raw.hello(1)?.nonce;
    let offer = raw.offer(nonce, 1, features![Sse2]);
    raw.write(&offer[..offer.len() / 2])?;
    guest.migrate_to(&b.host)?;
    b.wait_published()?;
    agent.wait_for_log_line(|line| line.contains("bad frame"), SOON)?;
    let tick = demo.fresh_tick()?;
    assert_eq!((tick.path.as_str(), tick.wrong), ("sse2", 0));
    let offered = b.status()?["available"].as_array().unwrap().len();
    assert!(offered > 50, "B's own offer, not the half one of {offered}");
    Ok(())
}

#[test]
fn late_bytes_of_the_source_do_not_undo_the_destination_offer() -> Result<()> {
    let (mut a, mut b) = sites()?;
    let (guest, mut agent, mut demo) = start(&mut a)?;
    a.notifier.kill();
    let mut raw = RawHost::connect(&guest.sockets(), b'A')?;
    let nonce = raw.hello(1)?.nonce;
    let full = isa::FeatureSet::ALL_KNOWN;
    // These wait in the guest's queue while it moves, and are heard first.
    agent.process().kill(SIGSTOP)?;
    let early = raw.offer(nonce, 1, full);
    raw.write(&early)?;
    drop(raw);
    guest.migrate_to(&b.host)?;
    agent.process().kill(SIGCONT)?;
    b.wait_published()?;
    // And these arrive when the destination has spoken.
    b.notifier.kill();
    let mut raw = RawHost::connect(&guest.sockets(), b'A')?;
    let late = raw.offer(nonce, 2, full);
    raw.write(&late)?;
    agent.wait_for_log_line(|line| line.contains("stale offer"), SOON)?;
    let tick = demo.fresh_tick()?;
    assert_eq!((tick.path.as_str(), tick.wrong), ("sse2", 0));
    Ok(())
}

#[test]
fn a_notifier_that_is_killed_and_restarted_goes_on() -> Result<()> {
    let (mut a, _b) = sites()?;
    let (_guest, _agent, mut demo) = start(&mut a)?;
    let before = a.status()?["generation"].as_u64();
    a.notifier.kill();
    assert_eq!(demo.fresh_tick()?.path, "avx2");
    a.notifier.restart()?;
    a.wait_published()?;
    assert_eq!(
        a.status()?["generation"].as_u64(),
        before,
        "nothing has changed"
    );
    assert!(a.prepare("avx2", "60s")?.success());
    assert_eq!(demo.next_call()?.0.path, "sse2");
    // It forgets the prepare, but not how to take it back.
    a.notifier.restart()?;
    a.wait_published()?;
    assert_eq!(
        demo.fresh_tick()?.path,
        "sse2",
        "the same host does not commit its own prepare"
    );
    assert!(a.abort()?.success());
    assert_eq!(demo.next_call()?.0.path, "avx2");
    Ok(())
}

#[test]
fn an_agent_that_is_killed_and_restarted_goes_on_with_its_processes() -> Result<()> {
    let (mut a, _b) = sites()?;
    let (guest, agent, mut demo) = start(&mut a)?;
    assert!(a.prepare("avx2", "60s")?.success());
    assert_eq!(demo.next_call()?.0.path, "sse2");
    assert!(a.abort()?.success());
    let generation = demo.next_call()?.0.generation;
    agent.kill()?;
    demo.fresh_tick()?;
    let mut agent = Agent::start(&guest, &[])?;
    agent.wait_for_log_line(
        |line| line.contains("demo") && line.contains("registered"),
        SOON,
    )?;
    a.wait_published()?;
    assert_eq!(a.status()?["generation"].as_u64(), Some(generation));
    assert!(a.prepare("avx2", "60s")?.success(), "the demo has answered");
    // To register anew may be news too, but of nothing that changed.
    let mut call = demo.next_call()?.0;
    while call.generation == generation {
        call = demo.next_call()?.0;
    }
    assert_eq!(
        (call.generation, call.path.as_str()),
        (generation + 1, "sse2")
    );
    Ok(())
}

#[test]
fn garbage_from_the_host_is_logged_and_dropped_and_processes_are_served() -> Result<()> {
    let (mut a, _b) = sites()?;
    let (guest, mut agent, mut demo) = start(&mut a)?;
    a.notifier.kill();
    let mut raw = RawHost::connect(&guest.sockets(), 7)?;
    raw.write(b"\0garbage\0")?;
    agent.wait_for_log_line(
        |line| line.contains("bad frame") && line.contains("garbage"),
        SOON,
    )?;
    raw.write(&[&[7; 10_000][..], &[0]].concat())?;
    agent.wait_for_log_line(
        |line| line.contains("bad frame") && line.contains("oversized"),
        SOON,
    )?;
    raw.write(b"\x02\x01\0")?;
    agent.wait_for_log_line(
        |line| line.contains("bad frame") && line.contains("truncated"),
        SOON,
    )?;
    let status = Agent::control(&guest, &["status"])?;
    assert!(
        status.success() && status.stdout.contains("demo"),
        "{status:?}"
    );
    raw.write(&b"\0nonsense".repeat(100))?;
    let closed = "closed: the peer does not speak our protocol";
    agent.wait_for_log_line(|line| line.contains(closed), SOON)?;
    drop(raw);
    // Whoever comes next and speaks it is heard.
    a.notifier.restart()?;
    a.wait_published()?;
    agent.wait_for_log_line(|line| line.contains("hello from host A"), SOON)?;
    assert!(a.prepare("avx2", "60s")?.success());
    assert_eq!(demo.next_call()?.0.path, "sse2");
    Ok(())
}

#[test]
fn garbage_from_a_process_costs_only_that_process() -> Result<()> {
    let (mut a, _b) = sites()?;
    let (guest, mut agent, mut demo) = start(&mut a)?;
    for kind in ["bytes", "oversized", "truncated"] {
        assert_eq!(guest.check("garbage", &[kind])?, "closed\n", "{kind}");
        agent.wait_for_log_line(
            |line| line.contains("garbage") && line.contains("dropped"),
            SOON,
        )?;
    }
    assert!(a.prepare("avx2", "60s")?.success());
    assert_eq!(demo.next_call()?.0.path, "sse2");
    Ok(())
}

#[test]
fn a_guest_without_an_agent_is_a_guest_that_is_greeted_and_left_alone() -> Result<()> {
    let (mut a, mut b) = sites()?;
    let guest = a.host.boot(&image()?)?;
    // Either may come first.
    let (mut connected, mut known) = (false, false);
    a.notifier.wait_for_log_line(
        |line| {
            connected |= line.contains("channel connected");
            known |= line.contains(": executes ");
            connected && known
        },
        SOON,
    )?;
    let refused = a.prepare("avx2", "5s")?;
    assert_eq!(refused.status.to_string(), "status 6", "{refused:?}");
    assert!(refused.stderr.contains("agent"), "{refused:?}");
    assert_eq!(a.status()?["state"], "greeting");
    // The library goes by CPUID, says so once, and survives what nobody announced.
    let mut demo = Demo::start(&guest)?;
    guest.migrate_to(&b.host)?;
    b.wait_machine()?;
    let (call, _) = demo.next_call()?;
    assert_eq!((call.cause.as_str(), call.path.as_str()), ("trap", "sse2"));
    assert_eq!(demo.fresh_tick()?.wrong, 0);
    let lines = demo.process().lines();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.text.contains("no agent"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    Ok(())
}

#[test]
fn an_agent_without_a_channel_says_so_once_and_serves_its_processes() -> Result<()> {
    let host = isahotplug_tests::Host::new("A", CpuModel::max())?;
    let guest = host.boot(&image()?)?;
    let mut agent = Agent::start(&guest, &["--port-name", "org.isahotplug.none"])?;
    let mut demo = Demo::start(&guest)?;
    agent.wait_for_log_line(
        |line| line.contains("demo") && line.contains("registered"),
        SOON,
    )?;
    assert_eq!(demo.fresh_tick()?.path, "avx2");
    let status = Agent::control(&guest, &["status"])?;
    assert!(
        status.success() && status.stdout.contains("demo"),
        "{status:?}"
    );
    // It looks for its port at 0.1, 0.3, 0.7, 1.5 and 3.1 s, too.
    let several_tries = uptime(&guest)? + 4.0;
    while uptime(&guest)? < several_tries {
        demo.next_tick()?;
    }
    let told = agent
        .log_lines()
        .iter()
        .filter(|l| l.text.contains("org.isahotplug.none"))
        .count();
    assert_eq!(told, 1, "{:?}", agent.log_lines());
    Ok(())
}
