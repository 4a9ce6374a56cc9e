//! Baseline + bonus, executed: the agent, the library and glibc see a pool's
//! baseline in CPUID, and the instructions above it run on this CPU.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use iced_x86::EncodingKind;
use isa::{FeatureSet, features};
use isahotplug_tests::LocalProcess;
use isahotplug_tests::baseline::cpuid::Level;
use isahotplug_tests::baseline::faulting;
use isahotplug_tests::baseline::guest::{BaselineGuest, Pool};
use isahotplug_tests::baseline::sites::{Sites, function_at};
use isahotplug_tests::{Result, compiled, compiled_c, linked_c, product, skip};

const TRACER: &str = env!("CARGO_BIN_EXE_under-baseline");
const AVX2: FeatureSet = features![Avx, Avx2];
const AVX512: FeatureSet = features![Avx, Avx2, Avx512f];

/// The pool of the tests; `None`, counted, where this machine cannot show one.
fn pool() -> Result<Option<Pool>> {
    let pool = Pool::new(Level::V2, TRACER);
    match pool.problem()? {
        None => Ok(Some(pool)),
        Some(why) => {
            skip(&why);
            Ok(None)
        }
    }
}

/// The pool, if this CPU also has these features.
fn pool_above(features: FeatureSet) -> Result<Option<Pool>> {
    let lacking = features - isa::detect();
    if lacking.is_empty() {
        pool()
    } else {
        skip(&format!("this CPU has no {lacking}"));
        Ok(None)
    }
}

fn source(name: &str) -> PathBuf {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/bonus");
    programs.join(format!("{name}.c"))
}

/// The program that computes through a slot with three variants.
fn slots(guest: &BaselineGuest) -> Result<LocalProcess> {
    let (program, library) = linked_c(&source("slots"))?;
    guest.spawn(&program, &library)
}

/// Waits until the program is on this path, and until it has computed there for
/// a while: every result so far was right, and no instruction was emulated.
fn computes_on(program: &mut LocalProcess, path: &str) -> Result<()> {
    let begins = format!("path={path} ");
    for _ in 0..2 {
        let line = program.wait_for_line(|line| line.starts_with(&begins))?;
        assert!(line.text.ends_with(" wrong=0 emulated=0"), "{}", line.text);
    }
    Ok(())
}

#[test]
fn the_agent_finds_avx2_above_the_baseline_by_executing_it() -> Result<()> {
    let Some(pool) = pool_above(AVX2)? else {
        return Ok(());
    };
    let mut guest = BaselineGuest::start(&pool)?;
    assert_eq!(guest.status("visible")?, pool.visible());
    assert_eq!(guest.status("bonus")?, FeatureSet::EMPTY);
    guest.offer(pool.visible() | AVX2)?;
    assert_eq!(guest.status("bonus")?, AVX2);
    let asked = guest.agents_cpuid()?;
    assert!(asked.contains("/guest-agent+0x"), "its own CPUID: {asked}");
    assert!(!asked.contains("blind"), "{asked}");
    Ok(())
}

#[test]
fn the_agent_finds_avx512_above_the_baseline_by_executing_it() -> Result<()> {
    let Some(pool) = pool_above(AVX512)? else {
        return Ok(());
    };
    let mut guest = BaselineGuest::start(&pool)?;
    let all = isa::detect();
    guest.offer(all)?;
    assert_eq!(guest.status("bonus")?, all - pool.visible());
    assert!(guest.status("bonus")?.is_superset(&AVX512));
    assert_eq!(guest.status("lost")?, FeatureSet::EMPTY);
    Ok(())
}

/// CPUID says neither of what the CPU has nor of what it lacks that it is there.
#[test]
fn what_the_cpu_refuses_is_no_bonus() -> Result<()> {
    let refused = features![Xop, Fma4, Tbm] - isa::detect();
    if refused.is_empty() {
        skip("this CPU has XOP, FMA4 and TBM");
        return Ok(());
    }
    let Some(pool) = pool_above(AVX2)? else {
        return Ok(());
    };
    let mut guest = BaselineGuest::start(&pool)?;
    guest.offer(pool.visible() | AVX2 | refused)?;
    assert_eq!(guest.status("bonus")?, AVX2);
    guest.wait_for_log_line(&format!("refuted: {refused}"))?;
    Ok(())
}

