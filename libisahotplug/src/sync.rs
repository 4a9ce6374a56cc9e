//! Atomics, locks and cells: the standard ones, or, in a build with `--cfg loom`, those of loom, which
//! tries the orders in which threads can meet. The code that the models run (`models/`) takes them from
//! here.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, compiler_fence, fence,
};
#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::thread::{ThreadId, current, yield_now};

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence,
};
#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(loom)]
pub(crate) use loom::thread::{ThreadId, current, yield_now};

/// loom does not reorder what a thread does itself.
#[cfg(loom)]
pub(crate) fn compiler_fence(_order: core::sync::atomic::Ordering) {}

/// A cell that is accessed inside closures only, which loom watches.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// Stores where several threads may at once.
#[cfg(not(loom))]
#[inline]
pub(crate) fn switch(place: &AtomicPtr<()>, value: *mut ()) {
    place.store(value, core::sync::atomic::Ordering::Release);
}

/// loom knows which of two stores was the later one of exchanges only.
#[cfg(loom)]
pub(crate) fn switch(place: &AtomicPtr<()>, value: *mut ()) {
    place.swap(value, core::sync::atomic::Ordering::Release);
}

/// A static that loom makes anew for each order that it tries.
#[cfg(not(loom))]
macro_rules! shared {
    ($($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;)+) => {
        $($(#[$meta])* static $name: $type = $value;)+
    };
}
#[cfg(loom)]
macro_rules! shared {
    ($($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;)+) => {
        loom::lazy_static! { $($(#[$meta])* static ref $name: $type = $value;)+ }
    };
}

/// A function that is const, but for loom, whose atomics are made at run time.
#[cfg(not(loom))]
macro_rules! constant {
    ($(#[$meta:meta])* $visible:vis const fn $name:ident() -> $type:ty $body:block) => {
        $(#[$meta])* $visible const fn $name() -> $type $body
    };
}
#[cfg(loom)]
macro_rules! constant {
    ($(#[$meta:meta])* $visible:vis const fn $name:ident() -> $type:ty $body:block) => {
        $(#[$meta])* $visible fn $name() -> $type $body
    };
}

pub(crate) use {constant, shared};
