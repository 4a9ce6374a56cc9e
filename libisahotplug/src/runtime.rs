//! What runs behind the API: follows the page, keeps the slots right, calls back.
//!
//! One mutex guards the [`State`]; nothing of the program's runs while it is held, so callbacks may
//! register, unregister and poll. Who waits for a callback to end waits on [`CHANGED`].
//!
//! There is one *keeper* at a time, who reads the agent's socket and looks after the page: the
//! library's thread, or, without one, whoever polls.

use std::ffi::OsString;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use isa::FeatureSet;
use nix::sys::epoll::EpollTimeout;
use protocol::local::Urgency;

use crate::descriptors::Descriptors;
use crate::event::{Answer, Now, Seen, Trap};
use crate::link::Link;
use crate::local::Inside;
use crate::registrations::{Call, Caller, List, Registration, Standing, Subject, What};
use crate::section::{self, Epoch};

use crate::trap::TRAPS;
use crate::{ending, fork, in_trap, page, slots, trap};

/// How often a program that polls pays for a look at the connection; as long, too, may the descriptor
/// that it waits for stay readable in vain.
const MAINTENANCE_US: u64 = 4_000;
/// How often sections are looked at while a removal waits for them.
const SECTIONS_LEAVE: Duration = Duration::from_millis(1);
/// How soon those who poll are woken again when one of them has taken in the ring of another.
const OTHERS_POLL: Duration = Duration::from_millis(5);

/// Takes a line worth reading, from any thread. Must not call this library.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How the library is to run.
#[derive(Clone, Default)]
pub struct Options {
    /// What the agent calls this process; empty for the program's name. The
    /// first who gives a name is heard.
    pub name: String,
    /// No thread: the program calls [`poll`](crate::poll) at points where it
    /// uses no feature that may go.
    pub poll: bool,
    /// Do not install the handler of SIGILL. After an unannounced removal the
    /// program dies as it would without this library.
    pub no_trap: bool,
    /// The agent's directory; `None` for `$ISAHOTPLUG_RUN_DIR` (unless the
    /// program is setuid) or `/run/isahotplug`. The first one decides.
    pub run_dir: Option<PathBuf>,
    /// Where to send the few lines worth reading; `None` for stderr if
    /// `$ISAHOTPLUG_LOG` is set, nowhere otherwise.
    pub log: Option<Log>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("name", &self.name)
            .field("poll", &self.poll)
            .field("no_trap", &self.no_trap)
            .field("run_dir", &self.run_dir)
            .finish_non_exhaustive()
    }
}

