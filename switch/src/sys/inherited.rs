//! Descriptors that this process was started with. Read first: sd_listen_fds(3).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A descriptor of one's own for what the starting process left open under `number`; that itself is not handed on to
/// programs any more.
///
/// # Errors
/// When nothing is open there.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD has an integer as its argument and touches no memory; a number that is not open is an error.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: F_DUPFD_CLOEXEC has an integer as its argument and touches no memory.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    /// The copy is the same pipe and stays open by itself; what is not open is an error.
    #[test]
    fn copies() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut copy = std::fs::File::from(take(writer.as_raw_fd()).unwrap());
        drop(writer);
        copy.write_all(b"x").unwrap();
        drop(copy);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "x");
        assert!(take(-1).is_err());
    }
}
