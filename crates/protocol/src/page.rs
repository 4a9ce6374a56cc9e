//! The shared page: what the agent publishes to every process with one write.
//!
//! The page is a file of [`SIZE`] bytes that any process may map read-only and
//! only the agent can write. All numbers are little-endian; bytes not named
//! are zero.
//!
//! ```text
//!   0  magic          8 bytes  "ISAHPAGE"
//!   8  layout         u32      1
//!  12  size           u32      4096
//!  16  generation     u64      0 before the first publication; its lowest bit
//!                              is the index of the valid slot
//!  24  retired        u64      1: this page is no longer written, open it anew
//!  32  identity      16 bytes  random, drawn when the page was made
//!  64  slot 0       256 bytes
//! 320  slot 1       256 bytes
//! 576  deadline 0   u64      of the prepare that slot 0 tells of, microseconds
//!                            on the guest's CLOCK_MONOTONIC; 0: there is none
//! 584  deadline 1   u64      the same for slot 1
//!
//! slot:
//!   0  generation     u64      0 while the slot is being written
//!   8  cause          u32      availability::Cause
//!  12  has epoch      u32      1: the three fields of the offer are valid
//!  16  since          u64      microseconds on the guest's CLOCK_MONOTONIC
//!  24  sequence       u64      of the latest offer
//!  32  host machine  16 bytes
//!  48  host boot     16 bytes
//!  64  available     64 bytes  bit n is the feature with id n
//! 128  visible       64 bytes
//! 192  unsafe silent 64 bytes
//! ```
//!
//! A writer fills the slot that is not valid and then stores the new
//! generation, which makes it the valid one: one store publishes, and a writer
//! that dies half-way has changed nothing that anybody reads. A reader copies
//! the valid slot and looks whether its generation is still the same; if the
//! writer lapped it meanwhile, it copies again. "Has anything changed?" is one
//! load of the word at byte 16.

use core::fmt;
use core::sync::atomic::Ordering;

use isa::{Feature, FeatureSet, WORDS};

use crate::availability::{Cause, Publication};
use crate::message::{Epoch, HostIdentity};
use crate::sync::{AtomicU64, again, fence};
use crate::time::Moment;

/// Length of the page and its file, in bytes.
pub const SIZE: usize = 4096;
/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"ISAHPAGE";
/// The layout described in the [module](self).
pub const LAYOUT: u32 = 1;

const FORMAT: usize = 1;
const GENERATION: usize = 2;
const RETIRED: usize = 3;
const IDENTITY: usize = 4;

const HEAD_WORDS: usize = 8;
const SLOT_WORDS: usize = 32;
#[cfg(not(loom))]
const REST_WORDS: usize = SIZE / 8 - HEAD_WORDS - 2 * SLOT_WORDS - 2;
/// loom's threads have little stack.
#[cfg(loom)]
const REST_WORDS: usize = 0;

const CAUSE: usize = 1;
const SINCE: usize = 2;
const SEQUENCE: usize = 3;
const HOST: usize = 4;
const AVAILABLE: usize = 8;
const VISIBLE: usize = 16;
const UNSAFE_SILENT: usize = 24;

/// How often a reader copies anew before it gives up; each time the writer
/// must have published twice during the copy.
const ATTEMPTS: usize = 1000;

/// Why memory is not a page that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The magic is wrong.
    #[error("not an isahotplug page: it begins with {0:02x?}")]
    Magic([u8; 8]),
    /// A layout that this reader does not know.
    #[error("page layout {layout} of {size} bytes where layout {LAYOUT} of {SIZE} is known")]
    Layout {
        /// The layout in the page.
        layout: u32,
        /// The size in the page.
        size: u32,
    },
    /// Nothing was published yet.
    #[error("nothing is published in the page")]
    Empty,
    /// The valid slot does not hold what the page says it does.
    #[error("slot of generation {expected} holds generation {found}")]
    Torn {
        /// The generation of the page.
        expected: u64,
        /// The generation in the slot.
        found: u64,
    },
    /// A cause that this reader does not know.
    #[error("unknown cause {0}")]
    Cause(u32),
}

