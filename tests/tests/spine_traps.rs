//! Faults of emulated instructions under a real kernel: they reach the program
//! as the CPU's own would have. (qemu-user takes such signals for its own, so
//! that they cannot be shown there.)

use std::path::Path;

use isahotplug_tests::{CpuModel, GuestImage, Host, Result, story};

#[test]
fn faults_of_emulated_instructions_look_like_the_cpus_own() -> Result<()> {
    let host = Host::new("B", CpuModel::max().without(&story::LOST))?;
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../libisahotplug/tests/programs/traps.c");
    let guest = host.boot(&GuestImage::minimal().linked_c("/bin/traps", &source)?)?;
    for case in [
        "load", "store", "bus", "float", "chain", "stack", "small", "mask", "ignored", "sent",
        "fork",
    ] {
        let output = guest.run("traps", &[case])?;
        assert!(
            output.success() && output.stdout == "ok\n",
            "{case}: {output:?}"
        );
    }
    const SIGILL: u32 = 4;
    const SIGFPE: u32 = 8;
    const SIGSEGV: u32 = 11;
    let deaths = [
        ("ud2", SIGILL),
        ("null", SIGSEGV),
        ("emulated", SIGSEGV),
        ("raise", SIGSEGV),
        ("small", SIGSEGV),
        ("blocked", SIGFPE),
    ];
    for (how, signal) in deaths {
        let output = guest.run("traps", &[&format!("die-{how}")])?;
        assert_eq!(output.signal(), Some(signal), "{how}: {output:?}");
    }
    Ok(())
}
