//! UDP and ICMP echo over host sockets. Read first: RFC 4787 (UDP), RFC 5508 (ICMP), ip(7) on IP_RECVERR, icmp(7) on ping
//! sockets.
//!
//! # What a flow is
//! - A *mapping* belongs to one socket inside (address and port) or one identifier of echo requests, whoever they write
//!   to: it has one host socket, so every destination sees the same external port (endpoint-independent mapping,
//!   REQ-1). What comes to that socket goes in when its sender was written to before, or as [`Filter`] says (REQ-8).
//! - A *session* is a client of a published port. It has no socket of its own: the listener's answers. Its client's address
//!   is shown inside, or the gateway's with a port that stands for the client.
//!
//! # How it is driven
//! [`Datagrams::outgoing`] says what a packet from inside asks for; the shell opens a socket if it is `fresh` (and says
//! [`Datagrams::refuse`] when it gets none) and sends. What a socket receives is put into a buffer behind
//! [`wire::udp_header_len`] bytes and given to [`Datagrams::incoming`]. After every call the shell closes what
//! [`Datagrams::take_closed`] names. Datagrams of one size travel as one train both ways (UDP_SEGMENT, UDP_GRO).
//!
//! # Bounds
//! Flows in all and of each endpoint ([`DatagramLimits`]); the flow that was idle longest makes room, where most are. So do
//! the peers that flows remember.

mod peers;
mod settings;
mod table;
#[cfg(test)]
mod tests;
pub mod wire;

use std::net::{IpAddr, SocketAddr};

pub use settings::{DatagramCounters, DatagramDrop, DatagramLimits, Filter};
use table::{Client, End, Key, Table};
pub use table::{Kind, Listener, Slot};
use vswitch_frame::icmp::{self, Icmp};
use vswitch_frame::ipv4::{Ipv4, protocol};
use vswitch_frame::ipv6::Ipv6;
use vswitch_frame::offload::GsoKind;
use vswitch_frame::{FrameBuf, L3, Packet, Timestamp};
use wire::{Link, Meta, Notice, Quoted};

use super::destinations::Destinations;
use super::shares::{Owner, Owners};

/// The engine.
#[derive(Debug)]
pub struct Datagrams {
    table: Table,
    destinations: Destinations,
    filter: Filter,
    counters: DatagramCounters,
    /// Ports at the gateway's address that stand for clients.
    next_port: u16,
}

/// What a packet from inside asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing<'f> {
    /// The flow.
    pub slot: Slot,
    /// What it goes by.
    pub by: By,
    /// It is a datagram or an echo request.
    pub kind: Kind,
    /// Where it goes, as the host sees it.
    pub to: SocketAddr,
    /// What is sent: the datagram's payload, or the ICMP message.
    pub payload: &'f [u8],
    /// The payload is a train of datagrams of this many bytes each.
    pub segment: Option<u16>,
    /// What the IP header said.
    pub meta: Meta,
}

/// What sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The flow's own socket.
    Own {
        /// There is none yet.
        fresh: bool,
    },
    /// A published port's, from this address of the host's.
    Published {
        /// Which.
        listener: Listener,
        /// The address that the client wrote to, if it is known.
        local: Option<IpAddr>,
    },
}

/// A datagram, or a train of them, that came to a flow's own socket.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// The flow.
    pub slot: Slot,
    /// Who sent it.
    pub from: SocketAddr,
    /// Bytes of payload.
    pub length: usize,
    /// It is a train of datagrams of so many bytes.
    pub segment: Option<u16>,
}

/// As whom a client of a published port is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddressing {
    /// As itself.
    Client,
    /// As a port at this address.
    Gateway(IpAddr),
}

/// A datagram, or a train of them, that came to a published port.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The port that it came to.
    pub listener: Listener,
    /// Who sent it.
    pub client: SocketAddr,
    /// The host's address that it was sent to, if the kernel said so.
    pub local: Option<IpAddr>,
    /// Where the port leads.
    pub target: SocketAddr,
    /// As whom the client is shown.
    pub shown: ClientAddressing,
    /// Bytes of payload.
    pub length: usize,
    /// It is a train of datagrams of so many bytes.
    pub segment: Option<u16>,
}

/// What somebody said about a packet of a flow.
#[derive(Debug, Clone, Copy)]
pub struct Report<'p> {
    /// The flow.
    pub slot: Slot,
    /// Who says so; the destination itself if that is nobody.
    pub from: Option<IpAddr>,
    /// Where the packet went.
    pub destination: SocketAddr,
    /// How its payload began.
    pub payload: &'p [u8],
    /// What became of it.
    pub notice: Notice,
}

