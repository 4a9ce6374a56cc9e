//! Follow the instruction set of a virtual machine that migrates.
//!
//! A math library links this library, through C or Rust, and
//! - **dispatches** through slots that always hold the best variant for the
//!   features there are *now*;
//! - is **called back** when features come and go, on a thread of this library
//!   or when it polls;
//! - **survives** an unannounced removal: the first #UD is caught, the
//!   instruction is emulated, the code finishes, and the slots switch.
//!
//! ```
//! use isahotplug::{Answer, Options, features};
//!
//! isahotplug::init(Options { poll: true, ..Options::default() })?;
//! let path = std::sync::Arc::new(std::sync::Mutex::new("any"));
//! if isahotplug::available().is_superset(&features![Avx2, Fma]) {
//!     *path.lock().unwrap() = "avx2";
//! }
//! let seen = path.clone();
//! let _registration = isahotplug::register(features![Avx2, Fma], true, move |event| {
//!     let wide = event.available.is_superset(&features![Avx2, Fma]);
//!     *seen.lock().unwrap() = if wide { "avx2" } else { "any" };
//!     Answer::Left
//! })?;
//! isahotplug::poll()?; // at a point where no AVX2 code is running
//! # Ok::<(), isahotplug::Error>(())
//! ```
//!
//! The C functions are in [`c`]; `include/isahotplug.h` is made from them.
//!
//! # Threads and forks
//! Every function may be called from any thread, and none but those that say
//! so from a signal handler. After `fork` the child keeps its slots and the
//! #UD handler, but gets no events; [`poll`] only makes its slots right.

mod agent;
pub mod c;
mod event;
mod fork;
mod freestanding;
mod page;
mod runtime;
pub mod seatbelt;
mod slot;
mod slots;
mod trap;

pub use dispatch::Variant;
pub use event::{Answer, Event};
pub use isa::{Feature, FeatureSet, features};
pub use protocol::availability::Cause;
pub use runtime::{Error, Log, Options};
pub use slot::Slot;

/// Starts the library; again does nothing.
///
/// Installs the #UD handler, looks for the agent, and starts a thread unless
/// [`Options::poll`].
///
/// # Errors
/// [`Error::System`] if the kernel refuses something.
pub fn init(options: Options) -> Result<(), Error> {
    runtime::init(options)
}

/// The published generation; 0 before [`init`]. One load; async-signal-safe.
pub fn generation() -> u64 {
    page::current().generation()
}

/// What may be used now; empty before [`init`]. Lock-free; async-signal-safe.
pub fn available() -> FeatureSet {
    page::available()
}

/// Whether `feature` may be used now. Lock-free; async-signal-safe.
pub fn has(feature: Feature) -> bool {
    available().contains(feature)
}

/// Calls `callback` whenever one of `interest` (all, if empty) comes or goes.
///
/// An `eager` registration holds up a planned removal until its callback has
/// returned [`Answer::Left`], which promises that nobody it speaks for uses a
/// removed feature any more. The callback may call anything here but
/// [`poll`]; it must not unwind (a panic counts as a refusal).
///
/// # Errors
/// [`Error::NotInitialised`].
pub fn register(
    interest: FeatureSet,
    eager: bool,
    callback: impl FnMut(&Event) -> Answer + Send + 'static,
) -> Result<Registration, Error> {
    let id = runtime::get()?.register(interest, eager, Box::new(callback));
    Ok(Registration { id })
}

/// Ends with it: dropping returns when the callback is not running any more,
/// or at once if dropped inside the callback.
#[derive(Debug)]
#[must_use = "dropping a registration ends it"]
pub struct Registration {
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Ok(runtime) = runtime::get() {
            runtime.unregister(self.id);
        }
    }
}

/// Takes in what is new and calls back from here; returns how many callbacks
/// ran. A few nanoseconds when there is no news. Call it where no thread of
/// yours is inside code that uses a feature that may go.
///
/// # Errors
/// [`Error::NotInitialised`]; [`Error::Busy`] from inside a callback;
/// [`Error::Invalid`] if the library was started with a thread of its own.
pub fn poll() -> Result<u32, Error> {
    let runtime = runtime::get()?;
    if !runtime.is_polled() {
        return Err(Error::Invalid(
            "the library was started with a thread of its own".into(),
        ));
    }
    runtime.poll()
}

/// How the library stands with the agent, in words; empty before it looked.
///
/// # Errors
/// [`Error::NotInitialised`].
pub fn state() -> Result<String, Error> {
    Ok(runtime::get()?.state())
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
    let traps = &trap::TRAPS;
    Counters {
        emulated: traps.emulated(),
        passed_on: traps.passed_on(),
        address: traps.address(),
    }
}
