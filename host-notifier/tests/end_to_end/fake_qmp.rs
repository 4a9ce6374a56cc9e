//! A monitor for what no QEMU on this machine does: KVM, odd events.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    Tcg,
    Kvm,
    OtherArchitecture,
}

/// Serves until the test's process ends, one client after the other.
pub(crate) struct FakeQmp {
    client: Arc<Mutex<Option<UnixStream>>>,
}

impl FakeQmp {
    pub(crate) fn start(path: &Path, machine: Machine) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let client = Arc::new(Mutex::new(None));
        let current = Arc::clone(&client);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *current.lock().unwrap() = stream.try_clone().ok();
                // The daemon goes when it likes.
                let _ = serve(stream, machine);
            }
        });
        Self { client }
    }

    /// Says `line` to the present client, unasked.
    pub(crate) fn say(&self, line: &str) {
        let mut client = self.client.lock().unwrap();
        writeln!(client.as_mut().unwrap(), "{line}").unwrap();
    }
}

fn serve(mut stream: UnixStream, machine: Machine) -> std::io::Result<()> {
    let version = json!({"qemu": {"major": 99, "minor": 1, "micro": 0}, "package": ""});
    let greeting = json!({"QMP": {"version": version, "capabilities": ["oob", "new"]}});
    writeln!(stream, "{greeting}")?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = match request["execute"].as_str().unwrap_or_default() {
            "query-kvm" => Ok(json!({"present": true, "enabled": machine == Machine::Kvm})),
            "query-cpus-fast" => {
                let other = machine == Machine::OtherArchitecture;
                let target = if other { "riscv64" } else { "x86_64" };
                Ok(json!([{"cpu-index": 0, "qom-path": "/cpu", "thread-id": 1, "target": target}]))
            }
            "qom-get" if machine == Machine::OtherArchitecture => Err("no such property"),
            "qom-get" => Ok(json!([
                // XCR0: x87 and SSE only.
                {"cpuid-register": "EAX", "cpuid-input-eax": 0xD, "cpuid-input-ecx": 0, "features": 3},
                {"cpuid-register": "EDX", "cpuid-input-eax": 0xD, "cpuid-input-ecx": 0, "features": 0},
                {"cpuid-register": "EDX", "cpuid-input-eax": 1, "features": 1u32 << 26},
                {"cpuid-register": "ECX", "cpuid-input-eax": 1, "features": 1u32 << 31},
            ])),
            "query-status" => Ok(json!({"status": "running", "running": true})),
            "qmp_capabilities" => Ok(json!({})),
            _ => Err("The command has not been found"),
        };
        let answer = match answer {
            Ok(answer) => json!({"return": answer}),
            Err(what) => json!({"error": {"class": "GenericError", "desc": what}}),
        };
        writeln!(stream, "{answer}")?;
    }
    Ok(())
}