impl Datagrams {
    /// No flows yet. `seed` makes hashing unpredictable.
    #[must_use]
    pub fn new(limits: DatagramLimits, destinations: Destinations, filter: Filter, seed: u64) -> Self {
        let counters = DatagramCounters::default();
        Datagrams { table: Table::new(limits, seed), destinations, filter, counters, next_port: FIRST_SHOWN_PORT }
    }

    /// Whose the addresses inside are; flows stay those of whom they were opened for.
    pub const fn owners(&mut self) -> &mut Owners {
        &mut self.table.owners
    }

    /// Everything that is counted.
    #[must_use]
    pub fn counters(&self) -> DatagramCounters {
        let mut counters = self.counters;
        counters.flows = self.table.len() as u64;
        counters
    }

    /// Counts a drop.
    pub fn dropped(&mut self, reason: DatagramDrop) {
        self.counters.dropped(reason);
    }

    /// What a packet from inside asks for: a whole one, fragments joined. Its drop is counted here.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn outgoing<'f>(&mut self, packet: &Packet<'f>, now: Timestamp) -> Result<Outgoing<'f>, DatagramDrop> {
        self.read(packet, now).inspect_err(|&reason| self.counters.dropped(reason))
    }

    /// Says that a packet has left.
    pub fn sent(&mut self, outgoing: &Outgoing<'_>) {
        self.counters.sent[0] += datagrams(outgoing.payload.len(), outgoing.segment);
        self.counters.sent[1] += outgoing.payload.len() as u64;
    }

    /// There is no socket for a flow that was `fresh`: it ends.
    pub fn refuse(&mut self, slot: Slot) {
        self.counters.dropped(DatagramDrop::NoSocket);
        self.table.close(slot, End::Closed);
    }

    /// Makes a frame of what a flow's own socket received, whose payload is in `out` (see [`wire`]). Its drop is counted
    /// here. `is_own` tells addresses of the host itself, and is asked about strangers only.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn incoming(
        &mut self,
        heard: &Heard,
        link: Link,
        now: Timestamp,
        out: &mut FrameBuf,
        is_own: impl FnMut(IpAddr) -> bool,
    ) -> Result<(), DatagramDrop> {
        let written = self.answer(heard, link, now, out, is_own);
        self.arrived(heard.length, heard.segment, written)
    }

    /// Makes a frame of what a published port received, as [`Datagrams::incoming`].
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn arriving(
        &mut self,
        arrival: &Arrival,
        link: Link,
        now: Timestamp,
        out: &mut FrameBuf,
    ) -> Result<(), DatagramDrop> {
        let &Arrival { target, length, segment, .. } = arrival;
        let written = self.session(arrival, now).and_then(|shown| {
            let fits = wire::write_udp(out, link, shown, target, length, segment, Meta::default());
            if fits { Ok(()) } else { Err(DatagramDrop::TooLong) }
        });
        self.arrived(length, segment, written)
    }

    /// Makes a frame that tells a flow's socket inside what a host on the way, or the host itself, said about a packet.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn report(
        &mut self,
        report: &Report<'_>,
        link: Link,
        now: Timestamp,
        out: &mut FrameBuf,
    ) -> Result<(), DatagramDrop> {
        let &Report { slot, from, destination, payload, notice } = report;
        let built = self.table.flow(slot).ok_or(DatagramDrop::NoFlow).and_then(|flow| {
            let shown = match flow.key {
                Key::Session(_, shown) => shown,
                // The host's stack takes an error that quotes any datagram of this socket (RFC 5927 section 4).
                Key::Mapping(kind, _) if !self.table.has_met(slot, peer(kind, destination), now.as_secs()) => {
                    return Err(DatagramDrop::Unsolicited);
                }
                Key::Mapping(..) => {
                    let address = self.destinations.inside(destination.ip()).ok_or(DatagramDrop::Destination)?;
                    SocketAddr::new(address, destination.port())
                }
            };
            let inside = flow.inside();
            let from = from.filter(|from| wire::is_host(*from) && from.is_ipv4() == inside.is_ipv4());
            let quoted = Quoted { source: inside, destination: shown, payload, echo: flow.kind() == Kind::Echo };
            let from = from.unwrap_or(shown.ip());
            if wire::write_error(out, link, from, quoted, notice) { Ok(()) } else { Err(DatagramDrop::Malformed) }
        });
        match built {
            Ok(()) => self.counters.errors += 1,
            Err(reason) => self.counters.dropped(reason),
        }
        built
    }

    /// The family and kind of a flow, which say how much room its headers need.
    #[must_use]
    pub fn shape(&self, slot: Slot) -> Option<(Kind, bool)> {
        self.table.flow(slot).map(|flow| (flow.kind(), flow.inside().is_ipv6()))
    }

    /// The address inside that a flow is of, and whose that is.
    #[must_use]
    pub fn inside(&self, slot: Slot) -> Option<(IpAddr, Owner)> {
        self.table.flow(slot).map(|flow| (flow.inside().ip(), flow.owner))
    }

    /// Ends a flow so that another one may have its socket.
    pub fn evict(&mut self, slot: Slot) {
        self.table.close(slot, End::Evicted);
    }

    /// The flow of a client of a published port, for an error that came back to the port.
    #[must_use]
    pub fn flow_of_client(&self, listener: Listener, client: SocketAddr) -> Option<Slot> {
        self.table.find_client(listener, client)
    }

    /// Makes tables as small as what is in them.
    pub fn shrink(&mut self) {
        self.table.shrink();
    }

    /// Ends the flows of an address inside that goes.
    pub fn forget_endpoint(&mut self, address: IpAddr) {
        self.table.owners.forget(None, address);
        self.table.close_if(|flow| flow.inside().ip() == address);
    }

    /// Lets a socket inside have another one of the host's from its next packet on; returns whether it had one.
    pub fn rebind(&mut self, inside: SocketAddr) -> bool {
        let before = self.table.len();
        self.table.close_if(|flow| matches!(flow.key, Key::Mapping(_, of) if of == inside));
        self.table.len() < before
    }

    /// Ends the sessions of a published port that closes.
    pub fn forget_listener(&mut self, listener: Listener) {
        self.table.close_if(|flow| flow.client.is_some_and(|client| client.listener == listener));
    }

    /// The socket of a flow that is over, and is to be closed. A session has none, which the shell need not know.
    pub fn take_closed(&mut self) -> Option<Slot> {
        let (slot, end) = self.table.take_closed()?;
        match end {
            End::Expired => self.counters.expired += 1,
            End::Evicted => self.counters.evicted += 1,
            End::Closed => {}
        }
        Some(slot)
    }

    /// When the next flow ends.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.table.next_end().map(|second| Timestamp::from_millis(u64::from(second) * 1000))
    }

    /// Ends flows that outlived their time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.table.expire(now.as_secs());
    }

    fn read<'f>(&mut self, packet: &Packet<'f>, now: Timestamp) -> Result<Outgoing<'f>, DatagramDrop> {
        if !matches!(packet.l3(), L3::Ipv4 | L3::Ipv6) {
            return Err(DatagramDrop::Malformed);
        }
        let (source, destination) = packet.ip_addresses();
        let l4 = packet.l4();
        let (kind, inside, shown, payload) = match packet.protocol() {
            protocol::UDP => {
                let datagram = wire::read_udp(packet)?;
                (Kind::Datagram, datagram.source, datagram.destination, datagram.payload)
            }
            protocol::ICMP | protocol::ICMPV6 if (packet.protocol() == protocol::ICMP) == source.is_ipv4() => {
                let message = Icmp::parse(l4).map_err(|_| DatagramDrop::Malformed)?;
                let request = if source.is_ipv4() { icmp::v4::ECHO_REQUEST } else { icmp::v6::ECHO_REQUEST };
                if message.kind() != request || message.code() != 0 {
                    return Err(DatagramDrop::NotCarried);
                }
                (Kind::Echo, SocketAddr::new(source, message.identifier()), SocketAddr::new(destination, 0), l4)
            }
            _ => return Err(DatagramDrop::NotCarried),
        };
        let segment = match packet.offload().gso {
            None => None,
            Some(gso) if gso.kind == GsoKind::Udp && kind == Kind::Datagram => Some(gso.size),
            Some(_) => return Err(DatagramDrop::Malformed),
        };
        let (slot, by, to) = self.flow_of(kind, inside, shown, now)?;
        Ok(Outgoing { slot, by, kind, to, payload, segment, meta: read_ip(packet) })
    }

    fn flow_of(
        &mut self,
        kind: Kind,
        inside: SocketAddr,
        shown: SocketAddr,
        now: Timestamp,
    ) -> Result<(Slot, By, SocketAddr), DatagramDrop> {
        let now = now.as_secs();
        if kind == Kind::Datagram
            && let Some(slot) = self.table.find(&Key::Session(inside, shown))
            && let Some(client) = self.table.flow(slot).and_then(|flow| flow.client)
        {
            self.table.touch(slot, true, now);
            let by = By::Published { listener: client.listener, local: client.local };
            return Ok((slot, by, client.address));
        }
        let address = self.destinations.outside(shown.ip()).ok_or(DatagramDrop::Destination)?;
        let to = SocketAddr::new(address, shown.port());
        let key = Key::Mapping(kind, inside);
        let asks_names = shown.port() == NAME_SERVER;
        let (slot, fresh) = match self.table.find(&key) {
            Some(slot) => {
                self.table.touch(slot, false, now);
                if !asks_names {
                    self.table.mixes(slot, now);
                }
                (slot, false)
            }
            None => {
                self.counters.opened += 1;
                (self.table.open(key, None, asks_names, now), true)
            }
        };
        self.table.meets(slot, peer(kind, to), now);
        Ok((slot, By::Own { fresh }, to))
    }

    fn answer(
        &mut self,
        heard: &Heard,
        link: Link,
        now: Timestamp,
        out: &mut FrameBuf,
        mut is_own: impl FnMut(IpAddr) -> bool,
    ) -> Result<(), DatagramDrop> {
        let &Heard { slot, from, length, segment } = heard;
        let flow = self.table.flow(slot).ok_or(DatagramDrop::NoFlow)?;
        let (inside, kind) = (flow.inside(), flow.kind());
        let (peer, now) = (peer(kind, from), now.as_secs());
        let known = self.table.has_met(slot, peer, now);
        if !known && (self.filter == Filter::AddressAndPortDependent || is_own(from.ip())) {
            return Err(DatagramDrop::Unsolicited);
        }
        let shown = self.destinations.inside(from.ip()).ok_or(DatagramDrop::Destination)?;
        let meta = Meta::default();
        let fits = match kind {
            Kind::Datagram => {
                let shown = SocketAddr::new(shown, from.port());
                wire::write_udp(out, link, shown, inside, length, segment, meta)
            }
            Kind::Echo => wire::write_echo(out, link, shown, inside.ip(), length, inside.port(), meta),
        };
        if !fits {
            return Err(DatagramDrop::TooLong);
        }
        self.table.touch(slot, true, now);
        if known {
            self.table.meets(slot, peer, now);
        }
        Ok(())
    }

    /// The address as which a client is shown.
    fn session(&mut self, arrival: &Arrival, now: Timestamp) -> Result<SocketAddr, DatagramDrop> {
        let &Arrival { listener, client, local, target, shown, .. } = arrival;
        let now = now.as_secs();
        if let Some(slot) = self.table.find_client(listener, client) {
            self.table.touch(slot, false, now);
            if let Some(flow) = self.table.flow_mut(slot)
                && let Key::Session(_, shown) = flow.key
            {
                if let Some(client) = &mut flow.client {
                    client.local = local;
                }
                return Ok(shown);
            }
        }
        let shown = match shown {
            ClientAddressing::Client => client,
            ClientAddressing::Gateway(address) => self.free_port(address, target).ok_or(DatagramDrop::NoSocket)?,
        };
        let key = Key::Session(target, shown);
        // By another of the host's ports to the same socket inside: the last one answers.
        if let Some(slot) = self.table.find(&key) {
            self.table.close(slot, End::Closed);
        }
        self.counters.opened += 1;
        self.table.open(key, Some(Client { listener, address: client, local }), false, now);
        Ok(shown)
    }

    fn free_port(&mut self, address: IpAddr, target: SocketAddr) -> Option<SocketAddr> {
        for _ in FIRST_SHOWN_PORT..=u16::MAX {
            let shown = SocketAddr::new(address, self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_SHOWN_PORT);
            if self.table.find(&Key::Session(target, shown)).is_none() {
                return Some(shown);
            }
        }
        None
    }

    fn arrived(
        &mut self,
        length: usize,
        segment: Option<u16>,
        written: Result<(), DatagramDrop>,
    ) -> Result<(), DatagramDrop> {
        match written {
            Ok(()) => {
                self.counters.received[0] += datagrams(length, segment);
                self.counters.received[1] += length as u64;
            }
            Err(reason) => self.counters.dropped(reason),
        }
        written
    }
}

/// Who is at the other end of a flow: its address and port, or its address alone for echoes.
const fn peer(kind: Kind, address: SocketAddr) -> SocketAddr {
    match kind {
        Kind::Datagram => SocketAddr::new(address.ip(), address.port()),
        Kind::Echo => SocketAddr::new(address.ip(), 0),
    }
}

fn read_ip(packet: &Packet<'_>) -> Meta {
    let bytes = packet.ip_packet();
    if let (L3::Ipv4, Ok(packet)) = (packet.l3(), Ipv4::parse(bytes)) {
        return Meta { hops: packet.ttl(), tos: packet.tos() };
    }
    Ipv6::parse(bytes)
        .map_or_else(|_| Meta::default(), |packet| Meta { hops: packet.hop_limit(), tos: packet.traffic_class() })
}

fn datagrams(length: usize, segment: Option<u16>) -> u64 {
    segment.map_or(1, |size| length.div_ceil(usize::from(size).max(1)) as u64)
}

/// DNS.
const NAME_SERVER: u16 = 53;
/// The ports at the gateway's address that stand for clients begin here: above those that servers trust.
const FIRST_SHOWN_PORT: u16 = 1024;
