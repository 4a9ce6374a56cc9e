//! Whole programs, built for better CPUs, under the preload object: what they
//! print is what the same source prints when it is built for plain x86-64.
//!
//! The programs are `tests/programs/emulator/*.c`. Each is run on CPUs that
//! lack what it was built for: QEMU's in user mode, and this one, if it lacks
//! it. None of them has lost LZCNT or BMI1 where the program needs them: a CPU
//! without runs BSR and BSF in their place, and nothing can be emulated.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use isa::{FeatureSet, features};
use isahotplug_tests::{Cpu, Preloaded, Result, emulator_program, has_qemu_user, skip};

const SIGILL: i32 = 4;

/// What a program is built for, and the CPUs that lack it.
struct Target {
    /// Arguments of gcc(1).
    arguments: &'static [&'static str],
    /// What the program may use.
    features: FeatureSet,
    /// CPUs of QEMU that lack some of it.
    qemu: &'static [&'static str],
}

const CORE2: &[&str] = &["core2duo", "Nehalem"];

const HASWELL_FEATURES: FeatureSet =
    features![Avx2, Fma, F16c, Bmi1, Bmi2, Movbe, Pclmulqdq, Aes, Popcnt];

/// Intel's of 2013.
const HASWELL: Target = Target {
    arguments: &["-march=haswell", "-mno-lzcnt", "-maes", "-msha"],
    features: HASWELL_FEATURES.union(features![ShaNi]),
    qemu: CORE2,
};

/// Intel's of 2021: the last without AVX-512.
const ALDER_LAKE: Target = Target {
    arguments: &["-march=alderlake", "-mno-lzcnt", "-mclwb"],
    features: HASWELL_FEATURES.union(features![
        Adx, ShaNi, Gfni, Vaes, Vpclmulqdq, AvxVnni, Rdrand, Rdseed, Movdiri, Movdir64b, Clwb
    ]),
    qemu: CORE2,
};

const EXCAVATOR_FEATURES: FeatureSet = HASWELL_FEATURES.union(features![Xop, Fma4, Tbm]);

/// AMD's last of the Bulldozer family.
const EXCAVATOR: Target = Target {
    arguments: &["-march=bdver4", "-mno-lzcnt"],
    features: EXCAVATOR_FEATURES,
    qemu: CORE2,
};

/// The same with every fused multiplication in FMA4's form, which later CPUs
/// lack.
const EXCAVATOR_FMA4: Target = Target {
    arguments: &["-march=bdver4", "-mno-lzcnt", "-mno-fma"],
    features: EXCAVATOR_FEATURES,
    qemu: CORE2,
};

/// AMD's Bobcat, with SSSE3 and SSE4A.
const BOBCAT: Target = Target {
    arguments: &["-march=btver1", "-mno-lzcnt"],
    features: features![Ssse3, Sse4a],
    qemu: &["qemu64", "core2duo"],
};

/// AMD's second edition of 3DNow!.
const THREE_D_NOW: Target = Target {
    arguments: &["-march=x86-64", "-m3dnowa"],
    features: features![ThreeDnow, ThreeDnowExt],
    qemu: &["qemu64"],
};

/// How a program is run (`program.h`), and how long bursts may be.
type Way = (&'static str, Option<&'static str>);

const PLAIN: &[Way] = &[("plain", None)];

/// In long bursts a signal seldom meets registers that are in use.
const ALL_WAYS: &[Way] = &[
    ("plain", None),
    ("threads", Some("5")),
    ("signals", None),
    ("signals", Some("0")),
];

/// How much the programs do.
fn scale() -> &'static str {
    let cases = std::env::var("ISAHOTPLUG_CASES").ok();
    let cases: u64 = cases.and_then(|cases| cases.parse().ok()).unwrap_or(0);
    if cases >= 10_000 { "8" } else { "1" }
}

/// Standard output of a run that had nothing to complain of.
fn stdout(output: &Output, what: &str) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && error.is_empty(),
        "{what}: {}: {error}",
        output.status
    );
    let text = String::from_utf8(output.stdout.clone()).expect("the programs print ASCII");
    assert!(text.lines().count() > 5, "{what} says too little: {text}");
    text
}

