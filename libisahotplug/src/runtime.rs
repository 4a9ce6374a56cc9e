//! What runs behind the API: follows the page, keeps the connection, calls
//! back.
//!
//! One mutex, [`Runtime::dispatcher`], is held while news is taken in and
//! callbacks run, so that there is one dispatcher at a time. Callbacks may
//! register, unregister and query: those take only the list's own lock. They
//! may not dispatch.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use isa::FeatureSet;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::local::{FromProcess, ToProcess};
use protocol::{Text, Versions};

use crate::agent::{Connection, Received, Sent};
use crate::event::{Answer, Event, Seen, Trap};
use crate::trap::TRAPS;
use crate::{fork, page, slots, trap};

/// First pause before connecting again, doubled each time…
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// …up to this.
const RETRY_SLOWEST: Duration = Duration::from_secs(2);
/// How soon to try again what a slow agent did not take.
const BACKLOG_MS: u8 = 50;
/// How often a program that polls pays for a look at the connection.
const MAINTENANCE_US: u64 = 20_000;

/// Takes a line worth reading, from any thread.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How the library is to run.
#[derive(Clone, Default)]
pub struct Options {
    /// What the agent calls this process; empty for the program's name.
    pub name: String,
    /// No thread: the program calls [`poll`](crate::poll) at points where it
    /// uses no feature that may go.
    pub poll: bool,
    /// Do not install the handler of SIGILL. After an unannounced removal the
    /// program dies as it would without this library.
    pub no_trap: bool,
    /// The agent's directory; `None` for `$ISAHOTPLUG_RUN_DIR` (unless the
    /// program is setuid) or `/run/isahotplug`.
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
    /// Called from inside a callback.
    #[error("events are being dispatched")]
    Busy,
    /// No variant of the slot fits what is available.
    #[error("no variant fits the available features; the last one should need none")]
    NoVariant,
    /// A variant of a slot uses a feature whose loss does not fault.
    #[error("{0} may be lost without a fault; a slot cannot protect its users")]
    Silent(FeatureSet),
    /// A system call failed.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl From<nix::Error> for Error {
    fn from(error: nix::Error) -> Self {
        Self::System(error.into())
    }
}

type Callback = Box<dyn FnMut(&Event) -> Answer + Send>;

struct Registration {
    id: u64,
    /// Empty means everything.
    interest: FeatureSet,
    eager: bool,
    alive: AtomicBool,
    callback: Mutex<Callback>,
}

struct Dispatcher {
    connection: Option<Connection>,
    retry_at: Instant,
    retry_pause: Duration,
    /// The list of registrations or slots has changed since it was told.
    told: Option<(FeatureSet, bool)>,
    seen: Seen,
    reported: FeatureSet,
    /// What the agent is still to be told about `seen`.
    owed: Option<FromProcess>,
    /// Something could not be sent, for the agent does not read.
    backlog: bool,
}

pub(crate) struct Runtime {
    options: Options,
    epoll: Epoll,
    /// Written by the agent and by the trap handler.
    wake: EventFd,
    /// Held while news is taken in and callbacks run.
    dispatcher: Mutex<Dispatcher>,
    /// How it stands with the agent, in words.
    state: Mutex<String>,
    /// The process that this belongs to: the child of a fork gets no events.
    pid: u32,
    /// The connection's descriptor; −1 for none.
    socket: AtomicI32,
    dispatching: Mutex<Option<ThreadId>>,
    registrations: Mutex<Vec<Arc<Registration>>>,
    next_id: AtomicU64,
    seen_generation: AtomicU64,
    seen_emulated: AtomicU64,
    maintenance_us: AtomicU64,
}

static RUNTIME: OnceLock<&'static Runtime> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in a callback is caught before it can leave anything half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runtime, once [`init`] has returned.
pub(crate) fn get() -> Result<&'static Runtime, Error> {
    RUNTIME.get().copied().ok_or(Error::NotInitialised)
}

