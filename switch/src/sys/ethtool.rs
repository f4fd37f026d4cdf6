//! Features of interfaces. Read first: ethtool(8), features; Linux `include/uapi/linux/ethtool.h` (ETHTOOL_GSTRINGS,
//! ETHTOOL_SFEATURES), netdevice(7).

use std::ffi::{CStr, CString};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::checked;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
/// Bytes of a feature's name, its end included.
const ETH_GSTRING_LEN: usize = 32;
/// Most features that are asked for; Linux has 64 at most, as they are bits of one word.
const MAX_FEATURES: usize = 64;

/// `ethtool_sset_info` with the answer for one set.
#[repr(C)]
struct StringSet {
    command: u32,
    reserved: u32,
    mask: u64,
    length: u32,
}

/// `ethtool_gstrings` with room for every feature's name.
#[repr(C)]
struct Names {
    command: u32,
    set: u32,
    length: u32,
    names: [[u8; ETH_GSTRING_LEN]; MAX_FEATURES],
}

/// `ethtool_set_features_block`.
#[derive(Clone, Copy)]
#[repr(C)]
struct ChangedWord {
    /// Which features are meant.
    valid: u32,
    /// What they shall be.
    requested: u32,
}

/// `ethtool_sfeatures` with room for every feature's bit.
#[repr(C)]
struct Change {
    command: u32,
    /// Words that follow.
    size: u32,
    words: [ChangedWord; MAX_FEATURES / 32],
}

/// Switches features of an interface off, in the calling thread's network namespace. Their names are the kernel's, as `ethtool
/// -k` shows them; those that this kernel does not know, or that are off, are off.
///
/// Needs CAP_NET_ADMIN over the namespace.
///
/// # Errors
/// `Unsupported` when the kernel has one of them on for good; otherwise what the kernel says.
pub fn switch_features_off(interface: &str, features: &[&str]) -> io::Result<()> {
    let name = CString::new(interface).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    switch_off(socket.as_fd(), &name, features).map(|_| ())
}

/// Switches features of the interface `name` off, in the network namespace of `socket` (any socket). Returns how many of them
/// the kernel knows.
///
/// # Errors
/// As [`switch_features_off`].
pub(super) fn switch_off(socket: BorrowedFd<'_>, name: &CStr, features: &[&str]) -> io::Result<usize> {
    let mut set = StringSet { command: ETHTOOL_GSSET_INFO, reserved: 0, mask: 1 << ETH_SS_FEATURES, length: 0 };
    call(socket, name, &mut set)?;
    let length = usize::try_from(set.length).unwrap_or(usize::MAX);
    if length > MAX_FEATURES {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut names = Names {
        command: ETHTOOL_GSTRINGS,
        set: ETH_SS_FEATURES,
        length: set.length,
        names: [[0; ETH_GSTRING_LEN]; MAX_FEATURES],
    };
    call(socket, name, &mut names)?;
    let nothing = ChangedWord { valid: 0, requested: 0 };
    let mut change = Change { command: ETHTOOL_SFEATURES, size: 0, words: [nothing; MAX_FEATURES / 32] };
    change.size = u32::try_from(length.div_ceil(32)).expect("at most two words");
    let mut known = 0;
    for (index, name) in names.names[..length].iter().enumerate() {
        let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
        if features.iter().any(|feature| feature.as_bytes() == text) {
            change.words[index / 32].valid |= 1 << (index % 32);
            known += 1;
        }
    }
    // 0 says that everything was changed as asked for.
    if call(socket, name, &mut change)? == 0 { Ok(known) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// One ethtool request; `T` begins with its command and has room for what the kernel answers to it.
fn call<T>(socket: BorrowedFd<'_>, name: &CStr, request: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: ifreq is plain data for which zero is valid.
    let mut ifreq: libc::ifreq = unsafe { mem::zeroed() };
    let bytes = name.to_bytes();
    if bytes.len() >= ifreq.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, &from) in ifreq.ifr_name.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    ifreq.ifr_ifru.ifru_data = std::ptr::from_mut(request).cast();
    // SAFETY: `ifreq` is live and leads to `request`, borrowed for this call, whose size every caller in this file has made
    // sufficient for the answer: GSSET_INFO writes one word for the one set asked for, GSTRINGS at most `length` names,
    // which was compared to the room, SFEATURES writes nothing back.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut ifreq) })
}
