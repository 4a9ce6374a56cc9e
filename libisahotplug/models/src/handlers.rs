//! The grace period by itself: what is taken away is not in the hand of a handler any more.

use core::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

use crate::check;
use crate::grace::Grace;

struct Thing {
    alive: AtomicBool,
    /// A handler reads it, whoever takes the thing away writes it.
    content: UnsafeCell<u32>,
}

struct World {
    grace: Grace,
    things: [Thing; 2],
}

fn world() -> Arc<World> {
    let thing = || Thing {
        alive: AtomicBool::new(true),
        content: UnsafeCell::new(1),
    };
    Arc::new(World {
        grace: Grace::new(),
        things: [thing(), thing()],
    })
}

fn handler(world: &World) {
    let phase = world.grace.enter();
    for thing in &world.things {
        if thing.alive.load(Ordering::Acquire) {
            thing.content.with(|content| {
                // SAFETY: alive; that nobody writes it now is what loom looks at.
                assert_eq!(unsafe { *content }, 1);
            });
        }
    }
    world.grace.leave(phase);
}

fn take_away(world: &World, index: usize) {
    let thing = &world.things[index];
    thing.alive.store(false, Ordering::Release);
    world.grace.wait();
    thing.content.with_mut(|content| {
        // SAFETY: no handler has it in hand, which loom looks at.
        unsafe { *content = 2 };
    });
}

#[test]
fn what_is_taken_away_is_in_no_handlers_hand() {
    check(3, || {
        let world = world();
        let handlers: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || handler(&world))
            })
            .collect();
        take_away(&world, 0);
        for handler in handlers {
            handler.join().unwrap();
        }
    });
}

/// One after the other: the second begins in the phase that the first has left behind.
#[test]
fn a_thread_that_traps_again_and_again_is_seen_each_time() {
    check(3, || {
        let world = world();
        let again = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                handler(&world);
                handler(&world);
            })
        };
        take_away(&world, 0);
        take_away(&world, 1);
        again.join().unwrap();
    });
}
