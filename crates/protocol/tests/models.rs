//! Models of the shared page: one writer, readers that may see its stores in every order that the
//! memory model allows. The code is the page's own; `src/sync.rs` gives it loom's atomics.
//!
//!     RUSTFLAGS="--cfg loom" cargo test --release -p isahotplug-protocol --test models
//!
//! `cargo xtask test` does so.
#![cfg(loom)]

use isa::{Feature, FeatureSet, WORDS};
use loom::sync::Arc;
use loom::thread;
use protocol::Moment;
use protocol::availability::{Cause, Publication};
use protocol::page::{Page, PageError};

/// Every part that the models follow tells of the generation; the others stay the same, for they are
/// seen in no order at all.
fn marked(generation: u64) -> Publication {
    let mut words = [0; WORDS];
    words[0] = generation;
    let set = FeatureSet::from_words(words);
    Publication {
        generation,
        available: set,
        visible: FeatureSet::EMPTY,
        unsafe_silent: set,
        cause: Cause::Prepare,
        epoch: None,
        since: Moment::from_micros(7),
        deadline: Some(Moment::from_micros(generation)),
    }
}

fn page_at(generation: u64) -> Arc<Page> {
    let page = Page::new();
    page.format([1, 2]);
    page.publish(&marked(generation));
    Arc::new(page)
}

/// What is read is one publication, and never an older one than was read before.
fn read_in_order(page: &Page, times: usize) -> u64 {
    let mut last = 0;
    for _ in 0..times {
        let seen = page.read().expect("something is published");
        assert_eq!(seen, marked(seen.generation), "a mixture");
        assert!(seen.generation >= last, "back from {last}");
        last = seen.generation;
    }
    last
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn two_readers_never_see_a_mixture_of_a_publication_and_the_one_before() {
    check(2, || {
        let page = page_at(1);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let page = Arc::clone(&page);
                thread::spawn(move || read_in_order(&page, 1))
            })
            .collect();
        page.publish(&marked(2));
        for reader in readers {
            assert!((1..=2).contains(&reader.join().unwrap()));
        }
        assert_eq!(read_in_order(&page, 1), 2);
    });
}

/// The writer comes round to the very slot that is being copied.
#[test]
fn a_reader_that_is_lapped_copies_again() {
    check(3, || {
        let page = page_at(1);
        let reader = {
            let page = Arc::clone(&page);
            thread::spawn(move || read_in_order(&page, 2))
        };
        page.publish(&marked(2));
        page.publish(&marked(3));
        assert!((1..=3).contains(&reader.join().unwrap()));
        assert_eq!(read_in_order(&page, 1), 3);
    });
}

/// `has` takes one word without copying the slot: bit 1 of the generation, which 3 has, and 5 in the
/// same slot has not.
#[test]
fn one_feature_is_that_of_a_generation_that_was_published() {
    let second = Feature::from_id(1).expect("1 is a feature's id");
    check(3, move || {
        let page = page_at(3);
        let reader = {
            let page = Arc::clone(&page);
            thread::spawn(move || {
                let before = page.generation();
                let has = page.has(second);
                (before, has, page.generation())
            })
        };
        page.publish(&marked(4));
        page.publish(&marked(5));
        let (before, has, after) = reader.join().unwrap();
        assert!(
            (before..=after).any(|generation| (generation & 2 != 0) == has),
            "{has} between {before} and {after}"
        );
        if before == after {
            assert_eq!(has, before & 2 != 0);
        }
    });
}

/// The writer dies after any of its stores: what it leaves is the old publication or
/// the new one, and the next writer goes on from there.
#[test]
fn a_writer_that_dies_half_way_harms_no_reader() {
    check(3, || {
        let page = page_at(1);
        let reader = {
            let page = Arc::clone(&page);
            thread::spawn(move || read_in_order(&page, 2))
        };
        let half = {
            let page = Arc::clone(&page);
            thread::spawn(move || page.publish_half(&marked(2)))
        };
        half.join().unwrap();
        // The next agent publishes what it finds to be so, by the generation that the page shows.
        assert_eq!(page.generation(), 1);
        page.publish(&marked(2));
        assert!((1..=2).contains(&reader.join().unwrap()));
        assert_eq!(read_in_order(&page, 1), 2);
    });
}

#[test]
fn a_page_is_nothing_until_its_magic_is_there() {
    check(3, || {
        let page = Arc::new(Page::new());
        let reader = {
            let page = Arc::clone(&page);
            thread::spawn(move || page.read())
        };
        page.format([1, 2]);
        page.publish(&marked(1));
        match reader.join().unwrap() {
            Err(PageError::Magic(_) | PageError::Empty) => {}
            read => assert_eq!(read, Ok(marked(1))),
        }
    });
}
