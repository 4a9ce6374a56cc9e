//! The slots of this process, kept right.
//!
//! The list grows only at its head and its nodes are never freed, so that the
//! trap handler can walk it at any moment. The node of a slot that is given back
//! is dead, and free for the next slot, once no handler runs that may have seen
//! it alive.

use std::ptr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use dispatch::{Variant, choose};
use isa::{FeatureSet, WORDS};
use protocol::local::Urgency;

use crate::page;
use crate::runtime::Error;
use crate::sync::{
    AtomicBool, AtomicPtr, AtomicUsize, Mutex, MutexGuard, UnsafeCell, fence, shared, switch,
};
use crate::trap::TRAPS;

/// Where the function in force is stored: the first word of a C slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target(pub(crate) *const AtomicPtr<()>);

// SAFETY: points to an atomic that the registrant keeps alive until `remove` has returned.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// What a variant is to a slot: the pointer that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function(pub(crate) *mut ());

// SAFETY: a code address, only ever stored.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// What is to be kept in a slot.
#[derive(Debug)]
pub(crate) struct Content {
    /// Which copy of the library declared it.
    pub(crate) owner: u64,
    pub(crate) target: Target,
    /// Called only inside sections, so that features whose loss is silent can be used.
    pub(crate) sectioned: bool,
    /// Made right when somebody looks, not at once.
    pub(crate) lazy: bool,
    pub(crate) variants: Box<[Variant<Function>]>,
    /// One for each variant; empty for none.
    pub(crate) names: Box<[String]>,
}

impl Content {
    fn urgency(&self) -> Urgency {
        match (self.sectioned, self.lazy) {
            (true, _) => Urgency::Eager,
            (false, true) => Urgency::Lazy,
            (false, false) => Urgency::Woken,
        }
    }
}

pub(crate) struct Node {
    content: UnsafeCell<Option<Content>>,
    /// The content is valid and the slot's memory is ours to write.
    alive: AtomicBool,
    /// The variant in force.
    index: AtomicUsize,
    /// 1 + the variant that is forced; 0 for none.
    forced: AtomicUsize,
    next: *const Node,
}

// SAFETY: `content` is written under CHANGES while `alive` is false and no handler has seen it
// true; everything else is atomic or never changes.
unsafe impl Sync for Node {}

shared! {
    static HEAD: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
    /// Serialises everybody but the trap handler.
    static CHANGES: Mutex<()> = Mutex::new(());
}

/// The silent features that variants in force may use: those for whose planned removal the agent
/// waits for this process.
static SILENT: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Held over a fork, so that the child finds the list whole.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    CHANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What slots may use now. Async-signal-safe.
fn usable() -> FeatureSet {
    let allowed =
        FeatureSet::from_words(std::array::from_fn(|i| SILENT[i].load(Ordering::Acquire)));
    page::available().difference(SILENT_FEATURES.difference(allowed))
}

/// All features whose loss does not fault, found out at compile time for the trap handler's sake.
pub(crate) const SILENT_FEATURES: FeatureSet = {
    let mut all = FeatureSet::EMPTY;
    let mut at = 0;
    while at < isa::Feature::ALL.len() {
        let feature = isa::Feature::ALL[at];
        if matches!(feature.class(), isa::RemovalClass::Silent) {
            all = all.with(feature);
        }
        at += 1;
    }
    all
};

/// Which silent features variants in force may use; slots are made right if that is new.
pub(crate) fn allow_silent(features: FeatureSet) {
    if set_silent(features) {
        update_all();
    }
}

/// The same in the child of a fork, where [`hold`] is held.
pub(crate) fn allow_silent_after_fork(features: FeatureSet) {
    set_silent(features);
    after_trap();
}

fn set_silent(features: FeatureSet) -> bool {
    let words = SILENT.iter().zip(features.words());
    words.fold(false, |new, (word, value)| {
        new | (word.swap(value, Ordering::AcqRel) != value)
    })
}