#[test]
fn a_slot_takes_avx2_while_it_is_offered() -> Result<()> {
    let Some(pool) = pool_above(AVX2)? else {
        return Ok(());
    };
    let mut guest = BaselineGuest::start(&pool)?;
    let mut program = slots(&guest)?;
    computes_on(&mut program, "plain")?;
    guest.offer(pool.visible() | AVX2)?;
    computes_on(&mut program, "avx2")?;
    guest.offer(pool.visible())?;
    computes_on(&mut program, "plain")?;
    guest.offer(pool.visible() | AVX2)?;
    computes_on(&mut program, "avx2")
}

#[test]
fn a_slot_follows_offers_between_avx512_avx2_and_the_baseline() -> Result<()> {
    let Some(pool) = pool_above(AVX512)? else {
        return Ok(());
    };
    let mut guest = BaselineGuest::start(&pool)?;
    let mut program = slots(&guest)?;
    computes_on(&mut program, "plain")?;
    for (bonus, path) in [
        (AVX512, "avx512"),
        (AVX2, "avx2"),
        (FeatureSet::EMPTY, "plain"),
        (AVX512, "avx512"),
        (FeatureSet::EMPTY, "plain"),
        (AVX2, "avx2"),
        (AVX512, "avx512"),
    ] {
        guest.offer(pool.visible() | bonus)?;
        computes_on(&mut program, path)?;
    }
    Ok(())
}

/// The host hears `ready` only when the program has left the path.
#[test]
fn a_prepare_takes_the_bonus_and_an_abort_gives_it_back() -> Result<()> {
    let Some(pool) = pool_above(AVX512)? else {
        return Ok(());
    };
    let mut guest = BaselineGuest::start(&pool)?;
    guest.offer(pool.visible() | AVX512)?;
    let mut program = slots(&guest)?;
    computes_on(&mut program, "avx512")?;
    let prepared = guest.prepare(features![Avx512f])?;
    assert_eq!(guest.status("bonus")?, AVX2);
    computes_on(&mut program, "avx2")?;
    guest.abort(prepared)?;
    computes_on(&mut program, "avx512")?;
    // And once more, to a host that has neither.
    guest.prepare(AVX512)?;
    computes_on(&mut program, "plain")?;
    guest.offer(pool.visible())?;
    assert_eq!(guest.status("bonus")?, FeatureSet::EMPTY);
    computes_on(&mut program, "plain")
}

/// CPUID gives a program nothing beyond the baseline; the agent's page does.
#[test]
fn without_the_agents_page_a_program_has_no_bonus() -> Result<()> {
    let Some(pool) = pool_above(AVX2)? else {
        return Ok(());
    };
    let mut guest = BaselineGuest::start(&pool)?;
    guest.offer(pool.visible() | AVX2)?;
    let mut with_page = slots(&guest)?;
    computes_on(&mut with_page, "avx2")?;
    let (program, library) = linked_c(&source("slots"))?;
    let elsewhere = tempfile::tempdir().expect("a folder without a page");
    let mut command = pool.command(&program);
    command.arg("1000");
    command.env("ISAHOTPLUG_RUN_DIR", elsewhere.path());
    command.env("LD_LIBRARY_PATH", &library);
    let output = command.output().expect("the tracer starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.lines().all(|line| line.starts_with("path=plain ")));
    assert!(text.contains("rounds=1000 wrong=0"), "{text}");
    Ok(())
}

#[test]
fn the_loader_supports_the_baseline_and_searches_nothing_above() -> Result<()> {
    let Some(pool) = pool()? else {
        return Ok(());
    };
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    let supported = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().map(str::trim_start);
        let levels =
            lines.filter(|line| line.starts_with("x86-64-v") && line.contains("supported"));
        levels.map(|line| line[..9].to_owned()).collect()
    };
    let here = Command::new(loader).arg("--help").output();
    let here = String::from_utf8(here.expect("ld.so starts").stdout).expect("text");
    if supported(&here).is_empty() {
        skip("this ld.so does not list what it supports (glibc 2.33)");
        return Ok(());
    }
    let under = pool.check(loader, &["--help"])?.stdout;
    assert_eq!(supported(&under), BTreeSet::from(["x86-64-v2".to_owned()]));
    Ok(())
}

