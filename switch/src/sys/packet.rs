//! AF_PACKET sockets.

use std::{io, os::fd::OwnedFd};

/// Opens a socket on `interface` in the calling thread's network namespace.
///
/// # Errors
/// What the kernel says.
pub fn open(_interface: &str) -> io::Result<OwnedFd> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
