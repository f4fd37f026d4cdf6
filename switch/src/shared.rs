//! Two small things that every part of the switch needs.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a table whose owners leave it whole when they panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A count for the 64-bit counters.
pub(crate) fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