/// Fails with the first line in which they differ.
fn assert_same(found: &str, wanted: &str, what: &str) {
    if found == wanted {
        return;
    }
    let differ = found.lines().zip(wanted.lines()).position(|(a, b)| a != b);
    let lines = found.lines().count().min(wanted.lines().count());
    let at = differ.unwrap_or(lines);
    panic!(
        "{what}: line {}: {:?} instead of {:?}",
        at + 1,
        found.lines().nth(at),
        wanted.lines().nth(at)
    );
}

/// Runs a program on a CPU that lacks what it needs.
fn check_on(
    cpu: Cpu,
    program: &Path,
    further: &[String],
    ways: &[Way],
    wanted: &str,
) -> Result<()> {
    let here = format!("{} on {cpu:?}", program.display());
    let bare = Preloaded::without(cpu, program)
        .args(&["1", "plain"])
        .args(further)
        .run()?;
    assert_eq!(
        bare.status.signal(),
        Some(SIGILL),
        "{here} without the preload object, or it shows nothing: {bare:?}"
    );
    for &(way, burst) in ways {
        let mut run = Preloaded::with(cpu, program)?
            .args(&[scale(), way])
            .args(further);
        if let Some(limit) = burst {
            run = run.env("ISAHOTPLUG_BURST", limit);
        }
        let what = format!("{here} {way} burst={burst:?}");
        assert_same(&stdout(&run.run()?, &what), wanted, &what);
    }
    Ok(())
}

