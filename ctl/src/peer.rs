//! Who is at the other end of a Unix socket, and whether it lives where we do.
//!
//! A container is a stranger, also when a socket is within its reach: its processes are in a pid namespace of their own.
//! What shares ours, in whatever network, mount or user namespaces, is the host's own.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use vswitch_switch::sys::peer;

/// A process that connected.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its number in our pid namespace, if it is in there or below.
    pub(crate) pid: Option<u32>,
    /// Its user, as our user namespace names it.
    pub(crate) uid: u32,
    /// Of the very process. Kernels before 6.5 give none.
    pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Who connected, or made the pair that this socket is one end of.
    pub(crate) fn of(socket: impl AsFd) -> io::Result<Peer> {
        let peer::Credentials { pid, uid } = peer::credentials(&socket)?;
        Ok(Peer { pid, uid, pidfd: peer::pidfd(&socket).ok() })
    }

    /// Whether it lives, in our own pid namespace. What cannot be found out is not so.
    pub(crate) fn is_among_us(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        // Of the descriptor, which the kernel shows to its owner alone and whatever hides other processes; its number
        // means one process for good.
        let path = match &self.pidfd {
            Some(pidfd) => format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()),
            None => format!("/proc/{pid}/status"),
        };
        let numbers = |path: &str| numbers(&fs::read_to_string(path).ok()?);
        match (numbers(&path), numbers("/proc/self/status")) {
            // Its number here says that its namespace is ours or below ours; as many numbers as ours, that it is not below.
            (Some(theirs), Some(ours)) => theirs.iter().all(|number| *number > 0) && theirs.len() == ours.len(),
            _ => false,
        }
    }
}

/// A process's numbers in its pid namespaces, from the outermost that /proc shows to its own. Read first:
/// proc_pid_status(5), `NSpid`.
pub(crate) fn numbers(status: &str) -> Option<Vec<i64>> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let numbers: Option<Vec<i64>> = line.split_whitespace().map(|number| number.parse().ok()).collect();
    numbers.filter(|numbers| !numbers.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The process itself is among its own, and its numbers are read.
    #[test]
    fn this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut own = Peer::of(&one).unwrap();
        assert_eq!((own.pid, own.uid), (Some(std::process::id()), rustix::process::geteuid().as_raw()));
        assert!(own.is_among_us());
        own.pidfd = None;
        assert!(own.is_among_us(), "by its number, as with an older kernel");
        own.pid = None;
        assert!(!own.is_among_us());
    }

    /// One below, one that has ended and one that cannot be seen have other numbers.
    #[test]
    fn reads_numbers() {
        assert_eq!(numbers("Pid:\t7\nNSpid:\t7\t1\n"), Some(vec![7, 1]));
        assert_eq!(numbers("Pid:\t-1\nNSpid:\t-1\n"), Some(vec![-1]));
        assert_eq!(numbers("Pid:\t7\n"), None);
        assert_eq!(numbers("NSpid:\t\n"), None);
    }
}