/// The page as it lies in memory.
///
/// A mapping of the file is a valid `&Page` as long as it is mapped, wherever
/// it is and whoever writes: every access is an aligned atomic load or store,
/// and any bytes are valid words. On a read-only mapping only the methods of
/// readers may be called.
#[cfg_attr(not(loom), repr(C, align(4096)))]
pub struct Page {
    head: [AtomicU64; HEAD_WORDS],
    slots: [[AtomicU64; SLOT_WORDS]; 2],
    deadlines: [AtomicU64; 2],
    _rest: [AtomicU64; REST_WORDS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Page>() == SIZE);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

impl Page {
    /// A page of zeroes, as a new file of [`SIZE`] bytes is.
    #[cfg(loom)]
    pub fn new() -> Self {
        let slot = |_| {
            core::array::from_fn(|i| AtomicU64::new([0, AVAILABLE, UNSAFE_SILENT].contains(&i)))
        };
        Self {
            head: core::array::from_fn(|i| AtomicU64::new(i == GENERATION)),
            slots: core::array::from_fn(slot),
            deadlines: core::array::from_fn(|_| AtomicU64::new(true)),
            _rest: core::array::from_fn(|_| AtomicU64::new(false)),
        }
    }

    /// A page of zeroes, as a new file of [`SIZE`] bytes is.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            head: [const { AtomicU64::new(0) }; HEAD_WORDS],
            slots: [const { [const { AtomicU64::new(0) }; SLOT_WORDS] }; 2],
            deadlines: [const { AtomicU64::new(0) }; 2],
            _rest: [const { AtomicU64::new(0) }; REST_WORDS],
        }
    }

    /// Readers: the generation of the valid slot; 0 before the first
    /// publication. One load; async-signal-safe.
    pub fn generation(&self) -> u64 {
        self.head[GENERATION].load(Ordering::Acquire)
    }

    /// Readers: where the [`generation`](Self::generation) is, to be loaded by code that cannot call
    /// that.
    #[cfg(not(loom))]
    pub fn generation_word(&self) -> &AtomicU64 {
        &self.head[GENERATION]
    }

    /// Readers: whether the agent has left this page for another.
    pub fn is_retired(&self) -> bool {
        self.head[RETIRED].load(Ordering::Acquire) != 0
    }

    /// Readers: the random number drawn when the page was made.
    pub fn identity(&self) -> [u64; 2] {
        [IDENTITY, IDENTITY + 1].map(|i| self.head[i].load(Ordering::Relaxed))
    }

    /// Readers: whether this is a page, of a layout that is known.
    ///
    /// # Errors
    /// [`PageError::Magic`] or [`PageError::Layout`].
    pub fn check(&self) -> Result<(), PageError> {
        let magic = self.head[0].load(Ordering::Acquire).to_le_bytes();
        if magic != MAGIC {
            return Err(PageError::Magic(magic));
        }
        let (layout, size) = halves(self.head[FORMAT].load(Ordering::Relaxed));
        if (layout, size as usize) != (LAYOUT, SIZE) {
            return Err(PageError::Layout { layout, size });
        }
        Ok(())
    }

    /// Readers: what is published. Lock-free, no allocation, bounded;
    /// async-signal-safe.
    ///
    /// # Errors
    /// [`PageError`] if this is no page, nothing was published, or the page is
    /// damaged.
    pub fn read(&self) -> Result<Publication, PageError> {
        self.check()?;
        let mut found = 0;
        let mut expected = 0;
        for _ in 0..ATTEMPTS {
            expected = self.generation();
            if expected == 0 {
                return Err(PageError::Empty);
            }
            let slot = self.slot(expected);
            found = slot[0].load(Ordering::Acquire);
            let copy: [u64; SLOT_WORDS] = core::array::from_fn(|i| slot[i].load(Ordering::Relaxed));
            let deadline = self.deadline(expected).load(Ordering::Relaxed);
            // The copy must be complete before the generation is looked at
            // again; pairs with the fence in `publish`.
            fence(Ordering::Acquire);
            if found == expected && slot[0].load(Ordering::Relaxed) == expected {
                return decode(&copy, deadline);
            }
            again();
        }
        Err(PageError::Torn { expected, found })
    }

    /// Readers: whether `feature` is in what is published; `false` if nothing is. A few loads,
    /// without the checks of [`read`](Self::read): for a page that has passed them once.
    /// Lock-free; async-signal-safe.
    #[inline]
    pub fn has(&self, feature: Feature) -> bool {
        let id = usize::from(feature.id());
        for _ in 0..ATTEMPTS {
            let generation = self.generation();
            let slot = self.slot(generation);
            let Some(word) = slot.get(AVAILABLE + id / 64 % WORDS) else {
                return false;
            };
            let word = word.load(Ordering::Relaxed);
            // As in `read`.
            fence(Ordering::Acquire);
            if slot[0].load(Ordering::Relaxed) == generation {
                return word >> (id % 64) & 1 == 1;
            }
            again();
        }
        false
    }

    /// The writer: makes a zeroed page a page. The magic is stored last.
    pub fn format(&self, identity: [u64; 2]) {
        self.head[FORMAT].store(u64::from(LAYOUT) | (SIZE as u64) << 32, Ordering::Relaxed);
        self.head[IDENTITY].store(identity[0], Ordering::Relaxed);
        self.head[IDENTITY + 1].store(identity[1], Ordering::Relaxed);
        self.head[0].store(u64::from_le_bytes(MAGIC), Ordering::Release);
    }

    /// The writer: publishes. There must be one writer at a time; the agent
    /// holds a lock on a file beside the page (whoever can read the page could
    /// lock the page itself). The publication's generation must be one more
    /// than the page's, or anything in a page that holds nothing.
    pub fn publish(&self, publication: &Publication) {
        self.fill(publication);
        self.head[GENERATION].store(publication.generation, Ordering::Release);
    }

    /// For models: a writer that dies before the store that publishes.
    #[cfg(loom)]
    pub fn publish_half(&self, publication: &Publication) {
        self.fill(publication);
    }

    /// All but the store that publishes.
    fn fill(&self, publication: &Publication) {
        let slot = self.slot(publication.generation);
        slot[0].store(0, Ordering::Relaxed);
        // A reader that sees any word below also sees that the slot is void.
        fence(Ordering::Release);
        for (word, value) in slot.iter().zip(encode(publication)).skip(1) {
            word.store(value, Ordering::Relaxed);
        }
        let deadline = publication.deadline.map_or(0, Moment::micros);
        self.deadline(publication.generation)
            .store(deadline, Ordering::Relaxed);
        slot[0].store(publication.generation, Ordering::Release);
    }

    /// The writer: tells readers to open the page anew.
    pub fn retire(&self) {
        self.head[RETIRED].store(1, Ordering::Release);
    }

    /// Cannot panic: it is reached from trap handlers.
    fn slot(&self, generation: u64) -> &[AtomicU64; SLOT_WORDS] {
        let [even, odd] = &self.slots;
        if generation & 1 == 1 { odd } else { even }
    }

    fn deadline(&self, generation: u64) -> &AtomicU64 {
        let [even, odd] = &self.deadlines;
        if generation & 1 == 1 { odd } else { even }
    }
}

