//! What the handler did so far: for which features, at which addresses, and where last.
//!
//! Written from the handler: no lock, no allocation, no loop whose length depends on another thread.
//! Counters are relaxed; whoever reads while threads trap sees each of them as it was at some moment
//! of the reading, not all at the same. A counter never loses an event; the table of addresses is
//! full at some time, and what finds no place in it is counted together ([`others`]).
//!
//! One trap is one run of the handler that finished something: the instruction that trapped, and
//! those after it as far as the burst went. All of them are counted at the address that trapped,
//! for that is where the program is slow.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::c::isahp_address_count as AddressCount;
use isa::{Feature, FeatureSet, WORDS};

use super::vdso;

/// Bits of a [`FeatureSet`].
const FEATURES: usize = WORDS * 64;
/// Addresses that are told apart; a power of two.
pub(crate) const PLACES: usize = 1024;
/// Places that are tried for an address.
const TRIES: usize = 8;
/// Addresses that are remembered in their order.
const LATEST: usize = 16;

/// Traps, by feature.
static BY_FEATURE: [AtomicU64; FEATURES] = [const { AtomicU64::new(0) }; FEATURES];

/// An address, and what was done there.
struct Place {
    /// 0 while the place is free; never changes again.
    address: AtomicU64,
    traps: AtomicU64,
    instructions: AtomicU64,
}

impl Place {
    const fn new() -> Self {
        Self {
            address: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            instructions: AtomicU64::new(0),
        }
    }

    fn add(&self, instructions: u32) {
        self.traps.fetch_add(1, Ordering::Relaxed);
        self.instructions
            .fetch_add(instructions.into(), Ordering::Relaxed);
    }

    fn read(&self) -> AddressCount {
        AddressCount {
            address: self.address.load(Ordering::Relaxed),
            traps: self.traps.load(Ordering::Relaxed),
            instructions: self.instructions.load(Ordering::Relaxed),
        }
    }

    fn clear(&self) {
        self.address.store(0, Ordering::Relaxed);
        self.traps.store(0, Ordering::Relaxed);
        self.instructions.store(0, Ordering::Relaxed);
    }
}

static BY_ADDRESS: [Place; PLACES] = [const { Place::new() }; PLACES];
/// For addresses that found no place; its own address stays 0.
static OTHERS: Place = Place::new();
/// For all of them.
static TOTAL: Place = Place::new();

/// SIGILLs that were none of ours.
static PASSED_ON: AtomicU64 = AtomicU64::new(0);

/// One of the latest traps.
struct Latest {
    address: AtomicU64,
    /// `CLOCK_MONOTONIC_COARSE`, nanoseconds.
    at: AtomicU64,
}

static LAST: [Latest; LATEST] = [const {
    Latest {
        address: AtomicU64::new(0),
        at: AtomicU64::new(0),
    }
}; LATEST];
/// Traps that were noted in `LAST`; the next one's place is that modulo its length.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// One of the latest traps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trapped {
    /// Of the instruction that trapped.
    pub(crate) address: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds, exact to a few milliseconds; 0 if the time is not known.
    pub(crate) at_ns: u64,
}

/// Counts one trap at `address`, by which `instructions` lost instructions were finished that needed
/// `features`. Async-signal-safe.
pub(super) fn count(features: FeatureSet, address: u64, instructions: u32) {
    for (word, counters) in features
        .words()
        .into_iter()
        .zip(BY_FEATURE.as_chunks::<64>().0)
    {
        let mut left = word;
        while left != 0 {
            if let Some(counter) = counters.get(left.trailing_zeros() as usize) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            left &= left - 1;
        }
    }
    TOTAL.add(instructions);
    place(address).unwrap_or(&OTHERS).add(instructions);
    let index = NEXT.fetch_add(1, Ordering::Relaxed) % LATEST;
    if let Some(latest) = LAST.get(index) {
        latest.address.store(address, Ordering::Relaxed);
        latest
            .at
            .store(vdso::coarse_monotonic_ns(), Ordering::Relaxed);
    }
}

