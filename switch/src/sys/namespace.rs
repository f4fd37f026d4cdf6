//! Leaving and asking about namespaces. Read first: namespaces(7), unshare(2), ioctl_ns(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::checked;

/// What a thread stops sharing with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unshare {
    /// A new user namespace. Only while the process has one thread.
    User,
    /// A new network namespace.
    Network,
    /// A new mount namespace, with copies of the mounts.
    Mounts,
    /// New mount, process id, host name, System V IPC and control group namespaces: those of a container. The process id namespace is
    /// that of the thread's future children.
    Container,
    /// Root and working directory: needed before a mount namespace can be entered.
    FileSystem,
}

/// Moves the calling thread, and no other, out of what it shares.
///
/// # Errors
/// What the kernel says.
pub fn unshare(what: Unshare) -> io::Result<()> {
    let flags = match what {
        Unshare::User => UnshareFlags::NEWUSER,
        Unshare::Network => UnshareFlags::NEWNET,
        Unshare::Mounts => UnshareFlags::NEWNS,
        Unshare::Container => {
            UnshareFlags::NEWNS
                | UnshareFlags::NEWPID
                | UnshareFlags::NEWUTS
                | UnshareFlags::NEWIPC
                | UnshareFlags::NEWCGROUP
        }
        Unshare::FileSystem => UnshareFlags::FS,
    };
    // SAFETY: only CLONE_FILES endangers descriptors of other threads, and no variant contains it.
    Ok(unsafe { unshare_unsafe(flags) }?)
}

/// The user namespace that owns a namespace.
///
/// # Errors
/// What the kernel says; `PermissionDenied` when the owner is not below the caller's own user namespace.
pub fn owner(namespace: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: NS_GET_USERNS takes no argument; the result is checked.
    let raw = checked(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS) })?;
    // SAFETY: `raw` was just returned by the kernel (with close-on-exec set) and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The user (as the caller's user namespace numbers it) that made a user namespace.
///
/// # Errors
/// What the kernel says; `InvalidInput` for what is no user namespace.
pub fn owner_user(namespace: impl AsFd) -> io::Result<u32> {
    let mut user: libc::uid_t = 0;
    // SAFETY: NS_GET_OWNER_UID writes one uid_t to where the argument points, which outlives the call; the result is checked.
    checked(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_OWNER_UID, &raw mut user) })?;
    Ok(user)
}

/// `NS_GET_OWNER_UID` of `linux/nsfs.h`, missing in the libc crate.
const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;

/// `NS_GET_USERNS` of `linux/nsfs.h`, missing in the libc crate.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread's network namespace has an owner, and a file that is no namespace has none.
    #[test]
    fn asks_for_the_owner() {
        assert!(owner(std::fs::File::open("/proc/self/ns/net").unwrap()).is_ok());
        assert!(owner(std::fs::File::open("/dev/null").unwrap()).is_err());
    }

    /// A user namespace was made by somebody, and other namespaces were not.
    #[test]
    fn asks_for_the_user() {
        assert!(owner_user(std::fs::File::open("/proc/self/ns/user").unwrap()).is_ok());
        assert!(owner_user(std::fs::File::open("/proc/self/ns/net").unwrap()).is_err());
    }
}
