//! The Rust API, on top of the C one: it too goes on to the copy of the library that serves the
//! process.

use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use isa::{Feature, FeatureSet};
use protocol::local::Urgency;

use crate::c::{
    self, ISAHP_BY_POLL, ISAHP_EAGER, ISAHP_ERROR_BUSY, ISAHP_ERROR_INVALID,
    ISAHP_ERROR_NO_VARIANT, ISAHP_ERROR_NOT_FOUND, ISAHP_ERROR_NOT_INITIALISED,
    ISAHP_ERROR_UNSUPPORTED, ISAHP_INITIAL, ISAHP_LAZY, ISAHP_NO_TRAP, ISAHP_OK, ISAHP_POLL,
    ISAHP_REFUSE, isahp_counters, isahp_event, isahp_options, isahp_registration, isahp_set,
};
use crate::event::{Answer, Event};
use crate::runtime::{Error, Log, Options};

/// What a C function's result means.
pub(crate) fn check(result: i32) -> Result<(), Error> {
    match result {
        ISAHP_OK => Ok(()),
        ISAHP_ERROR_NOT_INITIALISED => Err(Error::NotInitialised),
        ISAHP_ERROR_BUSY => Err(Error::Busy),
        ISAHP_ERROR_NO_VARIANT => Err(Error::NoVariant),
        ISAHP_ERROR_UNSUPPORTED => Err(Error::Unsupported),
        ISAHP_ERROR_INVALID => Err(Error::Invalid(message())),
        ISAHP_ERROR_NOT_FOUND => Err(Error::NotFound("registration, slot or variant")),
        other => Err(Error::Other(other)),
    }
}

/// What the last function that failed on this thread had to say.
fn message() -> String {
    // SAFETY: the buffer is as long as is said.
    read_text(|buffer, size| unsafe { c::isahp_error_message(buffer, size) }).unwrap_or_default()
}

fn read_text(write: impl FnOnce(*mut c_char, usize) -> i32) -> Result<String, Error> {
    let mut buffer = [0u8; 1024];
    check(write(buffer.as_mut_ptr().cast(), buffer.len()))?;
    let length = buffer.iter().position(|&b| b == 0).unwrap_or(0);
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub(crate) fn c_text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Invalid(format!("{text:?} has a zero in it")))
}

/// Starts the library; installs the #UD handler, looks for the agent, and
/// starts a thread unless [`Options::poll`].
///
/// Each success counts, and can be taken back by [`unload`].
///
/// # Errors
/// [`Error::System`] if the kernel refuses something.
pub fn init(options: Options) -> Result<(), Error> {
    let name = c_text(&options.name)?;
    let run_dir = match &options.run_dir {
        Some(path) => Some(c_text(&path.to_string_lossy())?),
        None => None,
    };
    // For ever: it may be called as long as the library is in use.
    let (log, log_userdata) = match options.log {
        None => (None, std::ptr::null_mut()),
        Some(log) => {
            let userdata = Box::into_raw(Box::new(log)).cast::<c_void>();
            let log: unsafe extern "C" fn(*mut c_void, *const c_char) = on_log;
            (Some(log), userdata)
        }
    };
    let given = isahp_options {
        size: size_of::<isahp_options>(),
        flags: if options.poll { ISAHP_POLL } else { 0 }
            | if options.no_trap { ISAHP_NO_TRAP } else { 0 },
        reserved: 0,
        name: name.as_ptr(),
        run_dir: run_dir
            .as_ref()
            .map_or(std::ptr::null(), |path| path.as_ptr()),
        log,
        log_userdata,
    };
    // SAFETY: all that it points to lives, the log for ever.
    check(unsafe { c::isahp_init(&raw const given) })
}

/// # Safety
/// As [`init`] passes it.
unsafe extern "C" fn on_log(userdata: *mut c_void, line: *const c_char) {
    // SAFETY: the box that `init` has leaked, and a C string.
    let (log, line) = unsafe {
        (
            &*userdata.cast::<Log>(),
            std::ffi::CStr::from_ptr(line).to_string_lossy(),
        )
    };
    // A log function that panics has nothing more to say.
    let _ = catch_unwind(AssertUnwindSafe(|| log(&line)));
}

