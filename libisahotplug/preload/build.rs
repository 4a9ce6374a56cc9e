//! Gives the preload object its soname and place in the order of constructors, and hides the C
//! functions of the library that it contains.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Where the C functions are.
const C_FUNCTIONS: &str = "../src/c.rs";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libisahotplug_preload.so");
    // Before the constructors of every other object, which may use what the CPU lacks.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,initfirst");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={C_FUNCTIONS}");

    // rustc exports the `no_mangle` functions of every crate in a cdylib. Exported from here they
    // would take the place of those of a libisahotplug.so that the program is linked with. A
    // linker gives a symbol the narrowest visibility that any object asks for.
    let mut assembler = String::new();
    for line in std::fs::read_to_string(C_FUNCTIONS)?.lines() {
        if let Some((_, rest)) = line.split_once("extern \"C\" fn isahp_") {
            let end = rest.find('(').unwrap_or(rest.len());
            writeln!(
                assembler,
                ".globl isahp_{0}\n.hidden isahp_{0}",
                &rest[..end]
            )?;
        }
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("hidden.s");
    std::fs::write(out, assembler)?;
    Ok(())
}
