//! The spine: how long news takes from the host to a program in the guest.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use isa::{FeatureSet, features};
use isahotplug_tests::{
    Agent, CpuModel, Guest, GuestImage, GuestProcess, Host, RawHost, Result, machine,
};
use protocol::ToHost;
use serde_json::{Value, json};

const ROUNDS: usize = 300;
const WARM_UP: usize = 20;
const SOON: Duration = Duration::from_secs(20);

/// Latencies from host to callback and back, against qemu-guest-agent's ping.
pub(crate) fn measure() -> Result<Value> {
    let host = Host::new("A", CpuModel::max())?;
    let image = GuestImage::with_watch()?.with_qemu_guest_agent()?;
    let guest = host.boot(&image)?;
    let mut ping = QemuGuestAgent::start(&guest)?;
    let _agent = Agent::start(&guest, &[])?;
    let mut raw = RawHost::connect(&guest.sockets(), b'A')?;
    let hello = raw.hello(1)?;
    let nonce = hello.nonce;
    let mut watch = guest.spawn("watch", &[])?;
    watch.wait_for_line(|line| line.starts_with("watching"), SOON)?;

    let full = hello.visible;
    raw.settle(nonce, 1, full)?;
    let sets = [full - features![Avx2], full];
    let mut pings = Vec::new();
    let mut published = Vec::new();
    let mut called = Vec::new();
    let mut in_guest = Vec::new();
    let mut ready = Vec::new();
    for round in 0..ROUNDS + WARM_UP {
        // One of each in turn, so that a busy moment of the machine hits all.
        let keep = round >= WARM_UP;
        push(&mut pings, keep, ping.round_trip()?);
        let sequence = 2 + round as u64;
        let (to_ack, to_call, inside) =
            offer(&mut raw, &mut watch, nonce, sequence, sets[round % 2])?;
        push(&mut published, keep, to_ack);
        push(&mut called, keep, to_call);
        push(&mut in_guest, keep, inside);
        push(
            &mut ready,
            keep,
            prepare(&mut raw, &mut watch, nonce, 1 + round as u64)?,
        );
    }
    let rows = [
        ("guest-ping round trip of qemu-guest-agent", &mut pings),
        ("offer -> published -> acknowledged", &mut published),
        ("offer -> callback -> its line on the host", &mut called),
        (
            "offer read by the agent -> callback (in the guest)",
            &mut in_guest,
        ),
        ("prepare -> callback -> ready, round trip", &mut ready),
    ];
    let base = median(rows[0].1.clone());
    let rows = rows.map(|(name, samples)| {
        samples.sort();
        let quantile = |percent: usize| samples[samples.len() * percent / 100].as_secs_f64() * 1e6;
        json!({
            "what": name,
            "median_us": quantile(50),
            "p10_us": quantile(10),
            "p90_us": quantile(90),
            "ratio_to_guest_ping": quantile(50) / (base.as_secs_f64() * 1e6),
        })
    });
    Ok(json!({"area": "spine", "machine": machine::describe(), "rounds": ROUNDS, "rows": rows}))
}

fn push(samples: &mut Vec<Duration>, keep: bool, sample: Duration) {
    if keep {
        samples.push(sample);
    }
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples[samples.len() / 2]
}

/// Offers `set` and waits for the acknowledgement and the callback's line.
fn offer(
    raw: &mut RawHost,
    watch: &mut GuestProcess,
    nonce: u64,
    sequence: u64,
    set: FeatureSet,
) -> Result<(Duration, Duration, Duration)> {
    let start = Instant::now();
    raw.settle(nonce, sequence, set)?;
    let acknowledged = start.elapsed();
    let line = watch.wait_for_line(|line| line.starts_with("event cause=offer"), SOON)?;
    let latency = line
        .text
        .rsplit('=')
        .next()
        .and_then(|text| text.parse().ok());
    Ok((
        acknowledged,
        line.at - start,
        Duration::from_micros(latency.unwrap_or(u64::MAX)),
    ))
}

/// Announces a removal, waits until the callback has let go, takes it back.
fn prepare(raw: &mut RawHost, watch: &mut GuestProcess, nonce: u64, id: u64) -> Result<Duration> {
    let bytes = raw.prepare(nonce, id, features![Fma], Duration::from_secs(30));
    let start = Instant::now();
    raw.write(&bytes)?;
    raw.wait("ready", |message| match message {
        ToHost::Ready(ready) if ready.id == id => Some(()),
        _ => None,
    })?;
    let took = start.elapsed();
    let abort = raw.abort(nonce, id);
    raw.write(&abort)?;
    watch.wait_for_line(|line| line.starts_with("event cause=abort"), SOON)?;
    Ok(took)
}

/// QEMU's own agent in the same guest: what a message through a virtio port
/// costs at least.
struct QemuGuestAgent {
    stream: BufReader<UnixStream>,
    _process: GuestProcess,
}

impl QemuGuestAgent {
    fn start(guest: &Guest) -> Result<Self> {
        let port = "/dev/virtio-ports/org.qemu.guest_agent.0";
        let process = guest.spawn("/usr/sbin/qemu-ga", &["-m", "virtio-serial", "-p", port])?;
        let stream = UnixStream::connect(guest.sockets().qga())
            .map_err(machine::io("connecting to qemu-ga"))?;
        // Else an agent that died would be waited for without end.
        stream
            .set_read_timeout(Some(SOON))
            .map_err(machine::io("limiting the wait for qemu-ga"))?;
        Ok(Self {
            stream: BufReader::new(stream),
            _process: process,
        })
    }

    fn round_trip(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.stream
            .get_mut()
            .write_all(b"{\"execute\":\"guest-ping\"}\n")
            .map_err(machine::io("writing to qemu-ga"))?;
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .map_err(machine::io("reading from qemu-ga"))?;
        assert!(line.contains("return"), "qemu-ga says {line:?}");
        Ok(start.elapsed())
    }
}

/// The report as a table.
pub(crate) fn readable(report: &Value) -> String {
    let mut out = format!(
        "{} rounds, in turn, one guest with one virtual CPU\n",
        report["rounds"]
    );
    out += &format!(
        "{:<52} {:>10} {:>19} {:>7}\n",
        "", "median", "p10 .. p90", "ratio"
    );
    for row in report["rows"].as_array().into_iter().flatten() {
        let number = |key: &str| row[key].as_f64().unwrap_or_default();
        out += &format!(
            "{:<52} {:>7.0} us {:>7.0} .. {:>5.0} us {:>7.2}\n",
            row["what"].as_str().unwrap_or_default(),
            number("median_us"),
            number("p10_us"),
            number("p90_us"),
            number("ratio_to_guest_ping")
        );
    }
    out
}
