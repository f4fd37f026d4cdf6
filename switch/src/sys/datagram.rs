//! UDP and ping sockets of the host: messages with their IP options and trains, and the error queue. Read first: ip(7)
//! on IP_RECVERR and IP_PKTINFO, udp(7) on UDP_SEGMENT and UDP_GRO, icmp(7), cmsg(3).

use std::io;
use std::mem::{self, size_of};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::checked;

/// What a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramKind {
    /// UDP.
    Udp,
    /// ICMP echo requests, without any privilege, where `net.ipv4.ping_group_range` has one of the process's groups.
    Ping,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'p> {
    /// Where.
    pub to: SocketAddr,
    /// What.
    pub payload: &'p [u8],
    /// As a train of datagrams of so many bytes.
    pub segment: Option<u16>,
    /// With this time to live or hop limit, unless the host's own will do.
    pub hops: Option<u8>,
    /// With this type of service or traffic class, unless zero will do.
    pub tos: Option<u8>,
    /// From this address of the host.
    pub from: Option<IpAddr>,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of it.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// It was longer than the room for it.
    pub cut: bool,
    /// It is a train of datagrams of so many bytes.
    pub segment: Option<u16>,
    /// The address of the host that it was sent to, if the socket asks for that.
    pub local: Option<IpAddr>,
}

/// What was said about a datagram that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Bytes of the beginning of what was sent.
    pub length: usize,
    /// Where it was sent.
    pub to: SocketAddr,
    /// Who says so.
    pub origin: Origin,
    /// What the kernel makes of it (an errno).
    pub errno: i32,
    /// Such as the MTU.
    pub info: u32,
}

/// Who reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The host itself.
    Local,
    /// An ICMP message of the socket's family.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
        /// Its sender.
        sender: Option<IpAddr>,
    },
}

/// The layout of `struct sock_extended_err` in `linux/errqueue.h`.
const EXTENDED_ERROR_LEN: usize = 16;
const ORIGIN_LOCAL: u8 = 1;
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;
/// `UDP_SEGMENT` and `UDP_GRO` of `linux/udp.h`.
const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;
/// Room for control messages, in 8-byte words: the error queue's with an IPv6 address need most.
const CONTROL_WORDS: usize = 24;
/// More datagrams than the usual receive buffer holds.
const MOST_WAITING: usize = 1024;
/// Receive buffer that is asked for, bytes; the kernel cuts it to `net.core.rmem_max`.
const BUFFER: usize = 1 << 20;

/// Opens a socket that is bound to nothing yet.
///
/// # Errors
/// What the kernel says: no descriptor left, or `PermissionDenied` for a ping socket that is not allowed.
pub fn open(kind: DatagramKind, ipv6: bool) -> io::Result<OwnedFd> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let protocol = match (kind, ipv6) {
        (DatagramKind::Udp, _) => Protocol::UDP,
        (DatagramKind::Ping, false) => Protocol::ICMPV4,
        (DatagramKind::Ping, true) => Protocol::ICMPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    if ipv6 && kind == DatagramKind::Udp {
        socket.set_only_v6(true)?;
    }
    prepare(&socket, kind, ipv6)?;
    Ok(socket.into())
}

/// Makes a bound UDP socket tell what it was sent to, and all that [`open`] does.
///
/// # Errors
/// What the kernel says.
pub fn prepare_published(socket: &Socket, ipv6: bool) -> io::Result<()> {
    prepare(socket, DatagramKind::Udp, ipv6)?;
    let (level, option) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    switch_on(socket.as_fd(), level, option)
}

fn prepare(socket: &Socket, kind: DatagramKind, ipv6: bool) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    report_errors(socket.as_fd(), ipv6)?;
    if kind == DatagramKind::Udp {
        socket.set_recv_buffer_size(BUFFER)?;
        // Kernels before 5.0 do not know it and deliver datagrams one by one.
        let _ = switch_on(socket.as_fd(), libc::SOL_UDP, UDP_GRO);
    }
    Ok(())
}