/// The mnemonics of a program. Those of FMA, which has three of each for the
/// places of the operands, with a star: `vfmadd*ps`.
fn mnemonics(program: &Path) -> BTreeSet<String> {
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(program)
        .output()
        .expect("objdump starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let instructions = text.lines().filter_map(|line| line.split_once(":\t"));
    let of_line = |instruction: &str| {
        let mut words = instruction.split_whitespace();
        let first = words.find(|word| !["lock", "{vex}"].contains(word))?;
        let order = ["132", "213", "231"]
            .into_iter()
            .find(|order| first.starts_with("vf") && first.contains(order));
        Some(first.replace(order.unwrap_or("*"), "*"))
    };
    instructions
        .filter_map(|(_, instruction)| of_line(instruction))
        .collect()
}

/// What the program prints when it is built for plain x86-64 and runs here.
fn reference(name: &str) -> Result<String> {
    let plain = emulator_program(name, &["-O2", "-march=x86-64"])?;
    let output = Preloaded::without(Cpu::Here, &plain).arg(scale()).run()?;
    Ok(stdout(&output, name))
}

/// Builds a program for each of the targets, at two levels of optimisation,
/// and runs it on all CPUs that lack what the target has: the first build on
/// the first of them in all ways. `holds` are instructions that must be in it,
/// some for each target.
fn check(name: &str, targets: &[(&Target, &str)]) -> Result<()> {
    let wanted = reference(name)?;
    let with_qemu = has_qemu_user();
    let mut ran = false;
    for (target, holds) in targets {
        let levels = ["-O2", "-O3"];
        let programs = levels
            .map(|level| emulator_program(name, &[&[level], target.arguments].concat()))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let there: BTreeSet<String> = programs.iter().flat_map(|path| mnemonics(path)).collect();
        let missing: Vec<&str> = holds
            .split_whitespace()
            .filter(|mnemonic| !there.contains(*mnemonic))
            .collect();
        assert!(
            missing.is_empty(),
            "{name} {:?} holds no {missing:?}, so that nothing is shown of them",
            target.arguments
        );
        for (nth, program) in programs.into_iter().enumerate() {
            let ways = if nth == 0 { ALL_WAYS } else { PLAIN };
            if target.features.is_subset(&isa::detect()) {
                // This CPU says whether the program itself is right.
                let output = Preloaded::without(Cpu::Here, &program).arg(scale()).run()?;
                let what = format!("{} by itself", program.display());
                assert_same(&stdout(&output, &what), &wanted, &what);
            } else {
                check_on(Cpu::Here, &program, &[], ways, &wanted)?;
                ran = true;
            }
            if with_qemu {
                for (nth, model) in target.qemu.iter().enumerate() {
                    let ways = if nth == 0 { ways } else { PLAIN };
                    check_on(Cpu::Qemu(model), &program, &[], ways, &wanted)?;
                    ran = true;
                }
            }
        }
    }
    if !ran {
        skip("this CPU has all that the program needs, and qemu-x86_64 is not there");
    }
    Ok(())
}

#[test]
fn vector_kernels_of_blas() -> Result<()> {
    check(
        "vectors",
        &[
            (
                &HASWELL,
                "vfmadd*ps vfmadd*pd vfmadd*ss vblendvps vcmpgt_oqps vandnps vextractf128 vhaddps",
            ),
            (&EXCAVATOR_FMA4, "vfmaddps vfmaddpd vfmaddss vfmaddsd"),
        ],
    )
}

#[test]
fn matrix_kernels_of_blas() -> Result<()> {
    check(
        "matrices",
        &[
            (
                &HASWELL,
                "vbroadcastss vbroadcastsd vunpckhps vperm2f128 vfmadd*ps vfmadd*pd",
            ),
            (&EXCAVATOR_FMA4, "vfmaddps vfmaddpd"),
        ],
    )
}

#[test]
fn gathers_and_masked_moves() -> Result<()> {
    let gathers = "vgatherdps vpgatherdd vpgatherqd vpgatherdq vpgatherqq vgatherdpd vgatherqpd \
                   vmaskmovps vpmaskmovd";
    check("sparse", &[(&HASWELL, gathers), (&EXCAVATOR_FMA4, gathers)])
}

#[test]
fn fourier_transforms() -> Result<()> {
    check(
        "fourier",
        &[
            (
                &HASWELL,
                "vfmaddsub*ps vfmaddsub*pd vmovsldup vmovshdup vmovddup vpermilps",
            ),
            (&EXCAVATOR_FMA4, "vfmaddsubps vfmaddsubpd"),
        ],
    )
}

#[test]
fn base64_both_ways() -> Result<()> {
    check(
        "base64",
        &[
            (
                &HASWELL,
                "vpshufb vpmulhuw vpmullw vpmaddubsw vpmaddwd vpermd vpblendvb vptest vpsubusb",
            ),
            (&EXCAVATOR, "vpcmov"),
        ],
    )
}

#[test]
fn validation_of_utf8() -> Result<()> {
    check(
        "utf8",
        &[(
            &HASWELL,
            "vpalignr vperm2i128 vpshufb vpsubusb vpmovmskb vptest",
        )],
    )
}

#[test]
fn structure_of_json() -> Result<()> {
    check(
        "json",
        &[(
            &HASWELL,
            "pdep vpclmullqlqdq vpmovmskb vpackusdw vpmaddubsw",
        )],
    )
}

#[test]
fn hashes_and_checksums() -> Result<()> {
    check(
        "sha",
        &[
            (
                &HASWELL,
                "sha256rnds2 sha256msg1 sha256msg2 sha1rnds4 sha1nexte sha1msg1 sha1msg2 crc32q \
                 crc32l crc32w crc32b vpclmulhqhqdq",
            ),
            (&EXCAVATOR, "crc32q vprotd"),
        ],
    )
}

#[test]
fn ciphers() -> Result<()> {
    check(
        "aes",
        &[
            (
                &HASWELL,
                "vaesenc vaesenclast vaesdec vaesdeclast vaesimc vaeskeygenassist vpclmullqhqdq",
            ),
            (&ALDER_LAKE, "vaesenc vbroadcasti128"),
        ],
    )
}

#[test]
fn pictures() -> Result<()> {
    let holds = "vpmaddwd vphaddd vpsignw vpmulhrsw vcvtps2dq vpackssdw vmpsadbw vphminposuw \
                 vpmovzxbw vpabsw";
    check(
        "pictures",
        &[(&HASWELL, holds), (&EXCAVATOR_FMA4, "vfmaddps vphaddd")],
    )
}

#[test]
fn bit_manipulation() -> Result<()> {
    check(
        "bits",
        &[
            (
                &HASWELL,
                "pdep pext bextr bzhi andn blsi blsr mulx shlx shrx movbe",
            ),
            (&ALDER_LAKE, "adcx adox mulx sarx"),
        ],
    )
}

#[test]
fn rounding_modes_and_exceptions() -> Result<()> {
    let holds = "vroundpd vcvtph2ps vcvtps2ph vdivps vsqrtps vcvttps2dq vldmxcsr vstmxcsr";
    check("rounding", &[(&HASWELL, holds)])
}

#[test]
fn string_comparison_instructions() -> Result<()> {
    let holds = "vpcmpestri vpcmpistrm vpcmpistri vaddsubps vdpps vinsertps vblendvps vphaddsw";
    check("search", &[(&HASWELL, holds)])
}

#[test]
fn loops_that_the_compiler_made_vectors_of() -> Result<()> {
    check(
        "loops",
        &[
            (
                &HASWELL,
                "vpavgb vpmulld vpsllvd vpsravd vpsrlvq vfmadd*ps vpmovsxbw",
            ),
            (&EXCAVATOR_FMA4, "vfmaddps vprotd"),
        ],
    )
}

#[test]
fn what_came_after_avx2() -> Result<()> {
    check(
        "later",
        &[(
            &ALDER_LAKE,
            "vpdpbusd vpdpbusds vpdpwssds vgf2p8mulb vgf2p8affineinvqb vpclmullqhqdq",
        )],
    )
}

#[test]
fn random_numbers_and_stores_past_the_caches() -> Result<()> {
    check(
        "machine",
        &[(
            &ALDER_LAKE,
            "rdrand rdseed movdir64b movdiri clwb clflushopt cmpxchg16b",
        )],
    )
}

#[test]
fn xop() -> Result<()> {
    check(
        "xop",
        &[(
            &EXCAVATOR,
            "vprotb vprotw vprotd vprotq vpshlb vpshlw vpshld vpshlq vpshab vpshaw vpshad vpshaq \
             vpcmov vpperm vpermil2ps vpcomltub vpcomleb vpcomgtuw vpcomgew vpcomequd vpcomneqd \
             vpcomltuq vpcomgeq vpmacsww vpmacssww vpmacsdd vpmacssdd vpmacswd vpmacsswd vpmacsdql \
             vpmacsdqh vpmadcswd vpmadcsswd vphaddubw vphaddubd vphaddbq vphaddwd vphaddwq \
             vphadddq vphsubbw vphsubwd vphsubdq vfrczps vfrczpd",
        )],
    )
}

#[test]
fn tbm() -> Result<()> {
    check(
        "tbm",
        &[(
            &EXCAVATOR,
            "blcfill blci blcic blcmsk blcs blsfill blsic t1mskc tzmsk bextr",
        )],
    )
}

#[test]
fn three_d_now() -> Result<()> {
    check(
        "now",
        &[(
            &THREE_D_NOW,
            "pfadd pfsub pfsubr pfmul pfacc pfnacc pfpnacc pfmax pfmin pfcmpge pfcmpgt pfcmpeq \
             pf2id pf2iw pi2fd pswapd pavgusb pmulhrw pfrcp pfrcpit1 pfrcpit2 pfrsqrt pfrsqit1 \
             femms",
        )],
    )
}

#[test]
fn ssse3_on_mmx_registers_and_sse4a() -> Result<()> {
    check(
        "mmx",
        &[(
            &BOBCAT,
            "pshufb palignr psignb pabsb phaddw phsubsw pmaddubsw pmulhrsw extrq insertq movntsd",
        )],
    )
}

/// Where `model` gets the C library's functions, for `variants.h`.
fn offsets(model: Cpu, arguments: &[&str], names: &str) -> Result<Vec<String>> {
    let program = emulator_program("offsets", &["-O1"])?;
    let names: Vec<&str> = names.split_whitespace().collect();
    let output = Preloaded::without(model, &program)
        .args(arguments)
        .args(&names)
        .run()?;
    let text = stdout(&output, "offsets");
    let offsets: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(offsets.len(), names.len(), "{text}");
    Ok(offsets)
}

const STRING_FUNCTIONS: &str = "strlen strnlen wcslen wcsnlen memchr memrchr rawmemchr strchr \
    strrchr strchrnul wcschr wcsrchr wmemchr strspn strcspn strpbrk strstr memcmp strcmp strncmp \
    strcasecmp strncasecmp wcscmp wcsncmp wmemcmp memcpy mempcpy memmove memset strcpy stpcpy \
    strncpy stpncpy strcat strncat wmemset";

/// glibc chooses its string functions by the CPU at start, so what a better
/// CPU gets is called by its place.
#[test]
fn string_functions_of_the_c_library() -> Result<()> {
    if !has_qemu_user() {
        skip("qemu-x86_64 is not there");
        return Ok(());
    }
    let program = emulator_program("strings", &["-O2", "-march=x86-64"])?;
    let output = Preloaded::without(Cpu::Here, &program).arg(scale()).run()?;
    let wanted = stdout(&output, "strings");
    // Those for AVX2 take it that TZCNT and LZCNT of zero give the width.
    let cases = [
        ("max", ["core2duo,+bmi1,+abm", "Nehalem,+bmi1,+abm"]),
        (
            "Haswell-noTSX",
            ["core2duo,+bmi1,+abm", "Nehalem,+bmi1,+abm"],
        ),
        ("Nehalem", ["core2duo", "qemu64"]),
    ];
    for (better, lesser) in cases {
        let there = offsets(Cpu::Qemu(better), &[], STRING_FUNCTIONS)?;
        for (nth, model) in lesser.into_iter().enumerate() {
            let own = offsets(Cpu::Qemu(model), &[], STRING_FUNCTIONS)?;
            let differ = there.iter().zip(&own).filter(|(a, b)| a != b).count();
            assert!(differ > 2, "{better} and {model} get the same functions");
            let ways = if nth == 0 { ALL_WAYS } else { PLAIN };
            check_on(Cpu::Qemu(model), &program, &there, ways, &wanted)?;
        }
    }
    Ok(())
}

/// As the string functions. Here the reference is what the same variants
/// compute on a CPU that has what they need.
#[test]
fn mathematical_functions_of_the_c_library() -> Result<()> {
    const NAMES: &str = "sin cos tan atan log2 floor ceil rint nearbyint trunc sinf cosf expf \
        exp2f logf log2f floorf powf fma fmaf";
    if !has_qemu_user() {
        skip("qemu-x86_64 is not there");
        return Ok(());
    }
    if !features![Avx2, Fma].is_subset(&isa::detect()) {
        skip("this CPU has no FMA to compare with");
        return Ok(());
    }
    let program = emulator_program("mathlib", &["-O2", "-march=x86-64"])?;
    let fused = offsets(Cpu::Qemu("max"), &[], NAMES)?;
    let output = Preloaded::without(Cpu::Here, &program)
        .args(&[scale(), "plain"])
        .args(&fused)
        .run()?;
    let wanted = stdout(&output, "mathlib");
    for model in CORE2 {
        check_on(Cpu::Qemu(model), &program, &fused, ALL_WAYS, &wanted)?;
    }
    // The same source, built for FMA4, gives the same.
    let fma4 = offsets(Cpu::Here, &["fma4"], NAMES)?;
    assert_ne!(fma4, fused, "glibc has variants for FMA4");
    if !isa::detect().contains(isa::Feature::Fma4) {
        check_on(Cpu::Here, &program, &fma4, ALL_WAYS, &wanted)?;
    }
    check_on(Cpu::Qemu("core2duo"), &program, &fma4, PLAIN, &wanted)
}

/// The names of the string functions are those that the program asks for.
#[test]
fn every_string_function_is_known_by_name() {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("programs/emulator/strings.c");
    let text = std::fs::read_to_string(source).unwrap();
    let asked: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("GET(")?.strip_suffix(");"))
        .collect();
    assert_eq!(asked, STRING_FUNCTIONS.split_whitespace().collect());
}
