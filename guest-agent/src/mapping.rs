//! The shared page's file, mapped.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use protocol::page::{Page, SIZE};

/// A mapping of one page's file. Derefs to the [`Page`].
#[derive(Debug)]
pub(crate) struct Mapping(NonNull<Page>);

impl Mapping {
    /// Maps `file` for reading, and for writing if it is `writable`.
    ///
    /// # Errors
    /// If the file is not exactly [`SIZE`] bytes long or cannot be mapped.
    pub(crate) fn new(file: &File, writable: bool) -> io::Result<Self> {
        let length = file.metadata()?.len();
        if length != SIZE as u64 {
            let problem = format!("a page of {length} bytes where {SIZE} are needed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let access = if writable {
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE
        } else {
            ProtFlags::PROT_READ
        };
        let size = NonZeroUsize::new(SIZE).expect("a page is not empty");
        // SAFETY: no address is asked for, so that nothing that is mapped is
        // replaced.
        let address = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, file, 0)? };
        Ok(Self(address.cast()))
    }
}

impl std::ops::Deref for Mapping {
    type Target = Page;

    fn deref(&self) -> &Page {
        // SAFETY: the mapping is SIZE bytes, page-aligned, and lives until
        // `drop`; `Page` is atomics throughout, for which any bytes are valid
        // and which other mappings may change. The file is as long as the
        // mapping: only its owner could make it shorter, and that is us.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is our mapping, and no reference into it outlives us.
        // It cannot fail for a whole mapping of ours.
        let _unmapped = unsafe { munmap(self.0.cast(), SIZE) };
    }
}