/// Lets a socket report every error, also that there is no way to a host, which it otherwise keeps to itself.
///
/// # Errors
/// What the kernel says.
pub fn report_errors(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let (level, option) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    switch_on(socket, level, option)
}

/// Lets the kernel choose the port of a bound socket when it connects, not before.
///
/// # Errors
/// What the kernel says.
pub fn choose_port_late(socket: BorrowedFd<'_>) -> io::Result<()> {
    switch_on(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)
}

/// Binds a socket that [`open`] made to an address of the host, at any port.
///
/// # Errors
/// What the kernel says: mostly that the host does not have the address.
pub fn bind(socket: &OwnedFd, address: IpAddr) -> io::Result<()> {
    socket2::SockRef::from(socket).bind(&SocketAddr::new(address, 0).into())
}

fn switch_on(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let (one, length) = (1 as libc::c_int, size_of::<libc::c_int>());
    let length = libc::socklen_t::try_from(length).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a live int and the length is that of an int.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const one).cast(), length) })?;
    Ok(())
}

/// Sends without waiting.
///
/// # Errors
/// What the kernel says; also what it has heard about datagrams before.
pub fn send(socket: BorrowedFd<'_>, sending: &Sending<'_>) -> io::Result<()> {
    let mut control = Control::new();
    let ipv6 = sending.to.is_ipv6();
    if let Some(size) = sending.segment {
        control.push(libc::SOL_UDP, UDP_SEGMENT, &size.to_ne_bytes());
    }
    if let Some(hops) = sending.hops {
        let (level, kind) =
            if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) } else { (libc::IPPROTO_IP, libc::IP_TTL) };
        control.push(level, kind, &libc::c_int::from(hops).to_ne_bytes());
    }
    if let Some(tos) = sending.tos {
        let (level, kind) =
            if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) } else { (libc::IPPROTO_IP, libc::IP_TOS) };
        control.push(level, kind, &libc::c_int::from(tos).to_ne_bytes());
    }
    match sending.from {
        // struct in_pktinfo: interface, the address to send from, the destination. Interface 0 leaves the choice open.
        Some(IpAddr::V4(from)) => {
            let [a, b, c, d] = from.octets();
            control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &[0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0]);
        }
        // struct in6_pktinfo: address, interface.
        Some(IpAddr::V6(from)) => {
            let mut bytes = [0; 20];
            bytes[..16].copy_from_slice(&from.octets());
            control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &bytes);
        }
        None => {}
    }
    let to = SockAddr::from(sending.to);
    let mut piece =
        libc::iovec { iov_base: sending.payload.as_ptr().cast_mut().cast(), iov_len: sending.payload.len() };
    // SAFETY: msghdr is plain data for which zero is valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    if control.length > 0 {
        message.msg_control = control.words.as_mut_ptr().cast();
        message.msg_controllen = control.length;
    }
    // SAFETY: every pointer in the header is to a variable of this function, or the borrowed payload, with its true length;
    // the kernel only reads them.
    let sent =
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives one datagram, or train of datagrams, into `area` without waiting.
///
/// # Errors
/// What the kernel says: `WouldBlock` when nothing is there; an error that waits in the error queue.
pub fn receive(socket: BorrowedFd<'_>, area: &mut [u8]) -> io::Result<Received> {
    let mut control = Control::new();
    let (length, from, flags) = control.receive(socket, area, libc::MSG_DONTWAIT)?;
    let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let (mut segment, mut local) = (None, None);
    control.each(|level, kind, data| match (level, kind) {
        (libc::SOL_UDP, UDP_GRO) => segment = int(data, 0).and_then(|size| u16::try_from(size).ok()),
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // The second of the three is the address to answer from: the destination in the header, or the host's own where
            // that is one of many.
            local = data.get(4..8).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let destination = data.get(..16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from);
            local = destination.filter(|address| !address.is_multicast());
        }
        _ => {}
    });
    let segment = segment.filter(|&size| size > 0 && usize::from(size) < length);
    Ok(Received { length, from, cut: flags & libc::MSG_TRUNC != 0, segment, local })
}

