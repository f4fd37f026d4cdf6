//! The far side of the sockets uplink: what containers send there goes on over ordinary sockets of the host.
//!
//! A frame that the router sends there is taken apart at once, on the worker that forwards it; what the host's sockets receive is
//! made into frames when the port's own worker is woken. All sockets are in one poll ([`super::reactor`]). Its watch is
//! edge-triggered, so a receive that comes back short has emptied the poll and every socket.
//!
//! The uplink's network has several of these, each a port with a MAC address of its own, engines, sockets and a lock: as many as
//! there are workers ([`super::host_gateways`]), each for some of the addresses inside, and one for each network that has addresses
//! of its own. The router chooses among them ([`crate::router::Peers`]), so nothing is shared by all that leaves.
//!
//! ```text
//!  worker ─ send ──────►┐                     ┌──► TCP, UDP, ping sockets
//!                       │ engines, one lock   │
//!  worker ◄─ receive ◄──┘◄── poll ◄───────────┴──◄ listeners, timer
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ipnet::IpNet;
use vswitch_frame::ipv4::protocol;
use vswitch_frame::{FrameBuf, L3, MacAddr, NetworkRef, Timestamp};
use vswitch_nat::proxy::datagram::wire::Link;
use vswitch_nat::proxy::datagram::{DatagramLimits, Filter, Listener};
use vswitch_nat::proxy::destinations::Destinations;
use vswitch_nat::proxy::stream::{StreamLimits, StreamRecord};

use super::budget::Budget;
use super::datagrams::{DatagramShell, DatagramStats, PublishedAs, Setup, SpareSockets};
use super::pieces::in_packets;
use super::reactor::{Reactor, Turns};
use super::streams::{StreamShell, StreamStats};
use super::{Exit, Left, Received};
use crate::clock::Clock;
use crate::shared::FairMutex;

/// What a gateway is made of.
#[derive(Debug, Clone)]
pub struct HostGatewaySettings {
    /// Bounds and timers of datagrams.
    pub datagrams: DatagramLimits,
    /// Bounds and timers of connections.
    pub streams: StreamLimits,
    /// Who may be reached.
    pub destinations: Destinations,
    /// Who may write to sockets of datagrams.
    pub filter: Filter,
    /// Its own MAC address on the uplink's segment.
    pub mac: MacAddr,
    /// The router's there.
    pub router: MacAddr,
    /// The network that it serves, if that is one alone, whose addresses are its own.
    pub network: Option<NetworkRef>,
    /// What its sockets are taken from, if it shares that with other gateways.
    pub budget: Option<Budget>,
    /// Sockets for echo requests, for a host that lets this process open none.
    pub spares: SpareSockets,
}

/// A port of the host that leads inside.
#[derive(Debug)]
pub struct HostPort {
    /// A bound UDP socket, or a TCP socket that listens.
    pub socket: OwnedFd,
    /// Where it leads.
    pub target: SocketAddr,
    /// The gateway's address in the target's network.
    pub gateway: IpAddr,
    /// As whom its clients are shown.
    pub clients: Clients,
}

/// A network inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsideNetwork {
    /// Its addresses.
    pub net: IpNet,
    /// How long packets to it may be.
    pub mtu: u16,
    /// In whose name its containers are told what the host says, if there is one.
    pub gateway: Option<IpAddr>,
}

/// As whom clients of a published port are shown inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clients {
    /// As themselves, where that is possible: not those on the host's own loopback.
    #[default]
    Themselves,
    /// As the gateway.
    Gateway,
}

/// A published port, to be closed by this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPortId(pub(super) u32);

/// What a gateway counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostGatewayStats {
    /// UDP and echo requests.
    pub datagrams: DatagramStats,
    /// TCP.
    pub streams: StreamStats,
}

impl HostGatewayStats {
    /// Adds what another gateway counted.
    pub fn add(&mut self, other: &HostGatewayStats) {
        self.datagrams.flows.add(&other.datagrams.flows);
        self.datagrams.fragments.add(&other.datagrams.fragments);
        self.datagrams.shell.add(&other.datagrams.shell);
        self.streams.flows.add(&other.streams.flows);
        self.streams.refused_clients += other.streams.refused_clients;
    }
}