fn halves(word: u64) -> (u32, u32) {
    let b = word.to_le_bytes();
    (
        u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
    )
}

fn encode(publication: &Publication) -> [u64; SLOT_WORDS] {
    let mut words = [0; SLOT_WORDS];
    words[0] = publication.generation;
    words[CAUSE] = u64::from(publication.cause as u32);
    words[SINCE] = publication.since.micros();
    if let Some(epoch) = publication.epoch {
        words[CAUSE] |= 1 << 32;
        words[SEQUENCE] = epoch.sequence;
        let identity = [epoch.host.machine, epoch.host.boot].concat();
        for (word, bytes) in words[HOST..].iter_mut().zip(identity.chunks_exact(8)) {
            *word = bytes
                .iter()
                .rev()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        }
    }
    words[AVAILABLE..][..WORDS].copy_from_slice(&publication.available.words());
    words[VISIBLE..][..WORDS].copy_from_slice(&publication.visible.words());
    words[UNSAFE_SILENT..][..WORDS].copy_from_slice(&publication.unsafe_silent.words());
    words
}

fn decode(words: &[u64; SLOT_WORDS], deadline: u64) -> Result<Publication, PageError> {
    let set = |at: usize| FeatureSet::from_words(core::array::from_fn(|i| words[at + i]));
    let bytes = |at: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&words[at].to_le_bytes());
        bytes[8..].copy_from_slice(&words[at + 1].to_le_bytes());
        bytes
    };
    let (cause, has_epoch) = halves(words[CAUSE]);
    let epoch = (has_epoch == 1).then(|| Epoch {
        host: HostIdentity {
            machine: bytes(HOST),
            boot: bytes(HOST + 2),
        },
        sequence: words[SEQUENCE],
    });
    Ok(Publication {
        generation: words[0],
        available: set(AVAILABLE),
        visible: set(VISIBLE),
        unsafe_silent: set(UNSAFE_SILENT),
        cause: Cause::from_number(cause).ok_or(PageError::Cause(cause))?,
        epoch,
        since: Moment::from_micros(words[SINCE]),
        deadline: (deadline != 0).then(|| Moment::from_micros(deadline)),
    })
}

