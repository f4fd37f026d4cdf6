//! AF_PACKET sockets. Read first: packet(7); Linux `net/packet/af_packet.c`.

use std::ffi::CString;
use std::io::{self, IoSlice};
use std::mem::{self, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use vswitch_frame::{FrameBuf, MacAddr, ethernet, segment, vlan};

use super::checked;
use crate::lan::{DEAF, Instruction};

/// Receive buffer asked for, in bytes. Without privilege over the host the kernel grants `net.core.rmem_max`.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// Opens a raw packet socket on `interface` in the calling thread's network namespace: bound, non-blocking, with the
/// virtio-net header on every frame, with VLAN tags in the auxiliary data, without the frames that it sends itself and
/// without a queueing discipline in its way.
///
/// Needs CAP_NET_RAW over the namespace. The descriptor works afterwards for whoever holds it.
///
/// # Errors
/// `NotFound` when there is no such interface; otherwise what the kernel says.
pub fn open(interface: &str) -> io::Result<OwnedFd> {
    open_with(interface, |_| Ok(()))
}

/// As [`open`], a socket that hears nothing until [`filter`] says what.
///
/// # Errors
/// As there.
pub fn open_deaf(interface: &str) -> io::Result<OwnedFd> {
    open_with(interface, |socket| filter(socket, &DEAF))
}

/// A socket that `prepare` has seen before any frame is received.
fn open_with(interface: &str, prepare: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<OwnedFd> {
    let name = CString::new(interface).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let index = libc::c_int::try_from(index).ok().filter(|&index| index > 0);
    let index = index.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no interface {interface}")))?;
    // Protocol 0: nothing is received before the socket is set up and bound.
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the result is checked.
    let raw = checked(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: `raw` was just returned by socket() and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    for option in [libc::PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, libc::PACKET_QDISC_BYPASS, libc::PACKET_AUXDATA] {
        set_option(socket.as_fd(), libc::SOL_PACKET, option, 1)?;
    }
    // Forcing needs privilege over the host; the plain option is cut to the host's limit and cannot fail for its size.
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)
        .or_else(|_| set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER))?;
    prepare(socket.as_fd())?;
    bind(socket.as_fd(), index)?;
    Ok(socket)
}

/// Lets the kernel cut up UDP super-frames that a socket of [`open`] sends, before they leave by the interface: with it, a
/// burst of datagrams crosses the socket in one piece and whoever listens at the other end sees each as it was sent. It
/// takes the frames through the interface's queueing discipline (a veth has none) and switches `tx-udp-segmentation` off on
/// it. Where that is not possible, everything stays as it was, and `false` is returned.
///
/// Needs CAP_NET_ADMIN over the namespace, which the calling thread must be in.
pub fn let_kernel_segment(socket: BorrowedFd<'_>, interface: &str) -> bool {
    let Ok(name) = CString::new(interface) else { return false };
    super::ethtool::switch_off(socket, &name, &["tx-udp-segmentation"]).is_ok_and(|known| known == 1)
        && set_option(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 0).is_ok()
}

/// Whether [`let_kernel_segment`] has succeeded for a socket.
pub(crate) fn segments_udp(socket: BorrowedFd<'_>) -> bool {
    super::int_option(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS).is_ok_and(|bypass| bypass == 0)
}

/// The longest frame that interfaces take as it is if nobody told them otherwise: Linux's `gso_max_size` of 64 KiB, less the
/// 320 bytes that its own TCP leaves for headers. What is longer would be cut into single segments by the kernel, or with
/// PACKET_QDISC_BYPASS be dropped.
pub const LONGEST_ELSEWHERE: usize = 65_536 - 320;

/// Sends a TCP super-frame in pieces of at most [`LONGEST_ELSEWHERE`] bytes.
///
/// # Errors
/// `InvalidInput` when it cannot be cut up; otherwise what the kernel says of the first piece that it does not take.
pub fn send_in_pieces(socket: BorrowedFd<'_>, buffer: &mut FrameBuf) -> io::Result<()> {
    let link = ethernet::HEADER_LEN + 2 * vlan::TAG_LEN;
    let mut outcome = Ok(());
    let cut = segment::shorten(&mut buffer.packet_mut(), LONGEST_ELSEWHERE - link, |piece| {
        if outcome.is_ok() {
            let header = piece.offload().encode();
            let message = [IoSlice::new(&header), IoSlice::new(piece.frame())];
            let sent = sendmsg(socket, &message, &mut SendAncillaryBuffer::default(), SendFlags::DONTWAIT);
            outcome = sent.map(|_| ());
        }
    });
    cut.map_err(|_| Errno::INVAL)?;
    Ok(outcome?)
}

/// Lets a socket of [`open`] see frames for every station, for as long as it is open: without it a NIC passes on those
/// for its own MAC address only, and the switch has another one.
///
/// # Errors
/// When the interface is gone, or what the kernel says.
pub fn hear_everybody(socket: BorrowedFd<'_>) -> io::Result<()> {
    join(socket, Membership::Everybody)
}

/// What a NIC passes on beside frames for its own MAC address, while a socket asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Everything.
    Everybody,
    /// Frames for groups.
    Groups,
    /// Frames for this station.
    Station(MacAddr),
}

