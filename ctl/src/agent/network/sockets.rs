//! Sockets that are opened inside a sandbox and used by vswitchd: they stay in the network namespace they were made in.

use std::{
    io,
    net::SocketAddrV4,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

use crate::agent::protocol::SandboxSocket;
use crate::dns;

/// Opens what was asked for in the calling thread's network namespace.
pub(crate) fn open(kind: SandboxSocket) -> io::Result<Vec<OwnedFd>> {
    match kind {
        SandboxSocket::NameServer => name_server(),
        SandboxSocket::Datagram { ipv6 } => Ok(vec![socket(SocketType::DGRAM, ipv6)?]),
        SandboxSocket::Stream { ipv6 } => Ok(vec![socket(SocketType::STREAM, ipv6)?]),
    }
}

fn name_server() -> io::Result<Vec<OwnedFd>> {
    let address = SocketAddrV4::new(dns::ADDRESS, dns::PORT);
    let (udp, tcp) = (socket(SocketType::DGRAM, false)?, socket(SocketType::STREAM, false)?);
    for socket in [&udp, &tcp] {
        // A program of the container that listens on port 53 of all addresses, and sets these too, gets everything but
        // what is sent to this address.
        sockopt::set_socket_reuseaddr(socket, true)?;
        sockopt::set_socket_reuseport(socket, true)?;
        bind(socket.as_fd(), &address)?;
    }
    sockopt::set_socket_recv_buffer_size(&udp, RECEIVE_BUFFER)?;
    listen(&tcp, BACKLOG)?;
    Ok(vec![udp, tcp])
}

fn socket(kind: SocketType, ipv6: bool) -> io::Result<OwnedFd> {
    let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let protocol = if kind == SocketType::DGRAM { ipproto::UDP } else { ipproto::TCP };
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(protocol))?)
}

/// Questions that wait while others are answered, bytes.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
