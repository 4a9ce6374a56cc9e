//! The library: what the calls cost that programs make all the time, and what a
//! new generation costs the agent with one registered process and with ten
//! thousand.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use isahotplug_tests::{HarnessError, LocalGuest, Result, linked_c, machine};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use nix::unistd::Pid;
use protocol::local::{self, FromProcess, MAX_REPLY, MAX_REQUEST, ToProcess, Urgency};
use protocol::{Text, Versions};
use serde_json::{Value, json};

use crate::samples::{Samples, spread};

const ROUNDS: usize = 41;
/// Registered processes.
const MANY: usize = 10_000;
/// New generations in a sample.
const GENERATIONS: usize = 200;

/// What `speed.c` prints, and what it is.
const CALLS: [(&str, &str); 12] = [
    ("direct", "direct call"),
    ("pointer", "through a function pointer"),
    ("slot", "through a slot"),
    ("ifunc", "of a GNU IFUNC"),
    ("checked", "through isahp_slot_checked"),
    ("has", "ISAHP_HAS"),
    ("has_called", "isahp_has, called"),
    ("generation", "ISAHP_GENERATION and compare"),
    ("section", "ISAHP_ENTER and ISAHP_EXIT"),
    ("section_called", "isahp_enter and isahp_exit, called"),
    ("poll", "isahp_poll without news"),
    ("nothing", "the loop itself"),
];

fn failed(what: &str) -> HarnessError {
    HarnessError::Tool {
        program: "a program to be measured".into(),
        output: what.into(),
    }
}

/// Nanoseconds of each kind of call, in the order of [`CALLS`].
fn calls() -> Result<Vec<Samples>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/library/speed.c");
    let (program, folder) = linked_c(&source)?;
    let output = Command::new(program)
        .arg(ROUNDS.to_string())
        .env("LD_LIBRARY_PATH", folder)
        .env("ISAHOTPLUG_RUN_DIR", "/nonexistent")
        .output()
        .map_err(machine::io("starting speed"))?;
    if !output.status.success() {
        return Err(failed(&format!("{output:?}")));
    }
    let mut samples = vec![Samples::default(); CALLS.len()];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        for ((name, _), samples) in CALLS.iter().zip(&mut samples) {
            let mut words = line.split_whitespace();
            let found = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            let number = found.and_then(|text| text.parse().ok());
            samples.push(number.ok_or_else(|| failed(&format!("no {name} in {line:?}")))?);
        }
    }
    Ok(samples)
}

/// An agent with so many lazily registered processes. (They are connections of
/// this one: the agent does not know the difference.)
struct Agent {
    guest: LocalGuest,
    _registered: Vec<OwnedFd>,
}

impl Agent {
    fn with(registered: usize) -> Result<Self> {
        let mut guest = LocalGuest::start()?;
        // All agents on one CPU, and this program on another, where there is one: what the scheduler
        // does with them is not to be measured.
        pin(i32::try_from(guest.pid()).unwrap_or(0), 0)?;
        guest.offer(isa::detect())?;
        let path = guest.run_dir().join("agent.sock");
        let connections: Result<Vec<OwnedFd>> = (0..registered).map(|_| register(&path)).collect();
        Ok(Self {
            guest,
            _registered: connections?,
        })
    }

    /// Nanoseconds on a CPU that the agent takes for a new generation.
    fn publish(&mut self) -> Result<f64> {
        let all = isa::detect();
        let less = all - isa::features![Sse3];
        let before = self.ran()?;
        for _ in 0..GENERATIONS / 2 {
            self.guest.offer(less)?;
            self.guest.offer(all)?;
        }
        let generations = u32::try_from(GENERATIONS).unwrap_or(u32::MAX);
        Ok((self.ran()? - before) / f64::from(generations))
    }

    /// What the agent's one thread has run so far: the first number of
    /// /proc/PID/schedstat, in nanoseconds.
    fn ran(&self) -> Result<f64> {
        let path = PathBuf::from(format!("/proc/{}/schedstat", self.guest.pid()));
        let text = fs::read_to_string(path).map_err(machine::io("reading schedstat"))?;
        let first = text.split_whitespace().next();
        let number = first.and_then(|text| text.parse().ok());
        number.ok_or_else(|| failed("schedstat without numbers"))
    }
}

