//! The page that this process believes: the agent's, or its own.
//!
//! Without an agent the process has a page of its own that says what CPUID
//! says, so that everything else need not know the difference.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use isa::{Feature, FeatureSet};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use protocol::availability::Publication;
use protocol::page::{self, Page, PageError};

use crate::trap::TRAPS;
use crate::view;

static OWN: Page = Page::new();
/// In force before the start and after the end: nothing is available.
static NOTHING: Page = Page::new();
static CURRENT: AtomicPtr<Page> = AtomicPtr::new((&raw const NOTHING).cast_mut());
/// The agent's page that was mapped last.
static MAPPED: AtomicPtr<Page> = AtomicPtr::new(std::ptr::null_mut());

/// Why the agent's page cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    #[error("cannot open: {0}")]
    Open(io::Error),
    #[error("not a regular file of {} bytes", page::SIZE)]
    Shape,
    #[error("cannot map: {0}")]
    Map(io::Error),
    #[error("{0}")]
    Content(#[from] PageError),
}

/// Takes this process's own page into force, unless an agent's is.
pub(crate) fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let visible = isa::detect();
        OWN.format([0, 0]);
        OWN.publish(&Publication {
            generation: 1,
            available: visible,
            visible,
            ..Publication::default()
        });
    });
    let nothing = (&raw const NOTHING).cast_mut();
    let own = (&raw const OWN).cast_mut();
    let _ = CURRENT.compare_exchange(nothing, own, Ordering::AcqRel, Ordering::Acquire);
    view::turn();
}

/// Nothing is available from now on.
pub(crate) fn stop() {
    CURRENT.store((&raw const NOTHING).cast_mut(), Ordering::Release);
    view::turn();
}

/// Whether any page is in force. Async-signal-safe.
pub(crate) fn is_any() -> bool {
    !std::ptr::eq(CURRENT.load(Ordering::Acquire), &raw const NOTHING)
}

/// The page in force. Async-signal-safe.
pub(crate) fn current() -> &'static Page {
    // SAFETY: CURRENT holds a static or a mapping that is never unmapped.
    unsafe { &*CURRENT.load(Ordering::Acquire) }
}

/// Whether the page in force is an agent's.
pub(crate) fn is_agents() -> bool {
    let current = CURRENT.load(Ordering::Acquire);
    current == MAPPED.load(Ordering::Acquire) && !current.is_null()
}

/// What may be used now: what is published less what this process has seen
/// trap. Async-signal-safe.
pub(crate) fn available() -> FeatureSet {
    current()
        .read()
        .unwrap_or_default()
        .available
        .difference(TRAPS.lost())
}

/// Whether `feature` may be used now. Async-signal-safe.
#[inline]
pub(crate) fn has(feature: Feature) -> bool {
    let page = current();
    page.has(feature) && !TRAPS.has_lost(feature, page.generation())
}

/// What CPUID shows. Async-signal-safe.
pub(crate) fn visible() -> FeatureSet {
    current().read().unwrap_or_default().visible
}

/// Maps the agent's page at `path` and takes it into force; `false` if it is
/// in force already.
///
/// # Errors
/// [`AttachError`]; the page in force stays.
pub(crate) fn attach(path: &Path) -> Result<bool, AttachError> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(AttachError::Open)?;
    let metadata = file.metadata().map_err(AttachError::Open)?;
    if !metadata.is_file() || metadata.size() != page::SIZE as u64 {
        return Err(AttachError::Shape);
    }
    let length = std::num::NonZeroUsize::new(page::SIZE).ok_or(AttachError::Shape)?;
    // SAFETY: a fresh mapping at an address of the kernel's choice; the file
    // was seen to be as long.
    let mapping: NonNull<Page> = unsafe {
        mmap(
            None,
            length,
            ProtFlags::PROT_READ,
            MapFlags::MAP_SHARED,
            &file,
            0,
        )
    }
    .map_err(|e| AttachError::Map(e.into()))?
    .cast();
    // SAFETY: mappings are page-aligned, as long as a Page, and any bytes are
    // a valid Page that readers may look at.
    let page = unsafe { mapping.as_ref() };
    let usable = page.read().map_err(AttachError::from);
    // SAFETY: null, or a mapping that is never unmapped.
    let old = unsafe { MAPPED.load(Ordering::Acquire).as_ref() };
    let old = old.filter(|old| old.identity() == page.identity() && !old.is_retired());
    match (usable, old) {
        (Ok(_), None) => {
            // The old mapping stays: a handler may be reading it. There is one
            // for each time that an agent gave up its page.
            MAPPED.store(mapping.as_ptr(), Ordering::Release);
            CURRENT.store(mapping.as_ptr(), Ordering::Release);
            view::turn();
            Ok(true)
        }
        (usable, old) => {
            // SAFETY: nobody else has seen this mapping.
            let _ = unsafe { nix::sys::mman::munmap(mapping.cast(), page::SIZE) };
            usable?;
            let known = old.map_or(std::ptr::null_mut(), |old| {
                std::ptr::from_ref(old).cast_mut()
            });
            let changed = CURRENT.swap(known, Ordering::AcqRel) != known;
            view::turn();
            Ok(changed)
        }
    }
}