/// Why the library cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "the one error of this crate")]
pub enum Error {
    /// An argument makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// [`init`](crate::init) has not been called.
    #[error("isahotplug is not initialised")]
    NotInitialised,
    /// From a signal handler that has interrupted this library, from a callback in the trap
    /// handler, or where the thread would wait for itself.
    #[error("not from here: it would wait for itself")]
    Busy,
    /// No variant of the slot fits what is available.
    #[error("no variant fits the available features; the last one should need none")]
    NoVariant,
    /// A variant of a slot uses a feature whose loss does not fault.
    #[error("{0} may be lost without a fault; only a slot that is called in sections can use it")]
    Silent(FeatureSet),
    /// A system call failed.
    #[error("{0}")]
    System(#[from] io::Error),
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The copy of the library that serves the process is older and cannot do that.
    #[error("the copy of libisahotplug that serves this process is too old for that")]
    Unsupported,
    /// What the other copy of the library answered.
    #[error("libisahotplug: {0}")]
    Other(i32),
}

impl From<nix::Error> for Error {
    fn from(error: nix::Error) -> Self {
        Self::System(error.into())
    }
}

/// One copy of the library that uses this one.
struct Owner {
    id: u64,
    /// Its isahp_init()s that were not taken back; 0 while it leaves.
    count: u64,
    poll: bool,
    log: Option<Log>,
}

pub(crate) struct State {
    owners: Vec<Owner>,
    name: String,
    run_dir: PathBuf,
    pub(crate) list: List,
    descriptors: Arc<Descriptors>,
    link: Link,
    thread: Option<JoinHandle<()>>,
    /// Tells the thread to end.
    stop: Arc<AtomicBool>,
    /// The process that this belongs to.
    pid: u32,
    /// A fork has made this process, and nothing has been called since that needs a thread or the
    /// agent.
    asleep: bool,
    now: Now,
    /// The latest change took something away.
    removing: bool,
    /// The generation that everybody has left what it took away, of which the agent was, or is
    /// still to be, told. Not one that somebody refuses.
    acted: u64,
    needs_told: Option<(u64, u32)>,
    /// The generation about which the agent was told that somebody refuses it.
    refusal_told: Option<u64>,
    /// Sections that must end before `acted` can be this generation.
    sections: Option<(u64, Epoch)>,
    /// Threads that wait in unregister, and for what.
    waiting: Vec<(ThreadId, u64)>,
    /// What `$ISAHOTPLUG_FORCE` says: slot, variant.
    force: Vec<(String, String)>,
    /// How it stands with the agent, in words.
    text: String,
}

static STATE: Mutex<Option<Box<State>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();
static LAST_OWNER: AtomicU64 = AtomicU64::new(0);

/// Whether isahp_poll() can return at once: somebody who polls is to be called…
static NEWS: AtomicBool = AtomicBool::new(true);
/// …or this is not the generation…
static SEEN_GENERATION: AtomicU64 = AtomicU64::new(0);
/// …or the number of emulated instructions, any more…
static SEEN_EMULATED: AtomicU64 = AtomicU64::new(0);
/// …or it is time to look at the connection.
static MAINTENANCE: AtomicU64 = AtomicU64::new(0);

pub(crate) type Guard = MutexGuard<'static, Option<Box<State>>>;

pub(crate) fn lock() -> Guard {
    // Nothing panics half-way: callbacks run without the lock.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn state(guard: &mut Guard) -> Result<&mut State, Error> {
    guard.as_deref_mut().ok_or(Error::NotInitialised)
}

/// Calls `body` with the state, awake after a fork.
pub(crate) fn with<T>(body: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
    let mut guard = lock();
    let state = state(&mut guard)?;
    state.wake_up()?;
    body(state)
}

/// Calls `body` with the state, in the child of a fork without a thread or a connection: for what
/// programs do as they end.
pub(crate) fn without_waking<T>(
    body: impl FnOnce(&mut State) -> Result<T, Error>,
) -> Result<T, Error> {
    body(state(&mut lock())?)
}

/// What became of [`init`].
pub(crate) enum Started {
    /// This copy serves the process; the owner's number.
    Here(u64),
    /// Another copy was quicker.
    Elsewhere(&'static crate::junction::Junction),
}

/// Starts the library for `owner`, 0 for a new one, or counts once more.
pub(crate) fn init(owner: u64, options: Options) -> Result<Started, Error> {
    let mut guard = lock();
    let is_new = guard.is_none();
    if is_new {
        let started = start(&options);
        if !matches!(started, Ok(Ok(_))) {
            // This copy serves nobody: what it has begun must not be found in force.
            section::stop();
            page::stop();
        }
        match started? {
            Ok(state) => *guard = Some(state),
            Err(other) => return Ok(Started::Elsewhere(other)),
        }
    }
    let state = state(&mut guard)?;
    let added = state.add_owner(owner, options);
    if added.is_err() && state.owners.is_empty() {
        // There is no thread yet.
        stop(&mut guard);
    } else if is_new {
        // Once more, now that there is somebody to tell what is wrong with the page.
        state.attach();
    }
    added.map(Started::Here)
}

/// Everything but the owner.
fn start(
    options: &Options,
) -> Result<Result<Box<State>, &'static crate::junction::Junction>, Error> {
    if let Some(value) = environment(trap::burst::VARIABLE) {
        trap::burst::configure(value.as_encoded_bytes());
    }
    page::start();
    section::init();
    fork::follow()?;
    let descriptors = Arc::new(Descriptors::new()?);
    if !options.no_trap {
        TRAPS.ring(descriptors.wake.as_fd().as_raw_fd());
        let elsewhere = match trap::install() {
            Ok(trap::Installed::Here) => None,
            Ok(trap::Installed::Elsewhere(other)) => Some(Ok(other)),
            Err(error) => Some(Err(error)),
        };
        if let Some(other) = elsewhere {
            // Before the descriptor is closed.
            TRAPS.ring(-1);
            TRAPS.grace.wait();
            return Ok(Err(other?));
        }
    }
    let run_dir = options
        .run_dir
        .clone()
        .or_else(|| environment("ISAHOTPLUG_RUN_DIR").map(PathBuf::from));
    let mut state = Box::new(State {
        owners: Vec::new(),
        name: program(),
        run_dir: run_dir.unwrap_or_else(|| "/run/isahotplug".into()),
        list: List::default(),
        descriptors,
        link: Link::default(),
        thread: None,
        stop: Arc::new(AtomicBool::new(false)),
        pid: std::process::id(),
        asleep: false,
        now: Now::default(),
        removing: false,
        acted: 0,
        needs_told: None,
        refusal_told: None,
        sections: None,
        waiting: Vec::new(),
        force: environment("ISAHOTPLUG_FORCE")
            .map_or_else(Vec::new, |text| forced(&text.to_string_lossy())),
        text: String::new(),
    });
    state.attach();
    state.look();
    state.acted = state.now.seen().generation;
    state.allow_silent();
    Ok(Ok(state))
}

/// The value of the variable `name`, if it is not empty and the process has no more rights than
/// its user.
fn environment(name: &str) -> Option<OsString> {
    // SAFETY: getauxval(3) only reads the process's auxiliary vector.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    std::env::var_os(name).filter(|value| !secure && !value.is_empty())
}

/// `SLOT=VARIANT,SLOT=VARIANT`
fn forced(text: &str) -> Vec<(String, String)> {
    let pairs = text.split([',', ' ']).filter(|pair| !pair.is_empty());
    let split = |pair: &str| match pair.split_once('=') {
        Some((slot, variant)) => (slot.to_owned(), variant.to_owned()),
        None => ("*".to_owned(), pair.to_owned()),
    };
    pairs.map(split).collect()
}

fn program() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(|path| path.file_name());
    name.unwrap_or_default().to_string_lossy().into_owned()
}

