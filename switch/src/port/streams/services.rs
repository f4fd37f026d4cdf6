//! Services of the switch itself at its gateways' addresses.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// A connection to a service.
#[derive(Debug)]
pub struct ServiceStream {
    /// A Unix stream socket that does not block: the service's end.
    pub stream: OwnedFd,
    /// Who connected.
    pub source: SocketAddr,
    /// The gateway address and port that it connected to, which says in which network.
    pub local: SocketAddr,
}

/// Connections that may wait for a service.
const BACKLOG: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Services {
    ports: Vec<(u16, Sender<ServiceStream>)>,
}

impl Services {
    pub(super) fn add(&mut self, port: u16) -> Receiver<ServiceStream> {
        let (sender, receiver) = bounded(BACKLOG);
        self.ports.retain(|(taken, _)| *taken != port);
        self.ports.push((port, sender));
        receiver
    }

    /// Connects to the service at `local`, and returns the gateway's end.
    pub(super) fn connect(&self, source: SocketAddr, local: SocketAddr) -> io::Result<OwnedFd> {
        let service = self.ports.iter().find(|(port, _)| *port == local.port());
        let (_, service) = service.ok_or(io::ErrorKind::ConnectionRefused)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (stream, own) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        service.try_send(ServiceStream { stream, source, local }).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => io::ErrorKind::ConnectionRefused,
        })?;
        Ok(own)
    }
}
