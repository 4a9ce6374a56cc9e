//! Callbacks that run inside the trap handler (ISAHP_IN_TRAP).
//!
//! The list grows only at its head and its nodes are never freed, so that the handler can walk it
//! at any moment, as it walks the [`slots`](crate::slots).

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use isa::{FeatureSet, WORDS};
use protocol::availability::Cause;

use crate::c::isahp_event;
use crate::event::Event;
use crate::local::Inside;
use crate::page;
use crate::trap::TRAPS;

/// A C callback and its first argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callback {
    pub(crate) function: unsafe extern "C" fn(*mut c_void, *const isahp_event) -> i32,
    pub(crate) userdata: *mut c_void,
}

// SAFETY: that the callback may be called from other threads is its registrant's promise.
unsafe impl Send for Callback {}
// SAFETY: as above.
unsafe impl Sync for Callback {}

pub(crate) struct Node {
    content: UnsafeCell<Option<(Callback, FeatureSet)>>,
    alive: AtomicBool,
    /// What it was told of since the generation was `told_at`.
    told: [AtomicU64; WORDS],
    told_at: AtomicU64,
    next: *const Node,
}

// SAFETY: `content` is written under CHANGES while `alive` is false and no handler has seen it
// true; everything else is atomic or never changes.
unsafe impl Sync for Node {}

static HEAD: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
/// Serialises everybody but the trap handler.
static CHANGES: Mutex<()> = Mutex::new(());

/// Held over a fork, so that the child finds the list whole.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    CHANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nodes() -> impl Iterator<Item = &'static Node> {
    // SAFETY: nodes are never freed and their links never change.
    let follow = |node: *const Node| unsafe { node.as_ref() };
    std::iter::successors(follow(HEAD.load(Ordering::Acquire)), move |node| {
        follow(node.next)
    })
}

/// Calls `callback` from now on when one of `interest` (all, if empty) is met missing.
pub(crate) fn add(callback: Callback, interest: FeatureSet) -> &'static Node {
    let _changes = hold();
    let node = match nodes().find(|node| !node.alive.load(Ordering::SeqCst)) {
        Some(node) => node,
        None => {
            let node = Box::leak(Box::new(Node {
                content: UnsafeCell::new(None),
                alive: AtomicBool::new(false),
                told: [const { AtomicU64::new(0) }; WORDS],
                told_at: AtomicU64::new(0),
                next: HEAD.load(Ordering::Acquire),
            }));
            HEAD.store(node, Ordering::Release);
            node
        }
    };
    // SAFETY: not alive: `remove` has waited for every handler that saw it alive.
    unsafe { *node.content.get() = Some((callback, interest)) };
    node.told_at.store(0, Ordering::SeqCst);
    node.alive.store(true, Ordering::SeqCst);
    node
}

/// Returns when it is not running any more. Not from a trap handler.
pub(crate) fn remove(node: &'static Node) {
    node.alive.store(false, Ordering::SeqCst);
    TRAPS.grace.wait();
}

impl Node {
    /// What it was told is missing, as of `generation`.
    pub(crate) fn told(&self, generation: u64) -> FeatureSet {
        if self.told_at.load(Ordering::Acquire) != generation {
            return FeatureSet::EMPTY;
        }
        FeatureSet::from_words(std::array::from_fn(|i| {
            self.told[i].load(Ordering::Acquire)
        }))
    }

    /// Those of `features` of which nobody has told it yet at `generation`.
    fn take_news(&self, generation: u64, features: FeatureSet) -> FeatureSet {
        if self.told_at.swap(generation, Ordering::AcqRel) != generation {
            for word in &self.told {
                word.store(0, Ordering::Release);
            }
        }
        let mut news = [0; WORDS];
        for ((news, told), new) in news.iter_mut().zip(&self.told).zip(features.words()) {
            *news = new & !told.fetch_or(new, Ordering::AcqRel);
        }
        FeatureSet::from_words(news)
    }
}

/// Tells those who want to know at once that an instruction at `address` needs `features`, which
/// the CPU lacks. Called by the trap handler.
pub(crate) fn call(features: FeatureSet, address: u64, since_us: u64) {
    if HEAD.load(Ordering::Acquire).is_null() {
        return;
    }
    let publication = page::current().read().unwrap_or_default();
    for node in nodes() {
        if !node.alive.load(Ordering::SeqCst) {
            continue;
        }
        // SAFETY: alive, so written and not written again before this handler has ended.
        let Some((callback, interest)) = (unsafe { *node.content.get() }) else {
            continue;
        };
        let mut removed = features.intersection(publication.available);
        if !interest.is_empty() {
            removed = removed.intersection(interest);
        }
        let removed = node.take_news(publication.generation, removed);
        if removed.is_empty() {
            continue;
        }
        let event = Event {
            generation: publication.generation,
            cause: Cause::Trap,
            added: FeatureSet::EMPTY,
            removed,
            available: page::available(),
            trapped: features,
            since_us,
            deadline_us: 0,
            address,
            epoch: publication.epoch,
            attempt: 0,
        };
        let event = event.to_c();
        let _inside = Inside::forbid();
        // SAFETY: async-signal-safe and callable with userdata, says the registrant.
        unsafe { (callback.function)(callback.userdata, &raw const event) };
    }
}