/// Takes what waits in a socket, and throws it away.
pub fn empty(socket: BorrowedFd<'_>) {
    let mut area = [0; 1];
    for _ in 0..MOST_WAITING {
        let waits = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        if receive(socket, &mut area).is_err_and(|error| waits(&error))
            && receive_error(socket, &mut area).is_err_and(|error| waits(&error))
        {
            return;
        }
    }
}

/// Takes the oldest report out of the error queue, the beginning of the datagram into `area`.
///
/// # Errors
/// `WouldBlock` when there is none.
pub fn receive_error(socket: BorrowedFd<'_>, area: &mut [u8]) -> io::Result<Option<Reported>> {
    let mut control = Control::new();
    let (length, to, _) = control.receive(socket, area, libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE)?;
    let mut reported = None;
    control.each(|level, kind, data| {
        let ours = matches!((level, kind), (libc::IPPROTO_IP, libc::IP_RECVERR))
            || matches!((level, kind), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR));
        if !ours || data.len() < EXTENDED_ERROR_LEN {
            return;
        }
        let (Some(to), Some(errno), Some(info)) = (to, int(data, 0), int(data, 8)) else { return };
        let origin = match data[4] {
            ORIGIN_LOCAL => Origin::Local,
            ORIGIN_ICMP | ORIGIN_ICMP6 => {
                Origin::Icmp { kind: data[5], code: data[6], sender: offender(&data[EXTENDED_ERROR_LEN..]) }
            }
            _ => return,
        };
        reported = Some(Reported { length, to, origin, errno, info: info.cast_unsigned() });
    });
    Ok(reported)
}

/// The address in the sockaddr behind an extended error, if there is one.
fn offender(bytes: &[u8]) -> Option<IpAddr> {
    let family = libc::c_int::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
    match family {
        libc::AF_INET => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(address)))
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Some(IpAddr::from(address))
        }
        _ => None,
    }
}

fn int(data: &[u8], at: usize) -> Option<i32> {
    data.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(i32::from_ne_bytes)
}

/// Control messages, aligned as the kernel wants them.
struct Control {
    words: [u64; CONTROL_WORDS],
    /// Bytes in use.
    length: usize,
}

impl Control {
    const fn new() -> Control {
        Control { words: [0; CONTROL_WORDS], length: 0 }
    }

