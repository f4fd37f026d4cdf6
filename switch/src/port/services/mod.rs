//! Services of the switch itself at the gateways' addresses, such as names.
//!
//! One port serves all networks. The pipeline sends it what is for a gateway's own address and the service's port number,
//! whatever way out there is; what it makes goes straight back to the station that asked, in the network where that one is. So
//! a service needs no route, no translation and no neighbour, and a question with somebody else's address brings its answer to
//! nobody else.
//!
//! ```text
//!  worker ─ send ──► datagram ────────────────────► Service::datagram ─┐ the service's own thread,
//!                    segment ──► engine ··stream··► Service::stream  ──┤ which never holds up a worker
//!  worker ◄ receive ◄── outbox ◄──────────────────── ServicePort::answer ◄┘
//!                    ◄── engine ◄··stream··
//! ```
//!
//! Between the pipeline and this port a buffer says which network its frame is of ([`FrameBuf::network`]).
//!
//! Bounds: connections in all and of each client ([`StreamLimits`]), answers that wait, stations that are remembered for
//! connections. Fragments are not served: a question fits into a packet.

mod streams;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use vswitch_frame::ethernet::Ethernet;
use vswitch_frame::ipv4::protocol;
use vswitch_frame::{Fragment, FrameBuf, L3, MacAddr, NetworkIndex, NetworkRef, Packet};
use vswitch_nat::proxy::datagram::DatagramDrop;
use vswitch_nat::proxy::datagram::wire::{self, Datagram, Link, Meta};
use vswitch_nat::proxy::stream::{StreamCounters, StreamLimits};
use vswitch_nat::route::Interface;

use self::streams::{ServiceStreams, Station};
use super::pieces::in_packets;
use super::reactor::{Reactor, Turns};
use super::{Exit, Received};
use crate::clock::Clock;
use crate::shared::{FairMutex, lock};

/// Who serves. Both are called by workers, so neither may wait.
pub trait Service: fmt::Debug + Send + Sync {
    /// Takes a datagram; gives it back when there is no room.
    ///
    /// # Errors
    /// The datagram, which is then dropped and counted.
    fn datagram(&self, datagram: ServiceDatagram) -> Result<(), ServiceDatagram>;

    /// Takes a connection; gives it back when there is no room.
    ///
    /// # Errors
    /// The connection, which is then refused.
    fn stream(&self, stream: ServiceStream) -> Result<(), ServiceStream>;
}

/// A datagram to a service, or its answer, with the same addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDatagram {
    /// Where it came from.
    pub network: NetworkRef,
    /// Who sent it.
    pub source: SocketAddr,
    /// The gateway's address that it was sent to, and the service's port.
    pub local: SocketAddr,
    /// What it says.
    pub payload: Vec<u8>,
    station: MacAddr,
}

impl ServiceDatagram {
    /// Its answer.
    #[must_use]
    pub fn answered(self, payload: Vec<u8>) -> ServiceDatagram {
        ServiceDatagram { payload, ..self }
    }
}

/// A connection to a service.
#[derive(Debug)]
pub struct ServiceStream {
    /// Where it came from.
    pub network: NetworkRef,
    /// Who connected.
    pub source: SocketAddr,
    /// The gateway's address that it connected to, and the service's port.
    pub local: SocketAddr,
    /// A Unix stream socket that does not block: the service's end.
    pub stream: OwnedFd,
}

/// What a service's port counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceStats {
    /// Datagrams that the service took.
    pub datagrams: u64,
    /// Datagrams that it answered.
    pub answers: u64,
    /// Datagrams that contradict a standard, or are too long.
    pub malformed: u64,
    /// Datagrams that found no room.
    pub busy: u64,
    /// Answers that found no room.
    pub outbox_full: u64,
    /// Connections.
    pub streams: StreamCounters,
}

/// The port. Clones are the same one: a service keeps one, the switch has another.
#[derive(Debug, Clone)]
pub struct ServicePort(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u16,
    service: Arc<dyn Service>,
    reactor: Reactor,
    clock: Clock,
    state: FairMutex<State>,
    /// Not in `state`, so that a service never waits for the engine.
    outbox: Mutex<VecDeque<ServiceDatagram>>,
    counters: Counters,
}

