//! Descriptors of processes. Read first: pidfd_open(2).

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// A descriptor of a process.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether the process has ended.
pub(crate) fn ended(pidfd: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Blocks until the process has ended.
pub(crate) fn wait(pidfd: impl AsFd) {
    while matches!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None), Err(rustix::io::Errno::INTR) | Ok(0)) {}
}

/// When a process started, in ticks since the host did: together with its number it names a process for good.
pub(crate) fn started(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    start_field(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The 22nd field of proc_pid_stat(5). The second is the program's name in parentheses and may contain anything.
fn start_field(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start is found behind any name, and differs from a later process's or is the same for the same.
    #[test]
    fn finds_the_start() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 1";
        assert_eq!(start_field(line), Some(4711));
        assert_eq!(start_field("7 (a"), None);
        assert_eq!(started(std::process::id()).unwrap(), started(std::process::id()).unwrap());
        assert!(!ended(open(std::process::id()).unwrap()));
    }
}