/// Counts a SIGILL that goes to whoever was there before. Async-signal-safe.
pub(super) fn pass_on() {
    PASSED_ON.fetch_add(1, Ordering::Relaxed);
}

/// The place of `address`, taken for it if it is new.
fn place(address: u64) -> Option<&'static Place> {
    // Fibonacci hashing: the highest bits of the product depend on all of the address.
    let hash = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.trailing_zeros());
    let first = usize::try_from(hash).unwrap_or(0);
    (first..first.wrapping_add(TRIES)).find_map(|index| {
        let place = BY_ADDRESS.get(index % PLACES)?;
        let taken = match place.address.load(Ordering::Relaxed) {
            0 => place
                .address
                .compare_exchange(0, address, Ordering::Relaxed, Ordering::Relaxed)
                .map_or_else(|other| other, |_| address),
            other => other,
        };
        (taken == address).then_some(place)
    })
}

/// Traps by which instructions of `feature` were finished. Async-signal-safe.
pub(crate) fn per_feature(feature: Feature) -> u64 {
    let counter = BY_FEATURE.get(usize::from(feature.id()));
    counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
}

/// Writes the addresses with the most finished instructions, the most first, into `to`; returns how
/// many those are. Takes as many steps as a thousand times the length of `to`. Async-signal-safe.
pub(crate) fn addresses(to: &mut [AddressCount]) -> usize {
    let mut length = 0;
    for place in &BY_ADDRESS {
        let count = place.read();
        if count.address == 0 {
            continue;
        }
        let at = to
            .iter()
            .take(length)
            .position(|other| other.instructions < count.instructions)
            .unwrap_or(length);
        if at >= to.len() {
            continue;
        }
        length = to.len().min(length + 1);
        // The least falls out at the end.
        if let Some(tail) = to.get_mut(at..length) {
            tail.rotate_right(1);
            if let Some(first) = tail.first_mut() {
                *first = count;
            }
        }
    }
    length
}

/// What was done at addresses that are not told apart; the address is 0. Async-signal-safe.
pub(crate) fn others() -> AddressCount {
    OTHERS.read()
}

/// What was done at all of them; the address is 0. Async-signal-safe.
pub(crate) fn total() -> AddressCount {
    TOTAL.read()
}

/// SIGILLs of instructions that were none of ours. Async-signal-safe.
pub(crate) fn passed_on() -> u64 {
    PASSED_ON.load(Ordering::Relaxed)
}

/// Writes the addresses of the latest traps, the latest first, into `to`; returns how many those are,
/// at most 16. Async-signal-safe.
pub(crate) fn last(to: &mut [u64]) -> usize {
    let places = to.iter_mut().zip(latest());
    places.map(|(to, trapped)| *to = trapped.address).count()
}

/// The latest traps, the latest first; at most 16. Async-signal-safe.
pub(crate) fn latest() -> impl Iterator<Item = Trapped> {
    let next = NEXT.load(Ordering::Relaxed);
    (1..=LATEST.min(next)).filter_map(move |back| {
        let latest = LAST.get(next.wrapping_sub(back) % LATEST)?;
        let address = latest.address.load(Ordering::Relaxed);
        // 0 if the trap is counted but not noted yet.
        (address != 0).then(|| Trapped {
            address,
            at_ns: latest.at.load(Ordering::Relaxed),
        })
    })
}

