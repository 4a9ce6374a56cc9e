//! Read-side sections: what a planned removal waits for.
//!
//! A thread stores in a record of its own that it is inside, and since which *epoch*. Whoever has
//! taken something away begins a new epoch ([`begin`]) and waits until every thread has been seen
//! outside, or inside since the new epoch ([`Epoch::is_over`]): from then on nobody is on the old
//! path. The fast side is a load and a store. That its store is seen before what it loads
//! afterwards is the slow side's business: membarrier(2) makes every CPU that runs a thread of the
//! process execute a barrier. Where that is refused the fast side has a fence.
//!
//! Records live for ever; that of a thread that has ended goes to another one.
//!
//! The fast side also stands in the C header (ISAHP_ENTER, ISAHP_EXIT): the record's first words
//! are part of the ABI, as `isahp_section`.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::c::isahp_section;
pub(crate) use crate::epoch::Epoch;
use crate::epoch::{Clock, Word};
use crate::local::local;

/// One thread's; as C sees it, an isahp_section.
#[repr(C, align(64))]
pub(crate) struct Record {
    word: Word,
    /// The thread, as the kernel numbers it; 0 for nobody.
    owner: AtomicU32,
}

const _: () = assert!(size_of::<Word>() == size_of::<isahp_section>());

/// Records of a page.
const COUNT: usize = 63;

#[repr(C, align(4096))]
struct Chunk {
    next: AtomicPtr<Chunk>,
    records: [Record; COUNT],
}

const _: () = assert!(size_of::<Chunk>() == 4096);

static CHUNKS: AtomicPtr<Chunk> = AtomicPtr::new(null_mut());
static CLOCK: Clock = Clock::new();

/// membarrier(2)'s commands (include/uapi/linux/membarrier.h).
const PRIVATE_EXPEDITED: i32 = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;

fn membarrier(command: i32) -> bool {
    // SAFETY: membarrier(2) touches no memory of the caller's.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Registers the process with membarrier(2); sections that began before had a fence.
pub(crate) fn init() {
    if membarrier(REGISTER_PRIVATE_EXPEDITED) {
        CLOCK.rely_on_barrier(words());
    }
}

/// Nobody is served any more: who has kept his record must ask anew.
pub(crate) fn stop() {
    CLOCK.rely_on_fences(words());
}

fn words() -> impl Iterator<Item = &'static Word> + Clone {
    records().map(|record| &record.word)
}

/// Begins a section of the calling thread. Async-signal-safe.
#[inline]
pub(crate) fn enter() {
    let record = local().record.load(Ordering::Relaxed);
    // SAFETY: null, or a record, which live for ever.
    match unsafe { record.as_ref() } {
        Some(record) => CLOCK.enter(&record.word),
        None => enter_first(),
    }
}

/// [`enter`], for the header's code: the record with which it can do without a call from now on.
pub(crate) fn enter_record() -> *mut isahp_section {
    enter();
    local().record.load(Ordering::Relaxed).cast()
}

/// Ends it. Async-signal-safe.
#[inline]
pub(crate) fn exit() {
    let record = local().record.load(Ordering::Relaxed);
    // SAFETY: as in `enter`.
    if let Some(record) = unsafe { record.as_ref() } {
        record.word.exit();
    }
}

#[cold]
#[inline(never)]
extern "C" fn enter_first() {
    // Without memory for a record: nobody could wait for this thread, so it must not go on.
    let Some(record) = claim() else {
        std::process::abort()
    };
    let local = local();
    let mine = local.record.load(Ordering::Relaxed);
    // SAFETY: as in `enter`.
    if let Some(mine) = unsafe { mine.as_ref() } {
        // A signal handler was quicker.
        record.owner.store(0, Ordering::Release);
        return CLOCK.enter(&mine.word);
    }
    local
        .record
        .store(core::ptr::from_ref(record).cast_mut(), Ordering::Relaxed);
    CLOCK.enter(&record.word);
}

impl Record {
    /// Whether its thread is inside since before `epoch`.
    fn is_inside_since_before(&self, epoch: Epoch) -> bool {
        self.word.is_inside_since_before(epoch) && !self.take_from_dead()
    }

    /// Whether its thread has ended; the record is free then.
    fn take_from_dead(&self) -> bool {
        let owner = self.owner.load(Ordering::Acquire);
        if owner == 0 {
            return true;
        }
        if is_alive(owner) {
            return false;
        }
        // Whoever takes it first.
        let free =
            self.owner
                .compare_exchange(owner, CLEANING, Ordering::AcqRel, Ordering::Relaxed);
        if free.is_ok() {
            self.word.clear();
            self.owner.store(0, Ordering::Release);
        }
        true
    }

    fn try_claim(&self, me: u32) -> bool {
        let free = self
            .owner
            .compare_exchange(0, me, Ordering::AcqRel, Ordering::Relaxed);
        if free.is_err() {
            return false;
        }
        CLOCK.start(&self.word);
        true
    }
}