/// Takes one [`init`] back. The last one ends what this copy of the library
/// has registered, and waits for its callbacks.
///
/// # Errors
/// [`Error::NotInitialised`]; [`Error::Busy`] inside a callback.
pub fn unload() -> Result<(), Error> {
    check(c::isahp_unload())
}

/// The published generation; 0 before [`init`]. Lock-free; async-signal-safe.
pub fn generation() -> u64 {
    c::isahp_generation()
}

fn read_set(read: unsafe extern "C" fn(*mut isahp_set) -> i32) -> FeatureSet {
    let mut set = isahp_set::default();
    // SAFETY: a local. What fails leaves it empty.
    unsafe { read(&raw mut set) };
    FeatureSet::from_words(set.words)
}

/// What may be used now; empty before [`init`]. Lock-free; async-signal-safe.
pub fn available() -> FeatureSet {
    read_set(c::isahp_available)
}

/// What CPUID shows; empty before [`init`]. Lock-free; async-signal-safe.
pub fn visible() -> FeatureSet {
    read_set(c::isahp_visible)
}

/// What may be used though CPUID does not show it. Lock-free; async-signal-safe.
pub fn bonus() -> FeatureSet {
    read_set(c::isahp_bonus)
}

/// What CPUID shows and must not be used. Lock-free; async-signal-safe.
pub fn lost() -> FeatureSet {
    read_set(c::isahp_lost)
}

/// Whether `feature` may be used now. Lock-free; async-signal-safe.
pub fn has(feature: Feature) -> bool {
    c::isahp_has(feature.id().into()) != 0
}

/// How a callback is registered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registering<'a> {
    /// How urgently it is to be told.
    pub urgency: Urgency,
    /// It is called inside [`poll`], though the library has a thread.
    pub by_poll: bool,
    /// The first event comes at once and tells of all that is available, as
    /// added; there is none if none of the interest is.
    pub initial: bool,
    /// Higher ones are called first.
    pub priority: i32,
    /// What it builds upon: it is called after these when something was added,
    /// and before them when something is removed.
    pub after: &'a [&'a Registration],
}

type Callback = Mutex<Box<dyn FnMut(&Event) -> Answer + Send>>;

/// Calls `callback` whenever one of `interest` (all, if empty) comes or goes.
///
/// It may call anything here; it must not unwind (a panic counts as a
/// refusal).
///
/// # Errors
/// [`Error::NotInitialised`]; [`Error::Invalid`].
pub fn register(
    interest: FeatureSet,
    how: Registering<'_>,
    callback: impl FnMut(&Event) -> Answer + Send + 'static,
) -> Result<Registration, Error> {
    let names = c_text(&interest.to_string())?;
    let after: Vec<u64> = how.after.iter().map(|other| other.id).collect();
    let callback: Callback = Mutex::new(Box::new(callback));
    let userdata = Box::into_raw(Box::new(callback)).cast::<c_void>();
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let given = isahp_registration {
        size: size_of::<isahp_registration>(),
        flags: flag(how.urgency == Urgency::Eager, ISAHP_EAGER)
            | flag(how.urgency == Urgency::Lazy, ISAHP_LAZY)
            | flag(how.by_poll, ISAHP_BY_POLL)
            | flag(how.initial, ISAHP_INITIAL),
        priority: how.priority,
        features: names.as_ptr(),
        callback: Some(on_event),
        userdata,
        release: Some(on_release),
        after: after.as_ptr(),
        after_count: after.len(),
    };
    let mut id = 0;
    // SAFETY: all that it points to lives, the userdata until it is released.
    let result = check(unsafe { c::isahp_register(&raw const given, &raw mut id) });
    match result {
        Ok(()) => Ok(Registration { id }),
        Err(error) => {
            // SAFETY: the box of above, which nobody has taken.
            unsafe { on_release(userdata) };
            Err(error)
        }
    }
}

