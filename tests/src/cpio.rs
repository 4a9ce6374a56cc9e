//! Writes an initramfs: the "newc" format of the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst.
//!
//! Written here rather than by cpio(1) so that device nodes need no root, and
//! that the same content gives the same bytes.

use std::collections::BTreeMap;

/// The files of an initramfs by their path in the guest, without the leading
/// slash.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Type and permission bits of inode(7).
    mode: u32,
    /// Major and minor number of a device.
    device: (u32, u32),
    data: Vec<u8>,
}

const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

impl Archive {
    pub(crate) fn file(&mut self, path: &str, permissions: u32, data: Vec<u8>) {
        self.add(
            path,
            Entry {
                mode: REGULAR | permissions,
                device: (0, 0),
                data,
            },
        );
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        let data = target.as_bytes().to_vec();
        self.add(
            path,
            Entry {
                mode: LINK | 0o777,
                device: (0, 0),
                data,
            },
        );
    }

    pub(crate) fn directory(&mut self, path: &str) {
        self.add(
            path,
            Entry {
                mode: DIRECTORY | 0o755,
                device: (0, 0),
                data: Vec::new(),
            },
        );
    }

    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) {
        let mode = CHARACTER_DEVICE | 0o600;
        self.add(
            path,
            Entry {
                mode,
                device: (major, minor),
                data: Vec::new(),
            },
        );
    }

    /// Adds an entry and the folders above it.
    fn add(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        if let Some((folder, _)) = path.rsplit_once('/')
            && !self.entries.contains_key(folder)
        {
            self.directory(folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The archive's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let trailer = Entry {
            mode: 0,
            device: (0, 0),
            data: Vec::new(),
        };
        let entries = self
            .entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry));
        let mut bytes = Vec::new();
        for (inode, (path, entry)) in entries.chain([("TRAILER!!!", &trailer)]).enumerate() {
            let links = 1;
            let numbers = [
                inode,
                entry.mode as usize,
                0, // user
                0, // group
                links,
                0, // time of last change
                entry.data.len(),
                0, // device that holds the file
                0,
                entry.device.0 as usize,
                entry.device.1 as usize,
                path.len() + 1,
                0, // checksum, not in this variant
            ];
            bytes.extend_from_slice(b"070701");
            for number in numbers {
                bytes.extend_from_slice(format!("{number:08x}").as_bytes());
            }
            bytes.extend_from_slice(path.as_bytes());
            bytes.push(0);
            pad(&mut bytes);
            bytes.extend_from_slice(&entry.data);
            pad(&mut bytes);
        }
        bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_they_hold() {
        let mut archive = Archive::default();
        archive.file("/bin/tool", 0o755, b"x".to_vec());
        let paths: Vec<&str> = archive.entries.keys().map(String::as_str).collect();
        assert_eq!(paths, ["bin", "bin/tool"]);
    }

    #[test]
    fn entries_begin_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, b"12345".to_vec());
        let bytes = archive.bytes();
        assert!(bytes.starts_with(b"070701"));
        assert_eq!(bytes.len() % 4, 0);
        // 110 bytes of header, "a\0", 5 bytes of data padded to 8.
        assert_eq!(&bytes[120..126], b"070701");
    }
}
