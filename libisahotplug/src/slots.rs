//! The slots of this process, kept right.
//!
//! The list grows only at its head and its nodes are never freed, so that the
//! trap handler can walk it at any moment. The node of a slot that is given back
//! is dead, and free for the next slot, once no handler runs that may have seen
//! it alive.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dispatch::{Variant, choose};
use isa::FeatureSet;

use crate::page;
use crate::trap::TRAPS;

/// Where the choice is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// A C slot's function pointer.
    Pointer(*const AtomicPtr<()>),
    /// A Rust slot.
    Slot(*const dispatch::Slot),
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

struct Node {
    content: UnsafeCell<Content>,
    /// The content is valid and the slot's memory is ours to write.
    alive: AtomicBool,
    next: *const Node,
}

struct Content {
    target: Target,
    variants: Box<[Variant<Function>]>,
}

static HEAD: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
/// Serialises everybody but the trap handler.
static CHANGES: Mutex<()> = Mutex::new(());

/// Held over a fork, so that the child finds the list whole.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    CHANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// The content, if alive.
    fn content(&self) -> Option<&Content> {
        // SAFETY: written only by `add`, under CHANGES, while not alive and
        // after `remove` has waited for every handler that saw it alive.
        self.alive
            .load(Ordering::SeqCst)
            .then(|| unsafe { &*self.content.get() })
    }

    fn is_at(&self, address: *const ()) -> bool {
        self.content()
            .is_some_and(|content| content.target.address() == address)
    }

    fn update(&self, available: FeatureSet) {
        let Some(content) = self.content() else {
            return;
        };
        // SAFETY: alive, so the registrant keeps the atomic alive: `remove`
        // waits for handlers after clearing `alive`, and takes CHANGES.
        unsafe {
            match content.target {
                Target::Pointer(at) => {
                    let best = choose(&content.variants, available);
                    if let Some(variant) = best.and_then(|best| content.variants.get(best)) {
                        (*at).store(variant.function.0, Ordering::Release);
                    }
                }
                Target::Slot(at) => {
                    (*at).update(&content.variants, available);
                }
            }
        }
    }
}

impl Target {
    fn address(self) -> *const () {
        match self {
            Self::Pointer(at) => at.cast(),
            Self::Slot(at) => at.cast(),
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
    let _changes = hold();
    let available = page::available();
    if let Some(known) = nodes().find(|node| node.is_at(target.address())) {
        known.update(available);
        return Added::Known;
    }
    if choose(&variants, available).is_none() {
        return Added::NothingFits;
    }
    let content = Content { target, variants };
    let node = match nodes().find(|node| node.content().is_none()) {
        Some(node) => {
            // SAFETY: not alive: see `Node::content`.
            unsafe { *node.content.get() = content };
            node
        }
        None => {
            let node = Box::leak(Box::new(Node {
                content: UnsafeCell::new(content),
                alive: AtomicBool::new(false),
                next: HEAD.load(Ordering::Acquire),
            }));
            HEAD.store(node, Ordering::Release);
            node
        }
    };
    node.alive.store(true, Ordering::SeqCst);
    // A trap between choosing and storing has found the node in the list.
    node.update(page::available());
    Added::New
}

/// Gives the slot at `address` back to the program. `false` if there is none.
pub(crate) fn remove(address: *const ()) -> bool {
    let _changes = hold();
    let found = nodes().find(|node| node.is_at(address));
    if let Some(node) = found {
        node.alive.store(false, Ordering::SeqCst);
        TRAPS.wait_for_handlers();
    }
    found.is_some()
}

/// Makes every slot right.
pub(crate) fn update_all() {
    let _changes = hold();
    after_trap();
}

/// Makes every slot right after a trap: whoever calls next takes the path that
/// works. Async-signal-safe.
pub(crate) fn after_trap() {
    let available = page::available();
    nodes().for_each(|node| node.update(available));
}

/// Every feature that some variant of some slot uses.
pub(crate) fn interest() -> FeatureSet {
    let _changes = hold();
    nodes()
        .filter_map(Node::content)
        .flat_map(|content| content.variants.iter())
        .fold(FeatureSet::EMPTY, |all, variant| {
            all.union(variant.features)
        })
}
