//! The slots of this process, kept right.
//!
//! The list grows only at its head and its nodes are never freed, so that the
//! trap handler can walk it at any moment. A slot that is given back is
//! unlinked from its node, and its memory is the program's again once no
//! handler runs that may have seen it.

use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use dispatch::{Variant, choose};
use isa::FeatureSet;

use crate::page;
use crate::trap::TRAPS;

/// Where the choice is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// A C slot's function pointer.
    Pointer(*const AtomicPtr<()>),
    /// A Rust slot's index.
    Index(*const AtomicUsize),
}

// SAFETY: both point to atomics that the registrant keeps alive until
// `remove` has returned.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// What a variant is to a slot: the pointer that a C slot stores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function(pub(crate) *mut ());

// SAFETY: a code address, only ever stored.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

#[derive(Debug)]
struct Node {
    target: Target,
    variants: Box<[Variant<Function>]>,
    alive: AtomicBool,
    next: *const Node,
}

static HEAD: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
/// Serialises everybody but the trap handler.
static CHANGES: Mutex<()> = Mutex::new(());

impl Node {
    fn address(&self) -> *const () {
        match self.target {
            Target::Pointer(at) => at.cast(),
            Target::Index(at) => at.cast(),
        }
    }

    fn update(&self, available: FeatureSet) {
        if !self.alive.load(Ordering::SeqCst) {
            return;
        }
        let Some(best) = choose(&self.variants, available) else {
            return;
        };
        // SAFETY: alive, so the registrant keeps the atomic alive: `remove`
        // waits for handlers after clearing `alive`, and takes CHANGES.
        unsafe {
            match self.target {
                Target::Pointer(at) => {
                    if let Some(variant) = self.variants.get(best) {
                        (*at).store(variant.function.0, Ordering::Release);
                    }
                }
                Target::Index(at) => (*at).store(best, Ordering::Release),
            }
        }
    }
}

fn nodes() -> impl Iterator<Item = &'static Node> {
    // SAFETY: nodes are never freed and their links never change.
    let follow = |node: *const Node| unsafe { node.as_ref() };
    std::iter::successors(follow(HEAD.load(Ordering::Acquire)), move |node| {
        follow(node.next)
    })
}

/// What became of a slot that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    New,
    /// It was there already.
    Known,
    /// No variant's features are all available.
    NothingFits,
}

/// Adds a slot and makes it right.
///
/// # Safety
/// What `target` points to must live until [`remove`] has returned.
pub(crate) unsafe fn add(target: Target, variants: Box<[Variant<Function>]>) -> Added {
    let _changes = CHANGES.lock().unwrap_or_else(|e| e.into_inner());
    let next = HEAD.load(Ordering::Acquire);
    let alive = AtomicBool::new(true);
    let node = Box::new(Node {
        target,
        variants,
        alive,
        next,
    });
    if nodes().any(|n| n.alive.load(Ordering::Relaxed) && n.address() == node.address()) {
        return Added::Known;
    }
    if choose(&node.variants, page::available()).is_none() {
        return Added::NothingFits;
    }
    let node = Box::into_raw(node);
    HEAD.store(node, Ordering::Release);
    // A trap between choosing and storing has found the node in the list.
    // SAFETY: just made, never freed.
    unsafe { (*node).update(page::available()) };
    Added::New
}

/// Gives the slot at `address` back to the program. `false` if there is none.
pub(crate) fn remove(address: *const ()) -> bool {
    let _changes = CHANGES.lock().unwrap_or_else(|e| e.into_inner());
    let found = nodes().find(|n| n.alive.load(Ordering::Relaxed) && n.address() == address);
    if let Some(node) = found {
        node.alive.store(false, Ordering::SeqCst);
        TRAPS.wait_for_handlers();
    }
    found.is_some()
}

/// Makes every slot right.
pub(crate) fn update_all() {
    let _changes = CHANGES.lock().unwrap_or_else(|e| e.into_inner());
    let available = page::available();
    nodes().for_each(|node| node.update(available));
}

/// Makes every slot right after a trap: whoever calls next takes the path that
/// works. Async-signal-safe.
pub(crate) fn after_trap() {
    let available = page::available();
    nodes().for_each(|node| node.update(available));
}

/// Every feature that some variant of some slot uses.
pub(crate) fn interest() -> FeatureSet {
    nodes()
        .filter(|node| node.alive.load(Ordering::Relaxed))
        .flat_map(|node| node.variants.iter())
        .fold(FeatureSet::EMPTY, |all, variant| {
            all.union(variant.features)
        })
}
