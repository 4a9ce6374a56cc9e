//! What runs in a guest must run on a CPU that has just lost everything above
//! x86-64-v1: the linked objects are disassembled and looked through.

use std::process::Command;

use isahotplug_tests::product;

/// Instructions that came after x86-64-v1, beside all that begin with `v`.
///
/// TZCNT is not among them: compilers write `rep bsf` where the operand is
/// known not to be zero, for it is faster where it is TZCNT, and there both
/// give the same.
const LATER: &str = "
    lddqu movddup movshdup movsldup haddps haddpd hsubps hsubpd addsubps addsubpd
    pshufb palignr phaddw phaddd phaddsw phsubw phsubd phsubsw pmaddubsw pmulhrsw
    psignb psignw psignd pabsb pabsw pabsd
    pmulld pmuldq ptest pinsrb pinsrd pinsrq pextrb pextrd pextrq roundps roundpd
    roundss roundsd blendps blendpd blendvps blendvpd pblendw pblendvb dpps dppd
    pmovsxbw pmovsxbd pmovsxbq pmovsxwd pmovsxwq pmovsxdq pmovzxbw pmovzxbd
    pmovzxbq pmovzxwd pmovzxwq pmovzxdq packusdw phminposuw insertps extractps
    mpsadbw movntdqa pminsb pminsd pminuw pminud pmaxsb pmaxsd pmaxuw pmaxud pcmpeqq
    pcmpgtq pcmpestri pcmpestrm pcmpistri pcmpistrm crc32
    aesenc aesenclast aesdec aesdeclast aesimc aeskeygenassist pclmulqdq
    pclmullqlqdq pclmulhqlqdq pclmullqhqdq pclmulhqhqdq gf2p8mulb
    sha1rnds4 sha1nexte sha1msg1 sha1msg2 sha256rnds2 sha256msg1 sha256msg2
    popcnt lzcnt andn bextr blsi blsr blsmsk bzhi mulx pdep pext rorx sarx shlx
    shrx movbe adcx adox cmpxchg16b rdrand rdseed rdpid movdiri movdir64b clwb
    clflushopt rdfsbase rdgsbase wrfsbase wrgsbase";

/// What the disassembler writes in front of a mnemonic.
const PREFIXES: [&str; 7] = ["lock", "rep", "repz", "repnz", "notrack", "data16", "cs"];

/// Whether the CPU may lack this instruction, in the assembler's spelling with
/// or without the suffix for the operand's size.
fn is_later(mnemonic: &str) -> bool {
    let listed = |name: &str| LATER.split_whitespace().any(|later| later == name);
    let plain = mnemonic.strip_suffix(['b', 'w', 'l', 'q']);
    let vector = mnemonic.starts_with('v') && !["verr", "verw"].contains(&mnemonic);
    vector || listed(mnemonic) || plain.is_some_and(listed)
}

/// Where the agent's probes lie, which are there to be refused.
const PROBES: &str = "isahotplug_probes";
/// Where CMPXCHG16B lies, which is executed only where CPUID shows it.
const CX16: &str = "isahotplug_cx16";
/// Where RDFSBASE and RDGSBASE lie, which are executed only where the kernel says that it lets
/// programs use them.
const FSGSBASE: &str = "isahotplug_fsgsbase";

/// Later instructions of `file` outside the sections `allowed`, each with its
/// section and function.
fn later_instructions(file: &str, allowed: &[&str]) -> Vec<String> {
    let path = product(file).expect("the release build");
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(&path)
        .output()
        .expect("objdump starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let (mut section, mut function) = ("", "");
    let mut instructions = 0;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix("Disassembly of section ")
            .and_then(|name| name.strip_suffix(':'))
        {
            section = name;
        } else if let Some(name) = line
            .strip_suffix(">:")
            .and_then(|line| line.split_once(" <"))
        {
            function = name.1;
        } else if let Some((_, instruction)) = line.split_once(":\t") {
            instructions += 1;
            let mut words = instruction.split_whitespace();
            let mnemonic = words
                .find(|word| !PREFIXES.contains(word))
                .unwrap_or_default();
            if is_later(mnemonic) && !allowed.contains(&section) {
                found.push(format!("{section} {function}: {instruction}"));
            }
        }
    }
    assert!(
        instructions > 10_000,
        "{file} was disassembled: {instructions} instructions"
    );
    found
}

#[test]
fn the_libraries_hold_no_instruction_above_the_baseline() {
    for file in ["libisahotplug.so", "libisahotplug_preload.so"] {
        let found = later_instructions(file, &[CX16, FSGSBASE]);
        assert!(found.is_empty(), "{}", found.join("\n"));
        let guarded = later_instructions(file, &[]);
        assert_eq!(guarded.len(), 3, "{guarded:?}");
    }
}

#[test]
fn the_agent_holds_none_but_its_probes() {
    let found = later_instructions("guest-agent", &[PROBES]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let probes = later_instructions("guest-agent", &[]);
    assert!(probes.len() > 20, "the check sees the probes: {probes:?}");
}

/// In glibc these are IFUNCs, bound at start to what may be gone now.
#[test]
fn the_libraries_bring_their_own_memory_functions() {
    memory_functions_are_its_own("libisahotplug.so");
    memory_functions_are_its_own("libisahotplug_preload.so");
}

fn memory_functions_are_its_own(file: &str) {
    let path = product(file).expect("nm runs on the release build");
    let symbols = |options: &[&str]| {
        let output = Command::new("nm")
            .args(options)
            .arg(&path)
            .output()
            .expect("nm runs on the release build");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("nm runs on the release build")
    };
    let names = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];
    let names_in = |text: &str, kind: char| -> Vec<String> {
        let found = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().rev();
            let name = words.next()?.split('@').next()?;
            (words.next()?.starts_with(kind) && names.contains(&name)).then(|| name.to_owned())
        });
        found.collect()
    };
    assert_eq!(
        names_in(&symbols(&["-D"]), 'U'),
        [""; 0],
        "none comes from libc"
    );
    assert_eq!(
        names_in(&symbols(&["-D"]), 'T'),
        [""; 0],
        "none is forced upon the program"
    );
    let mut own = names_in(&symbols(&[]), 't');
    own.sort();
    assert_eq!(
        own,
        ["bcmp", "memcmp", "memcpy", "memmove", "memset", "strlen"]
    );
}
