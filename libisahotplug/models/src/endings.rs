//! Whoever ends a registration while its callback runs, or its `release`.
//!
//! The waiting is the library's (`ending.rs`); the thread that calls back does here in a few lines what
//! `runtime.rs` does with the whole list.

#![expect(clippy::unwrap_used, reason = "what fails here fails the model")]

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread::{self, ThreadId};

use crate::check;
use crate::ending::{self, Callbacks, WaitsForItself};

#[derive(Default)]
struct List {
    /// Registrations: id, and whether ended.
    entries: Vec<(u64, bool)>,
    running: Vec<(u64, ThreadId)>,
    waiting: Vec<(ThreadId, u64)>,
}

impl Callbacks for List {
    fn runner(&self, id: u64) -> Option<ThreadId> {
        let found = self.running.iter().find(|(running, _)| *running == id);
        found.map(|(_, thread)| *thread)
    }

    fn waiting(&mut self) -> &mut Vec<(ThreadId, u64)> {
        &mut self.waiting
    }
}

struct World {
    list: Mutex<Option<List>>,
    changed: Condvar,
    /// Used by the callback of 1; freed by whoever has ended it.
    userdata: UnsafeCell<u32>,
}

fn world(ids: &[u64]) -> Arc<World> {
    let entries = ids.iter().map(|id| (*id, false)).collect();
    Arc::new(World {
        list: Mutex::new(Some(List {
            entries,
            ..List::default()
        })),
        changed: Condvar::new(),
        userdata: UnsafeCell::new(1),
    })
}

/// The dispatcher: calls the callback of `id` once, if it has not ended.
fn dispatch(world: &World, id: u64, callback: impl FnOnce()) {
    let mut guard = world.list.lock().unwrap();
    let list = guard.as_mut().unwrap();
    if !list.entries.contains(&(id, false)) {
        return;
    }
    list.running.push((id, thread::current().id()));
    drop(guard);
    callback();
    let mut guard = world.list.lock().unwrap();
    guard
        .as_mut()
        .unwrap()
        .running
        .retain(|(running, _)| *running != id);
    drop(guard);
    world.changed.notify_all();
}

/// isahp_unregister(): whether it was there, and what came of the wait.
fn unregister(world: &World, id: u64) -> (bool, Result<(), WaitsForItself>) {
    let mut guard = world.list.lock().unwrap();
    let list = guard.as_mut().unwrap();
    let entry = list.entries.iter_mut().find(|entry| **entry == (id, false));
    let was_there = entry.map(|entry| entry.1 = true).is_some();
    let (guard, result) = ending::wait(guard, &world.changed, id, Option::as_mut);
    drop(guard);
    world.changed.notify_all();
    (was_there, result)
}

fn use_it(world: &World) {
    world.userdata.with(|userdata| {
        // SAFETY: registered; that nobody frees it now is what loom looks at.
        assert_eq!(unsafe { *userdata }, 1);
    });
}

fn free_it(world: &World) {
    world.userdata.with_mut(|userdata| {
        // SAFETY: the callback runs no more, which loom looks at.
        unsafe { *userdata = 2 };
    });
}

#[test]
fn a_callback_is_over_when_unregister_returns() {
    check(3, || {
        let world = world(&[1]);
        let calling = {
            let world = Arc::clone(&world);
            thread::spawn(move || dispatch(&world, 1, || use_it(&world)))
        };
        let (was_there, result) = unregister(&world, 1);
        assert!(was_there && result.is_ok());
        free_it(&world);
        calling.join().unwrap();
    });
}

#[test]
fn two_who_end_the_same_registration_both_come_back() {
    check(2, || {
        let world = world(&[1]);
        let calling = {
            let world = Arc::clone(&world);
            thread::spawn(move || dispatch(&world, 1, || use_it(&world)))
        };
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || unregister(&world, 1))
        };
        let (mine, result) = unregister(&world, 1);
        let (its, its_result) = other.join().unwrap();
        assert!(mine != its && result.is_ok() && its_result.is_ok());
        free_it(&world);
        calling.join().unwrap();
    });
}

#[test]
fn a_callback_that_ends_itself_does_not_wait_for_itself() {
    check(3, || {
        let world = world(&[1]);
        dispatch(&world, 1, || {
            let (was_there, result) = unregister(&world, 1);
            assert!(was_there && result.is_ok());
            use_it(&world);
        });
        free_it(&world);
    });
}

/// Each ends the other from its callback: at most one is told that it would wait for itself.
#[test]
fn callbacks_that_end_each_other_do_not_wait_for_ever() {
    check(2, || {
        let world = world(&[1, 2]);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut result = Ok(());
                dispatch(&world, 2, || result = unregister(&world, 1).1);
                result
            })
        };
        let mut result = Ok(());
        dispatch(&world, 1, || result = unregister(&world, 2).1);
        let its = other.join().unwrap();
        assert!(result.is_ok() || its.is_ok());
    });
}

/// Three in a ring: 1 ends 2, 2 ends 3, 3 ends 1.
#[test]
fn a_ring_of_three_is_found() {
    check(1, || {
        let world = world(&[1, 2, 3]);
        let start = |id: u64, ends: u64| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut result = Ok(());
                dispatch(&world, id, || result = unregister(&world, ends).1);
                result.is_ok()
            })
        };
        let (second, third) = (start(2, 3), start(3, 1));
        let mut result = Ok(());
        dispatch(&world, 1, || result = unregister(&world, 2).1);
        let returned = [
            result.is_ok(),
            second.join().unwrap(),
            third.join().unwrap(),
        ];
        assert!(returned.iter().filter(|ok| **ok).count() >= 2);
    });
}

/// isahp_unload() of another thread's takes the whole list away while somebody waits.
#[test]
fn whoever_waits_comes_back_when_the_library_is_unloaded() {
    check(2, || {
        let world = world(&[1]);
        let waiting = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let guard = world.list.lock().unwrap();
                ending::wait(guard, &world.changed, 1, Option::as_mut)
                    .1
                    .is_ok()
            })
        };
        dispatch(&world, 1, || {});
        *world.list.lock().unwrap() = None;
        world.changed.notify_all();
        assert!(waiting.join().unwrap());
    });
}
