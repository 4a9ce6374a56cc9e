//! Makes `libisahotplug/include/isahotplug.h` from `libisahotplug/src/c.rs`;
//! with `--check` only says whether the committed one is what it would make.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

const HEADER: &str = "libisahotplug/include/isahotplug.h";

fn main() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = cbindgen::Config::from_file(root.join("libisahotplug/cbindgen.toml"))
        .map_err(anyhow::Error::msg)?;
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("libisahotplug/src/c.rs"))
        .generate()
        .context("libisahotplug/src/c.rs")?;
    let mut made = Vec::new();
    bindings.write(&mut made);
    let path = root.join(HEADER);
    if std::env::args().any(|argument| argument == "--check") {
        let committed = std::fs::read(&path).with_context(|| HEADER.to_string())?;
        if committed != made {
            eprintln!("{HEADER} is not what src/c.rs makes; run `cargo xtask header`");
            return Ok(ExitCode::FAILURE);
        }
        println!("{HEADER} is up to date");
    } else {
        std::fs::write(&path, made).with_context(|| HEADER.to_string())?;
        println!("{HEADER} written");
    }
    Ok(ExitCode::SUCCESS)
}
