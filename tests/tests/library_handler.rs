//! What the trap handler can reach: from its entry points, along calls, jumps and the addresses of
//! functions in the disassembly of the release build, nothing leads to libc, to the allocator, to
//! thread-local storage that may allocate, or to a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use isahotplug_tests::product;

/// An object, taken apart.
struct Object {
    /// By address: name, and what it may go on to.
    functions: BTreeMap<u64, Function>,
    /// Functions whose address lies in data: the emulator's tables, vtables.
    in_tables: BTreeSet<u64>,
}

struct Function {
    name: String,
    next: Vec<Next>,
}

enum Next {
    /// A function of the object.
    Own(u64),
    /// Another object's.
    Foreign(String),
}

fn run(program: &str, options: &[&str], file: &Path) -> String {
    let output = Command::new(program)
        .args(options)
        .arg(file)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// Words that the dynamic linker fills in, and with what.
enum Word {
    /// An address in the object.
    Own(u64),
    /// A symbol of another object.
    Foreign(String),
}

fn relocations(file: &Path) -> BTreeMap<u64, Word> {
    let text = run("readelf", &["-rW"], file);
    let lines = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [offset, _, kind, rest @ ..] = words.as_slice() else {
            return None;
        };
        let word = match (*kind, rest) {
            ("R_X86_64_RELATIVE", [address]) => Word::Own(hex(address)?),
            (kind, [_, name, ..]) if kind.starts_with("R_X86_64_") => {
                Word::Foreign((*name).to_owned())
            }
            _ => return None,
        };
        Some((hex(offset)?, word))
    });
    lines.collect()
}

impl Object {
    fn read(file: &Path) -> Self {
        let words = relocations(file);
        let text = run("objdump", &["-dC", "--no-show-raw-insn"], file);
        let mut bodies: BTreeMap<u64, (String, Vec<&str>)> = BTreeMap::new();
        for line in text.lines() {
            let head = line.strip_suffix(">:").and_then(|l| l.split_once(" <"));
            if let Some((address, name)) = head {
                let address = hex(address).expect("an address");
                bodies.insert(address, (name.to_owned(), Vec::new()));
            } else if let Some((_, instruction)) = line.split_once(":\t") {
                let mut last = bodies.last_entry().expect("a function");
                last.get_mut().1.push(instruction);
            }
        }
        let starts: BTreeSet<u64> = bodies.keys().copied().collect();
        let is_start = |address: &u64| starts.contains(address);
        let functions = bodies
            .iter()
            .map(|(&at, (name, body))| {
                let next = body.iter().filter_map(|i| next(i, &starts, &words));
                let others = next.filter(|next| !matches!(next, Next::Own(own) if *own == at));
                let function = Function {
                    name: name.clone(),
                    next: others.collect(),
                };
                (at, function)
            })
            .collect();
        let in_tables = words.values().filter_map(|word| match word {
            Word::Own(address) => Some(*address),
            Word::Foreign(_) => None,
        });
        Self {
            functions,
            in_tables: in_tables.filter(is_start).collect(),
        }
    }

    /// Where the kernel comes in, and what is called by address.
    fn roots(&self) -> Vec<u64> {
        let is_entry = |name: &str| {
            ["trap::on_sigill", "trap::on_memory_fault"]
                .iter()
                .any(|entry| name.contains(entry))
                || ["isahp_thunks", "isahp_call_fresh", "isahp_call_on"].contains(&name)
        };
        let roots = self.functions.iter().filter(|(address, function)| {
            let name = function.name.as_str();
            let in_table = self.in_tables.contains(address)
                && (name.contains("emulator::") || name.contains("OwnMemory"));
            is_entry(name) || in_table || is_decoder(name)
        });
        roots.map(|(&address, _)| address).collect()
    }
}

/// A function of the decoder that is called through its tables. Those are built from packed data
/// by `init`, before the first trap.
fn is_decoder(name: &str) -> bool {
    let builds = name.contains("table_de") || name.ends_with("::new") || name.contains("drop_in");
    name.contains("iced_x86::decoder::") && !builds
}

/// Where an instruction may lead besides to the next one.
fn next(instruction: &str, starts: &BTreeSet<u64>, words: &BTreeMap<u64, Word>) -> Option<Next> {
    let instruction = instruction.trim_start_matches("notrack ");
    let (mnemonic, operands) = instruction.split_once(char::is_whitespace)?;
    let is_branch = mnemonic == "call" || mnemonic.starts_with('j');
    if let Some((_, at)) = operands.split_once("(%rip)") {
        let at = hex(at.rsplit_once("# ")?.1.split(' ').next()?)?;
        return match words.get(&at) {
            Some(Word::Foreign(name)) => Some(Next::Foreign(name.clone())),
            Some(Word::Own(address)) => function_at(*address, starts, is_branch),
            None => function_at(at, starts, false),
        };
    }
    let target = operands.split_whitespace().next()?;
    if !is_branch || target.starts_with('*') {
        return None;
    }
    function_at(hex(target)?, starts, true)
}