// loom's atomics work inside its models only: tests/models.rs.
#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use isa::features;

    use super::*;

    fn sample(generation: u64) -> Publication {
        Publication {
            generation,
            available: features![Sse2, Avx2],
            visible: features![Sse2, Avx2, Fma],
            unsafe_silent: features![Abm],
            cause: Cause::Offer,
            epoch: Some(Epoch {
                host: HostIdentity {
                    machine: *b"0123456789abcdef",
                    boot: *b"ghijklmnopqrstuv",
                },
                sequence: 42,
            }),
            since: Moment::from_micros(1_000_001),
            deadline: Some(Moment::from_micros(2_000_002)),
        }
    }

    fn formatted() -> Page {
        let page = Page::new();
        page.format([1, 2]);
        page
    }

    #[test]
    fn what_is_published_is_read() {
        let page = formatted();
        assert_eq!(page.read(), Err(PageError::Empty));
        for generation in 1..6 {
            page.publish(&sample(generation));
            assert_eq!(page.generation(), generation);
            assert_eq!(page.read(), Ok(sample(generation)));
        }
        let without = Publication {
            epoch: None,
            ..sample(6)
        };
        page.publish(&without);
        assert_eq!(page.read(), Ok(without));
    }

    /// Byte by byte as docs/PROTOCOL.md draws it; other languages read it so.
    #[test]
    fn golden_bytes() {
        let page = formatted();
        page.publish(&sample(1));
        let words = page
            .head
            .iter()
            .chain(page.slots.iter().flatten())
            .chain(&page.deadlines)
            .chain(&page._rest);
        let mut bytes = std::vec::Vec::new();
        for word in words {
            bytes.extend(word.load(Ordering::Relaxed).to_le_bytes());
        }
        assert_eq!(bytes.len(), 4096);
        let mut expect = |at: usize, what: &[u8]| {
            assert_eq!(bytes[at..at + what.len()], *what, "at {at}");
            bytes[at..at + what.len()].fill(0);
        };
        expect(0, b"ISAHPAGE");
        expect(8, &[1, 0, 0, 0, 0, 0x10, 0, 0]);
        expect(16, &[1, 0, 0, 0, 0, 0, 0, 0]);
        expect(32, &[1, 0, 0, 0, 0, 0, 0, 0, 2]);
        let slot = 320;
        expect(slot, &[1, 0, 0, 0, 0, 0, 0, 0]);
        expect(slot + 8, &[1, 0, 0, 0, 1, 0, 0, 0]);
        expect(slot + 16, &1_000_001u64.to_le_bytes());
        expect(slot + 24, &[42]);
        expect(slot + 32, b"0123456789abcdefghijklmnopqrstuv");
        for (at, set) in [
            (64, features![Sse2, Avx2]),
            (128, features![Sse2, Avx2, Fma]),
            (192, features![Abm]),
        ] {
            for (i, word) in set.words().iter().enumerate() {
                expect(slot + at + 8 * i, &word.to_le_bytes());
            }
        }
        expect(584, &2_000_002u64.to_le_bytes());
        assert!(bytes.iter().all(|&byte| byte == 0), "nothing else is there");
    }

    #[test]
    fn one_feature_is_read_as_the_whole_set_is() {
        let page = formatted();
        assert!(!page.has(Feature::Avx2));
        for generation in 1..4 {
            page.publish(&sample(generation));
            assert!(page.has(Feature::Avx2) && page.has(Feature::Sse2));
            assert!(!page.has(Feature::Fma) && !page.has(Feature::Abm));
        }
        // The last word of a set has neighbours.
        let ends = Publication {
            available: Feature::ALL.iter().copied().last().into_iter().collect(),
            ..sample(4)
        };
        page.publish(&ends);
        let there: std::vec::Vec<_> = Feature::ALL.iter().filter(|f| page.has(**f)).collect();
        assert_eq!(there, [Feature::ALL.last().unwrap()]);
    }

    #[test]
    fn memory_that_is_no_page_is_named() {
        let page = Page::new();
        assert_eq!(page.read(), Err(PageError::Magic([0; 8])));
        page.format([1, 2]);
        page.head[FORMAT].store(7, Ordering::Relaxed);
        assert_eq!(page.read(), Err(PageError::Layout { layout: 7, size: 0 }));
    }

    #[test]
    fn a_writer_that_dies_half_way_harms_nobody() {
        let page = formatted();
        page.publish(&sample(1));
        page.publish(&sample(2));
        // What `publish` of generation 3 does before its last store.
        page.slot(3)[0].store(0, Ordering::Relaxed);
        page.slot(3)[AVAILABLE].store(!0, Ordering::Relaxed);
        assert_eq!(page.read(), Ok(sample(2)));
        page.publish(&sample(3));
        assert_eq!(page.read(), Ok(sample(3)));
    }

    #[test]
    fn a_damaged_page_is_an_error_and_not_an_endless_loop() {
        let page = formatted();
        page.publish(&sample(1));
        page.slot(1)[0].store(9, Ordering::Relaxed);
        assert_eq!(
            page.read(),
            Err(PageError::Torn {
                expected: 1,
                found: 9
            })
        );
        page.publish(&sample(2));
        page.slot(2)[CAUSE].store(77, Ordering::Relaxed);
        assert_eq!(page.read(), Err(PageError::Cause(77)));
    }

    #[test]
    fn a_retired_page_says_so_and_stays_readable() {
        let page = formatted();
        page.publish(&sample(1));
        assert!(!page.is_retired());
        page.retire();
        assert!(page.is_retired());
        assert_eq!(page.read(), Ok(sample(1)));
        assert_eq!(page.identity(), [1, 2]);
    }

    #[test]
    fn readers_never_see_a_mixture_while_the_writer_runs() {
        let page = formatted();
        page.publish(&marked(1));
        std::thread::scope(|scope| {
            let readers: std::vec::Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut last = 0;
                        while last < 200_000 {
                            let seen = page.read().unwrap();
                            assert_eq!(seen, marked(seen.generation));
                            assert!(seen.generation >= last, "the generation went back");
                            last = seen.generation;
                        }
                    })
                })
                .collect();
            for generation in 2..=200_000 {
                page.publish(&marked(generation));
            }
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }

    /// Every word depends on the generation, so that a mixture shows.
    fn marked(generation: u64) -> Publication {
        let set = FeatureSet::from_words([generation; WORDS]);
        Publication {
            available: set,
            visible: set,
            unsafe_silent: set,
            since: Moment::from_micros(generation),
            ..sample(generation)
        }
    }
}
