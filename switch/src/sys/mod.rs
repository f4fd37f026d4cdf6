//! The only unsafe code of vswitch: one syscall family a file, a safe function around each call.
//!
//! Every block names the invariant that it rests on and who keeps it.
#![allow(unsafe_code)]

pub mod burst;
pub mod datagram;
pub mod descriptors;
pub mod ethtool;
pub mod namespace;
pub mod packet;
pub mod peer;
pub mod tap;
pub mod trains;
pub mod udp;

use std::io;

/// The result of a libc call that says -1 and sets errno when it fails.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