/// Asks for something.
///
/// # Errors
/// When the interface is gone, or what the kernel says.
pub fn join(socket: BorrowedFd<'_>, membership: Membership) -> io::Result<()> {
    change_membership(socket, libc::PACKET_ADD_MEMBERSHIP, membership)
}

/// Asks for it no more.
///
/// # Errors
/// As [`join`].
pub fn leave(socket: BorrowedFd<'_>, membership: Membership) -> io::Result<()> {
    change_membership(socket, libc::PACKET_DROP_MEMBERSHIP, membership)
}

fn change_membership(socket: BorrowedFd<'_>, option: libc::c_int, wanted: Membership) -> io::Result<()> {
    let index = bound_to(socket)?;
    // SAFETY: packet_mreq is plain data for which zero is valid.
    let mut membership: libc::packet_mreq = unsafe { mem::zeroed() };
    membership.mr_ifindex = index;
    let kind = match wanted {
        Membership::Everybody => libc::PACKET_MR_PROMISC,
        Membership::Groups => libc::PACKET_MR_ALLMULTI,
        Membership::Station(mac) => {
            membership.mr_alen = 6;
            membership.mr_address[..6].copy_from_slice(&mac.octets());
            libc::PACKET_MR_UNICAST
        }
    };
    membership.mr_type = u16::try_from(kind).expect("types are small");
    let length = libc::socklen_t::try_from(size_of::<libc::packet_mreq>()).expect("16 bytes");
    // SAFETY: the pointer is to a live packet_mreq and the length is its own.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const membership).cast(), length)
    })?;
    Ok(())
}

/// Lets a socket receive only frames that a program takes, from now on.
///
/// # Errors
/// When the program is none, or what the kernel says.
pub(crate) fn filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = u16::try_from(instructions.len()).map_err(|_| io::Error::from(Errno::INVAL))?;
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    let length = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).expect("16 bytes");
    // SAFETY: the pointer is to a live sock_fprog of that length, which leads to as many live instructions as it says; the
    // kernel copies them and refuses what is no program.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    })?;
    Ok(())
}

/// `PACKET_IGNORE_OUTGOING` of `linux/if_packet.h`, missing in the libc crate.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<libc::c_int> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int has four bytes");
    // SAFETY: the pointer is to a live int and the length is that of an int.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) })
}

fn bind(socket: BorrowedFd<'_>, index: libc::c_int) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data for which zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("the family is 17");
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).expect("ETH_P_ALL is 3").to_be();
    address.sll_ifindex = index;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("20 bytes");
    // SAFETY: the pointer is to a live sockaddr_ll and the length is its own.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(())
}

/// Whether the interface that a packet socket was bound to is gone for good (the kernel then unbinds the socket).
#[must_use]
pub fn is_gone(socket: BorrowedFd<'_>) -> bool {
    bound_to(socket).is_err()
}

/// Index of the interface that a packet socket is bound to.
fn bound_to(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: sockaddr_ll is plain data for which zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("20 bytes");
    // SAFETY: both pointers are to live variables and the length is that of the address.
    checked(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length) })?;
    if address.sll_ifindex > 0 { Ok(address.sll_ifindex) } else { Err(io::ErrorKind::NotFound.into()) }
}