#[derive(Debug)]
struct State {
    turns: Turns,
    streams: ServiceStreams,
}

#[derive(Debug, Default)]
struct Counters {
    datagrams: AtomicU64,
    answers: AtomicU64,
    malformed: AtomicU64,
    busy: AtomicU64,
    outbox_full: AtomicU64,
}

/// Answers that may wait for the worker.
const OUTBOX: usize = 4096;
/// The longest datagram that is taken, so that what waits is bounded in bytes, too.
const LONGEST: usize = 4096;

impl ServicePort {
    /// A port for `service` at port `number` of every gateway, with UDP and TCP. `seed` makes hashing and sequence numbers
    /// unpredictable.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new(number: u16, service: Arc<dyn Service>, limits: StreamLimits, seed: u64) -> io::Result<ServicePort> {
        let (reactor, turns) = Reactor::new()?;
        let streams = ServiceStreams::new(limits, reactor.registry(), seed)?;
        Ok(ServicePort(Arc::new(Inner {
            number,
            service,
            reactor,
            clock: Clock::start(),
            state: FairMutex::new(State { turns, streams }),
            outbox: Mutex::default(),
            counters: Counters::default(),
        })))
    }

    /// Sends the answer to a datagram ([`ServiceDatagram::answered`]). One that finds no room is dropped and counted.
    pub fn answer(&self, answer: ServiceDatagram) {
        let mut outbox = lock(&self.0.outbox);
        if outbox.len() >= OUTBOX {
            self.0.counters.outbox_full.fetch_add(1, Relaxed);
            return;
        }
        outbox.push_back(answer);
        let first = outbox.len() == 1;
        drop(outbox);
        if first {
            self.0.reactor.wake();
        }
    }

    /// Says whose an address in a network is: addresses with equal numbers share what an endpoint may hold.
    pub fn assign(&self, network: NetworkIndex, address: IpAddr, endpoint: u64) {
        self.0.state.lock().streams.assign(network, address, endpoint);
    }

    /// Ends the connections of an address in a network that goes.
    pub fn forget_endpoint(&self, network: NetworkIndex, address: IpAddr) {
        self.0.state.lock().streams.forget_endpoint(network, address);
    }

    /// Everything that is counted.
    #[must_use]
    pub fn stats(&self) -> ServiceStats {
        let counters = &self.0.counters;
        ServiceStats {
            datagrams: counters.datagrams.load(Relaxed),
            answers: counters.answers.load(Relaxed),
            malformed: counters.malformed.load(Relaxed),
            busy: counters.busy.load(Relaxed),
            outbox_full: counters.outbox_full.load(Relaxed),
            streams: self.0.state.lock().streams.counters(),
        }
    }

    /// Whether a packet that came to a gateway is for the service at one of its own addresses.
    #[inline]
    pub(crate) fn is_asked(&self, interface: &Interface, packet: &Packet<'_>) -> bool {
        let number = self.0.number.to_be_bytes();
        let asked = matches!(packet.protocol(), protocol::UDP | protocol::TCP)
            && packet.fragment() == Fragment::None
            && packet.vlan_tci().is_none()
            && packet.l4().get(2..4) == Some(&number[..]);
        asked
            && match packet.l3() {
                L3::Ipv4 => interface.has(packet.destination_v4().into()),
                L3::Ipv6 => interface.has(packet.destination_v6().into()),
                _ => false,
            }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.0.reactor.raw_fd()
    }

    /// Takes the frames that `indices` names, in order, or says why not.
    pub(super) fn send(&self, buffers: &mut [FrameBuf], indices: &[u16], exit: &mut Exit<'_>) {
        let inner = &*self.0;
        let mut connections = None;
        for &index in indices {
            let buffer = &mut buffers[usize::from(index)];
            let Some(network) = buffer.network else { continue };
            let packet = buffer.packet();
            let (_, mac) = packet.addresses();
            let station = Station { network, mac };
            if packet.protocol() == protocol::TCP {
                let state = connections.get_or_insert_with(|| inner.state.lock());
                let now = inner.clock.now();
                let taken = in_packets(buffer, |packet| state.streams.send(packet, station, &*inner.service, now));
                if let Err(reason) = taken {
                    exit.refuse(reason, buffer, index);
                }
            } else if let Err(reason) = inner.take(&packet, station) {
                exit.refuse(reason, buffer, index);
            }
        }
        if let Some(mut state) = connections {
            inner.arm(&mut state);
            let output = state.streams.has_output();
            drop(state);
            if output {
                inner.reactor.wake();
            }
        }
    }

    /// Fills buffers with answers.
    ///
    /// # Errors
    /// When the poll fails.
    pub(super) fn receive(&self, buffers: &mut [FrameBuf]) -> io::Result<Received> {
        let inner = &*self.0;
        let mut state = inner.state.lock();
        let now = inner.clock.now();
        let mut count = 0;
        while count < buffers.len() {
            let State { turns, streams } = &mut *state;
            turns.poll()?;
            for event in turns.events() {
                streams.event(event, now);
            }
            let due = inner.reactor.is_due(turns);
            if due {
                streams.handle_timeout(now);
            }
            let before = count;
            count += streams.receive(&mut buffers[count..], now);
            count += inner.write_answers(&mut buffers[count..]);
            if count == before && !due && turns.is_quiet() && !streams.has_output() {
                break;
            }
        }
        inner.arm(&mut state);
        Ok(Received::all(count, buffers.len()))
    }
}

