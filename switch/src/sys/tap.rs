//! TAP devices. Read first: Linux `Documentation/networking/tuntap.rst` and `drivers/net/tun.c`.
//!
//! The `tun-tap` crate cannot ask for IFF_VNET_HDR, without which a TAP carries a twentieth of the traffic; see
//! docs/dependencies.md.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use vswitch_frame::FrameBuf;

use super::checked;

/// Creates or opens the TAP `name` in the calling thread's network namespace: non-blocking, without the packet
/// information header, with the virtio-net header and with checksum and TCP segmentation offload on.
///
/// Needs to open /dev/net/tun, and CAP_NET_ADMIN over the namespace to create a device.
///
/// # Errors
/// `InvalidInput` for a name that is empty or over 15 bytes; otherwise what the kernel says.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let tap = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    // SAFETY: ifreq is plain data for which zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface name has 1 to 15 bytes"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("the flags fit 15 bits");
    // SAFETY: TUNSETIFF reads and writes one ifreq, to which the pointer leads.
    checked(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let size = libc::c_int::try_from(vswitch_frame::offload::VNET_HEADER_LEN).expect("10");
    // SAFETY: TUNSETVNETHDRSZ reads one int, to which the pointer leads.
    checked(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })?;
    let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // SAFETY: TUNSETOFFLOAD takes a plain integer.
    checked(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) })?;
    Ok(tap)
}

/// Reads one frame into `buffer`. `Ok(false)`: a frame came, but not one that makes sense.
///
/// # Errors
/// `WouldBlock` when nothing waits; otherwise what the kernel says.
pub fn receive(tap: BorrowedFd<'_>, buffer: &mut FrameBuf) -> io::Result<bool> {
    let length = rustix::io::read(tap, buffer.vnet_receive_area())?;
    Ok(buffer.vnet_received(length).is_ok())
}

/// Writes one frame.
///
/// # Errors
/// What the kernel says.
pub fn send(tap: BorrowedFd<'_>, buffer: &mut FrameBuf) -> io::Result<()> {
    rustix::io::write(tap, buffer.vnet_frame())?;
    Ok(())
}