impl Node {
    /// Calls `read` with the content, if alive. Under CHANGES, or in a trap handler.
    fn content<R>(&self, read: impl FnOnce(&Content) -> R) -> Option<R> {
        if !self.alive.load(Ordering::Acquire) {
            return None;
        }
        self.content.with(|content| {
            // SAFETY: written only by `add` and `bury`, under CHANGES, while not alive and after
            // `bury` has waited for every handler that saw it alive.
            unsafe { &*content }.as_ref().map(read)
        })
    }

    fn is_at(&self, target: Target) -> bool {
        self.content(|content| content.target == target) == Some(true)
    }

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// The index of the variant in force.
    pub(crate) fn index(&self) -> usize {
        self.index.load(Ordering::Acquire)
    }

    fn update(&self, usable: FeatureSet) {
        self.content(|content| {
            let variants = &content.variants;
            let forced = self.forced.load(Ordering::Acquire).wrapping_sub(1);
            let best = match variants.get(forced) {
                Some(variant) if variant.features.is_subset(&usable) => Some(forced),
                _ => choose(variants, usable).or_else(|| self.way_out(content, usable)),
            };
            let Some((index, variant)) = best.and_then(|best| Some((best, variants.get(best)?)))
            else {
                return;
            };
            self.index.store(index, Ordering::Release);
            // SAFETY: alive, so the registrant keeps the atomic alive: `bury` waits for handlers
            // after clearing `alive`, and CHANGES is held while it is called.
            unsafe { switch(&*content.target.0, variant.function.0) };
        });
    }

