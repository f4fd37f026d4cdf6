//! Who is at the other end of a Unix socket. Read first: unix(7), "SO_PEERCRED" and "SO_PEERPIDFD" (Linux 6.5).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::checked;

/// A process and its user when it connected, or when it made a pair of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Its number here; `None` is one that cannot be seen from here.
    pub pid: Option<u32>,
    /// Its user, as this user namespace names it.
    pub uid: u32,
}

/// Asks for them.
///
/// # Errors
/// What the kernel says, as for a socket of another family.
pub fn credentials(socket: impl AsFd) -> io::Result<Credentials> {
    let mut said = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
    // SAFETY: `said` has room for `length` bytes, and any bytes are a ucred.
    checked(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut said).cast(),
            &raw mut length,
        )
    })?;
    Ok(Credentials { pid: u32::try_from(said.pid).ok().filter(|pid| *pid != 0), uid: said.uid })
}

/// A descriptor of the process, whose number another one may have by now.
///
/// # Errors
/// What the kernel says: an older one does not know this option, and of a process that was collected some have none.
pub fn pidfd(socket: impl AsFd) -> io::Result<OwnedFd> {
    let raw = super::int_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_PEERPIDFD)?;
    // SAFETY: the kernel has just made this descriptor (with close-on-exec set) and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a pair are the process that made it; a socket of another family is nobody's.
    #[test]
    fn knows_itself() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(credentials(&one).unwrap().pid, Some(std::process::id()));
        if let Ok(pidfd) = pidfd(&one) {
            let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
            assert!(about.contains(&format!("Pid:\t{}\n", std::process::id())), "{about}");
        }
        assert!(pidfd(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }
}
