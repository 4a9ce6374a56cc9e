//! Which pages hold code.
//!
//! A burst reads instructions as data, and reading says nothing of the NX bit: without care it would
//! run bytes that the CPU refuses to execute, an exploit's say. No user instruction asks whether a
//! page may be executed but executing it. So a burst keeps to pages on which an instruction has
//! trapped before: the CPU itself has fetched it there. Lost code teaches its pages that way; a
//! call into others ends the burst.
//!
//! A page that was code once and is not any more (a JIT takes the permission away while it writes)
//! is not noticed. It would have to be jumped to in that state.

use core::sync::atomic::{AtomicU64, Ordering};

/// Pages that are remembered; each has one place.
const PLACES: usize = 512;

/// Numbers of pages of 4 KiB, 0 for none.
static PAGES: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

fn number(address: u64) -> u64 {
    address >> 12
}

fn place(page: u64) -> Option<&'static AtomicU64> {
    PAGES.get(usize::try_from(page % PLACES as u64).ok()?)
}

/// The CPU has fetched an instruction from here.
pub(super) fn learn(address: u64) {
    let page = number(address);
    if let Some(place) = place(page)
        && place.load(Ordering::Relaxed) != page
    {
        place.store(page, Ordering::Relaxed);
    }
}

/// Whether the CPU has fetched an instruction from this page.
#[inline]
pub(super) fn is_code(address: u64) -> bool {
    let page = number(address);
    page != 0 && place(page).is_some_and(|place| place.load(Ordering::Relaxed) == page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_were_learnt_hold_code() {
        let base = 0x7000_1234_5000;
        assert!(!is_code(base));
        learn(base + 0xfff);
        assert!(is_code(base) && is_code(base + 0x800));
        assert!(!is_code(base - 1) && !is_code(base + 0x1000));
        // Another page takes the place; neither is then taken for the other.
        let other = base + 0x1000 * PLACES as u64;
        assert!(!is_code(other));
        learn(other);
        assert!(is_code(other) && !is_code(base));
        assert!(!is_code(0));
    }
}
