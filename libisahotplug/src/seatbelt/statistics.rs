//! What the handler did, in words, when the program ends.

use std::ffi::{CStr, OsStr};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use isa::Feature;

use crate::c::isahp_address_count as AddressCount;
use crate::trap::tally;

/// The variable that asks for them: 1 for standard error, or the file to be appended to.
pub(super) const VARIABLE: &str = "ISAHOTPLUG_STATISTICS";

/// Addresses that are named.
const ADDRESSES: usize = 10;

/// Where they go.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Stderr,
    File(PathBuf),
}

impl Target {
    /// What a value of the variable means; `None` for none at all.
    fn new(value: &[u8]) -> Option<Self> {
        match value {
            b"" | b"0" => None,
            b"1" => Some(Self::Stderr),
            path => Some(Self::File(OsStr::from_bytes(path).into())),
        }
    }

    /// In one piece, so that programs that end together do not mix their lines.
    fn write(&self, text: &str) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(text.as_bytes()),
            Self::File(path) => {
                let mut file = File::options().append(true).create(true).open(path)?;
                file.write_all(text.as_bytes())
            }
        }
    }
}

static REQUESTED: OnceLock<Target> = OnceLock::new();

/// Takes over what the environment says. Not for the environment of a user with fewer rights than
/// the process.
pub(super) fn request(value: &[u8]) {
    if let Some(target) = Target::new(value) {
        let _ = REQUESTED.set(target);
    }
}

/// Writes them where the environment said, if it did.
pub(super) fn report() {
    let Some(target) = REQUESTED.get() else {
        return;
    };
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = describe(&mut text);
    if let Err(error) = target.write(&text) {
        // A closed stderr is no reason to fail.
        let _ = writeln!(io::stderr(), "isahotplug: {VARIABLE}: {error}");
    }
}

/// All of it, as lines that begin alike.
fn describe(text: &mut String) -> fmt::Result {
    let program = std::env::current_exe().unwrap_or_default();
    let (all, passed_on) = (tally::total(), tally::passed_on());
    writeln!(
        text,
        "isahotplug: {}[{}]: {} lost instructions finished after {} traps, {passed_on} SIGILLs passed on",
        program.display(),
        std::process::id(),
        all.instructions,
        all.traps,
    )?;
    for (traps, feature) in features() {
        writeln!(text, "isahotplug:   {traps} traps for {}", feature.name())?;
    }
    let mut addresses = [AddressCount::default(); ADDRESSES];
    let length = tally::addresses(&mut addresses);
    for count in addresses.iter().take(length) {
        line(text, count, &Name(count.address))?;
    }
    let others = tally::others();
    if others.traps > 0 {
        line(text, &others, &"addresses that found no place")?;
    }
    if let Some(last) = tally::latest().next() {
        writeln!(
            text,
            "isahotplug:   the last trap at {}",
            Name(last.address)
        )?;
    }
    Ok(())
}

fn line(text: &mut String, count: &AddressCount, name: &dyn fmt::Display) -> fmt::Result {
    writeln!(
        text,
        "isahotplug:   {} instructions after {} traps at {name}",
        count.instructions, count.traps
    )
}

/// The features that trapped, the most often first.
fn features() -> Vec<(u64, Feature)> {
    let mut counts: Vec<(u64, Feature)> = Feature::ALL
        .iter()
        .map(|&feature| (tally::per_feature(feature), feature))
        .filter(|(traps, _)| *traps > 0)
        .collect();
    counts.sort_by_key(|(traps, feature)| (std::cmp::Reverse(*traps), feature.id()));
    counts
}

/// An address as the object that is there and the distance from its beginning, as addr2line(1) wants
/// it for a shared object; and the symbol, if the object exports one. The address itself where no
/// object is, as for code made at run time.
struct Name(u64);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0;
        // SAFETY: plain data; all zero is null pointers.
        let mut found = unsafe { std::mem::zeroed::<libc::Dl_info>() };
        let at = usize::try_from(address).unwrap_or(0);
        // SAFETY: dladdr(3) takes any address and writes to a local.
        let result = unsafe { libc::dladdr(std::ptr::without_provenance(at), &raw mut found) };
        if result == 0 || found.dli_fname.is_null() {
            return write!(f, "{address:#x}");
        }
        // SAFETY: not null, so a C string of the dynamic linker's, which stays as long as the
        // object is loaded.
        let object = unsafe { CStr::from_ptr(found.dli_fname) };
        let base = found.dli_fbase.addr() as u64;
        write!(
            f,
            "{}+{:#x}",
            object.to_string_lossy(),
            address.wrapping_sub(base)
        )?;
        if !found.dli_sname.is_null() {
            // SAFETY: as above.
            let symbol = unsafe { CStr::from_ptr(found.dli_sname) };
            let start = found.dli_saddr.addr() as u64;
            let symbol = symbol.to_string_lossy();
            write!(f, " ({symbol}+{:#x})", address.wrapping_sub(start))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_file_or_standard_error() {
        assert_eq!(Target::new(b""), None);
        assert_eq!(Target::new(b"0"), None);
        assert_eq!(Target::new(b"1"), Some(Target::Stderr));
        assert_eq!(
            Target::new(b"/tmp/a b"),
            Some(Target::File("/tmp/a b".into()))
        );
    }

    #[test]
    fn an_address_is_named_by_its_object() {
        let own = std::env::current_exe().unwrap();
        let address = Target::write as *const () as u64;
        let name = Name(address).to_string();
        let file = own.file_name().unwrap().to_str().unwrap();
        assert!(name.contains(file) && name.contains("+0x"), "{name}");
        assert_eq!(Name(0x10).to_string(), "0x10");
    }
}
