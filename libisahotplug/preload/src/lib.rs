//! `libisahotplug_preload.so`: the #UD handler and the emulator for a program that knows nothing of
//! them.
//!
//! ```text
//! LD_PRELOAD=/usr/lib/libisahotplug_preload.so program
//! ```
//!
//! Without an agent, a thread, or any output that was not asked for. What it does and cannot do is said at
//! [`isahotplug::seatbelt`]. It exports the libc functions that it wraps (`wrappers`, `threads`) and nothing
//! else.

pub mod threads;
pub mod wrappers;

use std::ffi::{c_char, c_int};

// Hides the library's C functions: see build.rs.
core::arch::global_asm!(include_str!(concat!(env!("OUT_DIR"), "/hidden.s")));

/// Runs before the constructors of every other object (DF_1_INITFIRST).
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = construct;

extern "C" fn construct(_: c_int, _: *const *const c_char, environment: *const *const c_char) {
    wrappers::find();
    // A program that cannot be helped runs as it would have.
    // SAFETY: the dynamic linker passes the process's environment.
    let _ = unsafe { isahotplug::seatbelt::install(environment) };
}

/// Runs after the destructors of every other object, for its constructor was the first.
#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = destruct;

extern "C" fn destruct() {
    isahotplug::seatbelt::at_exit();
}
