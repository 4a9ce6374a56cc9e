//! What kind of program a file is, as execve(2) and the dynamic linker see it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use elf::abi;
use elf::endian::AnyEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::SegmentTable;

use super::os_string;

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An x86-64 program that this dynamic linker loads.
    Dynamic {
        /// Path of the dynamic linker.
        linker: OsString,
    },
    /// An x86-64 file without a dynamic linker.
    Static {
        /// It can be loaded anywhere: a shared object, or a static program of that kind.
        is_shared: bool,
    },
    /// A 32-bit program, x32 included.
    Bits32,
    /// A program for another machine.
    Foreign,
    /// Text whose first line names an interpreter.
    Script {
        /// Its path.
        interpreter: OsString,
    },
    /// Nothing that execve(2) starts by itself.
    Unknown,
}

/// What the kernel reads of a file to see what it is (include/uapi/linux/binfmts.h,
/// `BINPRM_BUF_SIZE`).
const BEGINNING: usize = 256;
/// The longest path.
const PATH_MAX: u64 = 4096;

impl Kind {
    /// The kind of the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut beginning = [0; BEGINNING];
        let length = read(&file, &mut beginning, 0)?;
        let beginning = &beginning[..length];
        if let Some(line) = beginning.strip_prefix(b"#!") {
            return Ok(Self::of_script(line));
        }
        Ok(Self::of_elf(&file, beginning).unwrap_or(Self::Unknown))
    }

    /// `line`: what follows `#!`.
    fn of_script(line: &[u8]) -> Self {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let mut words = line
            .split(|byte| b" \t\0".contains(byte))
            .filter(|word| !word.is_empty());
        words.next().map_or(Self::Unknown, |word| Self::Script {
            interpreter: os_string(word),
        })
    }

    /// `None` if it is none, or is damaged.
    fn of_elf(file: &File, beginning: &[u8]) -> Option<Self> {
        let ident = parse_ident::<AnyEndian>(beginning.get(..abi::EI_NIDENT)?).ok()?;
        let size = match ident.1 {
            Class::ELF32 => elf::file::ELF32_EHDR_TAILSIZE,
            Class::ELF64 => elf::file::ELF64_EHDR_TAILSIZE,
        };
        let tail = beginning.get(abi::EI_NIDENT..abi::EI_NIDENT + size)?;
        let header = FileHeader::parse_tail(ident, tail).ok()?;
        if ![abi::EM_X86_64, abi::EM_386].contains(&header.e_machine) {
            return Some(Self::Foreign);
        }
        if header.class == Class::ELF32 {
            return Some(Self::Bits32);
        }
        let length = usize::from(header.e_phnum) * usize::from(header.e_phentsize);
        let mut segments = vec![0; length];
        file.read_exact_at(&mut segments, header.e_phoff).ok()?;
        let segments = SegmentTable::new(header.endianness, header.class, &segments);
        let Some(interpreter) = segments.iter().find(|it| it.p_type == abi::PT_INTERP) else {
            return Some(Self::Static {
                is_shared: header.e_type == abi::ET_DYN,
            });
        };
        let length = usize::try_from(interpreter.p_filesz.min(PATH_MAX)).ok()?;
        let mut linker = vec![0; length];
        file.read_exact_at(&mut linker, interpreter.p_offset).ok()?;
        let linker = linker.split(|&byte| byte == 0).next()?;
        Some(Self::Dynamic {
            linker: os_string(linker),
        })
    }
}

/// Reads as much as there is.
fn read(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], at + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file of nothing but headers: `e_type` 2 for a program, 3 for one that can be anywhere.
    pub(crate) fn elf(class: u8, machine: u16, e_type: u16, linker: Option<&str>) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', class, 1, 1, 0];
        file.resize(16, 0);
        file.extend(e_type.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        if class == 1 {
            file.resize(52, 0);
            return file;
        }
        let segments = u16::from(linker.is_some());
        file.extend(0u64.to_le_bytes()); // e_entry
        file.extend(64u64.to_le_bytes()); // e_phoff
        file.extend(0u64.to_le_bytes()); // e_shoff
        file.extend(0u32.to_le_bytes());
        for half in [64, 56, segments, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        if let Some(linker) = linker {
            let length = linker.len() as u64 + 1;
            file.extend(abi::PT_INTERP.to_le_bytes());
            file.extend(4u32.to_le_bytes());
            for word in [120, 0, 0, length, length, 1u64] {
                file.extend(word.to_le_bytes());
            }
            file.extend(linker.as_bytes());
            file.push(0);
        }
        file
    }

    fn kind(content: &[u8]) -> Kind {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        Kind::of(&path).unwrap()
    }

    #[test]
    fn programs_are_told_apart_by_their_headers() {
        let linker = "/lib64/ld-linux-x86-64.so.2";
        let dynamic = |linker: &str| Kind::Dynamic {
            linker: linker.into(),
        };
        let cases = [
            (elf(2, 62, 2, Some(linker)), dynamic(linker)),
            (elf(2, 62, 3, Some(linker)), dynamic(linker)),
            (elf(2, 62, 2, None), Kind::Static { is_shared: false }),
            (elf(2, 62, 3, None), Kind::Static { is_shared: true }),
            (elf(1, 3, 2, None), Kind::Bits32),
            (elf(1, 62, 2, None), Kind::Bits32),
            (
                elf(2, 183, 2, Some("/lib/ld-linux-aarch64.so.1")),
                Kind::Foreign,
            ),
        ];
        for (content, wanted) in cases {
            assert_eq!(kind(&content), wanted);
        }
    }

    #[test]
    fn damaged_files_are_unknown() {
        let whole = elf(2, 62, 2, Some("/lib64/ld-linux-x86-64.so.2"));
        for length in [0, 3, 15, 63, 100, 130] {
            assert_eq!(kind(&whole[..length]), Kind::Unknown, "{length}");
        }
        // The segments begin behind the end.
        let mut elsewhere = whole.clone();
        elsewhere[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(kind(&elsewhere), Kind::Unknown);
        let mut odd_size = whole;
        odd_size[54..56].copy_from_slice(&1u16.to_le_bytes());
        assert!(matches!(
            kind(&odd_size),
            Kind::Unknown | Kind::Static { .. }
        ));
    }

    #[test]
    fn a_script_has_the_interpreter_of_its_first_line() {
        let script = |interpreter: &str| Kind::Script {
            interpreter: interpreter.into(),
        };
        assert_eq!(kind(b"#!/bin/sh\necho"), script("/bin/sh"));
        assert_eq!(kind(b"#! /usr/bin/env -S a b\n"), script("/usr/bin/env"));
        assert_eq!(kind(b"#!\t/bin/sh"), script("/bin/sh"));
        assert_eq!(kind(b"#!\n/bin/sh"), Kind::Unknown);
        assert_eq!(kind(b"echo"), Kind::Unknown);
    }

    #[test]
    fn real_files_are_what_they_are() {
        let own = Kind::of(&std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(own, Kind::Dynamic { .. }), "{own:?}");
        let Kind::Dynamic { linker } = own else {
            return;
        };
        assert_eq!(
            Kind::of(Path::new(&linker)).unwrap(),
            Kind::Static { is_shared: true }
        );
    }
}