/// The child of a fork has done nothing yet.
pub(super) fn forked() {
    PASSED_ON.store(0, Ordering::Relaxed);
    if TOTAL.traps.load(Ordering::Relaxed) == 0 {
        return;
    }
    for counter in &BY_FEATURE {
        counter.store(0, Ordering::Relaxed);
    }
    for place in &BY_ADDRESS {
        place.clear();
    }
    OTHERS.clear();
    TOTAL.clear();
    for latest in &LAST {
        latest.address.store(0, Ordering::Relaxed);
        latest.at.store(0, Ordering::Relaxed);
    }
    NEXT.store(0, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use isa::features;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::super::sys;
    use super::*;

    /// The counters are the process's: one test at a time, from the beginning.
    fn anew() -> MutexGuard<'static, ()> {
        static ONE: Mutex<()> = Mutex::new(());
        let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        forked();
        guard
    }

    #[test]
    fn each_feature_of_a_trap_counts_it_once() {
        let _one = anew();
        count(features![Avx2, Fma], 0x1000, 100);
        count(features![Avx2], 0x2000, 1);
        assert_eq!(per_feature(Feature::Avx2), 2);
        assert_eq!(per_feature(Feature::Fma), 1);
        assert_eq!(per_feature(Feature::Bmi2), 0);
        let all = total();
        assert_eq!((all.address, all.traps, all.instructions), (0, 2, 101));
    }

    #[test]
    fn addresses_come_with_the_most_instructions_first() {
        let _one = anew();
        for (address, instructions) in [(0x10, 5), (0x20, 50), (0x30, 7), (0x20, 1), (0x40, 6)] {
            count(FeatureSet::EMPTY, address, instructions);
        }
        let count = |address, traps, instructions| AddressCount {
            address,
            traps,
            instructions,
        };
        let mut three = [AddressCount::default(); 3];
        assert_eq!(addresses(&mut three), 3);
        assert_eq!(
            three,
            [count(0x20, 2, 51), count(0x30, 1, 7), count(0x40, 1, 6)]
        );
        let mut ten = [AddressCount::default(); 10];
        assert_eq!(addresses(&mut ten), 4);
        assert_eq!(ten[3], count(0x10, 1, 5));
        assert_eq!(addresses(&mut []), 0);
    }

    #[test]
    fn no_event_is_lost_where_there_are_too_many_addresses() {
        let _one = anew();
        let many = 5 * PLACES as u64;
        for _ in 0..2 {
            for address in (1..=many).map(|i| i * 7 + 0x7f00_0000_0000) {
                count(FeatureSet::EMPTY, address, 3);
            }
        }
        let mut all = [AddressCount::default(); PLACES];
        let length = addresses(&mut all);
        assert!(length > PLACES / 2, "{length}");
        // One that has a place has it for ever.
        assert!(
            all[..length]
                .iter()
                .all(|it| it.traps == 2 && it.instructions == 6)
        );
        let told_apart: u64 = all[..length].iter().map(|it| it.traps).sum();
        assert_eq!(told_apart + others().traps, 2 * many);
        assert_eq!(total().instructions, 6 * many);
    }

    #[test]
    fn the_latest_come_with_the_last_one_first() {
        let _one = anew();
        let mut few = [0; 4];
        assert_eq!(last(&mut few), 0);
        count(FeatureSet::EMPTY, 1, 1);
        count(FeatureSet::EMPTY, 2, 1);
        assert_eq!((last(&mut few), few), (2, [2, 1, 0, 0]));
        for address in 3..=40 {
            count(FeatureSet::EMPTY, address, 1);
        }
        assert_eq!((last(&mut few), few), (4, [40, 39, 38, 37]));
        let mut more = [0; 40];
        assert_eq!(last(&mut more), LATEST);
        assert_eq!(more[LATEST - 1], 25);
    }

    #[test]
    fn a_trap_has_the_time_of_the_clock() {
        let _one = anew();
        vdso::init();
        // The coarse clock is behind the fine one by a tick, 10 ms at most.
        let before = sys::monotonic_ns() - 20_000_000;
        count(FeatureSet::EMPTY, 1, 1);
        let at = latest().next().unwrap().at_ns;
        assert!(
            (before..=sys::monotonic_ns()).contains(&at),
            "{before} {at}"
        );
    }

    #[test]
    fn threads_that_meet_at_an_address_lose_nothing() {
        let _one = anew();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..10_000 {
                        count(features![Avx2], 1 + i % 32, 2);
                    }
                });
            }
        });
        let mut all = [AddressCount::default(); 64];
        assert_eq!(addresses(&mut all), 32);
        assert_eq!(all.iter().map(|it| it.traps).sum::<u64>(), 40_000);
        assert_eq!(total().instructions, 80_000);
        assert_eq!(per_feature(Feature::Avx2), 40_000);
        assert_eq!(others().traps, 0);
    }
}
