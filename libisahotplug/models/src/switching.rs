//! Slots, switched by several threads and trap handlers at once: nobody's news is lost, and a slot that
//! was given back is not written.

use core::sync::atomic::Ordering;

use dispatch::Variant;
use loom::sync::Arc;
use loom::sync::atomic::AtomicPtr;
use loom::thread;

use crate::check;
use crate::page::{AVAILABLE, set};
use crate::slots::{self, Added, Content, Function, Target};
use crate::trap::TRAPS;

/// What is stored for each variant: a number in the place of an address.
fn number(number: usize) -> *mut () {
    core::ptr::without_provenance_mut(number)
}

/// Feature 0 first, then feature 1, then none; numbered 1, 2, 3.
fn content(target: *const AtomicPtr<()>) -> Content {
    let variant = |index: usize, features| Variant {
        function: Function(number(index)),
        features: set(features),
    };
    Content {
        owner: 1,
        target: Target(target),
        sectioned: false,
        lazy: false,
        variants: Box::new([variant(1, 1), variant(2, 2), variant(3, 0)]),
        names: Box::new([String::new(), String::new(), String::new()]),
    }
}

fn add(slot: &AtomicPtr<()>) {
    // SAFETY: every model removes it, or ends with it.
    let added = unsafe { slots::add(content(slot), None) };
    assert!(matches!(added, Ok(Added::New(_))));
}

fn value(slot: &AtomicPtr<()>) -> usize {
    slot.load(Ordering::Acquire).addr()
}

/// A handler finds out that a feature is gone.
fn trap(lost: u64) {
    let phase = TRAPS.grace.enter();
    AVAILABLE.fetch_and(!lost, Ordering::AcqRel);
    slots::after_trap();
    TRAPS.grace.leave(phase);
}

#[test]
fn what_two_traps_have_found_at_once_is_both_in_force() {
    check(3, || {
        AVAILABLE.store(3, Ordering::Release);
        let slot = Arc::new(AtomicPtr::new(number(0)));
        add(&slot);
        assert_eq!(value(&slot), 1);
        let other = thread::spawn(|| trap(1));
        trap(2);
        other.join().unwrap();
        assert_eq!(value(&slot), 3);
    });
}

/// The thread that looks at a new generation, and a trap that has seen more.
#[test]
fn an_update_does_not_undo_what_a_trap_has_found_meanwhile() {
    check(3, || {
        AVAILABLE.store(3, Ordering::Release);
        let slot = Arc::new(AtomicPtr::new(number(0)));
        add(&slot);
        let trapping = thread::spawn(|| trap(1));
        let caller = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let (first, second) = (value(&slot), value(&slot));
                assert!((1..=2).contains(&first) && (1..=2).contains(&second));
            })
        };
        slots::update_all();
        trapping.join().unwrap();
        caller.join().unwrap();
        assert_eq!(value(&slot), 2);
    });
}

#[test]
fn a_slot_that_was_given_back_is_not_written_and_its_place_is_used_again() {
    check(2, || {
        AVAILABLE.store(3, Ordering::Release);
        let (slot, next) = (
            Box::new(AtomicPtr::new(number(0))),
            AtomicPtr::new(number(0)),
        );
        add(&slot);
        let trapping = thread::spawn(|| trap(1));
        let looking = thread::spawn(slots::update_all);
        assert!(slots::remove(Target(&raw const *slot)));
        // loom looks at whoever touches it after this.
        drop(slot);
        add(&next);
        trapping.join().unwrap();
        looking.join().unwrap();
        assert_eq!(value(&next), 2);
        assert!(slots::remove(Target(&raw const next)));
    });
}

#[test]
fn a_slot_that_is_added_while_a_feature_goes_is_right() {
    check(3, || {
        AVAILABLE.store(3, Ordering::Release);
        let slot = Arc::new(AtomicPtr::new(number(0)));
        let trapping = thread::spawn(|| trap(1));
        add(&slot);
        trapping.join().unwrap();
        assert_eq!(value(&slot), 2);
    });
}
