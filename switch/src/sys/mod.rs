//! The only unsafe code of vswitch: one syscall family a file, a safe function around each call.
//!
//! Every block names the invariant that it rests on and who keeps it.
#![allow(unsafe_code)]

pub mod burst;
pub mod datagram;
pub mod descriptors;
pub mod ethtool;
pub mod memory;
pub mod mounts;
pub mod namespace;
pub mod packet;
pub mod peer;
pub mod scheduling;
pub mod seccomp;
pub mod tap;
pub mod trains;
pub mod udp;

use std::io;

/// The result of a libc call that says -1 and sets errno when it fails.
fn checked<T: PartialOrd + Default>(result: T) -> io::Result<T> {
    if result < T::default() { Err(io::Error::last_os_error()) } else { Ok(result) }
}