/// In [`Record::owner`]: no thread has this number.
const CLEANING: u32 = u32::MAX;

/// Whether the thread is one of this process's.
fn is_alive(thread: u32) -> bool {
    if thread == CLEANING {
        return true;
    }
    // SAFETY: tgkill(2) with signal 0 only looks.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, 0) };
    // ESRCH is the only answer that means no.
    result == 0 || errno() != libc::ESRCH
}

fn errno() -> i32 {
    // SAFETY: errno's address is valid for the thread.
    unsafe { *libc::__errno_location() }
}

fn thread() -> u32 {
    // SAFETY: gettid(2) takes nothing.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    u32::try_from(thread).unwrap_or(CLEANING - 1)
}

fn chunks() -> impl Iterator<Item = &'static Chunk> + Clone {
    // SAFETY: null, or a chunk, which live for ever.
    let follow = |chunk: &AtomicPtr<Chunk>| unsafe { chunk.load(Ordering::Acquire).as_ref() };
    std::iter::successors(follow(&CHUNKS), move |chunk| follow(&chunk.next))
}

fn records() -> impl Iterator<Item = &'static Record> + Clone {
    chunks().flat_map(|chunk| &chunk.records)
}

/// A record for the calling thread. Async-signal-safe; errno stays as it is.
fn claim() -> Option<&'static Record> {
    let before = errno();
    let me = thread();
    let free = |record: &&Record| record.try_claim(me);
    let record = records()
        .find(free)
        .or_else(|| records().find(|record| record.take_from_dead() && record.try_claim(me)))
        .or_else(|| add_chunk()?.records.iter().find(free));
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = before };
    record
}

fn add_chunk() -> Option<&'static Chunk> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice, kept for ever. Zeroes are
    // a chunk with free records.
    let chunk = unsafe {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let chunk = libc::mmap(null_mut(), size_of::<Chunk>(), access, kind, -1, 0);
        if chunk == libc::MAP_FAILED {
            return None;
        }
        NonNull::new(chunk.cast::<Chunk>())?.as_ref()
    };
    let new = core::ptr::from_ref(chunk).cast_mut();
    let mut head = CHUNKS.load(Ordering::Acquire);
    loop {
        chunk.next.store(head, Ordering::Relaxed);
        match CHUNKS.compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(chunk),
            Err(other) => head = other,
        }
    }
}

/// Whoever enters a section from now on sees what the caller has stored before.
pub(crate) fn begin() -> Epoch {
    // membarrier(2) may be refused though it was not at `init`: a sandbox has come since. What is
    // still in a store buffer gets out of it in far less than this time.
    CLOCK.begin(
        words(),
        || membarrier(PRIVATE_EXPEDITED),
        || std::thread::sleep(std::time::Duration::from_millis(1)),
    )
}

impl Epoch {
    /// Whether every thread has left the sections that began before.
    pub(crate) fn is_over(self) -> bool {
        !records().any(|record| record.is_inside_since_before(self))
    }
}

/// In the child of a fork there is no thread but the calling one.
pub(crate) fn forked() {
    let mine = local().record.load(Ordering::Relaxed);
    for record in records() {
        if core::ptr::eq(record, mine) {
            record.owner.store(thread(), Ordering::Release);
        } else {
            record.word.clear();
            record.owner.store(0, Ordering::Release);
        }
    }
    // Not where a fence is needed already: this copy of the library may serve nobody, or there were
    // never sections.
    if CLOCK.relies_on_barrier() && !membarrier(REGISTER_PRIVATE_EXPEDITED) {
        stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// They share the process's records.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn alone() -> std::sync::MutexGuard<'static, ()> {
        init();
        ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    #[test]
    fn an_epoch_is_over_when_those_who_were_inside_have_left() {
        let _alone = alone();
        let (inside, leave) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                enter();
                enter();
                exit();
                inside.wait();
                leave.wait();
                exit();
                // A new one does not count.
                enter();
                inside.wait();
                leave.wait();
                exit();
            });
            inside.wait();
            let epoch = begin();
            assert!(!epoch.is_over());
            leave.wait();
            inside.wait();
            assert!(epoch.is_over());
            assert!(!begin().is_over());
            leave.wait();
        });
        assert!(begin().is_over());
    }

    #[test]
    fn a_thread_that_ends_inside_is_not_waited_for_and_its_record_is_used_again() {
        let _alone = alone();
        let count = || records().count();
        std::thread::spawn(enter).join().unwrap();
        let before = count();
        for _ in 0..3 * COUNT {
            std::thread::spawn(enter).join().unwrap();
        }
        assert_eq!(count(), before);
        assert!(begin().is_over());
    }

    #[test]
    fn exit_without_enter_does_nothing() {
        let _alone = alone();
        exit();
        enter();
        exit();
        exit();
        enter();
        assert!(!begin().is_over());
        exit();
        assert!(begin().is_over());
    }
}
