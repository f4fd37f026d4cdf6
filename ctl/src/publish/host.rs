//! Ports of the host itself, taken by sockets, and what is said when one cannot be had.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Binding, Transport};

/// Connections that may wait until the switch takes them; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// What the kernel lets everybody bind from, and where it says so.
const PORT_START: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
/// Where it says nothing.
const DEFAULT_PORT_START: u16 = 1024;

/// Takes the host port of a binding: a socket that listens, or of UDP one that is bound.
///
/// # Errors
/// What the kernel says.
pub fn open(binding: &Binding) -> io::Result<OwnedFd> {
    let domain = if binding.host.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = match binding.transport {
        Transport::Tcp => Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?,
        Transport::Udp => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?,
        Transport::Sctp => return Err(Errno::PROTONOSUPPORT.into()),
    };
    if binding.host.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if binding.transport == Transport::Tcp {
        // Connections of an earlier listener that linger are no reason to wait. (Of UDP this would share the port.)
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(SocketAddr::new(binding.host, binding.host_port)))?;
    if binding.transport == Transport::Tcp {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// Why a host port was not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody has it.
    InUse,
    /// It needs a privilege.
    Privilege,
    /// The host has no such address, or not this family.
    NoAddress,
    /// Anything else.
    Other,
}

impl Obstacle {
    /// What an error of [`open`] means.
    #[must_use]
    pub fn of(error: &io::Error) -> Obstacle {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ADDRINUSE) => Obstacle::InUse,
            Some(Errno::ACCESS | Errno::PERM) => Obstacle::Privilege,
            Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => Obstacle::NoAddress,
            _ => Obstacle::Other,
        }
    }
}

/// Docker's sentence for a host port that was not to be had, and what to do about it.
#[must_use]
pub fn sentence(binding: &Binding, error: &io::Error) -> String {
    let what = format!("failed to bind host port {}/{}", binding.host_text(), binding.transport.protocol());
    match Obstacle::of(error) {
        Obstacle::InUse => format!(
            "{what}: address already in use; end the program that has port {} (see ss -lpn) or publish another port",
            binding.host_port
        ),
        Obstacle::NoAddress => format!("{what}: cannot assign requested address; publish on an address of the host"),
        Obstacle::Privilege => format!(
            "{what}: permission denied; an ordinary user has ports from {} on, so publish one of these, or allow this one \
             with 'sysctl net.ipv4.ip_unprivileged_port_start={}' as root",
            unprivileged_start(),
            binding.host_port
        ),
        Obstacle::Other => format!("{what}: {error}"),
    }
}

/// Whether the host has an address of this family at all, as far as an unspecified one may be bound.
#[must_use]
pub fn may_do_without(binding: &Binding, error: &io::Error) -> bool {
    binding.host == IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) && Obstacle::of(error) == Obstacle::NoAddress
}

/// The first port that needs no privilege.
fn unprivileged_start() -> u16 {
    let text = std::fs::read_to_string(PORT_START).unwrap_or_default();
    text.trim().parse().unwrap_or(DEFAULT_PORT_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(transport: Transport, host: &str, host_port: u16) -> Binding {
        Binding { transport, host: host.parse().unwrap(), host_port, target_port: 80 }
    }

    /// A port of the loopback interface is had once, by TCP and UDP each for itself, and again when it was closed; the
    /// sentence names it.
    #[test]
    fn one_holder() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let any = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            any.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            let port = any.local_addr().unwrap().as_socket().unwrap().port();
            drop(any);
            let wanted = binding(transport, "127.0.0.1", port);
            let held = open(&wanted).unwrap();
            let error = open(&wanted).unwrap_err();
            assert_eq!(Obstacle::of(&error), Obstacle::InUse);
            let said = sentence(&wanted, &error);
            let docker =
                format!("failed to bind host port 127.0.0.1:{port}/{}: address already in use", transport.protocol());
            assert!(said.starts_with(&docker) && said.contains("ss -lpn"), "{said}");
            drop(held);
            open(&wanted).unwrap();
        }
    }

    /// An address that is not the host's, and a privilege that is missing, are told apart.
    #[test]
    fn sentences() {
        let foreign = binding(Transport::Tcp, "192.0.2.77", 8080);
        let said = sentence(&foreign, &open(&foreign).unwrap_err());
        assert!(said.contains("192.0.2.77:8080/tcp: cannot assign requested address"), "{said}");
        let low = binding(Transport::Udp, "::", 53);
        let said = sentence(&low, &Errno::ACCESS.into());
        assert!(
            said.contains("[::]:53/udp: permission denied") && said.contains("ip_unprivileged_port_start=53"),
            "{said}"
        );
        assert!(
            may_do_without(&low, &Errno::AFNOSUPPORT.into()) && !may_do_without(&foreign, &Errno::ADDRNOTAVAIL.into())
        );
    }
}
