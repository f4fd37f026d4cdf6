//! How many sockets several gateways may have together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::io::Errno;

/// What is left of a number of sockets. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<AtomicUsize>);

/// The right to have one; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Budget {
    /// So many.
    #[must_use]
    pub fn new(sockets: usize) -> Budget {
        Budget(Arc::new(AtomicUsize::new(sockets)))
    }

    /// Takes one, or fails as the kernel does when a process may open no more.
    pub(super) fn take(&self) -> io::Result<Permit> {
        let less = |left: usize| left.checked_sub(1);
        match self.0.fetch_update(Relaxed, Relaxed, less) {
            Ok(_) => Ok(Permit(Arc::clone(&self.0))),
            Err(_) => Err(Errno::MFILE.into()),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is given back can be had again, by whoever shares it.
    #[test]
    fn shared() {
        let (budget, held) = (Budget::new(2), Budget::new(0));
        assert!(held.take().is_err());
        let other = budget.clone();
        let (first, _second) = (budget.take().unwrap(), other.take().unwrap());
        assert_eq!(budget.take().unwrap_err().raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        drop(first);
        assert!(other.take().is_ok());
    }
}