/// The gateway. Clones are the same one: control keeps one, a port has another.
#[derive(Debug, Clone)]
pub struct HostGateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    mac: MacAddr,
    network: Option<NetworkRef>,
    state: FairMutex<State>,
    reactor: Reactor,
    clock: Clock,
    next_port: AtomicU32,
    step: u32,
}

#[derive(Debug)]
struct State {
    turns: Turns,
    datagrams: DatagramShell,
    streams: StreamShell,
}

impl HostGateway {
    /// A gateway without flows. `seed` makes its hashing unpredictable.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new(settings: HostGatewaySettings, seed: u64) -> io::Result<HostGateway> {
        HostGateway::numbering(settings, seed, 1, 1)
    }

    /// The same, whose published ports have the numbers `first`, `first + step` and so on.
    pub(super) fn numbering(
        settings: HostGatewaySettings,
        seed: u64,
        first: u32,
        step: u32,
    ) -> io::Result<HostGateway> {
        let (reactor, turns) = Reactor::new()?;
        let HostGatewaySettings {
            datagrams: limits,
            streams,
            destinations,
            filter,
            mac,
            router,
            network,
            budget,
            spares,
        } = settings;
        let link = Link { own: mac, peer: router };
        let setup = Setup { limits, destinations, filter, link, seed, budget: budget.clone(), spares };
        let datagrams = DatagramShell::new(setup);
        let streams = StreamShell::new(streams, destinations, link, reactor.registry(), seed, budget)?;
        let state = FairMutex::new(State { turns, datagrams, streams });
        let inner =
            Inner { mac, network, state, reactor, clock: Clock::start(), next_port: AtomicU32::new(first), step };
        Ok(HostGateway(Arc::new(inner)))
    }

    /// The network that it serves, if that is one alone.
    #[must_use]
    pub fn network(&self) -> Option<NetworkRef> {
        self.0.network
    }

    /// Takes a UDP port of the host; what comes to it goes inside from now on.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn publish_datagrams(&self, port: HostPort) -> io::Result<HostPortId> {
        let number = self.0.next_port.fetch_add(self.0.step, Relaxed);
        let HostPort { socket, target, gateway, clients } = port;
        let shown = PublishedAs { gateway, always_gateway: clients == Clients::Gateway };
        self.0.state.lock().datagrams.publish(self.0.reactor.registry(), Listener(number), socket, target, shown)?;
        self.0.reactor.wake();
        Ok(HostPortId(number))
    }

    /// Takes a TCP port of the host; who connects to it is connected to the target from now on.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn publish_streams(&self, port: HostPort) -> io::Result<HostPortId> {
        let number = self.0.next_port.fetch_add(self.0.step, Relaxed);
        let HostPort { socket, target, gateway, clients } = port;
        let shown = PublishedAs { gateway, always_gateway: clients == Clients::Gateway };
        self.0.state.lock().streams.publish(number, socket, target, shown)?;
        Ok(HostPortId(number))
    }

    /// Every TCP connection.
    #[must_use]
    pub fn connections(&self) -> Vec<StreamRecord> {
        self.0.state.lock().streams.records()
    }

    /// Closes a published port; `false` when there is none of that number.
    #[must_use]
    pub fn unpublish(&self, port: HostPortId) -> bool {
        let mut state = self.0.state.lock();
        state.datagrams.unpublish(self.0.reactor.registry(), Listener(port.0)) || state.streams.unpublish(port.0)
    }

    /// Says whose an address inside is: addresses with equal numbers share what an endpoint may hold.
    pub fn assign(&self, address: IpAddr, endpoint: u64) {
        let mut state = self.0.state.lock();
        state.datagrams.assign(address, endpoint);
        state.streams.assign(address, endpoint);
    }

    /// Makes tables as small as what is in them, when many flows have ended.
    pub fn shrink(&self) {
        let mut state = self.0.state.lock();
        state.datagrams.shrink();
        state.streams.shrink();
    }

    /// Ends the flows of an address inside that goes.
    pub fn forget_endpoint(&self, address: IpAddr) {
        let mut state = self.0.state.lock();
        state.datagrams.forget_endpoint(self.0.reactor.registry(), address);
        state.streams.forget_endpoint(address);
    }

    /// Lets a socket inside, or who sends echo requests with this identifier, have another port of the host's from its next packet
    /// on; returns whether it had one.
    #[must_use]
    pub fn rebind(&self, inside: SocketAddr) -> bool {
        self.0.state.lock().datagrams.rebind(self.0.reactor.registry(), inside)
    }

    /// Says which networks are inside.
    pub fn set_networks(&self, networks: Vec<InsideNetwork>) {
        let mut state = self.0.state.lock();
        state.streams.set_inside(networks.iter().map(|network| network.net).collect());
        state.datagrams.set_networks(networks);
    }

    /// Everything that is counted.
    #[must_use]
    pub fn stats(&self) -> HostGatewayStats {
        let state = self.0.state.lock();
        HostGatewayStats { datagrams: state.datagrams.stats(), streams: state.streams.stats() }
    }

    /// Keeps everybody else out, as a worker does that is busy with it.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop {
        self.0.state.lock()
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.0.reactor.raw_fd()
    }

    /// Takes the frames that `indices` names, in order, or says why not.
    pub(super) fn send(&self, buffers: &mut [FrameBuf], indices: &[u16], exit: &mut Exit<'_>) {
        let inner = &*self.0;
        let now = inner.clock.now();
        let mut state = inner.state.lock();
        for &index in indices {
            let buffer = &mut buffers[usize::from(index)];
            let packet = buffer.packet();
            // What is for another gateway has another one's addresses, perhaps.
            if !matches!(packet.l3(), L3::Ipv4 | L3::Ipv6) || packet.addresses().0 != inner.mac {
                continue;
            }
            if buffer.packet().protocol() == protocol::TCP {
                if let Err(reason) = in_packets(buffer, |packet| state.streams.send(packet, now)) {
                    exit.refuse(reason, buffer, index);
                }
            } else if let Err(reason) = state.datagrams.send(inner.reactor.registry(), &buffer.packet(), now) {
                exit.refuse(reason, buffer, index);
            }
        }
        let output = state.has_output();
        inner.arm(&mut state, now);
        drop(state);
        if output {
            inner.reactor.wake();
        }
    }

    /// Fills buffers with what came from outside.
    ///
    /// # Errors
    /// When the poll fails.
    pub(super) fn receive(&self, buffers: &mut [FrameBuf]) -> io::Result<Received> {
        let inner = &*self.0;
        let mut state = inner.state.lock();
        let now = inner.clock.now();
        let (mut count, mut reads, mut looks) = (0, READS, LOOKS);
        let mut left = Left::More;
        // When one of the budgets is used up, others of the worker's ports have their turn.
        while count < buffers.len() && reads > 0 && looks > 0 {
            looks -= 1;
            let State { turns, datagrams, streams } = &mut *state;
            turns.poll()?;
            for event in turns.events() {
                let _ = streams.event(event, now) || datagrams.event(event);
            }
            if inner.reactor.is_due(turns) {
                datagrams.handle_timeout(inner.reactor.registry(), now);
                streams.handle_timeout(now);
            } else if turns.is_quiet() && !state.has_output() {
                left = Left::Nothing;
                break;
            }
            count += state.streams.receive(&mut buffers[count..], now);
            count += state.datagrams.receive(inner.reactor.registry(), &mut buffers[count..], &mut reads, now);
        }
        inner.arm(&mut state, now);
        Ok(Received { frames: count, left })
    }
}

/// Reads from sockets of datagrams in one turn, also those that make no frame: about what a turn's budget of time is enough for.
/// And looks at the poll.
const READS: usize = 64;
const LOOKS: usize = 8;

impl State {
    /// Whether there may be frames without any socket saying so.
    fn has_output(&self) -> bool {
        self.datagrams.has_output() || self.streams.has_output()
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        self.datagrams.next_timeout().into_iter().chain(self.streams.next_timeout()).min()
    }
}

impl Inner {
    fn arm(&self, state: &mut State, now: Timestamp) {
        let next = state.next_timeout();
        self.reactor.arm(&mut state.turns, next, now);
    }
}