/// The function at `address`; if it is `inside`, that may be its middle.
fn function_at(address: u64, starts: &BTreeSet<u64>, inside: bool) -> Option<Next> {
    let start = *starts.range(..=address).next_back()?;
    (inside || start == address).then_some(Next::Own(start))
}

/// Why the handler must not come here.
fn is_forbidden(name: &str) -> bool {
    let beginnings = [
        "core::panicking",
        "core::result::unwrap",
        "core::option::unwrap",
        "core::option::expect",
        "core::slice::index::slice",
        "core::cell::panic",
        "core::fmt",
        "std::",
        "<std::",
        "alloc::",
        "<alloc::",
        "spin::",
        "__rustc",
        "__rust",
    ];
    beginnings
        .iter()
        .any(|beginning| name.starts_with(beginning))
        || name.contains("@plt")
        || name.contains(" as core::fmt::")
}

/// What is allowed, each for a reason.
fn is_excused(from: &str, to: &str) -> bool {
    // The decoder looks whether its tables are there; `init` has built them.
    let tables = from == "iced_x86::decoder::Decoder::try_with_ip"
        && (to.starts_with("spin::once") || to == "core::result::unwrap_failed");
    // Where a panic would be passed on. There is none, as this test shows.
    tables || to.starts_with("_Unwind_Resume")
}

/// Each forbidden step, as `FROM -> TO`.
fn forbidden_steps(object: &Object) -> BTreeSet<String> {
    let mut waiting = object.roots();
    let mut seen: BTreeSet<u64> = waiting.iter().copied().collect();
    let mut found = BTreeSet::new();
    while let Some(at) = waiting.pop() {
        let function = &object.functions[&at];
        for next in &function.next {
            let (name, address) = match next {
                Next::Own(address) => (object.functions[address].name.as_str(), Some(*address)),
                Next::Foreign(name) => (name.as_str(), None),
            };
            if is_excused(&function.name, name) {
                continue;
            }
            match address {
                Some(address) if !is_forbidden(name) => {
                    if seen.insert(address) {
                        waiting.push(address);
                    }
                }
                _ => {
                    found.insert(format!("{} -> {name}", function.name));
                }
            }
        }
    }
    assert!(seen.len() > 400, "the emulator is reached: {}", seen.len());
    found
}

fn check(file: &str) {
    let file = product(file).expect("the release build");
    let found = forbidden_steps(&Object::read(&file));
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_librarys_handler_reaches_neither_libc_nor_a_panic() {
    check("libisahotplug.so");
}

#[test]
fn the_preload_objects_handler_reaches_neither_libc_nor_a_panic() {
    check("libisahotplug_preload.so");
}

/// What a program would get from the object instead of from libc.
#[test]
fn the_preload_object_exports_its_wrappers_and_nothing_else() {
    let file = product("libisahotplug_preload.so").expect("the release build");
    let text = run(
        "nm",
        &["-D", "--defined-only", "--format=just-symbols"],
        &file,
    );
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    let wrappers = "__ppoll_chk __sigaction __sysv_signal bsd_signal epoll_pwait epoll_pwait2 ppoll \
        pselect pthread_attr_setsigmask_np pthread_create pthread_sigmask sigaction sigblock sighold sigignore \
        siginterrupt signal sigprocmask sigset sigsetmask sigsuspend ssignal sysv_signal \
        thrd_create";
    assert_eq!(names, wrappers.split_whitespace().collect::<Vec<_>>());
}

/// The other object must not be taken for it.
#[test]
fn the_objects_have_names_of_their_own() {
    for (file, name) in [
        ("libisahotplug.so", "libisahotplug.so.1"),
        ("libisahotplug_preload.so", "libisahotplug_preload.so"),
    ] {
        let text = run(
            "readelf",
            &["-dW"],
            &product(file).expect("the release build"),
        );
        let names = text.lines().filter(|line| line.contains("(SONAME)"));
        let names: Vec<&str> = names.collect();
        assert!(
            names.len() == 1 && names[0].contains(&format!("[{name}]")),
            "{names:?}"
        );
    }
}