fn default_log() -> Option<Log> {
    environment("ISAHOTPLUG_LOG")?;
    Some(Arc::new(|line| {
        // A closed stderr is no reason to fail.
        let _ = writeln!(io::stderr(), "isahotplug: {line}");
    }))
}

/// Takes one [`init`] of `owner` back; how many are left. `forget`: all of them, for the copy is
/// being unloaded, and without waiting for ever.
pub(crate) fn unload(owner: u64, forget: bool) -> Result<u64, Error> {
    let mut guard = lock();
    let held = state(&mut guard)?;
    let me = thread::current().id();
    // An object that goes away inside a callback of another one goes all the same.
    if !forget && held.list.runs(me) {
        return Err(Error::Busy);
    }
    let mut owners = held.owners.iter_mut();
    let entry = owners
        .find(|entry| entry.id == owner && entry.count > 0)
        .ok_or(Error::NotInitialised)?;
    entry.count = if forget { 0 } else { entry.count - 1 };
    let left = entry.count;
    if left > 0 {
        return Ok(left);
    }
    // It stays among the owners until nothing of it runs: nobody else may be the last.
    slots::remove_all(owner);
    let ids: Vec<u64> = held
        .list
        .iter()
        .filter(|e| e.owner == owner)
        .map(|e| e.id)
        .collect();
    for id in ids {
        held.end(id);
    }
    let patience = forget.then_some(Duration::from_secs(5));
    let since = Instant::now();
    // What this thread runs itself ends when this has returned.
    while state(&mut guard)?.list.is_running(owner, me) {
        if patience.is_some_and(|patience| since.elapsed() > patience) {
            break;
        }
        guard = CHANGED
            .wait_timeout(guard, Duration::from_millis(100))
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    let held = state(&mut guard)?;
    let ended = held.list.take_ended();
    held.owners.retain(|entry| entry.id != owner);
    let thread = if held.owners.is_empty() {
        stop(&mut guard)
    } else if held.is_threaded() {
        held.interest_changed();
        None
    } else {
        held.descriptors.nest()?;
        held.end_thread()
    };
    drop(guard);
    if let Some(thread) = thread.filter(|thread| thread.thread().id() != me) {
        // One that panicked has ended, too.
        let _ = thread.join();
    }
    release(ended);
    Ok(0)
}

/// Gives everything back but the memory that a handler may be looking at. The thread is to be
/// waited for when the lock is free.
fn stop(guard: &mut Guard) -> Option<JoinHandle<()>> {
    let mut state = guard.take()?;
    let thread = state.end_thread();
    TRAPS.ring(-1);
    TRAPS.grace.wait();
    trap::uninstall();
    section::stop();
    page::stop();
    thread
}

/// Tells those whose registrations have ended. Who waits for them waits for this, too: the code of
/// `release` may be unloaded next.
pub(crate) fn release(ended: Vec<Registration>) {
    if ended.is_empty() {
        return;
    }
    let ids: Vec<u64> = ended.iter().map(|entry| entry.id).collect();
    for entry in ended {
        if let Some(release) = entry.release {
            let _out = Inside::leave();
            // SAFETY: to be called once with userdata, says the registrant; nothing uses it now.
            unsafe { release(entry.userdata.0) };
        }
    }
    if let Some(state) = lock().as_deref_mut() {
        state.list.released(&ids);
    }
    CHANGED.notify_all();
}

/// The thread that calls back. All signals stay with the program's threads.
fn start_thread(
    descriptors: Arc<Descriptors>,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    let mut old = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: both are sigset_t that these calls fill; the synchronous signals
    // stay unblocked, for a blocked one that is raised kills.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for signal in [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
            libc::sigdelset(all.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
    }
    let spawned = thread::Builder::new()
        .name("isahotplug".into())
        .spawn(move || {
            while !stop.load(Ordering::Acquire) {
                descriptors.wait(EpollTimeout::NONE);
                let _ = dispatch_while(Caller::Thread, &|| !stop.load(Ordering::Acquire));
            }
        });
    // SAFETY: `old` was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    spawned
}

/// What a polling program calls all the time: a few loads and a clock of a few
/// nanoseconds when there is no news.
pub(crate) fn poll(owner: u64) -> Result<u32, Error> {
    let now_us = coarse_us();
    if !NEWS.load(Ordering::Acquire)
        && page::current().generation() == SEEN_GENERATION.load(Ordering::Relaxed)
        && TRAPS.emulated() == SEEN_EMULATED.load(Ordering::Relaxed)
        && now_us < MAINTENANCE.load(Ordering::Relaxed)
    {
        return Ok(0);
    }
    MAINTENANCE.store(now_us + MAINTENANCE_US, Ordering::Relaxed);
    let emulated = TRAPS.emulated();
    let calls = dispatch_while(Caller::Poll(owner), &|| true)?;
    SEEN_EMULATED.store(emulated, Ordering::Relaxed);
    Ok(calls)
}

/// Takes in what is new and calls back. Returns how many callbacks ran.
fn dispatch_while(caller: Caller, goes_on: &dyn Fn() -> bool) -> Result<u32, Error> {
    let mut guard = lock();
    let mut calls = 0;
    let mut is_first = true;
    loop {
        if !goes_on() {
            return Ok(calls);
        }
        let held = state(&mut guard)?;
        held.wake_up()?;
        if is_first && caller != Caller::Thread {
            held.descriptors.drain_polled();
            NEWS.store(false, Ordering::Release);
        }
        if is_first && held.is_keeper(caller) {
            held.keep();
        }
        is_first = false;
        held.look();
        let (at, threaded) = (Instant::now(), held.is_threaded());
        let call = held
            .list
            .next(&held.now, at, caller, threaded, held.removing);
        let Some(Call { id, what }) = call else {
            held.conclude(caller);
            return Ok(calls);
        };
        drop(guard);
        calls += 1;
        let answer = perform(&what);
        guard = lock();
        let held = state(&mut guard)?;
        held.list.answered(id, answer, Instant::now());
        let ended = held.list.take_ended();
        CHANGED.notify_all();
        if !ended.is_empty() {
            drop(guard);
            release(ended);
            guard = lock();
        }
    }
}

/// The reason that isahp_refuse() left on this thread.
pub(crate) mod reason {
    use std::cell::RefCell;

    thread_local! {
        static REASON: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    pub(crate) fn set(reason: String) {
        REASON.with_borrow_mut(|place| *place = Some(reason));
    }

    pub(crate) fn take() -> Option<String> {
        REASON.with_borrow_mut(Option::take)
    }
}

fn perform(what: &What) -> Option<Answer> {
    let _out = Inside::leave();
    match *what {
        What::Event(callback, event) => {
            let event = event.to_c();
            reason::take();
            // SAFETY: callable with userdata until its registration has ended, says the registrant.
            let answer = unsafe { (callback.function)(callback.userdata, &raw const event) };
            Some(match u32::try_from(answer) {
                Ok(0) => Answer::Left,
                Ok(ms) => Answer::Needs(ms),
                Err(_) => Answer::Refuse(
                    reason::take().unwrap_or_else(|| format!("its callback returned {answer}")),
                ),
            })
        }
        What::Change {
            observer,
            userdata,
            slot,
            from,
            to,
        } => {
            if let Some(observer) = observer {
                // SAFETY: callable until the slot is released, says the registrant.
                unsafe { observer(userdata.0, slot, from, to) };
            }
            None
        }
    }
}

/// Ends a registration and waits for its callback, unless this thread is in it.
pub(crate) fn unregister(id: u64) -> Result<(), Error> {
    with(|state| {
        let found = state.list.get(id).is_some_and(|entry| !entry.ended);
        if !found {
            return Err(Error::NotFound("registration"));
        }
        state.end(id);
        state.interest_changed();
        Ok(())
    })?;
    await_end(id)
}

/// Waits for the callback of a registration that has ended, unless this thread is in it.
pub(crate) fn await_end(id: u64) -> Result<(), Error> {
    let (mut guard, result) = ending::wait(lock(), &CHANGED, id, Option::as_deref_mut);
    let ended = guard
        .as_deref_mut()
        .map_or_else(Vec::new, |held| held.list.take_ended());
    CHANGED.notify_all();
    drop(guard);
    release(ended);
    result.map_err(|ending::WaitsForItself| Error::Busy)
}

impl ending::Callbacks for State {
    fn runner(&self, id: u64) -> Option<ThreadId> {
        self.list.runner(id)
    }

    fn waiting(&mut self) -> &mut Vec<(ThreadId, u64)> {
        &mut self.waiting
    }
}

impl State {
    fn add_owner(&mut self, owner: u64, options: Options) -> Result<u64, Error> {
        self.wake_up()?;
        let log = options.log.or_else(default_log);
        let mut owners = self.owners.iter_mut();
        if let Some(entry) = owners.find(|entry| entry.id == owner && entry.count > 0) {
            entry.count += 1;
            return Ok(owner);
        }
        // Also for one whose last isahp_unload() is under way: what it has ends.
        let owner = LAST_OWNER.fetch_add(1, Ordering::Relaxed) + 1;
        if !options.name.is_empty() && self.owners.is_empty() {
            self.name = options.name;
        }
        self.owners.push(Owner {
            id: owner,
            count: 1,
            poll: options.poll,
            log,
        });
        let started = self.fit_thread();
        if let Err(error) = started {
            self.owners.retain(|entry| entry.id != owner);
            return Err(error.into());
        }
        Ok(owner)
    }

    /// Whether there is to be a thread.
    pub(crate) fn is_threaded(&self) -> bool {
        self.owners.iter().any(|owner| !owner.poll)
    }

    /// Starts the thread if there is to be one and is none.
    fn fit_thread(&mut self) -> io::Result<()> {
        if !self.is_threaded() {
            return Ok(self.descriptors.nest()?);
        }
        if self.thread.is_none() {
            let stop = Arc::new(AtomicBool::new(false));
            self.thread = Some(start_thread(
                Arc::clone(&self.descriptors),
                Arc::clone(&stop),
            )?);
            self.stop = stop;
            // Not before there is one: those who poll would not be woken by anybody.
            self.descriptors.unnest();
        }
        Ok(())
    }

    /// Tells the thread to end.
    fn end_thread(&mut self) -> Option<JoinHandle<()>> {
        self.stop.store(true, Ordering::Release);
        self.descriptors.ring();
        self.thread.take()
    }

    fn is_keeper(&self, caller: Caller) -> bool {
        caller == Caller::Thread || !self.is_threaded()
    }

    /// Ends a registration; it stays in the list as long as it runs.
    pub(crate) fn end(&mut self, id: u64) {
        let Some(entry) = self.list.get_mut(id) else {
            return;
        };
        entry.ended = true;
        if let Subject::Events { in_trap, .. } = &mut entry.subject {
            // A handler takes no lock: it cannot be waiting for us.
            if let Some(node) = in_trap.take() {
                in_trap::remove(node);
            }
        }
    }

    /// The agent is told of a new interest at the next dispatch.
    pub(crate) fn interest_changed(&self) {
        MAINTENANCE.store(0, Ordering::Relaxed);
        self.descriptors.ring();
    }

    pub(crate) fn log(&self, line: &str) {
        for owner in &self.owners {
            if let Some(log) = &owner.log {
                log(line);
            }
        }
    }

    pub(crate) fn fd(&self) -> i32 {
        self.descriptors.polled_fd()
    }

    pub(crate) fn text(&self) -> String {
        self.text.clone()
    }

    /// What everybody was told, or is about to be.
    pub(crate) fn seen(&mut self) -> Seen {
        self.look();
        self.now.seen()
    }

    /// What `$ISAHOTPLUG_FORCE` says about a slot.
    fn forced(&self, slot: &str) -> Option<&str> {
        let found = self.force.iter().rev().find(|(name, _)| name == slot);
        let found = found.or_else(|| self.force.iter().rev().find(|(name, _)| name == "*"));
        found.map(|(_, variant)| variant.as_str())
    }

    /// The index of the variant that `$ISAHOTPLUG_FORCE` wants for a slot.
    pub(crate) fn forced_variant(&self, slot: &str, names: &[String]) -> Option<usize> {
        let wanted = self.forced(slot)?;
        names
            .iter()
            .position(|name| name == wanted && !name.is_empty())
    }

    /// Says so if `$ISAHOTPLUG_FORCE` wants something of a slot that it does not get.
    pub(crate) fn say_if_not_forced(&self, slot: &str, forced: Option<usize>, node: &slots::Node) {
        let Some(wanted) = self.forced(slot) else {
            return;
        };
        let name = if slot.is_empty() {
            "without a name"
        } else {
            slot
        };
        match forced {
            None => self.log(&format!(
                "ISAHOTPLUG_FORCE: slot {name} has no variant {wanted}; it keeps the best"
            )),
            Some(index) if node.index() != index => self.log(&format!(
                "ISAHOTPLUG_FORCE: variant {wanted} of slot {name} needs what is not available; \
                 it keeps the best"
            )),
            Some(_) => {}
        }
    }

    /// The registration that observes a slot.
    pub(crate) fn observer_of(&self, slot: *mut crate::c::isahp_slot) -> Option<u64> {
        let observes = |entry: &&Registration| matches!(entry.subject, Subject::Slot { slot: of, .. } if of == slot);
        self.list.iter().find(observes).map(|entry| entry.id)
    }

    /// Takes in how things stand and makes the slots right.
    fn look(&mut self) {
        let trap = Trap {
            since_us: TRAPS.first_ns() / 1000,
            address: TRAPS.address(),
        };
        let Some(now) = Now::look(page::current(), TRAPS.lost(), trap) else {
            return;
        };
        if now.seen() == self.now.seen() {
            self.now = now;
            return;
        }
        if now.seen().generation != self.now.seen().generation {
            self.link.forget_reported();
        }
        let removed = self.now.available.difference(now.available);
        self.removing = !removed.is_empty();
        self.now = now;
        slots::update_all();
    }

    /// What this process wants to hear from an agent, the features (empty for
    /// all) and how urgently. `None` if nothing.
    fn wanted(&self) -> Option<(FeatureSet, Urgency)> {
        let slots = slots::wanted();
        let mut all = false;
        let (mut interest, mut urgency) = slots.unzip();
        for entry in self.list.iter() {
            if let Subject::Events {
                interest: features, ..
            } = &entry.subject
            {
                all |= features.is_empty();
                interest = Some(interest.unwrap_or_default().union(*features));
                urgency = Some(urgency.map_or(entry.urgency, |other| other.or(entry.urgency)));
            }
        }
        let interest = if all {
            FeatureSet::EMPTY
        } else {
            interest.unwrap_or_default()
        };
        Some((interest, urgency?))
    }

    /// The keeper's work: connection and page.
    fn keep(&mut self) {
        self.descriptors.drain();
        let wanted = self.wanted();
        let (is_new, text) = self
            .link
            .connect(&self.descriptors, &self.run_dir, wanted.is_some());
        if is_new {
            // What an earlier agent was told it may not have passed on.
            (self.needs_told, self.refusal_told) = (None, None);
        }
        if is_new || page::current().is_retired() {
            self.attach();
        }
        let heard = self
            .link
            .converse(&self.descriptors, &self.name, wanted, self.acted);
        if let Some(text) = heard.or(text) {
            self.say(text);
        }
        self.allow_silent();
    }

    /// The silent features that may be used. Without an agent nobody takes anything away; with one,
    /// it has to wait for this process.
    fn silent(&self) -> FeatureSet {
        match page::is_agents() {
            true => self.link.awaited(),
            false => slots::SILENT_FEATURES,
        }
    }

    fn allow_silent(&self) {
        slots::allow_silent(self.silent());
    }

    /// Says what there is to say to the agent, and to whoever else has something to do.
    fn conclude(&mut self, caller: Caller) {
        let at = Instant::now();
        let generation = self.now.seen().generation;
        if self.acted != generation {
            match self.list.standing(&self.now, at) {
                Standing::Busy => {}
                Standing::Refused(reason) => {
                    if self.refusal_told.replace(generation) != Some(generation) {
                        self.link.owe_refusal(generation, &reason);
                    }
                }
                Standing::Needs(ms) => {
                    if self.needs_told != Some((generation, ms)) {
                        self.needs_told = Some((generation, ms));
                        self.link.owe_need(generation, ms, &self.name);
                    }
                }
                Standing::Left => {
                    if self.sections_are_left(generation) {
                        self.acted = generation;
                        self.link.owe_left(generation);
                    }
                }
            }
        }
        if let Some(text) = self
            .link
            .tell(&self.descriptors, self.now.lost, self.now.trap.address)
        {
            // The connection is gone, and with it who would have waited.
            self.allow_silent();
            self.say(text);
        }
        if self.is_keeper(caller) {
            self.arm(caller, at);
        }
        self.ring_others(caller, at);
        SEEN_GENERATION.store(generation, Ordering::Relaxed);
    }

    /// Whether nobody is in a section that began before everybody had answered.
    fn sections_are_left(&mut self, generation: u64) -> bool {
        let epoch = match self.sections {
            Some((of, epoch)) if of == generation => epoch,
            _ => {
                // A trap handler that began before may still be storing what was right then.
                TRAPS.grace.wait();
                let epoch = section::begin();
                self.sections = Some((generation, epoch));
                epoch
            }
        };
        let over = epoch.is_over();
        if over {
            self.sections = None;
        }
        over
    }

    /// When the keeper is to look again at the latest.
    fn arm(&self, keeper: Caller, at: Instant) {
        let sections = self.sections.map(|_| at + SECTIONS_LEAVE);
        let wanted = self.wanted().is_some();
        // Since the keeper has looked somebody's time may have run out.
        let due = self.is_due(keeper, at).then_some(at);
        // Without a thread all wait on one descriptor, whose rings the keeper has taken in.
        let others = !self.is_threaded() && !self.is_due(keeper, at) && self.is_polled_due(at);
        let others = others.then_some(at + OTHERS_POLL);
        let deadlines = [
            sections,
            due,
            others,
            self.list.deadline(at),
            self.link.deadline(wanted, at),
        ];
        let next = deadlines.into_iter().flatten().min();
        self.descriptors
            .arm(next.map(|next| next.saturating_duration_since(at)));
        if next.is_some_and(|next| next < at + Duration::from_micros(MAINTENANCE_US)) {
            MAINTENANCE.store(0, Ordering::Relaxed);
        }
    }

    /// Those whose turn it is now.
    fn ring_others(&self, caller: Caller, at: Instant) {
        let threaded = self.is_threaded();
        if threaded && caller != Caller::Thread && self.is_due(Caller::Thread, at) {
            self.descriptors.ring();
        }
        if self.is_polled_due(at) {
            NEWS.store(true, Ordering::Release);
            if threaded {
                self.descriptors.ring_polled();
            }
        }
    }

    fn is_due(&self, caller: Caller, at: Instant) -> bool {
        let threaded = self.is_threaded();
        self.list
            .is_due(&self.now, at, caller, threaded, self.removing)
    }

    /// Whether somebody's isahp_poll() has somebody to call.
    fn is_polled_due(&self, at: Instant) -> bool {
        let mut owners = self.owners.iter();
        owners.any(|owner| self.is_due(Caller::Poll(owner.id), at))
    }

    fn attach(&mut self) {
        match page::attach(&self.run_dir.join("page")) {
            // Its generations are its own: whatever was acted upon is old, and what is still to be
            // said about it would be taken for something else.
            Ok(true) => {
                self.acted = 0;
                self.link.owe_nothing();
            }
            Ok(false) => {}
            Err(page::AttachError::Open(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.log(&format!("the agent's page cannot be used: {error}")),
        }
    }

    /// Says once what has changed.
    fn say(&mut self, text: String) {
        if self.text != text {
            self.text = text;
            self.log(&self.text);
        }
    }

    /// In the child of a fork: descriptors of its own, no thread, nobody running but the caller.
    /// Called with the lock held over the fork.
    fn forked(&mut self) {
        self.asleep = true;
        self.pid = std::process::id();
        self.link.forget();
        // It is not here, and must not even be detached.
        let _parents = self.thread.take().map(ManuallyDrop::new);
        self.list.forked();
        self.waiting.clear();
        self.sections = None;
        self.descriptors.forked();
        slots::allow_silent_after_fork(self.silent());
        NEWS.store(true, Ordering::Release);
    }

    /// Goes on in the child of a fork, for somebody calls who needs it.
    fn wake_up(&mut self) -> Result<(), Error> {
        if self.pid != std::process::id() {
            // A fork that libc knows nothing of.
            self.forked();
            TRAPS.forked();
            section::forked();
        }
        if self.asleep {
            self.fit_thread()?;
            self.asleep = false;
            TRAPS.ring(self.descriptors.wake.as_fd().as_raw_fd());
            self.interest_changed();
        }
        Ok(())
    }
}

/// See [`State::forked`].
pub(crate) fn forked(guard: &mut Guard) {
    if let Some(state) = guard.as_deref_mut() {
        state.forked();
    }
}

fn coarse_us() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |t| {
        t.tv_sec().unsigned_abs() * 1_000_000 + t.tv_nsec().unsigned_abs() / 1000
    })
}