/// What `unaware` believes: the features that libgcc supports, and the functions
/// of glibc that hold instructions of AVX (VEX) or AVX-512 (EVEX).
fn believed(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut supported, mut wide) = (BTreeSet::new(), BTreeSet::new());
    let mut bound = 0;
    for line in text.lines() {
        match *line.split(' ').collect::<Vec<_>>() {
            ["supports", feature, "1"] => {
                supported.insert(feature.to_owned());
            }
            ["bound", function, object, address] => {
                bound += 1;
                let address = address.trim_start_matches("0x");
                let address = u64::from_str_radix(address, 16).expect("an address");
                let object = fs::read(object).expect("an object of glibc");
                let code = function_at(&object, address).expect("an object of glibc");
                assert!(!code.is_empty(), "{function} is not found");
                let legacy = |code: &iced_x86::Instruction| {
                    matches!(code.code().encoding(), EncodingKind::Legacy)
                };
                if !code.iter().all(legacy) {
                    wide.insert(function.to_owned());
                }
            }
            _ => {}
        }
    }
    assert!(bound > 20, "{text}");
    (supported, wide)
}

#[test]
fn glibc_and_libgcc_stay_at_the_baseline() -> Result<()> {
    let Some(pool) = pool()? else {
        return Ok(());
    };
    let program = compiled_c(&source("unaware"), &["-O1", "-fPIE", "-pie", "-lm"])?;
    let (supported, wide) = believed(&pool.check(&program, &[])?.stdout);
    let of_level = BTreeSet::from(["popcnt".to_owned(), "sse4.2".to_owned()]);
    assert_eq!(supported, of_level);
    assert_eq!(wide, BTreeSet::new());
    if isa::detect().is_superset(&AVX2) {
        // Without the tracer the same program is bound to more.
        let here = Command::new(&program).output().expect("it starts").stdout;
        let (supported, wide) = believed(&String::from_utf8(here).expect("text"));
        assert!(supported.contains("avx2"), "{supported:?}");
        assert!(wide.contains("memcpy") && wide.contains("sin"), "{wide:?}");
    }
    Ok(())
}

/// For `rusts_own_detection_sees_the_baseline`, which runs this elsewhere.
#[test]
fn what_rust_detects() {
    println!(
        "\nrust sse4.2={} avx={} avx2={} avx512f={}",
        is_x86_feature_detected!("sse4.2"),
        is_x86_feature_detected!("avx"),
        is_x86_feature_detected!("avx2"),
        is_x86_feature_detected!("avx512f"),
    );
}

#[test]
fn rusts_own_detection_sees_the_baseline() -> Result<()> {
    let Some(pool) = pool()? else {
        return Ok(());
    };
    let own = std::env::current_exe().expect("this program has a path");
    let output = pool.check(&own, &["--exact", "what_rust_detects", "--nocapture"])?;
    let expected = "rust sse4.2=true avx=false avx2=false avx512f=false";
    assert!(output.stdout.contains(expected), "{}", output.stdout);
    Ok(())
}

/// The lines of `everywhere` that tell what CPUID showed, and the others.
fn seen(text: &str) -> (BTreeSet<&str>, Vec<&str>) {
    let (shown, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.contains("avx2="));
    (shown.into_iter().collect(), rest)
}

const PLACES: [&str; 6] = [
    "main avx2=0",
    "thread avx2=0",
    "fork avx2=0",
    "grandchild avx2=0",
    "exec avx2=0",
    "after the faults avx2=0",
];
const UNDISTURBED: [&str; 8] = [
    "exec ok",
    "exec in a thread ok",
    "signals ok",
    "fault ok",
    "pipe ok",
    "job control ok",
    "constant ok",
    "table ok",
];