/// Starts the library. Again does nothing.
pub(crate) fn init(options: Options) -> Result<(), Error> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _starting = lock(&STARTING);
    if RUNTIME.get().is_some() {
        return Ok(());
    }
    let options = complete(options);
    if let Some(value) = environment(trap::burst::VARIABLE) {
        trap::burst::configure(value.as_encoded_bytes());
    }
    page::init_own();
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let wake = EventFd::from_value_and_flags(0, flags)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    if !options.no_trap {
        TRAPS.ring(wake.as_fd().as_raw_fd());
        trap::install()?;
    }
    let now = Instant::now();
    let poll = options.poll;
    let runtime = Runtime {
        options,
        epoll,
        wake,
        dispatcher: Mutex::new(Dispatcher {
            connection: None,
            retry_at: now,
            retry_pause: RETRY_FIRST,
            told: None,
            seen: Seen::default(),
            reported: FeatureSet::EMPTY,
            owed: None,
            backlog: false,
        }),
        state: Mutex::new(String::new()),
        pid: std::process::id(),
        socket: AtomicI32::new(-1),
        dispatching: Mutex::new(None),
        registrations: Mutex::new(Vec::new()),
        next_id: AtomicU64::new(1),
        seen_generation: AtomicU64::new(0),
        seen_emulated: AtomicU64::new(0),
        maintenance_us: AtomicU64::new(0),
    };
    runtime.attach(&mut lock(&runtime.dispatcher));
    let page = page::current().read().unwrap_or_default();
    lock(&runtime.dispatcher).seen = Seen {
        generation: page.generation,
        available: page.available,
    };
    runtime
        .seen_generation
        .store(page.generation, Ordering::Relaxed);
    // For ever: the thread and the trap handler use it.
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    if !poll {
        start_thread(runtime)?;
    }
    RUNTIME.get_or_init(|| runtime);
    fork::follow()?;
    Ok(())
}

/// The value of the variable `name`, if it is not empty and the process has no more rights than
/// its user.
fn environment(name: &str) -> Option<OsString> {
    // SAFETY: getauxval(3) only reads the process's auxiliary vector.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    std::env::var_os(name).filter(|value| !secure && !value.is_empty())
}

fn complete(mut options: Options) -> Options {
    if options.run_dir.is_none() {
        let directory = environment("ISAHOTPLUG_RUN_DIR").map(PathBuf::from);
        options.run_dir = Some(directory.unwrap_or_else(|| "/run/isahotplug".into()));
    }
    if options.log.is_none() && environment("ISAHOTPLUG_LOG").is_some() {
        options.log = Some(Arc::new(|line| {
            // A closed stderr is no reason to fail.
            let _ = writeln!(io::stderr(), "isahotplug: {line}");
        }));
    }
    if options.name.is_empty() {
        let program = std::env::args_os().next().map(PathBuf::from);
        let name = program
            .as_deref()
            .and_then(|p| p.file_name())
            .unwrap_or_default();
        options.name = name.to_string_lossy().into_owned();
    }
    options
}

/// The thread that calls back. All signals stay with the program's threads.
fn start_thread(runtime: &'static Runtime) -> io::Result<()> {
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
            loop {
                runtime.wait();
                let _ = runtime.dispatch();
            }
        });
    // SAFETY: `old` was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    spawned.map(drop)
}

impl Runtime {
    pub(crate) fn log(&self, line: &str) {
        if let Some(log) = &self.options.log {
            log(line);
        }
    }

    /// The connection's socket, for the child of a fork to close.
    pub(crate) fn forget_connection(&self) {
        let socket = self.socket.swap(-1, Ordering::SeqCst);
        if socket >= 0 {
            // SAFETY: close(2) of a descriptor of the connection that this
            // process does not use: its dispatcher never runs.
            unsafe { libc::close(socket) };
        }
    }