    /// Where no variant fits, one that faults may stay: it is emulated. One that would compute
    /// something else goes; `slot_init` has seen to it that the last one uses nothing of the kind.
    fn way_out(&self, content: &Content, usable: FeatureSet) -> Option<usize> {
        let present = content.variants.get(self.index())?;
        let missing = present.features.difference(usable);
        let last = content.variants.len().checked_sub(1);
        last.filter(|_| !missing.is_disjoint(&SILENT_FEATURES))
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
pub(crate) enum Added {
    New(&'static Node),
    /// It was there already, with the same variants.
    Known,
    /// It was there already, with others.
    Other,
}

/// Adds a slot and makes it right.
///
/// # Errors
/// [`Error::NoVariant`] if no variant's features are all available.
///
/// # Safety
/// What the target points to must live until [`remove`] has returned.
pub(crate) unsafe fn add(content: Content, forced: Option<usize>) -> Result<Added, Error> {
    let _changes = hold();
    if let Some(known) = nodes().find(|node| node.is_at(content.target)) {
        let same = |other: &Content| {
            other.variants.len() == content.variants.len()
                && other
                    .variants
                    .iter()
                    .zip(&content.variants)
                    .all(|(a, b)| a.function == b.function && a.features == b.features)
        };
        let same = known.content(same) == Some(true);
        if same {
            keep_right(|usable| known.update(usable));
        }
        return Ok(if same { Added::Known } else { Added::Other });
    }
    if choose(&content.variants, usable()).is_none() {
        return Err(Error::NoVariant);
    }
    let node = match nodes().find(|node| !node.is_alive()) {
        Some(node) => node,
        None => {
            let node = Box::leak(Box::new(Node {
                content: UnsafeCell::new(None),
                alive: AtomicBool::new(false),
                index: AtomicUsize::new(0),
                forced: AtomicUsize::new(0),
                next: HEAD.load(Ordering::Acquire),
            }));
            HEAD.store(node, Ordering::Release);
            node
        }
    };
    node.content.with_mut(|place| {
        // SAFETY: not alive: see `Node::content`.
        unsafe { *place = Some(content) };
    });
    node.forced
        .store(forced.map_or(0, |index| index + 1), Ordering::Release);
    node.alive.store(true, Ordering::Release);
    keep_right(|usable| node.update(usable));
    Ok(Added::New(node))
}

/// Gives the slot back to the program. `false` if there is none.
pub(crate) fn remove(target: Target) -> bool {
    let _changes = hold();
    let found = nodes().find(|node| node.is_at(target));
    found.is_some_and(|node| {
        bury(node);
        true
    })
}

/// Gives every slot of `owner` back.
pub(crate) fn remove_all(owner: u64) {
    let _changes = hold();
    for node in nodes() {
        if node.content(|content| content.owner == owner) == Some(true) {
            bury(node);
        }
    }
}

fn bury(node: &Node) {
    node.alive.store(false, Ordering::Release);
    TRAPS.grace.wait();
    node.content.with_mut(|place| {
        // SAFETY: not alive, no handler has it in hand, and CHANGES is held by the callers.
        let content = unsafe { (*place).take() };
        if let Some(content) = content {
            leave_silent(&content, node.index());
        }
    });
}

/// A slot that nobody keeps any more holds its variant for ever, and no removal waits for it: not
/// one that uses silent features.
fn leave_silent(content: &Content, index: usize) {
    let variants = &content.variants;
    let silent = |at: usize| !variants[at].features.is_disjoint(&SILENT_FEATURES);
    if silent(index) {
        let usable = page::available().difference(SILENT_FEATURES);
        let other = choose(variants, usable).unwrap_or(variants.len() - 1);
        // SAFETY: the registrant keeps the atomic alive until `remove` has returned.
        unsafe { (*content.target.0).store(variants[other].function.0, Ordering::Release) };
    }
}

/// Forces the variant of this name; `None` for the best again.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::NoVariant`] if its features are not available.
pub(crate) fn force(target: Target, name: Option<&str>) -> Result<(), Error> {
    let _changes = hold();
    let node = nodes().find(|node| node.is_at(target));
    let node = node.ok_or(Error::NotFound("slot"))?;
    let find = |content: &Content| {
        let Some(name) = name else { return Ok(0) };
        let index = content.names.iter().position(|other| other == name);
        let index = index
            .filter(|_| !name.is_empty())
            .ok_or(Error::NotFound("variant"))?;
        if !content.variants[index].features.is_subset(&usable()) {
            return Err(Error::NoVariant);
        }
        Ok(index + 1)
    };
    let forced = node.content(find).unwrap_or(Err(Error::NotFound("slot")))?;
    node.forced.store(forced, Ordering::Release);
    keep_right(|usable| node.update(usable));
    Ok(())
}

/// Makes every slot right.
pub(crate) fn update_all() {
    let _changes = hold();
    after_trap();
}

/// Makes every slot right after a trap: whoever calls next takes the path that
/// works. Async-signal-safe.
pub(crate) fn after_trap() {
    keep_right(|usable| nodes().for_each(|node| node.update(usable)));
}

/// Calls `update` with what slots may use, and again if that has changed meanwhile: another thread's
/// trap handler may have stored what it chose by the news before this one stored what it chose without.
fn keep_right(update: impl Fn(FeatureSet)) {
    // Each time something has come or gone within a few instructions.
    for _ in 0..64 {
        let before = usable();
        // Pairs with the one below: of two who store to a slot, the later one sees what the earlier
        // one saw when it looks again.
        fence(Ordering::SeqCst);
        update(before);
        fence(Ordering::SeqCst);
        if usable() == before {
            return;
        }
    }
}

/// What an agent is to be asked for the slots' sake: every feature that some variant uses, and how
/// urgently to hear of it. `None` without slots that need anything.
pub(crate) fn wanted() -> Option<(FeatureSet, Urgency)> {
    let _changes = hold();
    let mut wanted: Option<(FeatureSet, Urgency)> = None;
    for node in nodes() {
        node.content(|content| {
            let features = content.variants.iter();
            let features = features.fold(FeatureSet::EMPTY, |all, variant| {
                all.union(variant.features)
            });
            if !features.is_empty() || content.sectioned {
                let urgency = content.urgency();
                wanted = Some(wanted.map_or((features, urgency), |(all, other)| {
                    (all.union(features), urgency.or(other))
                }));
            }
        });
    }
    wanted
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn who_has_stored_what_was_right_before_stores_once_more() {
        page::start();
        set_silent(SILENT_FEATURES);
        let stored = RefCell::new(Vec::new());
        keep_right(|usable| {
            // Somebody takes something away after this one has looked.
            set_silent(FeatureSet::EMPTY);
            stored.borrow_mut().push(usable);
        });
        assert_eq!(stored.borrow().last(), Some(&usable()));
        assert!(usable().is_disjoint(&SILENT_FEATURES));
    }
}
