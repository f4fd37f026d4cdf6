//! Two small things that every part of the switch needs.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a table whose owners leave it whole when they panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock that lets in whoever waits longest before whoever has just had it, as far as two of them are about it: a worker that
/// takes it burst after burst would otherwise nearly always be faster than one that must first be woken.
#[derive(Debug)]
pub(crate) struct FairMutex<T> {
    /// Held while waiting for `inside`.
    door: Mutex<()>,
    inside: Mutex<T>,
}

impl<T> FairMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        FairMutex { door: Mutex::new(()), inside: Mutex::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let _door = lock(&self.door);
        lock(&self.inside)
    }
}

/// A count for the 64-bit counters.
pub(crate) fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who lets go of the lock and takes it again finds that whoever waited has had it between.
    #[test]
    fn waiting_is_fair() {
        for _ in 0..200 {
            let (value, begun) = (FairMutex::new(0), std::sync::Barrier::new(2));
            std::thread::scope(|scope| {
                let mut held = value.lock();
                scope.spawn(|| {
                    begun.wait();
                    *value.lock() += 1;
                });
                begun.wait();
                // It waits once the door is shut.
                while value.door.try_lock().is_ok() {
                    std::thread::yield_now();
                }
                *held = 10;
                drop(held);
                assert_eq!(*value.lock(), 11);
            });
        }
    }
}
