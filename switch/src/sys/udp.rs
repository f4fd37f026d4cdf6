//! UDP sockets of a VTEP. Read first: udp(7), ip(7); Linux `net/ipv4/udp_offload.c` for UDP_SEGMENT and UDP_GRO.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};
use vswitch_tunnel::OuterChecksum;

use super::checked;

/// Send and receive buffers asked for, in bytes. Without privilege over the host the kernel grants `net.core.wmem_max`
/// and `net.core.rmem_max`.
const BUFFER: libc::c_int = 8 << 20;
/// Hops of outer packets (V16).
const TTL: u32 = 64;

/// Opens a VTEP's socket: bound to `address`, non-blocking, with the outer TOS of each packet, and with trains of packets
/// joined by the kernel where it can (UDP_GRO).
///
/// # Errors
/// `AddrInUse` when another program has the port, `AddrNotAvailable` when the address is not this host's; otherwise what
/// the kernel says.
pub fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = plain(address)?;
    let fd = socket.as_fd();
    if address.is_ipv4() {
        set_option(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
    } else {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
    }
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER))?;
    // Linux before 5.0 knows no UDP_GRO; packets then come one by one.
    if let Err(error) = set_option(fd, libc::SOL_UDP, UDP_GRO, 1) {
        tracing::info!(%error, "the kernel does not join received packets");
    }
    Ok(socket.into())
}

/// `UDP_SEGMENT` and `UDP_GRO` of `linux/udp.h`.
pub(super) const UDP_SEGMENT: libc::c_int = 103;
pub(super) const UDP_GRO: libc::c_int = 104;

/// Opens a socket that packets leave from: bound to the first free one of `ports` at `address`, and deaf.
///
/// # Errors
/// When all of them are taken, the address is not this host's, or the process has no descriptor left.
pub fn open_source(
    address: IpAddr,
    ports: impl IntoIterator<Item = u16>,
    checksum: OuterChecksum,
) -> io::Result<OwnedFd> {
    let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ports {
        match plain(SocketAddr::new(address, port)) {
            Ok(socket) => {
                // Nobody should send to it; what comes fills the least of buffers and stays there.
                socket.set_recv_buffer_size(0)?;
                if checksum == OuterChecksum::Zero {
                    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)?;
                }
                return Ok(socket.into());
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => failure = error,
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

/// The underlay's path MTU from `local` to `remote` in bytes, as the kernel knows it.
///
/// # Errors
/// When there is no route, or the local address is not this host's.
pub fn path_mtu(local: IpAddr, remote: SocketAddr) -> io::Result<u32> {
    let socket = Socket::new(Domain::for_address(remote), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::new(local, 0).into())?;
    socket.connect(&remote.into())?;
    let (level, option) =
        if remote.is_ipv4() { (libc::IPPROTO_IP, libc::IP_MTU) } else { (libc::IPPROTO_IPV6, libc::IPV6_MTU) };
    u32::try_from(super::int_option(socket.as_fd(), level, option)?).map_err(io::Error::other)
}

/// A socket bound to `address`, whose packets the underlay may fragment (V11: DF is not set).
fn plain(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    let fd = socket.as_fd();
    if address.is_ipv4() {
        socket.set_ttl_v4(TTL)?;
        set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(TTL)?;
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
    }
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, BUFFER))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int has four bytes");
    // SAFETY: the pointer is to a live int and the length is that of an int.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) })?;
    Ok(())
}