#[test]
fn every_thread_child_and_object_of_a_program_sees_the_baseline() -> Result<()> {
    let Some(pool) = pool()? else {
        return Ok(());
    };
    let object = ["-O1", "-fPIC", "-shared", "-DOBJECT"];
    let object = compiled_c(&source("everywhere"), &object)?;
    let program = compiled_c(&source("everywhere"), &["-O1", "-pthread"])?;
    let output = pool.check(&program, &[&object.to_string_lossy()])?;
    let mut expected = BTreeSet::from(PLACES);
    expected.insert("dlopen avx2=0");
    assert_eq!(seen(&output.stdout), (expected, UNDISTURBED.to_vec()));
    Ok(())
}

#[test]
fn so_does_a_static_program() -> Result<()> {
    let Some(pool) = pool()? else {
        return Ok(());
    };
    let program = compiled_c(
        &source("everywhere"),
        &["-O1", "-static", "-DSTATIC", "-pthread"],
    )?;
    let output = pool.check(&program, &[])?;
    let expected = (BTreeSet::from(PLACES), UNDISTURBED.to_vec());
    assert_eq!(seen(&output.stdout), expected);
    Ok(())
}

/// CPUID cannot be replaced in code that nobody has a file of.
#[test]
fn code_made_at_run_time_is_named_as_a_blind_spot_unless_the_cpu_faults() -> Result<()> {
    let Some(pool) = pool_above(AVX2)? else {
        return Ok(());
    };
    let folder = tempfile::tempdir().expect("a folder for the log");
    let log = folder.path().join("log");
    let program = compiled_c(&source("everywhere"), &["-O1", "-pthread"])?;
    let options = ["--log".as_ref(), log.as_os_str()];
    let output = pool
        .command_with(&options, &program)
        .arg("run-time")
        .output()
        .expect("the tracer starts");
    let log = fs::read_to_string(&log).expect("a log");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "the code is as it was: {text}");
    let kinds = [
        "executable memory of no file",
        "executable memory that is shared",
    ];
    if faulting::is_there() {
        assert_eq!(text, "run-time avx2=0\nrun-time avx2=0\n");
        assert!(!log.contains("blind"), "{log}");
    } else {
        assert_eq!(text, "run-time avx2=1\nrun-time avx2=1\n");
        assert!(kinds.iter().all(|kind| log.contains(kind)), "{log}");
    }
    Ok(())
}

/// Another disassembler, and another way to find where functions begin.
#[test]
fn the_cpuid_instructions_found_are_those_that_objdump_finds() -> Result<()> {
    let libraries = ["libgcc_s.so.1", "libc.so.6", "libstdc++.so.6"];
    let folder = Path::new("/usr/lib/x86_64-linux-gnu");
    let mut files: Vec<PathBuf> = libraries.map(|name| folder.join(name)).to_vec();
    files.push("/lib64/ld-linux-x86-64.so.2".into());
    files.push(product("guest-agent")?);
    files.push(product("libisahotplug.so")?);
    files.push(compiled("counter")?); // with libc inside
    let mut all = 0;
    for file in files.iter().filter(|file| file.is_file()) {
        let sites = Sites::of(&fs::read(file).expect("a program")).expect("a program");
        assert!(sites.doubtful.is_empty(), "{}: {sites:x?}", file.display());
        let output = Command::new("objdump")
            .args(["--disassemble", "--no-show-raw-insn", "--file-offsets"])
            .arg(file)
            .output()
            .expect("objdump starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let found = text
            .lines()
            .filter(|line| line.ends_with("\tcpuid"))
            .count();
        assert_eq!(sites.instructions.len(), found, "{}", file.display());
        all += found;
    }
    assert!(all > 50, "the disassembler sees CPUID: {all}");
    Ok(())
}

#[test]
fn faulting_is_refused_where_the_cpu_has_none_and_nothing_is_run() -> Result<()> {
    if faulting::is_there() {
        skip("this CPU can fault at CPUID");
        return Ok(());
    }
    let Some(pool) = pool()? else {
        return Ok(());
    };
    let output = pool
        .command_with(&["--way", "faulting"], "echo")
        .arg("ran")
        .output()
        .expect("the tracer starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(stderr.contains("No such device"), "{stderr}");
    Ok(())
}
