//! The agent's socket in the state directory.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};

use crate::private;

/// Name of the socket below the state directory.
pub(crate) const NAME: &str = "agent.sock";

/// Connects to the agent that serves `state_dir`.
pub(crate) fn connect(state_dir: &Path) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    let (address, _directory) = address(state_dir)?;
    net::connect(&socket, &address)?;
    Ok(socket)
}

/// Listens, replacing a stale socket; the caller holds the lock that makes it stale.
pub(crate) fn listen(state_dir: &Path) -> io::Result<OwnedFd> {
    private::remove(&state_dir.join(NAME))?;
    let socket = seqpacket()?;
    let (address, _directory) = address(state_dir)?;
    // 0600 from the first moment; the agent is single-threaded here.
    let before = rustix::process::umask(Mode::from_bits_truncate(0o177));
    let bound = net::bind(&socket, &address);
    rustix::process::umask(before);
    bound?;
    net::listen(&socket, 4)?;
    Ok(socket)
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// The socket's address, through a descriptor of the directory: a Unix address has room for 108 bytes only.
fn address(state_dir: &Path) -> io::Result<(SocketAddrUnix, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(state_dir, flags, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(NAME);
    Ok((SocketAddrUnix::new(&path)?, directory))
}
