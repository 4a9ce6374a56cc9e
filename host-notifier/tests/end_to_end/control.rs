//! The control socket and those who connect to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use host_notifier::control::MAX_REQUEST;
use serde_json::{Value, json};

use crate::daemon::{PATIENCE, finish};
use crate::scene::Scene;

fn connect(control: &Path) -> UnixStream {
    let stream = UnixStream::connect(control).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn reply(stream: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn what_is_no_request_is_answered_with_the_problem_and_ends_the_connection() {
    let scene = Scene::new();
    let daemon = scene.daemon(&["vm1"]);
    let mut bystander = BufReader::new(connect(&daemon.control));
    let long = "x".repeat(MAX_REQUEST);
    let cases: [(&[u8], &str); 8] = [
        (b"\n", "EOF while parsing"),
        (b"hello\n", "expected value"),
        (b"\xff\xfe\x00\n", "expected value"),
        (b"{\"command\":\"reboot\"}\n", "unknown variant `reboot`"),
        (b"{\"command\":\"status\"}\n", "missing field `guest`"),
        (
            b"{\"command\":\"prepare\",\"guest\":\"vm1\",\"deadline_ms\":1}\n",
            "either `lost` or",
        ),
        (
            b"{\"command\":\"guests\",\"really\":true}\n",
            "unknown field `really`",
        ),
        (long.as_bytes(), "more than 65536 bytes"),
    ];
    for (request, problem) in cases {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]);
        let mut stream = BufReader::new(connect(&daemon.control));
        stream.get_mut().write_all(request).unwrap();
        if request.len() == MAX_REQUEST {
            // One byte more than a request may have.
            stream.get_mut().write_all(b"x").unwrap();
        }
        let reply = reply(&mut stream);
        assert_eq!(reply["error"]["kind"], "bad-request", "{shown}: {reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains(problem), "{shown}: {message}");
        assert_eq!(
            stream.read(&mut [0; 1]).unwrap(),
            0,
            "{shown}: the connection is closed"
        );
    }
    bystander
        .get_mut()
        .write_all(b"{\"command\":\"guests\"}\n")
        .unwrap();
    assert_eq!(reply(&mut bystander)["guests"][0]["name"], "vm1");
}

#[test]
fn a_request_that_cannot_be_done_leaves_the_connection_open() {
    let scene = Scene::new();
    let daemon = scene.daemon(&["vm1"]);
    let mut stream = BufReader::new(connect(&daemon.control));
    let mut ask = |request: Value| {
        writeln!(stream.get_mut(), "{request}").unwrap();
        reply(&mut stream)
    };
    let unknown = ask(json!({"command": "status", "guest": "vm9"}));
    assert_eq!(
        unknown["error"],
        json!({"kind": "unknown-guest", "message": "no guest `vm9` here; there are: vm1"})
    );
    let prepare = |lost: &str| json!({"command": "prepare", "guest": "vm1", "lost": [lost], "deadline_ms": 1000});
    assert_eq!(ask(prepare("avx9"))["error"]["kind"], "unknown-feature");
    assert_eq!(ask(prepare("avx2"))["error"]["kind"], "no-agent");
    assert_eq!(
        ask(json!({"command": "abort", "guest": "vm1"}))["abort"],
        json!({"told": false})
    );
}

#[test]
fn many_clients_are_served_at_once() {
    let scene = Scene::new();
    let daemon = scene.daemon(&["vm1"]);
    let mut clients: Vec<_> = (0..100)
        .map(|_| BufReader::new(connect(&daemon.control)))
        .collect();
    for _ in 0..2 {
        for client in clients.iter_mut().rev() {
            writeln!(client.get_mut(), "{}", json!({"command": "guests"})).unwrap();
        }
        for client in &mut clients {
            assert_eq!(reply(client)["guests"][0]["state"], "no-qmp");
        }
    }
}

#[test]
fn the_socket_is_private_and_gone_after_the_daemon() {
    let scene = Scene::new();
    let daemon = scene.daemon(&[]);
    let control = daemon.control.clone();
    let mode = std::fs::metadata(&control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!control.exists());
}

#[test]
fn a_control_socket_that_is_served_is_not_taken_and_a_stale_one_is() {
    let serve = |control: &Path| {
        let binary = env!("CARGO_BIN_EXE_host-notifier");
        let mut command = Command::new(binary);
        command
            .args(["serve", "--host-id", &"0".repeat(32), "--control"])
            .arg(control);
        finish(command)
    };
    let scene = Scene::new();
    let daemon = scene.daemon(&["vm1"]);
    let second = serve(&daemon.control);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("another host-notifier serves it"));
    assert!(
        daemon.run(&["guests"]).status.success(),
        "the first is not disturbed"
    );

    // Somebody who knows nothing of our lock.
    let foreign = scene.path("foreign");
    let listener = UnixListener::bind(&foreign).unwrap();
    assert_eq!(serve(&foreign).status.code(), Some(1));
    drop(listener);
    assert!(foreign.exists());

    // No socket at all.
    let file = scene.path("file");
    std::fs::write(&file, "precious").unwrap();
    let refused = serve(&file);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("no socket"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    // Killed, it leaves a stale socket, which the next replaces.
    daemon.kill();
    let daemon = scene.daemon(&["vm1"]);
    assert!(daemon.run(&["guests"]).status.success());
}
