//! TAP devices.

use std::{io, os::fd::OwnedFd};

/// Creates or opens the TAP `name` in the calling thread's network namespace.
///
/// # Errors
/// What the kernel says.
pub fn open(_name: &str) -> io::Result<OwnedFd> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
