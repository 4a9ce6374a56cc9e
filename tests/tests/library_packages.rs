//! Debian's packages: built, installed into a small Debian of their own, used, removed, purged. It
//! takes a minute and says where it is.

mod published;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use isahotplug_tests::{product, skip, target_dir};

const PACKAGES: [&str; 4] = [
    "libisahotplug1",
    "libisahotplug-dev",
    "isahotplug-guest-agent",
    "isahotplug-host-notifier",
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}{err}",
        output.status
    );
    out.into_owned()
}

/// Builds the packages; `Err` with what this machine lacks for it.
fn build() -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command
        .current_dir(project())
        .env("CARGO_TARGET_DIR", target_dir())
        .args(["xtask", "dist", "--no-install"]);
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    let missing: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("missing: "))
        .collect();
    if missing.is_empty() {
        assert!(output.status.success(), "{said}");
        Ok(())
    } else {
        Err(missing.join("; "))
    }
}

/// A copy of the small Debian, gone with this.
struct Root(PathBuf);

impl Root {
    fn copy(base: &Path) -> Self {
        let root = Self(target_dir().join(format!("vm/packages-{}", std::process::id())));
        succeed(Command::new("cp").arg("--archive").arg(base).arg(&root.0));
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.0).arg(program).args(arguments);
        command
    }

    /// Runs a program in it that has to succeed.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        succeed(&mut self.command(program, arguments))
    }

    /// Runs a program in it that has to say `ok` and nothing else.
    fn says_ok(&self, command: &mut Command) {
        let output = run(command);
        assert!(
            output.status.success() && output.stdout == b"ok\n" && output.stderr.is_empty(),
            "{command:?}: {output:?}"
        );
    }

    /// All files, except those that dpkg and ldconfig write for themselves.
    fn files(&self) -> BTreeSet<String> {
        let found =
            succeed(
                Command::new("find")
                    .arg(&self.0)
                    .args(["-mindepth", "1", "-printf", "/%P\n"]),
            );
        let own = ["/var/cache/ldconfig/", "/var/lib/dpkg/", "/var/log/"];
        let files = found
            .lines()
            .filter(|file| !own.iter().any(|own| file.starts_with(own)));
        files.map(str::to_owned).collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

#[test]
fn the_packages_are_installed_used_and_removed_without_a_trace() {
    let base = target_dir().join("vm/debian-root");
    if fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid()) != 0 {
        return skip("only root can install packages into a folder");
    }
    if !base.is_dir() {
        return skip("there is no target/vm/debian-root; `cargo xtask install` makes it");
    }
    let start = Instant::now();
    let say = |what: &str| eprintln!("{:3} s: {what}", start.elapsed().as_secs());

    say("building the packages");
    if let Err(missing) = build() {
        return skip(&format!("to build the packages it lacks {missing}"));
    }
    let version = env!("CARGO_PKG_VERSION");

    say("copying a small Debian");
    let root = Root::copy(&base);
    let files = PACKAGES.map(|package| format!("{package}_{version}_amd64.deb"));
    fs::create_dir(root.path("/packages")).expect("a folder in the root");
    for file in &files {
        fs::copy(
            target_dir().join("dist").join(file),
            root.path("/packages").join(file),
        )
        .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let program = "tests/programs/installed/program.c";
    fs::copy(project().join(program), root.path("/packages/program.c")).expect(program);
    let before = root.files();

    say("installing");
    let paths = files.map(|file| format!("/packages/{file}"));
    let mut install = vec!["--install"];
    install.extend(paths.iter().map(String::as_str));
    root.run("dpkg", &install);

    say("using what is installed");
    for (daemon, unit) in [
        ("guest-agent", "isahotplug-guest-agent.service"),
        ("host-notifier", "isahotplug-host-notifier.service"),
    ] {
        let said = root.run(daemon, &["--version"]);
        assert_eq!(said, format!("{daemon} {version}\n"));
        let enabled = format!("/etc/systemd/system/multi-user.target.wants/{unit}");
        assert!(
            root.path(&enabled).is_symlink(),
            "{unit} is started with the machine"
        );
    }
    let of_library = |name: &str| {
        let file = format!("/var/lib/dpkg/info/libisahotplug1:amd64.{name}");
        fs::read_to_string(root.path(&file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    assert!(of_library("symbols").contains("\n isahp_init@ISAHOTPLUG_0.1 0.1.0\n"));
    assert!(of_library("triggers").contains("ldconfig"));
    published::without_avx2(&root.path("/run/isahotplug"));
    let flags = root.run(
        "pkg-config",
        &["--static", "--cflags", "--libs", "isahotplug"],
    );
    let flags: Vec<&str> = flags.split_whitespace().collect();
    for linked in ["-pie", "-static"] {
        let fixed = [
            "-D_GNU_SOURCE",
            linked,
            "-o",
            "/packages/program",
            "/packages/program.c",
        ];
        root.run("cc", &[&fixed, &flags[..]].concat());
        root.says_ok(&mut root.command("/packages/program", &[]));
    }
    let preloaded = ["LD_PRELOAD=libisahotplug_preload.so", "/bin/echo", "ok"];
    root.says_ok(&mut root.command("env", &preloaded));
    let started = ["exec", "--", "/bin/echo", "ok"];
    root.says_ok(&mut root.command("guest-agent", &started));
    systemd_knows_all_of_the_units(&root);

    say("removing");
    root.run("dpkg", &[&["--remove"], &PACKAGES[..]].concat());
    assert!(
        root.path("/etc/isahotplug/host-notifier.toml").is_file(),
        "configuration stays"
    );
    assert!(!root.path("/usr/sbin/guest-agent").exists());

    say("purging");
    // The libraries' packages have nothing left.
    root.run(
        "dpkg",
        &[
            "--purge",
            "isahotplug-guest-agent",
            "isahotplug-host-notifier",
        ],
    );
    fs::remove_file(root.path("/packages/program")).expect("the program");
    let after = root.files();
    let traces: Vec<&String> = after.symmetric_difference(&before).collect();
    assert!(traces.is_empty(), "{traces:?}");
    say("done");
}

fn systemd_knows_all_of_the_units(root: &Root) {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("there is no systemd-analyze to read the units");
    }
    for unit in [
        "isahotplug-guest-agent.service",
        "isahotplug-host-notifier.service",
    ] {
        let mut command = Command::new("systemd-analyze");
        let said = run(command.arg("verify").arg("--root").arg(&root.0).arg(unit));
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // sysinit.target and man(1) are not there; all else it says is a mistake.
        let mistakes: Vec<&str> = said
            .lines()
            .filter(|line| !line.contains("sysinit.target not found"))
            .filter(|line| !line.contains("Command 'man "))
            .collect();
        assert!(mistakes.is_empty(), "{mistakes:?}");
    }
}

/// The example's lines that begin with `#` and no space are configuration.
#[test]
fn the_notifier_takes_its_example_configuration() {
    let example = project().join("host-notifier/host-notifier.toml");
    let example = fs::read_to_string(example).expect("the example");
    let folder = tempfile::TempDir::new().expect("a folder");
    for (text, guests) in [(example.clone(), 0), (uncommented(&example), 1)] {
        let file = folder.path().join("host-notifier.toml");
        fs::write(&file, text).expect("a file");
        let mut child = Command::new(product("host-notifier").expect("the release build"))
            .args([
                "serve",
                "--host-id",
                "0f3c5b8a9d1e4f60a7b2c3d4e5f60718",
                "--config",
            ])
            .arg(&file)
            .arg("--control")
            .arg(folder.path().join("control.sock"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("host-notifier starts");
        let output = child.stderr.take().expect("its log");
        let expected = format!("guests: {guests},");
        let mut said = Vec::new();
        // It ends by itself if it does not like what it reads.
        for line in BufReader::new(output).lines() {
            said.push(line.expect("its log"));
            if said.iter().any(|line| line.contains(&expected)) {
                break;
            }
        }
        let _ = child.kill();
        child.wait().expect("host-notifier ends");
        assert!(said.iter().any(|line| line.contains(&expected)), "{said:?}");
    }
}

fn uncommented(example: &str) -> String {
    let lines = example.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_packages_have_the_version_of_the_workspace() {
    let changelog =
        fs::read_to_string(project().join("debian/changelog")).expect("debian/changelog");
    let expected = format!("isahotplug ({}) ", env!("CARGO_PKG_VERSION"));
    assert!(
        changelog.starts_with(&expected),
        "{:?}",
        changelog.lines().next()
    );
}
