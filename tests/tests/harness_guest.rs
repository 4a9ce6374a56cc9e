//! The test bed itself: guests boot, run programs, and end.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use isahotplug_tests::{
    CpuModel, GuestImage, HarnessError, Host, Result, Status, Stream, must_fail,
};

const SOON: Duration = Duration::from_secs(30);
const SIGTERM: u32 = 15;

#[test]
fn a_guest_boots_from_its_kernel() -> Result<()> {
    let host = Host::new("A", CpuModel::max())?;
    let guest = host.boot_from_kernel(&GuestImage::minimal().vcpus(2))?;
    assert_eq!(guest.shell("echo $((6 * 7))")?, "42\n");
    assert_eq!(guest.shell("nproc")?, "2\n");
    Ok(())
}

#[test]
fn a_guest_restored_from_the_saved_state_was_not_booted_again() -> Result<()> {
    let host = Host::new("A", CpuModel::max())?;
    let guest = host.boot(&GuestImage::minimal())?;
    let boot_id =
        |guest: &isahotplug_tests::Guest| guest.shell("cat /proc/sys/kernel/random/boot_id");
    let first = boot_id(&guest)?;
    guest.shell("echo changed > /tmp/file")?;
    drop(guest);

    let guest = host.boot(&GuestImage::minimal())?;
    assert_eq!(boot_id(&guest)?, first);
    assert!(
        !guest.run("test", &["-e", "/tmp/file"])?.success(),
        "the saved state was changed"
    );
    assert!(
        guest.console().is_empty(),
        "the kernel spoke: {}",
        guest.console()
    );
    Ok(())
}

#[test]
fn status_signal_and_both_streams_are_reported() -> Result<()> {
    let guest = Host::new("A", CpuModel::max())?.boot(&GuestImage::minimal())?;
    let output = guest.run("sh", &["-c", "echo out; echo err >&2; exit 7"])?;
    assert_eq!(output.status, Status::Exited(7));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );

    let output = guest.run("sh", &["-c", "kill -ILL $$"])?;
    assert_eq!(output.signal(), Some(4));

    let refused = must_fail(guest.spawn("no-such-program", &[]));
    assert!(refused.to_string().contains("no-such-program"), "{refused}");
    Ok(())
}

#[test]
fn a_process_is_talked_to_line_by_line_and_killed() -> Result<()> {
    let guest = Host::new("A", CpuModel::max())?.boot(&GuestImage::minimal())?;
    let script = "while read word; do echo got $word; echo heard >&2; done; echo eof";
    let mut echo = guest.spawn_with("sh", &["-c", script], &[], true)?;
    echo.write(b"one\ntwo\n")?;
    echo.wait_for_line(|line| line == "got one", SOON)?;
    let line = echo.wait_for_line(|line| line == "got two", SOON)?;
    assert_eq!(line.stream, Stream::Stdout);
    echo.close_stdin()?;
    assert!(echo.wait(SOON)?.stdout.ends_with("eof\n"));

    let never = must_fail(echo.wait_for_line(|line| line == "got three", SOON));
    assert!(matches!(never, HarnessError::Program { .. }), "{never}");

    let sleeper = guest.spawn("sleep", &["1000"])?;
    let early = must_fail(sleeper.wait(Duration::ZERO));
    assert!(early.is_timeout(), "{early}");
    sleeper.kill(SIGTERM)?;
    assert_eq!(sleeper.wait(SOON)?.signal(), Some(SIGTERM));
    Ok(())
}

#[test]
fn files_and_environment_reach_the_guest() -> Result<()> {
    let image = GuestImage::minimal().text("/etc/greeting", "hello\n");
    let guest = Host::new("A", CpuModel::max())?.boot(&image)?;
    assert_eq!(guest.check("cat", &["/etc/greeting"])?, "hello\n");

    guest.write_file("/tmp/script", b"#!/bin/sh\necho $WORD\n", 0o755)?;
    let process = guest.spawn_with("/tmp/script", &[], &["WORD=there", "HOME"], false)?;
    assert_eq!(process.wait(SOON)?.stdout, "there\n");
    Ok(())
}

#[test]
fn two_guests_run_side_by_side() -> Result<()> {
    let host_a = Host::new("A", CpuModel::max())?;
    let host_b = Host::new("B", CpuModel::named("Nehalem-v1"))?;
    let one = host_a.boot_named("one", &GuestImage::minimal())?;
    let two = host_b.boot_named("two", &GuestImage::minimal())?;
    let flags = "grep -c -w avx2 /proc/cpuinfo";
    assert_eq!(one.run("sh", &["-c", flags])?.stdout, "1\n");
    assert_eq!(two.run("sh", &["-c", flags])?.stdout, "0\n");
    Ok(())
}

#[test]
fn a_qemu_killed_leaves_nothing_and_everybody_is_told() -> Result<()> {
    let guest = Host::new("A", CpuModel::max())?.boot(&GuestImage::minimal())?;
    let process = guest.spawn("sleep", &["1000"])?;
    let qemu = Path::new("/proc").join(guest.qemu_pid().to_string());
    assert!(qemu.exists());
    let sockets = guest.sockets();
    guest.kill();
    assert!(!qemu.exists(), "QEMU is still there, or a zombie");

    let ended = must_fail(process.wait(SOON));
    assert!(matches!(ended, HarnessError::QemuEnded(_)), "{ended}");
    let ended = must_fail(guest.run("true", &[]));
    assert!(matches!(ended, HarnessError::QemuEnded(_)), "{ended}");

    let folder = sockets.channel();
    drop((process, guest));
    assert!(!folder.exists(), "{} was left behind", folder.display());
    Ok(())
}

#[test]
fn a_guest_dropped_leaves_no_process() -> Result<()> {
    let guest = Host::new("A", CpuModel::max())?.boot(&GuestImage::minimal())?;
    let qemu = Path::new("/proc").join(guest.qemu_pid().to_string());
    assert!(qemu.exists());
    drop(guest);
    assert!(!qemu.exists(), "QEMU is still there, or a zombie");
    Ok(())
}

#[test]
fn a_test_program_that_is_killed_takes_its_machines_along() -> Result<()> {
    const VICTIM: &str = "ISAHOTPLUG_TEST_IS_VICTIM";
    const NAME: &str = "a_test_program_that_is_killed_takes_its_machines_along";
    if std::env::var_os(VICTIM).is_some() {
        let guest = Host::new("A", CpuModel::max())?.boot(&GuestImage::minimal())?;
        println!("\nchannel {}", guest.sockets().channel().display());
        loop {
            std::thread::park();
        }
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let channel = lines.find_map(|line| Some(line.unwrap().strip_prefix("channel ")?.to_owned()));
    let mut channel = UnixStream::connect(channel.expect("the victim to boot")).unwrap();
    channel.set_read_timeout(Some(SOON)).unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    // QEMU's end of the socket closes when QEMU is gone; it is a reset if QEMU
    // had not yet taken the connection.
    match channel.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    Ok(())
}

#[test]
fn a_guest_whose_kernel_panics_is_reported_with_its_last_words() -> Result<()> {
    let guest = Host::new("A", CpuModel::max())?.boot(&GuestImage::minimal())?;
    let _ = guest.spawn("sh", &["-c", "echo c > /proc/sysrq-trigger"]);
    let ended = must_fail(guest.run("sleep", &["1000"]));
    assert!(
        ended.to_string().contains("sysrq triggered crash"),
        "{ended}"
    );
    Ok(())
}
