//! Sections, where the fast side has a fence (without membarrier(2)): once an epoch is over, nobody who
//! began before is on the old path.

use core::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;

use crate::check;
use crate::epoch::{Clock, Word};

const OLD: usize = 1;
const NEW: usize = 2;

struct World {
    clock: Clock,
    words: [Word; 2],
    /// The variant in force.
    slot: AtomicUsize,
    /// What only the old path uses, and is taken away.
    lost: UnsafeCell<u32>,
}

fn world() -> Arc<World> {
    Arc::new(World {
        clock: Clock::new(),
        words: [Word::new(), Word::new()],
        slot: AtomicUsize::new(OLD),
        lost: UnsafeCell::new(1),
    })
}

fn call(world: &World) {
    if world.slot.load(Ordering::Acquire) == OLD {
        world.lost.with(|lost| {
            // SAFETY: on the old path; that nobody takes it away now is what loom looks at.
            assert_eq!(unsafe { *lost }, 1);
        });
    }
}

fn section(world: &World, reader: usize) {
    world.clock.enter(&world.words[reader]);
    call(world);
    world.words[reader].exit();
}

fn take_away(world: &World) {
    world.slot.store(NEW, Ordering::Release);
    let epoch = world.clock.begin(world.words.iter(), || false, || {});
    for word in &world.words {
        while word.is_inside_since_before(epoch) {
            thread::yield_now();
        }
    }
    world.lost.with_mut(|lost| {
        // SAFETY: nobody is on the old path, which loom looks at.
        unsafe { *lost = 2 };
    });
}

#[test]
fn nobody_is_on_the_old_path_when_the_epoch_is_over() {
    check(2, || {
        let world = world();
        let readers: Vec<_> = (0..2)
            .map(|reader| {
                let world = Arc::clone(&world);
                thread::spawn(move || section(&world, reader))
            })
            .collect();
        take_away(&world);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn sections_that_follow_each_other_are_each_seen() {
    check(3, || {
        let world = world();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                section(&world, 0);
                section(&world, 0);
            })
        };
        take_away(&world);
        reader.join().unwrap();
    });
}

/// Also by a signal handler: the outermost one counts.
#[test]
fn the_end_of_an_inner_section_is_not_the_end() {
    check(3, || {
        let world = world();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let (clock, word) = (&world.clock, &world.words[0]);
                clock.enter(word);
                clock.enter(word);
                word.exit();
                call(&world);
                word.exit();
                // One too many does nothing.
                word.exit();
                section(&world, 0);
            })
        };
        take_away(&world);
        reader.join().unwrap();
    });
}
