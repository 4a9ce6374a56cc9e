//! How the daemon is configured.

use std::process::Command;

use crate::daemon::{Daemon, finish};
use crate::scene::Scene;

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_its_line() {
    let scene = Scene::new();
    let file = scene.path("host-notifier.toml");
    std::fs::write(
        &file,
        "[control]\nsocket = '/x'\n\n[[guest]]\nname = 'a'\nchanel = '/c'\n",
    )
    .unwrap();
    let binary = env!("CARGO_BIN_EXE_host-notifier");
    let mut serve = Command::new(binary);
    serve.args(["serve", "--config"]).arg(&file);
    let output = finish(serve);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = format!("{}:6: unknown field `chanel`", file.display());
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn the_file_and_the_flags_come_together() {
    let scene = Scene::new();
    let file = scene.path("host-notifier.toml");
    std::fs::write(
        &file,
        "[[guest]]\nname = 'a'\nchannel = '/a.channel'\nqmp = '/a.qmp'\n",
    )
    .unwrap();
    let flags = ["--config".into(), file.display().to_string()];
    let daemon = Daemon::start_with(
        &scene.path("control"),
        &["name=b,channel=/b.channel,qmp=/b.qmp".to_owned()],
        &flags,
    );
    let names: Vec<String> =
        serde_json::from_slice::<Vec<serde_json::Value>>(&daemon.run(&["guests", "--json"]).stdout)
            .unwrap()
            .iter()
            .map(|guest| guest["name"].as_str().unwrap().to_owned())
            .collect();
    assert_eq!(names, ["a", "b"]);
}
