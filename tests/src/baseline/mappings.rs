//! The executable memory of a process, and what the files behind it hold.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;

use nix::unistd::Pid;

use super::sites::Sites;

/// One executable mapping (proc_pid_maps(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) addresses: Range<u64>,
    /// Where in the file it begins, in bytes.
    pub(super) offset: u64,
    /// The file's path, a name in brackets, or nothing.
    pub(super) name: String,
    /// Others see what is written to it, the file among them.
    is_shared: bool,
    /// Device and inode; what a path leads to may change.
    file: String,
}

impl Mapping {
    /// The place in the file of what is mapped at `address`.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        let inside = self.addresses.contains(&address);
        inside.then(|| self.offset + (address - self.addresses.start))
    }

    /// Where this place of the file is mapped, if it is.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        let address = self.addresses.start + offset.checked_sub(self.offset)?;
        self.addresses.contains(&address).then_some(address)
    }

    /// Reads a line of `maps`; `None` if it is not executable.
    fn of_line(line: &str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let (begin, end) = words.next()?.split_once('-')?;
        let permissions = words.next()?;
        let offset = words.next()?;
        let (device, inode) = (words.next()?, words.next()?);
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let mapping = Self {
            addresses: number(begin)?..number(end)?,
            offset: number(offset)?,
            name: words.next().unwrap_or_default().trim_start().to_owned(),
            is_shared: permissions.ends_with('s'),
            file: format!("{device} {inode}"),
        };
        permissions.contains('x').then_some(mapping)
    }
}

/// All executable mappings of a process.
pub(super) fn executable(pid: Pid) -> io::Result<Vec<Mapping>> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    Ok(text.lines().filter_map(Mapping::of_line).collect())
}

/// The memory of a stopped tracee, whatever its pages' protection.
#[derive(Debug)]
pub(super) struct Memory(File);

impl Memory {
    pub(super) fn of(pid: Pid) -> io::Result<Self> {
        let path = format!("/proc/{pid}/mem");
        File::options().read(true).write(true).open(path).map(Self)
    }

    pub(super) fn read<const N: usize>(&self, address: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact_at(&mut bytes, address)?;
        Ok(bytes)
    }

    pub(super) fn read_all(&self, addresses: &Range<u64>) -> io::Result<Vec<u8>> {
        let length = usize::try_from(addresses.end - addresses.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, addresses.start)?;
        Ok(bytes)
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, address)
    }
}

/// What was found in each file so far.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<(String, String), Rc<Looked>>);

/// The CPUID instructions of what is mapped, or why it could not be told.
pub(super) type Looked = Result<Sites, String>;

impl Files {
    /// What the file behind a mapping holds.
    pub(super) fn sites(&mut self, pid: Pid, mapping: &Mapping) -> Rc<Looked> {
        if mapping.is_shared {
            return Rc::new(Err("executable memory that is shared".into()));
        }
        let key = (mapping.file.clone(), mapping.name.clone());
        let looked = self.0.entry(key);
        Rc::clone(looked.or_insert_with(|| Rc::new(look(pid, mapping))))
    }
}

fn look(pid: Pid, mapping: &Mapping) -> Looked {
    let bytes = match mapping.name.as_str() {
        // The kernel emulates its three calls; nothing in it is executed.
        "[vsyscall]" => return Ok(Sites::default()),
        // An ELF file in memory.
        "[vdso]" => Memory::of(pid).and_then(|memory| memory.read_all(&mapping.addresses)),
        path if path.starts_with('/') => {
            // The process may see other files under the same path than we do.
            let mut seen_by_it = PathBuf::from(format!("/proc/{pid}/root"));
            seen_by_it.push(path.trim_start_matches('/'));
            fs::read(seen_by_it)
        }
        _ => return Err("executable memory of no file".into()),
    };
    let bytes = bytes.map_err(|error| format!("it cannot be read: {error}"))?;
    Sites::of(&bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_mappings_are_read_with_their_place_in_the_file() {
        let line = "7f00a000-7f00c000 r-xp 00003000 fe:01 1234   /lib/with a space.so";
        let mapping = Mapping::of_line(line).unwrap();
        assert_eq!(mapping.name, "/lib/with a space.so");
        assert_eq!(mapping.offset_of(0x7f00_a010), Some(0x3010));
        assert_eq!(mapping.address_of(0x3010), Some(0x7f00_a010));
        assert_eq!(mapping.address_of(0x2fff), None);
        assert_eq!(mapping.address_of(0x5000), None);
        let anonymous = Mapping::of_line("7f00a000-7f00c000 rwxp 00000000 00:00 0 ").unwrap();
        assert_eq!(anonymous.name, "");
        assert_eq!(Mapping::of_line("7f00a000-7f00c000 rw-p 0 00:00 0"), None);
    }

    #[test]
    fn this_program_is_among_its_own_mappings() {
        let own = std::env::current_exe().unwrap();
        let all = executable(nix::unistd::getpid()).unwrap();
        assert!(
            all.iter()
                .any(|mapping| own.as_os_str() == mapping.name.as_str())
        );
    }
}
