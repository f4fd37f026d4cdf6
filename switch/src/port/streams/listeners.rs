//! Published ports: host sockets that listen, and whose connections enter the network.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use ipnet::IpNet;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::Socket;
use vswitch_frame::Timestamp;
use vswitch_nat::proxy::datagram::ClientAddressing;
use vswitch_nat::proxy::destinations::Destinations;
use vswitch_nat::proxy::stream::{Ending, HostSide, Streams};

use super::super::datagrams::PublishedAs;
use super::FIRST_LISTENER_TOKEN;
use super::sockets::{HostSockets, prepare};

/// What decides as whom a client enters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) inside: &'a [IpNet],
    pub(super) destinations: Destinations,
}

#[derive(Debug)]
pub(super) struct Listeners {
    registry: Registry,
    all: Vec<Option<Listener>>,
    /// Those whose queue may hold connections.
    ready: Vec<usize>,
    /// When those that found no descriptor are tried again.
    retry: Option<Timestamp>,
    /// The last try found none, which was said.
    short: bool,
    /// Clients that could not be taken.
    pub(super) refused: u64,
}

#[derive(Debug)]
struct Listener {
    number: u32,
    socket: Socket,
    target: SocketAddr,
    shown: PublishedAs,
}

/// How long the host gets to find descriptors.
const RETRY: Duration = Duration::from_millis(100);
/// Connections taken from one queue before others have their turn.
const TURN: usize = 64;

impl Listeners {
    pub(super) const fn new(registry: Registry) -> Self {
        Listeners { registry, all: Vec::new(), ready: Vec::new(), retry: None, short: false, refused: 0 }
    }

    pub(super) fn add(&mut self, number: u32, fd: OwnedFd, target: SocketAddr, shown: PublishedAs) -> io::Result<()> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        let index = self.all.iter().position(Option::is_none).unwrap_or(self.all.len());
        let token = Token(FIRST_LISTENER_TOKEN + index);
        self.registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        if index == self.all.len() {
            self.all.push(None);
        }
        self.all[index] = Some(Listener { number, socket, target, shown });
        Ok(())
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<SocketAddr> {
        let is_it = |listener: &Listener| listener.number == number;
        let found = self.all.iter_mut().find(|listener| listener.as_ref().is_some_and(is_it));
        let listener = found.and_then(Option::take)?;
        // Control has a descriptor of the same socket, so that closing this one would not end the watch.
        if let Err(error) = self.registry.deregister(&mut SourceFd(&listener.socket.as_raw_fd())) {
            tracing::debug!(%error, "cannot stop watching a published port");
        }
        Some(listener.target)
    }

    /// A listener's queue holds connections.
    pub(super) fn ready(&mut self, index: usize) {
        if !self.ready.contains(&index) {
            self.ready.push(index);
        }
    }

    /// Whether there may be clients to take.
    pub(super) fn has_clients(&self) -> bool {
        self.retry.is_none() && !self.ready.is_empty()
    }

    /// When those that found no descriptor are due again.
    pub(super) const fn next_timeout(&self) -> Option<Timestamp> {
        self.retry
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        self.retry = self.retry.filter(|at| *at > now);
    }

    /// Takes connections from the queues.
    pub(super) fn accept(
        &mut self,
        entry: Entry<'_>,
        streams: &mut Streams,
        sockets: &mut HostSockets,
        now: Timestamp,
    ) {
        if !self.has_clients() {
            return;
        }
        let mut again = Vec::new();
        for index in std::mem::take(&mut self.ready) {
            let Some(listener) = self.all.get(index).and_then(Option::as_ref) else { continue };
            for taken in 0..=TURN {
                if taken == TURN {
                    again.push(index);
                    break;
                }
                match listener.socket.accept() {
                    Ok((socket, client)) => {
                        self.short = false;
                        let client = client.as_socket();
                        if client.is_none_or(|client| !enter(listener, socket, client, entry, streams, sockets, now)) {
                            self.refused += 1;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_of_one_client(&error) => {}
                    Err(error) => {
                        if !std::mem::replace(&mut self.short, true) {
                            tracing::warn!(%error, target = %listener.target, "cannot take clients of a published port");
                        }
                        self.refused += 1;
                        again.push(index);
                        self.retry = Some(now + RETRY);
                        break;
                    }
                }
            }
        }
        self.ready.append(&mut again);
    }
}

/// Lets one client's connection enter the network.
fn enter(
    listener: &Listener,
    socket: Socket,
    client: SocketAddr,
    entry: Entry<'_>,
    streams: &mut Streams,
    sockets: &mut HostSockets,
    now: Timestamp,
) -> bool {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let prepared = socket.set_nonblocking(true).and_then(|()| prepare(&socket));
    let opened = prepared.ok().and_then(|()| {
        let (client, shown) = shown(listener, client, entry);
        // A client whose address and port are taken inside comes as the gateway.
        let opened = streams.accept(client, listener.target, shown, now, sockets).ok();
        let gateway = ClientAddressing::Gateway(listener.shown.gateway);
        opened.or_else(|| match shown {
            ClientAddressing::Client => streams.accept(client, listener.target, gateway, now, sockets).ok(),
            ClientAddressing::Gateway(_) => None,
        })
    });
    let Some(slot) = opened else {
        // The client is told at once.
        let _ = socket.set_linger(Some(Duration::ZERO));
        return false;
    };
    if let Err(error) = sockets.insert(slot, socket) {
        tracing::warn!(%error, "cannot poll a client of a published port");
        sockets.close(slot, Ending::Reset);
        return false;
    }
    true
}

/// As whom a client is shown inside.
fn shown(listener: &Listener, client: SocketAddr, entry: Entry<'_>) -> (SocketAddr, ClientAddressing) {
    let seen = entry.destinations.inside(client.ip()).filter(|address| {
        let same_family = address.is_ipv4() == listener.target.is_ipv4();
        let inside = entry.inside.iter().any(|net| net.contains(address));
        !listener.shown.always_gateway && same_family && !inside
    });
    match seen {
        Some(address) => (SocketAddr::new(address, client.port()), ClientAddressing::Client),
        None => (client, ClientAddressing::Gateway(listener.shown.gateway)),
    }
}

/// Whether an error of accept(2) says something of the one connection only.
fn is_of_one_client(error: &io::Error) -> bool {
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL, Errno::BADF, Errno::NOTSOCK];
    !error.raw_os_error().is_some_and(|code| own.iter().any(|errno| errno.raw_os_error() == code))
}