/// # Safety
/// As [`register`] passes it.
unsafe extern "C" fn on_event(userdata: *mut c_void, event: *const isahp_event) -> i32 {
    // SAFETY: the box that `register` has leaked, and the event of the call.
    let (callback, event) = unsafe { (&*userdata.cast::<Callback>(), Event::from_c(&*event)) };
    let answer = catch_unwind(AssertUnwindSafe(|| match callback.try_lock() {
        Ok(mut callback) => callback(&event),
        Err(_) => Answer::Refuse("a callback panicked".into()),
    }));
    match answer {
        Ok(Answer::Left) => ISAHP_OK,
        Ok(Answer::Needs(ms)) => i32::try_from(ms.max(1)).unwrap_or(i32::MAX),
        Ok(Answer::Refuse(reason)) => refuse(&reason),
        Err(_) => refuse("a callback panicked"),
    }
}

fn refuse(reason: &str) -> i32 {
    let Ok(reason) = c_text(reason) else {
        return ISAHP_REFUSE;
    };
    // SAFETY: a C string.
    unsafe { c::isahp_refuse(reason.as_ptr()) }
}

/// # Safety
/// As [`register`] passes it.
unsafe extern "C" fn on_release(userdata: *mut c_void) {
    // SAFETY: the box that `register` has leaked, once.
    let callback = unsafe { Box::from_raw(userdata.cast::<Callback>()) };
    // What it owns may panic when it goes; that must not leave C.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(callback)));
}

/// Ends with it: dropping returns when the callback is not running any more,
/// or at once if dropped inside the callback.
#[derive(Debug)]
#[must_use = "dropping a registration ends it"]
pub struct Registration {
    id: u64,
}

impl Registration {
    /// Its number, for [`left`] from inside the callback's own thread of work.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        c::isahp_unregister(self.id);
    }
}

/// Says for a callback that has answered [`Answer::Needs`] that the features are left that the
/// event of this generation took away.
///
/// # Errors
/// [`Error::NotFound`] if it has not asked for time, or has been told of a later event since.
pub fn left(id: u64, generation: u64) -> Result<(), Error> {
    check(c::isahp_left(id, generation))
}

/// Takes in what is new and calls back from here those who are to be called
/// here; returns how many. A few nanoseconds when there is no news. Call it
/// where no thread of yours is inside code that uses a feature that may go.
///
/// # Errors
/// [`Error::NotInitialised`].
pub fn poll() -> Result<u32, Error> {
    let mut calls = 0;
    // SAFETY: a local.
    check(unsafe { c::isahp_poll(&raw mut calls) })?;
    Ok(calls)
}

/// How the library stands with the agent, in words; empty before it looked.
///
/// # Errors
/// [`Error::NotInitialised`].
pub fn state() -> Result<String, Error> {
    // SAFETY: the buffer is as long as is said.
    read_text(|buffer, size| unsafe { c::isahp_state(buffer, size) })
}

/// A read-side section of the thread: while it lives, a planned removal of
/// this process is not acknowledged. Sections nest.
///
/// ```
/// let section = isahotplug::Section::enter();
/// // read a slot, and call what it holds
/// drop(section);
/// ```
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Section {
    /// It belongs to the thread.
    _not_send: core::marker::PhantomData<*mut ()>,
}

impl Section {
    /// Begins one. Async-signal-safe.
    #[inline]
    pub fn enter() -> Self {
        c::isahp_enter();
        Self {
            _not_send: core::marker::PhantomData,
        }
    }
}

impl Drop for Section {
    #[inline]
    fn drop(&mut self) {
        c::isahp_exit();
    }
}

/// What the #UD handler did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instructions emulated.
    pub emulated: u64,
    /// SIGILLs that were not ours and went to whoever was there before.
    pub passed_on: u64,
    /// Address of the instruction emulated last; 0 for none.
    pub address: u64,
}

/// What the #UD handler did so far. Async-signal-safe.
pub fn counters() -> Counters {
    let mut counters = isahp_counters {
        size: size_of::<isahp_counters>(),
        emulated: 0,
        passed_on: 0,
        address: 0,
    };
    // SAFETY: a local.
    unsafe { c::isahp_count(&raw mut counters) };
    Counters {
        emulated: counters.emulated,
        passed_on: counters.passed_on,
        address: counters.address,
    }
}
