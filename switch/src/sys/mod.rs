//! The only unsafe code of vswitch: one syscall family a file, a safe function around each call.
//!
//! Every block names the invariant that it rests on and who keeps it.
#![allow(unsafe_code)]

pub mod burst;
pub mod datagram;
pub mod descriptors;
pub mod ethtool;
pub mod inherited;
pub mod memory;
pub mod mounts;
pub mod namespace;
pub mod packet;
pub mod peer;
pub mod scheduling;
pub mod seccomp;
pub mod signals;
pub mod tap;
pub mod trains;
pub mod udp;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The result of a libc call that says -1 and sets errno when it fails.
fn checked<T: PartialOrd + Default>(result: T) -> io::Result<T> {
    if result < T::default() { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The value of a socket option that is an int.
fn int_option(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int has four bytes");
    // SAFETY: both pointers are to live variables and the length is that of the int; the kernel writes no more.
    checked(unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length) })?;
    Ok(value)
}