    /// Adds a message; one for which there is no room is left out, which no caller comes near.
    fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let header = size_of::<libc::cmsghdr>();
        let space = (header + data.len()).next_multiple_of(size_of::<usize>());
        if self.length + space > size_of::<[u64; CONTROL_WORDS]>() {
            return;
        }
        // SAFETY: cmsghdr is plain data for which zero is valid.
        let mut message: libc::cmsghdr = unsafe { mem::zeroed() };
        message.cmsg_len = header + data.len();
        message.cmsg_level = level;
        message.cmsg_type = kind;
        // SAFETY: header and data lie within `words` (checked above), which nobody else refers to; the header is written
        // where alignment is that of a word, since every message takes whole words.
        unsafe {
            let at = self.words.as_mut_ptr().cast::<u8>().add(self.length);
            ptr::write_unaligned(at.cast::<libc::cmsghdr>(), message);
            ptr::copy_nonoverlapping(data.as_ptr(), at.add(header), data.len());
        }
        self.length += space;
    }

    /// Receives a message with its control messages: length, address, flags.
    fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        area: &mut [u8],
        flags: libc::c_int,
    ) -> io::Result<(usize, Option<SocketAddr>, libc::c_int)> {
        let mut name = SockAddrStorage::zeroed();
        let mut piece = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
        // SAFETY: msghdr is plain data for which zero is valid.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = name.size_of();
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        message.msg_control = self.words.as_mut_ptr().cast();
        message.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
        // SAFETY: every pointer in the header is to a variable that outlives the call, with its true length.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        self.length = message.msg_controllen;
        // SAFETY: the kernel wrote an address of `msg_namelen` bytes, or none (then the family is zero).
        let address = unsafe { SockAddr::new(name, message.msg_namelen) };
        Ok((length, address.as_socket(), message.msg_flags))
    }

    /// Calls `seen` with level, type and data of every message.
    fn each(&self, mut seen: impl FnMut(libc::c_int, libc::c_int, &[u8])) {
        let header = size_of::<libc::cmsghdr>();
        let length = self.length.min(size_of::<[u64; CONTROL_WORDS]>());
        // SAFETY: any bytes are valid bytes, and `length` is within `words`.
        let bytes = unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast::<u8>(), length) };
        let mut at = 0;
        while at + header <= bytes.len() {
            // SAFETY: a whole header lies at `at` (checked above); it is read unaligned and any bytes make one.
            let message = unsafe { ptr::read_unaligned(bytes[at..].as_ptr().cast::<libc::cmsghdr>()) };
            let Some(data) = bytes.get(at + header..at + message.cmsg_len.max(header)) else { return };
            seen(message.cmsg_level, message.cmsg_type, data);
            at += message.cmsg_len.max(header).next_multiple_of(size_of::<usize>());
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn bound(ipv6: bool) -> (OwnedFd, SocketAddr) {
        let socket = Socket::from(open(DatagramKind::Udp, ipv6).unwrap());
        let any: SocketAddr = if ipv6 { "[::1]:0" } else { "127.0.0.1:0" }.parse().unwrap();
        socket.bind(&any.into()).unwrap();
        prepare_published(&socket, ipv6).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket.into(), address)
    }

    fn wait(socket: &OwnedFd, area: &mut [u8]) -> Received {
        for _ in 0..1000 {
            match receive(socket.as_fd(), area) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                received => return received.unwrap(),
            }
        }
        panic!("nothing came");
    }

    /// A datagram arrives with its sender and the address that it was sent to; trains arrive whole, joined or not.
    #[test]
    fn over_loopback() {
        for ipv6 in [false, true] {
            let ((one, _), (other, to)) = (bound(ipv6), bound(ipv6));
            let mut area = vec![0; 65_536];
            let plain =
                Sending { to, payload: b"hello", segment: None, hops: Some(9), tos: Some(8), from: Some(to.ip()) };
            send(one.as_fd(), &plain).unwrap();
            let received = wait(&other, &mut area);
            assert_eq!((&area[..received.length], received.segment, received.cut), (&b"hello"[..], None, false));
            assert_eq!((received.local, received.from.ip()), (Some(to.ip()), to.ip()));
            let train = Sending { payload: &[7; 2500], segment: Some(1000), ..plain };
            send(one.as_fd(), &train).unwrap();
            let mut total = 0;
            while total < 2500 {
                let received = wait(&other, &mut area);
                assert!(received.length <= 1000 || received.segment == Some(1000), "{received:?}");
                total += received.length;
            }
        }
    }

    /// What comes back about a datagram to a port that nobody has is in the error queue, with the datagram.
    #[test]
    fn errors_come_back() {
        for ipv6 in [false, true] {
            let ((one, _), (other, to)) = (bound(ipv6), bound(ipv6));
            drop(other);
            let sending = Sending { to, payload: b"lost", segment: None, hops: None, tos: None, from: None };
            send(one.as_fd(), &sending).unwrap();
            let mut area = [0; 64];
            let reported = (0..1000).find_map(|_| match receive_error(one.as_fd(), &mut area) {
                Ok(reported) => reported,
                Err(_) => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    None
                }
            });
            let reported = reported.expect("a report");
            let (kind, code) = if ipv6 { (1, 4) } else { (3, 3) };
            assert_eq!(reported.origin, Origin::Icmp { kind, code, sender: Some(to.ip()) });
            assert_eq!((&area[..reported.length], reported.to), (&b"lost"[..], to));
            assert_eq!(reported.errno, libc::ECONNREFUSED);
        }
    }
}
