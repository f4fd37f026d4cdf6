//! TCP of containers over host sockets: the shell around [`vswitch_nat::proxy::stream`].
//!
//! A connection's socket is opened when the engine asks for it and closed when the engine says so. Its readiness is noted in
//! the engine, which reads and writes until the host says that it would block; so edges of the poll are never lost.

mod listeners;
mod sockets;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use ipnet::IpNet;
use mio::Registry;
use mio::event::Event;
use vswitch_frame::{FrameBuf, Packet, Timestamp};
use vswitch_nat::proxy::datagram::wire::Link;
use vswitch_nat::proxy::destinations::Destinations;
use vswitch_nat::proxy::stream::{Readiness, Slot, StreamCounters, StreamDrop, StreamLimits, StreamRecord, Streams};

use super::budget::Budget;
use super::datagrams::PublishedAs;
use crate::kernel;
use listeners::Listeners;
pub(super) use sockets::HostSockets;

/// Everything that is counted of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// By the engine.
    pub flows: StreamCounters,
    /// Clients of published ports that could not be let in.
    pub refused_clients: u64,
}

/// The shell.
#[derive(Debug)]
pub(crate) struct StreamShell {
    engine: Streams,
    sockets: HostSockets,
    listeners: Listeners,
    /// The subnets inside.
    inside: Vec<IpNet>,
    destinations: Destinations,
}

impl StreamShell {
    /// A shell without connections, whose sockets are in the poll of `registry`.
    pub(crate) fn new(
        limits: StreamLimits,
        destinations: Destinations,
        link: Link,
        registry: &Registry,
        seed: u64,
        budget: Option<Budget>,
    ) -> io::Result<Self> {
        Ok(StreamShell {
            engine: engine(limits, link, seed),
            sockets: HostSockets::new(registry.try_clone()?, budget),
            listeners: Listeners::new(registry.try_clone()?),
            inside: Vec::new(),
            destinations,
        })
    }

    /// Says which addresses are inside.
    pub(crate) fn set_inside(&mut self, inside: Vec<IpNet>) {
        self.engine.owners().set_networks(inside.clone());
        self.inside = inside;
    }

    /// Says whose an address inside is.
    pub(crate) fn assign(&mut self, address: IpAddr, endpoint: u64) {
        self.engine.owners().assign(None, address, endpoint);
    }

    /// Everything that is counted.
    pub(crate) fn stats(&self) -> StreamStats {
        StreamStats { flows: self.engine.counters(), refused_clients: self.listeners.refused }
    }

    /// Every connection.
    pub(crate) fn records(&self) -> Vec<StreamRecord> {
        self.engine.records().collect()
    }

    /// Lets connections to a host socket that listens go to `target`.
    pub(crate) fn publish(
        &mut self,
        number: u32,
        socket: OwnedFd,
        target: SocketAddr,
        shown: PublishedAs,
    ) -> io::Result<()> {
        self.listeners.add(number, socket, target, shown)
    }

    /// Closes a published port; connections that came by it go on, but for those that nobody has answered: who would have may be gone.
    pub(crate) fn unpublish(&mut self, number: u32) -> bool {
        let target = self.listeners.remove(number);
        if let Some(target) = target {
            self.engine.end_unanswered(target, &mut self.sockets);
        }
        target.is_some()
    }

    /// Makes tables as small as what is in them.
    pub(crate) fn shrink(&mut self) {
        self.engine.shrink();
        self.sockets.shrink();
    }

    /// Ends the connections of an address inside that goes.
    pub(crate) fn forget_endpoint(&mut self, address: IpAddr) {
        self.engine.forget_endpoint(None, address, &mut self.sockets);
    }

    /// Takes a segment from inside, or says why not.
    pub(crate) fn send(&mut self, packet: &Packet<'_>, now: Timestamp) -> Result<(), StreamDrop> {
        let mut outside = self.sockets.opening(|ends| sockets::open(ends, &self.inside, self.destinations));
        self.engine.frame(packet, None, now, &mut outside)
    }

    /// Takes what the poll says of a socket; `false` when the token is somebody else's.
    pub(crate) fn event(&mut self, event: &Event, now: Timestamp) -> bool {
        let token = event.token().0;
        if token >= AFTER {
            return false;
        }
        if let Some((slot, news)) = news(event) {
            self.engine.ready(slot, news, now, &mut self.sockets);
        } else if let Some(index) = token.checked_sub(FIRST_LISTENER_TOKEN) {
            self.listeners.ready(index);
        } else {
            return false;
        }
        true
    }

    /// Whether there may be something to send, or to take from a published port.
    pub(crate) fn has_output(&self) -> bool {
        self.engine.has_output() || self.listeners.has_clients()
    }

    /// Fills buffers with frames for the inside and returns how many; fewer than there are buffers says that nothing more
    /// waits.
    pub(crate) fn receive(&mut self, buffers: &mut [FrameBuf], now: Timestamp) -> usize {
        let entry = listeners::Entry { inside: &self.inside, destinations: self.destinations };
        self.listeners.accept(entry, &mut self.engine, &mut self.sockets, now);
        self.engine.fill(buffers, now, &mut self.sockets)
    }

    /// When something is due.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.engine.next_timeout().into_iter().chain(self.listeners.next_timeout()).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        self.engine.handle_timeout(now);
        self.listeners.handle_timeout(now);
    }
}

fn engine(limits: StreamLimits, link: Link, seed: u64) -> Streams {
    let engine = Streams::new(limits, link, seed);
    // Stacks of containers take them since Linux 6.3 (docs/decisions/0012).
    if kernel::running() >= (6, 3) { engine.with_long_packets() } else { engine }
}

/// Which connection an event is about, if it is about one's socket, and what it says.
pub(super) fn news(event: &Event) -> Option<(Slot, Readiness)> {
    let slot = event.token().0.checked_sub(FIRST_TOKEN).and_then(Slot::new)?;
    let broken = event.is_error();
    let news = Readiness {
        readable: event.is_readable() || event.is_read_closed() || broken,
        writable: event.is_writable() || event.is_write_closed() || broken,
    };
    Some((slot, news))
}

/// Tokens of published ports: their index and this.
const FIRST_LISTENER_TOKEN: usize = 1 << 20;
/// Tokens of connections: their number and this.
const FIRST_TOKEN: usize = 1 << 24;
/// Tokens of this shell end here.
const AFTER: usize = super::datagrams::FIRST_TOKEN;