impl Inner {
    /// Hands a datagram, or each of a train, to the service; or says why the last one of those was not taken that were not.
    fn take(&self, packet: &Packet<'_>, Station { network, mac: station }: Station) -> Result<(), DatagramDrop> {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Relaxed);
        let read = wire::read_udp(packet).and_then(|datagram| {
            let payload = datagram.payload.len();
            let one = packet.offload().gso.map_or(payload, |gso| usize::from(gso.size).max(1));
            match one {
                0 => Err(DatagramDrop::Malformed),
                1..=LONGEST => Ok((datagram, one)),
                _ => Err(DatagramDrop::TooLong),
            }
        });
        let (Datagram { source, destination: local, payload }, one) = read.inspect_err(|_| {
            count(&self.counters.malformed);
        })?;
        let mut taken = Ok(());
        for payload in payload.chunks(one) {
            let datagram = ServiceDatagram { network, source, local, payload: payload.to_vec(), station };
            if self.service.datagram(datagram).is_ok() {
                count(&self.counters.datagrams);
            } else {
                count(&self.counters.busy);
                taken = Err(DatagramDrop::Full);
            }
        }
        taken
    }

    fn write_answers(&self, buffers: &mut [FrameBuf]) -> usize {
        let mut outbox = lock(&self.outbox);
        let mut count = 0;
        while let Some(buffer) = buffers.get_mut(count) {
            let Some(answer) = outbox.pop_front() else { break };
            let ServiceDatagram { network, source, local, payload, station } = answer;
            let at = wire::udp_header_len(source.is_ipv6());
            let Some(area) = buffer.receive_area().get_mut(at..at + payload.len()) else { continue };
            area.copy_from_slice(&payload);
            let link = Link { own: MacAddr::ZERO, peer: station };
            if wire::write_udp(buffer, link, local, source, payload.len(), None, Meta::default()) {
                buffer.network = Some(network);
                self.counters.answers.fetch_add(1, Relaxed);
                count += 1;
            }
        }
        count
    }

    fn arm(&self, state: &mut State) {
        let next = state.streams.next_timeout();
        self.reactor.arm(&mut state.turns, next, self.clock.now());
    }
}

/// Writes both addresses of a frame.
pub(crate) fn set_addresses(frame: &mut [u8], to: MacAddr, from: MacAddr) {
    if let Ok(mut header) = Ethernet::parse(frame) {
        header.set_destination(to);
        header.set_source(from);
    }
}
