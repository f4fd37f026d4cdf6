//! Attributes of mounts. Read first: mount_setattr(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What is forbidden through a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// Device nodes are nothing but names.
    NoDevices,
    /// Nothing is changed.
    ReadOnly,
}

/// Restricts a mount, of which `root` is the topmost folder, and all that are below it, at once or not at all.
///
/// # Errors
/// What the kernel says; `ENOSYS` from one before 5.12.
pub fn restrict(root: impl AsFd, restriction: Restriction) -> io::Result<()> {
    set(root, restriction, libc::AT_RECURSIVE)
}

/// As [`restrict`], without the mounts below.
///
/// # Errors
/// As [`restrict`].
pub fn restrict_one(root: impl AsFd, restriction: Restriction) -> io::Result<()> {
    set(root, restriction, 0)
}

fn set(root: impl AsFd, restriction: Restriction, flags: i32) -> io::Result<()> {
    let set = match restriction {
        Restriction::NoDevices => libc::MOUNT_ATTR_NODEV,
        Restriction::ReadOnly => libc::MOUNT_ATTR_RDONLY,
    };
    change(root, MountAttributes { set, ..MountAttributes::default() }, flags)
}

/// Lets a mount that is nowhere yet show its files as those of a user namespace: what is number N's on the disk is N's in there,
/// and what N makes in there is N's on the disk.
///
/// # Errors
/// What the kernel says; `EINVAL` where the file system cannot be shown so (overlayfs, most before 5.19).
pub fn show_as_of(root: impl AsFd, users: BorrowedFd<'_>) -> io::Result<()> {
    // A descriptor is never negative.
    let user_namespace = u64::from(users.as_raw_fd().unsigned_abs());
    change(root, MountAttributes { set: libc::MOUNT_ATTR_IDMAP, user_namespace, ..MountAttributes::default() }, 0)
}

fn change(root: impl AsFd, attributes: MountAttributes, flags: i32) -> io::Result<()> {
    // SAFETY: the path is a C string and `attributes` has the layout of `struct mount_attr` and the size that is passed; the
    // kernel reads both during the call only. The result is checked.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            root.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags | libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `struct mount_attr`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is not the root of a mount is refused, which shows that the kernel understands the call.
    #[test]
    fn reaches_the_kernel() {
        let error = restrict(std::fs::File::open("/proc/self/status").unwrap(), Restriction::ReadOnly).unwrap_err();
        assert!([Some(libc::EINVAL), Some(libc::EPERM)].contains(&error.raw_os_error()), "{error}");
    }

    /// So is one that is to be shown with another namespace's numbers.
    #[test]
    fn numbers_are_for_mounts() {
        let [file, users] = ["/proc/self/status", "/proc/self/ns/user"].map(|path| std::fs::File::open(path).unwrap());
        let error = show_as_of(file, users.as_fd()).unwrap_err();
        assert!([Some(libc::EINVAL), Some(libc::EPERM)].contains(&error.raw_os_error()), "{error}");
    }
}