    /// Held over a fork.
    pub(crate) fn hold(&self) -> impl Sized + use<'_> {
        (lock(&self.registrations), lock(&self.state))
    }

    fn run_dir(&self) -> PathBuf {
        self.options.run_dir.clone().unwrap_or_default()
    }

    /// The descriptor that becomes readable when there is something to
    /// dispatch.
    pub(crate) fn fd(&self) -> i32 {
        self.epoll.0.as_raw_fd()
    }

    pub(crate) fn is_polled(&self) -> bool {
        self.options.poll
    }

    pub(crate) fn state(&self) -> String {
        lock(&self.state).clone()
    }

    pub(crate) fn register(&self, interest: FeatureSet, eager: bool, callback: Callback) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let registration = Registration {
            id,
            interest,
            eager,
            alive: AtomicBool::new(true),
            callback: Mutex::new(callback),
        };
        lock(&self.registrations).push(Arc::new(registration));
        self.interest_changed();
        id
    }

    /// Returns when no callback of the registration is running, unless called
    /// from inside it. `false` if there is no such registration.
    pub(crate) fn unregister(&self, id: u64) -> bool {
        let mut list = lock(&self.registrations);
        let Some(at) = list.iter().position(|r| r.id == id) else {
            return false;
        };
        let registration = list.remove(at);
        drop(list);
        registration.alive.store(false, Ordering::SeqCst);
        let inside = *lock(&self.dispatching) == Some(thread::current().id());
        if !inside {
            drop(lock(&registration.callback));
        }
        self.interest_changed();
        true
    }

    /// The agent is told of a new interest at the next dispatch.
    pub(crate) fn interest_changed(&self) {
        self.maintenance_us.store(0, Ordering::Relaxed);
        let _ = self.wake.write(1);
    }

    /// Waits until there may be something to dispatch.
    fn wait(&self) {
        let timeout = {
            let dispatcher = lock(&self.dispatcher);
            let connected = dispatcher.connection.is_some();
            if connected && dispatcher.backlog {
                EpollTimeout::from(BACKLOG_MS)
            } else if connected || self.wants_agent().is_none() {
                EpollTimeout::NONE
            } else {
                let left = dispatcher
                    .retry_at
                    .saturating_duration_since(Instant::now());
                EpollTimeout::try_from(left + Duration::from_millis(1))
                    .unwrap_or(EpollTimeout::NONE)
            }
        };
        let mut events = [EpollEvent::empty(); 2];
        let _ = self.epoll.wait(&mut events, timeout);
    }

    /// What a polling program calls all the time: two loads and a clock of a
    /// few nanoseconds when there is no news.
    pub(crate) fn poll(&self) -> Result<u32, Error> {
        let now_us = coarse_us();
        if page::current().generation() == self.seen_generation.load(Ordering::Relaxed)
            && TRAPS.emulated() == self.seen_emulated.load(Ordering::Relaxed)
            && now_us < self.maintenance_us.load(Ordering::Relaxed)
        {
            return Ok(0);
        }
        self.maintenance_us
            .store(now_us + MAINTENANCE_US, Ordering::Relaxed);
        self.dispatch()
    }

    /// Takes in what is new and calls back. Returns how many callbacks ran.
    pub(crate) fn dispatch(&self) -> Result<u32, Error> {
        if std::process::id() != self.pid {
            slots::update_all();
            return Ok(0);
        }
        let me = thread::current().id();
        if *lock(&self.dispatching) == Some(me) {
            return Err(Error::Busy);
        }
        let mut dispatcher = lock(&self.dispatcher);
        *lock(&self.dispatching) = Some(me);
        let calls = self.dispatch_locked(&mut dispatcher);
        *lock(&self.dispatching) = None;
        Ok(calls)
    }

    fn dispatch_locked(&self, dispatcher: &mut Dispatcher) -> u32 {
        let _ = self.wake.read();
        dispatcher.backlog = false;
        self.keep_connection(dispatcher);
        if page::current().is_retired() {
            self.attach(dispatcher);
        }
        let emulated = TRAPS.emulated();
        if page::current().generation() != dispatcher.seen.generation {
            dispatcher.reported = FeatureSet::EMPTY;
        }
        let lost = TRAPS.lost();
        let trap = Trap {
            since_us: TRAPS.first_ns() / 1000,
            address: TRAPS.address(),
        };
        let old = dispatcher.seen;
        let event = dispatcher.seen.compare(page::current(), lost, trap);
        let mut calls = 0;
        let mut refusal = None;
        if let Some(event) = event {
            slots::update_all();
            (calls, refusal) = self.call_back(&event);
        }
        let generation = dispatcher.seen.generation;
        if generation != old.generation {
            dispatcher.owed = Some(match refusal {
                Some(reason) => FromProcess::Refuse {
                    generation,
                    reason: Text::lossy(&reason),
                },
                None => FromProcess::Left { generation },
            });
        }
        self.tell_agent(dispatcher, lost);
        self.seen_generation.store(generation, Ordering::Relaxed);
        self.seen_emulated.store(emulated, Ordering::Relaxed);
        calls
    }

    fn call_back(&self, event: &Event) -> (u32, Option<String>) {
        let changed = event.added.union(event.removed);
        let list: Vec<_> = lock(&self.registrations).clone();
        let mut calls = 0;
        let mut refusal = None;
        for registration in list {
            let interested =
                registration.interest.is_empty() || !registration.interest.is_disjoint(&changed);
            let mut callback = lock(&registration.callback);
            if interested && registration.alive.load(Ordering::SeqCst) {
                calls += 1;
                let answer = catch_unwind(AssertUnwindSafe(|| callback(event)))
                    .unwrap_or_else(|_| Answer::Refuse("a callback panicked".into()));
                if let Answer::Refuse(reason) = answer {
                    refusal.get_or_insert(reason);
                }
            }
        }
        (calls, refusal)
    }

    /// What this process wants to hear from an agent: the features (empty for
    /// all) and whether a prepare is to wait for it. `None` if nothing.
    fn wants_agent(&self) -> Option<(FeatureSet, bool)> {
        let list = lock(&self.registrations);
        let slots = slots::interest();
        if list.is_empty() && slots.is_empty() {
            return None;
        }
        let eager = list.iter().any(|r| r.eager);
        let all = list.iter().any(|r| r.interest.is_empty());
        let interest = list.iter().fold(slots, |sum, r| sum.union(r.interest));
        Some((if all { FeatureSet::EMPTY } else { interest }, eager))
    }

    fn keep_connection(&self, dispatcher: &mut Dispatcher) {
        let Some(wanted) = self.wants_agent() else {
            // Closing it also ends the registration with the agent.
            if dispatcher.connection.take().is_some() {
                self.socket.store(-1, Ordering::SeqCst);
                dispatcher.told = None;
                self.set_state("nothing is registered");
            }
            return;
        };
        if dispatcher.connection.is_none() {
            if dispatcher.retry_at > Instant::now() {
                return;
            }
            match self.connect() {
                Ok(connection) => {
                    self.socket
                        .store(connection.as_fd().as_raw_fd(), Ordering::SeqCst);
                    dispatcher.connection = Some(connection);
                    dispatcher.told = None;
                    self.attach(dispatcher);
                }
                Err(error) => {
                    dispatcher.retry_at = Instant::now() + dispatcher.retry_pause;
                    dispatcher.retry_pause = (dispatcher.retry_pause * 2).min(RETRY_SLOWEST);
                    let known = if page::is_agents() {
                        "what was published last"
                    } else {
                        "CPUID"
                    };
                    let text = format!("no agent ({error}); going by {known}");
                    self.set_state(&text);
                    return;
                }
            }
        }
        self.read_agent(dispatcher);
        if dispatcher.told != Some(wanted) {
            self.introduce(dispatcher, wanted);
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        let connection = Connection::open(&self.run_dir().join("agent.sock"))?;
        self.epoll
            .add(&connection, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
        Ok(connection)
    }

    fn introduce(&self, dispatcher: &mut Dispatcher, wanted: (FeatureSet, bool)) {
        let Some(connection) = &dispatcher.connection else {
            return;
        };
        let (interest, eager) = wanted;
        let message = FromProcess::Register {
            versions: Versions::SUPPORTED,
            name: Text::lossy(&self.options.name),
            interest,
            eager,
            generation: dispatcher.seen.generation,
        };
        let with = dispatcher.told.is_none().then(|| self.wake.as_fd());
        match connection.send(&message, with) {
            Sent::Yes => dispatcher.told = Some(wanted),
            Sent::Later => dispatcher.backlog = true,
            Sent::Gone => self.lose(dispatcher, "the agent is gone"),
        }
    }

    fn read_agent(&self, dispatcher: &mut Dispatcher) {
        while let Some(connection) = &dispatcher.connection {
            match connection.receive() {
                Received::Nothing => break,
                Received::Message(ToProcess::Welcome { .. }) => {
                    dispatcher.retry_pause = RETRY_FIRST;
                    self.set_state("registered with the agent");
                }
                Received::Message(ToProcess::Rejected { reason }) => {
                    self.lose(dispatcher, &format!("the agent refuses us: {reason}"));
                }
                Received::Message(ToProcess::Present { features }) => {
                    TRAPS.forget(features);
                    dispatcher.reported = dispatcher.reported.difference(features);
                }
                Received::Message(ToProcess::Status(_)) => {}
                Received::Gone(why) => self.lose(dispatcher, &why),
            }
        }
    }

    fn lose(&self, dispatcher: &mut Dispatcher, why: &str) {
        // Closing the socket takes it out of the epoll set.
        self.socket.store(-1, Ordering::SeqCst);
        dispatcher.connection = None;
        dispatcher.told = None;
        dispatcher.reported = FeatureSet::EMPTY;
        dispatcher.retry_at = Instant::now() + dispatcher.retry_pause;
        dispatcher.retry_pause = (dispatcher.retry_pause * 2).min(RETRY_SLOWEST);
        self.set_state(&format!("{why}; going by what was published last"));
    }

    fn tell_agent(&self, dispatcher: &mut Dispatcher, lost: FeatureSet) {
        let Some(connection) = &dispatcher.connection else {
            return;
        };
        if dispatcher.told.is_none() {
            return;
        }
        let mut gone = false;
        if let Some(owed) = &dispatcher.owed {
            match connection.send(owed, None) {
                Sent::Yes => dispatcher.owed = None,
                Sent::Later => dispatcher.backlog = true,
                Sent::Gone => gone = true,
            }
        }
        let news = lost.difference(dispatcher.reported);
        if !news.is_empty() && !gone {
            let trapped = FromProcess::Trapped {
                features: lost,
                address: TRAPS.address(),
            };
            match connection.send(&trapped, None) {
                Sent::Yes => dispatcher.reported = lost,
                Sent::Later => dispatcher.backlog = true,
                Sent::Gone => gone = true,
            }
        }
        if gone {
            self.lose(dispatcher, "the agent is gone");
        }
    }

    fn attach(&self, dispatcher: &mut Dispatcher) {
        match page::attach(&self.run_dir().join("page")) {
            // Its generations are its own: whatever was seen is old.
            Ok(true) => dispatcher.seen.generation = 0,
            Ok(false) => {}
            Err(page::AttachError::Open(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.log(&format!("the agent's page cannot be used: {error}")),
        }
    }

    /// Says once what has changed.
    fn set_state(&self, state: &str) {
        let mut said = lock(&self.state);
        if *said != state {
            said.clear();
            said.push_str(state);
            drop(said);
            self.log(state);
        }
    }
}

fn coarse_us() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |t| {
        t.tv_sec().unsigned_abs() * 1_000_000 + t.tv_nsec().unsigned_abs() / 1000
    })
}