/// Keeps a process on one CPU.
fn pin(pid: i32, cpu: usize) -> Result<()> {
    let io = |error: nix::Error| machine::io("choosing a CPU")(error.into());
    let mut cpus = CpuSet::new();
    cpus.set(cpu).map_err(io)?;
    sched_setaffinity(Pid::from_raw(pid), &cpus).map_err(io)
}

fn register(path: &Path) -> Result<OwnedFd> {
    let io = |error: nix::Error| machine::io("registering with the agent")(error.into());
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(io)?;
    let address = UnixAddr::new(path).map_err(io)?;
    connect(socket.as_raw_fd(), &address).map_err(io)?;
    let message = FromProcess::Register {
        versions: Versions::SUPPORTED,
        name: Text::lossy("many"),
        interest: isa::features![Sse3],
        urgency: Urgency::Lazy,
        generation: 1,
    };
    let packet = local::encode(&message, MAX_REQUEST).map_err(|e| failed(&e.to_string()))?;
    send(socket.as_raw_fd(), &packet, MsgFlags::empty()).map_err(io)?;
    let mut reply = vec![0; MAX_REPLY];
    let length = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty()).map_err(io)?;
    match local::decode(&reply[..length], MAX_REPLY) {
        Ok(ToProcess::Welcome { .. }) => Ok(socket),
        other => Err(failed(&format!("not a welcome: {other:?}"))),
    }
}

/// As many descriptors as ten thousand connections need. (The agent sees to its own.)
fn raise_limit() -> Result<()> {
    let io = |error: nix::Error| machine::io("raising the limit of descriptors")(error.into());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(io)
}

/// All of it.
pub(crate) fn measure() -> Result<Value> {
    let calls = calls()?;
    raise_limit()?;
    // A machine with one CPU has no other.
    let _ = pin(0, 1);
    let (mut few, mut many) = (Agent::with(1)?, Agent::with(MANY)?);
    let (mut with_one, mut with_many) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        with_one.push(few.publish()?);
        with_many.push(many.publish()?);
    }
    let base = |name: &str| {
        let index = CALLS.iter().position(|(other, _)| *other == name);
        calls[index.unwrap_or(0)].clone()
    };
    let rows: Vec<Value> = CALLS
        .iter()
        .zip(&calls)
        .map(|((name, what), samples)| {
            json!({
                "name": name,
                "what": what,
                "ns": samples.json(),
                "less_the_loop": samples.less(&base("nothing")).json(),
                "over_pointer": samples.over(&base("pointer")).json(),
                "over_direct": samples.over(&base("direct")).json(),
                "over_ifunc": samples.over(&base("ifunc")).json(),
            })
        })
        .collect();
    Ok(json!({
        "area": "library",
        "machine": machine::describe(),
        "rounds": ROUNDS,
        "calls": rows,
        "publish": {
            "with_one_ns": with_one.json(),
            "with_many_ns": with_many.json(),
            "many": MANY,
            "many_over_one": with_many.over(&with_one).json(),
        },
    }))
}

/// The report as tables.
pub(crate) fn readable(report: &Value) -> String {
    let mut out = format!(
        "{} rounds in turn; medians, and in brackets the 10th and 90th percentile\n\n",
        report["rounds"]
    );
    out += &format!(
        "{:<36} {:<28} {:<26} {:<26} {}\n",
        "a call",
        "ns, less the loop",
        "over a pointer (slot 1.05)",
        "over a direct call",
        "over an IFUNC"
    );
    for row in report["calls"].as_array().into_iter().flatten() {
        out += &format!(
            "{:<36} {:<28} {:<26} {:<26} {}\n",
            row["what"].as_str().unwrap_or_default(),
            spread(&row["less_the_loop"], 2),
            spread(&row["over_pointer"], 2),
            spread(&row["over_direct"], 2),
            spread(&row["over_ifunc"], 2)
        );
    }
    let publish = &report["publish"];
    out += &format!(
        "\na new generation, CPU time of the agent: {} ns with one lazy process, {} with {}\n\
         ratio (aim 1.1): {}\n",
        spread(&publish["with_one_ns"], 0).trim(),
        spread(&publish["with_many_ns"], 0).trim(),
        publish["many"],
        spread(&publish["many_over_one"], 2).trim()
    );
    out
}
