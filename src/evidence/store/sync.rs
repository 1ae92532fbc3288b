//! The locks between callers and the writing thread: the standard library's, or loom's, which tries interleavings.

#[cfg(all(test, loom))]
pub(in crate::evidence) use loom::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU64};
#[cfg(not(all(test, loom)))]
pub(in crate::evidence) use std::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU64};

use std::sync::PoisonError;

/// Locks, and goes on after a panic elsewhere: every critical section here leaves its data consistent at each step.
pub(in crate::evidence) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
