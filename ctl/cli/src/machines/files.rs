//! Sockets with a place in the file system, and those that somebody else made.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Machines that wait to be accepted.
const BACKLOG: i32 = 16;

/// The file of a socket, which goes when this is dropped, unless another one is in its place.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    id: Option<(u64, u64)>,
}

impl Bound {
    /// The folder that it is in.
    pub(super) fn folder(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).to_owned()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.id.is_some() && id(&self.path) == self.id {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A listening stream socket at `path`, for its owner alone.
pub(super) fn listen(path: &Path) -> io::Result<(UnixListener, Bound)> {
    let (socket, bound) = bind_at(path, SocketType::STREAM)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((socket.into(), bound))
}

/// A datagram socket at `path`, for its owner alone.
pub(super) fn bind_datagram(path: &Path) -> io::Result<(UnixDatagram, Bound)> {
    let (socket, bound) = bind_at(path, SocketType::DGRAM)?;
    Ok((socket.into(), bound))
}

/// In the place of one whose process is gone.
fn bind_at(path: &Path, kind: SocketType) -> io::Result<(OwnedFd, Bound)> {
    let address = SocketAddrUnix::new(path)?;
    let open = || socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None);
    if fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket())
        && connect(open()?, &address) == Err(rustix::io::Errno::CONNREFUSED)
    {
        fs::remove_file(path)?;
    }
    let socket = open()?;
    // The file gets the mode of the descriptor.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    bind(&socket, &address)?;
    Ok((socket, Bound { path: path.to_owned(), id: id(path) }))
}

fn id(path: &Path) -> Option<(u64, u64)> {
    let about = fs::symlink_metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

/// Which socket an address leads to, as far as there is one that somebody serves.
pub(super) fn seen(peer: &SocketAddrUnix) -> Option<(u64, u64)> {
    let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    match connect(&probe, peer) {
        // One that is connected itself takes nothing from others.
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(_) => return None,
    }
    match peer.path() {
        Some(path) => id(Path::new(std::ffi::OsStr::new(path.to_str().ok()?))),
        None => Some((0, 0)),
    }
}

/// A descriptor that this process was started with.
pub(super) fn inherited(number: i32) -> io::Result<OwnedFd> {
    Ok(pidfd_getfd(pidfd_open(getpid(), PidfdFlags::empty())?, number, PidfdGetfdFlags::empty())?)
}
