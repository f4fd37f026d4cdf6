//! TCP over host sockets. Read first: RFC 9293; RFC 5382 (what a translator owes to TCP).
//!
//! # What a connection is
//! Two sockets with a ring of bytes each way: smoltcp's, which speaks to the endpoint as if it were its peer, and the
//! host's, which speaks to the peer. Each keeps its own windows, so a slow reader on one side stops the writer on the
//! other when the ring is full.
//!
//! A SYN from inside waits until the host's connect has succeeded, and only then meets a socket: so the endpoint is told
//! what the host was told (a reset, an ICMP error, or nothing). A client of a published port is connected to the endpoint
//! from its own address, or a gateway's.
//!
//! # How it is driven
//! [`Streams::frame`] takes a packet from inside, [`Streams::ready`] news of a host socket, [`Streams::handle_timeout`]
//! the time; [`Streams::fill`] then puts what is to be sent into buffers, and must be called until it leaves one empty. All
//! touch [`HostSide`], the host's sockets, straight from and to the rings: bytes are copied once each way in here.
//!
//! # Speed
//! Each connection has a smoltcp `SocketSet` of its own, found by its ends, so a packet costs the same however many
//! connections there are. Packets are super-frames both ways: the stack takes what GSO made, and is told that its device
//! segments; so checksums stay partial.
//!
//! # Bounds
//! Connections in all and of each endpoint: where there is no room in all, the one that was idle longest ends, of whom has
//! most. Bytes of large rings, shared by endpoints ([`rings`]); answers that wait; timers. A ring's memory is mapped when it is
//! touched, so an idle connection holds a few pages.

mod device;
mod flow;
mod host_side;
mod lengthen;
mod open;
mod rings;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use flow::Opener;
use flow::{Flow, Phase, PumpResult, Rank};
pub use host_side::{Ending, HostSide, Readiness};
use open::{Open, Standing};
use rings::Rings;
pub use settings::{RING, SMALL_RING, StreamCounters, StreamDrop, StreamLimits};
use smoltcp::iface::{Config, Interface};
use smoltcp::time::Instant;
use smoltcp::wire::HardwareAddress;
pub use table::Slot;
use table::Table;
use vswitch_frame::tcp::flag;
use vswitch_frame::{FrameBuf, NetworkIndex, NetworkRef, Offload, Packet, Timestamp};
use wire::Arrived;
pub use wire::Ends;

use super::datagram::ClientAddressing;
use super::datagram::wire::Link;
use super::shares::{Owner, Owners};
use crate::route::{IcmpError, Sender, refuse_connection};

/// A connection, for a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its ends.
    pub ends: Ends,
    /// Who opened it.
    pub opener: Opener,
    /// Its state towards the inside: `connecting`, or RFC 9293's word.
    pub state: &'static str,
    /// Bytes out and in.
    pub bytes: [u64; 2],
    /// When bytes moved last.
    pub active: Timestamp,
}

/// A frame that waits to be sent.
struct Reply {
    frame: Box<[u8]>,
    offload: Offload,
    network: Option<NetworkRef>,
}

/// The engine.
pub struct Streams {
    table: Table,
    owners: Owners,
    rings: Rings,
    interface: Interface,
    limits: StreamLimits,
    link: Link,
    counters: StreamCounters,
    /// Connections that may have something to send, each once.
    list: VecDeque<Slot>,
    /// Answers of no connection, and those that could not wait.
    replies: VecDeque<Reply>,
    scratch: FrameBuf,
    /// The next port at a gateway's address that stands for a client.
    next_port: u16,
    /// Packets of more than 64 KiB may be made.
    long: bool,
}

impl Streams {
    /// No connections yet. `seed` makes hashing and sequence numbers unpredictable.
    #[must_use]
    pub fn new(limits: StreamLimits, link: Link, seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device::OnePacket::new(None, None), Instant::ZERO);
        interface.set_any_ip(true);
        Streams {
            table: Table::new(seed.rotate_left(SEED_TURN)),
            owners: Owners::default(),
            rings: Rings::new(&limits),
            interface,
            limits,
            link,
            counters: StreamCounters::default(),
            list: VecDeque::new(),
            replies: VecDeque::new(),
            scratch: FrameBuf::new(),
            next_port: FIRST_SHOWN_PORT,
            long: false,
        }
    }

    /// The same, for endpoints that take packets of more than 64 KiB over IPv4.
    #[must_use]
    pub fn with_long_packets(self) -> Self {
        Streams { long: true, ..self }
    }

    /// Whose the addresses inside are; connections stay those of whom they were opened for.
    pub const fn owners(&mut self) -> &mut Owners {
        &mut self.owners
    }

    /// Everything that is counted.
    #[must_use]
    pub fn counters(&self) -> StreamCounters {
        let mut counters = self.counters;
        counters.flows = self.table.len() as u64;
        counters.most = self.table.most() as u64;
        counters
    }

    /// Every connection.
    pub fn records(&self) -> impl Iterator<Item = StreamRecord> {
        self.table.iter().map(|(_, flow)| StreamRecord {
            ends: flow.ends,
            opener: flow.opener,
            state: match &flow.phase {
                Phase::Connecting(..) => "connecting",
                Phase::Open(open) => open.state(),
            },
            bytes: flow.bytes,
            active: flow.active,
        })
    }

    /// Takes a packet from inside, of this network where the engine serves several.
    ///
    /// # Errors
    /// Why it goes nowhere; it is counted.
    pub fn frame(
        &mut self,
        packet: &Packet<'_>,
        network: Option<NetworkRef>,
        now: Timestamp,
        outside: &mut impl HostSide,
    ) -> Result<(), StreamDrop> {
        self.take(packet, network, now, outside).inspect_err(|&reason| self.counters.dropped(reason))
    }

    fn take(
        &mut self,
        packet: &Packet<'_>,
        network: Option<NetworkRef>,
        now: Timestamp,
        outside: &mut impl HostSide,
    ) -> Result<(), StreamDrop> {
        let arrived = wire::read(packet, network)?;
        if let Some(slot) = self.table.find(&arrived.ends) {
            self.segment(slot, packet, arrived, now, outside);
            return Ok(());
        }
        if arrived.flags != flag::SYN {
            self.refuse(packet, network, None);
            return Err(StreamDrop::NoFlow);
        }
        let owner = self.owners.of(network.map(|network| network.index), arrived.ends.inside.ip());
        if let Err(reason) = self.make_room(owner, Opener::Inside, now, outside) {
            self.refuse(packet, network, None);
            return Err(reason);
        }
        let mss = arrived.mss.unwrap_or(u16::MAX);
        let (syn, arrived) = arrived.syn_alone(packet);
        let phase = Phase::Connecting(syn, arrived);
        let flow = Flow::new(arrived.ends, owner, mss, phase, Opener::Inside, now);
        let slot = self.table.insert(Box::new(flow)).ok_or(StreamDrop::TooMany)?;
        match outside.connect(slot, &arrived.ends) {
            Ok(()) => Ok(()),
            Err(error) => self.connected(slot, Err(error), now, outside),
        }
    }

    /// Takes news of a host socket.
    pub fn ready(&mut self, slot: Slot, news: Readiness, now: Timestamp, outside: &mut impl HostSide) {
        let Some(flow) = self.table.flow_mut(slot) else { return };
        if let Phase::Connecting(..) = flow.phase {
            if let Some(result) = outside.connected(slot)
                && let Err(reason) = self.connected(slot, result, now, outside)
            {
                self.counters.dropped(reason);
            }
            return;
        }
        flow.readable |= news.readable;
        flow.writable |= news.writable;
        self.list(slot);
    }

    /// A client of a published port has connected: opens a connection to `target` on its behalf. The shell keeps the
    /// client's socket under the number that it gets.
    ///
    /// # Errors
    /// Why there can be none; it is counted.
    pub fn accept(
        &mut self,
        client: SocketAddr,
        target: SocketAddr,
        shown: ClientAddressing,
        now: Timestamp,
        outside: &mut impl HostSide,
    ) -> Result<Slot, StreamDrop> {
        let opened = self.open_inside(client, target, shown, now, outside);
        match opened {
            Ok(_) => self.counters.accepted += 1,
            Err(reason) => self.counters.dropped(reason),
        }
        opened
    }

    /// Fills buffers with what is to be sent, and says how many. Fewer than there are buffers: nothing more is to be sent.
    pub fn fill(&mut self, buffers: &mut [FrameBuf], now: Timestamp, outside: &mut impl HostSide) -> usize {
        let mut filled = 0;
        while filled < buffers.len() {
            if let Some(Reply { frame, offload, network }) = self.replies.pop_front() {
                buffers[filled].fill(&frame, offload);
                buffers[filled].network = network;
                filled += 1;
                continue;
            }
            let Some(slot) = self.list.pop_front() else { break };
            let last = buffers.len().min(filled + QUANTUM);
            let sent = self.send(slot, &mut buffers[filled..last], now, outside);
            filled += sent;
        }
        filled
    }

    /// Whether [`Streams::fill`] may have something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !(self.list.is_empty() && self.replies.is_empty())
    }

    /// When [`Streams::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.table.next_due()
    }

    /// Lets connections whose time has come be looked at by [`Streams::fill`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(slot) = self.table.due(now) {
            self.list(slot);
        }
    }

    /// Makes tables as small as what is in them, when many connections have ended.
    pub fn shrink(&mut self) {
        self.table.shrink();
        self.list.shrink_to_fit();
        self.replies.shrink_to_fit();
    }

    /// Ends the connections of an address inside that goes.
    pub fn forget_endpoint(&mut self, network: Option<NetworkIndex>, address: IpAddr, outside: &mut impl HostSide) {
        self.owners.forget(network, address);
        let is_its = |ends: &Ends| ends.network.map(|network| network.index) == network && ends.inside.ip() == address;
        self.end_all(|flow| is_its(&flow.ends), outside);
    }

    /// Ends the connections of clients to `target` that it has not answered: nobody leads clients there any more.
    pub fn end_unanswered(&mut self, target: SocketAddr, outside: &mut impl HostSide) {
        let waits = |phase: &Phase| matches!(phase, Phase::Open(open) if open.is_unanswered());
        self.end_all(|flow| flow.ends.inside == target && waits(&flow.phase), outside);
    }

    fn end_all(&mut self, is_meant: impl Fn(&Flow) -> bool, outside: &mut impl HostSide) {
        let gone = self.table.iter().filter(|(_, flow)| is_meant(flow));
        for slot in gone.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.remove(slot, Ending::Reset, outside);
        }
    }

    /// A packet of a connection.
    fn segment(
        &mut self,
        slot: Slot,
        packet: &Packet<'_>,
        arrived: Arrived,
        now: Timestamp,
        outside: &mut impl HostSide,
    ) {
        let Some(flow) = self.table.flow_mut(slot) else { return };
        let Phase::Open(open) = &mut flow.phase else {
            // The endpoint asks again, which the host's stack does by itself, or no longer.
            if arrived.flags & flag::RST != 0 {
                self.remove(slot, Ending::Reset, outside);
            }
            return;
        };
        flow.mss = arrived.mss.unwrap_or(flow.mss);
        let (ends, mss) = (flow.ends, flow.mss);
        let answer = open.ingress(&mut self.interface, packet, &arrived, &mut self.scratch, now);
        if pump(flow, slot, &mut self.counters, outside, now) == PumpResult::Broken
            && let Some(open) = flow.open_mut()
        {
            open.abort();
        }
        if let Some(emitted) = answer {
            wire::finish(&mut self.scratch, emitted, ends, mss, self.link);
            self.reply();
        }
        self.list(slot);
    }

    /// The host's connect has ended. Answers why the connection ends with it, if it does.
    fn connected(
        &mut self,
        slot: Slot,
        result: io::Result<()>,
        now: Timestamp,
        outside: &mut impl HostSide,
    ) -> Result<(), StreamDrop> {
        let Some(flow) = self.table.flow_mut(slot) else { return Ok(()) };
        let Phase::Connecting(syn, arrived) = &mut flow.phase else { return Ok(()) };
        let (syn, arrived, ends) = (std::mem::take(syn), *arrived, flow.ends);
        let syn = syn.view();
        let (owner, ring) = (flow.owner, result.as_ref().map_or(0, |()| self.rings.take(flow.owner)));
        let refused = match result {
            Ok(()) => match Open::listening(ends, ring, &self.limits) {
                Some(mut open) => {
                    self.counters.rings += 2 * open.ring as u64;
                    open.ingress(&mut self.interface, &syn, &arrived, &mut self.scratch, now);
                    flow.phase = Phase::Open(open);
                    flow.active = now;
                    self.counters.opened += 1;
                    self.list(slot);
                    return Ok(());
                }
                None => {
                    self.rings.give_back(owner, ring);
                    Some((StreamDrop::Malformed, None))
                }
            },
            Err(error) => refusal(&error),
        };
        // The endpoint's own patience ends when the host's does.
        let reason = refused.map_or(StreamDrop::TimedOut, |(reason, _)| reason);
        if let Some((_, told)) = refused {
            self.refuse(&syn, ends.network, told);
        }
        self.remove(slot, Ending::Reset, outside);
        Err(reason)
    }

    fn open_inside(
        &mut self,
        client: SocketAddr,
        target: SocketAddr,
        shown: ClientAddressing,
        now: Timestamp,
        sockets: &mut impl HostSide,
    ) -> Result<Slot, StreamDrop> {
        let owner = self.owners.of(None, target.ip());
        self.make_room(owner, Opener::Outside, now, sockets)?;
        let outside = match shown {
            ClientAddressing::Client => client,
            ClientAddressing::Gateway(address) => self.port_at(address, target).ok_or(StreamDrop::TooMany)?,
        };
        let ends = Ends { network: None, inside: target, outside };
        if target.is_ipv4() != outside.is_ipv4() || self.table.find(&ends).is_some() {
            return Err(StreamDrop::BadPort);
        }
        let ring = self.rings.take(owner);
        let Some(open) = Open::connecting(ends, ring, &self.limits, &mut self.interface) else {
            self.rings.give_back(owner, ring);
            return Err(StreamDrop::BadPort);
        };
        self.counters.rings += 2 * ring as u64;
        let flow = Flow::new(ends, owner, u16::MAX, Phase::Open(open), Opener::Outside, now);
        let slot = self.table.insert(Box::new(flow)).ok_or(StreamDrop::TooMany)?;
        self.list(slot);
        Ok(slot)
    }

    /// A port at a gateway's address from which nobody is connected to `target`.
    fn port_at(&mut self, gateway: IpAddr, target: SocketAddr) -> Option<SocketAddr> {
        for _ in FIRST_SHOWN_PORT..=u16::MAX {
            let outside = SocketAddr::new(gateway, self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_SHOWN_PORT);
            if self.table.find(&Ends { network: None, inside: target, outside }).is_none() {
                return Some(outside);
            }
        }
        None
    }

    /// Makes room for one more connection of `owner`. Who has its share gets no more, but what it only tries to open makes
    /// room for what it tries next. Where there is no room in all, whoever has most loses what was idle longest.
    fn make_room(
        &mut self,
        owner: Owner,
        opener: Opener,
        now: Timestamp,
        outside: &mut impl HostSide,
    ) -> Result<(), StreamDrop> {
        let full = self.table.len() >= self.limits.flows;
        let from = match self.table.greatest().filter(|_| full) {
            _ if self.table.of(owner) >= self.limits.per_endpoint => owner,
            Some(greatest) if self.table.of(greatest) > self.table.of(owner) => greatest,
            _ if full => owner,
            _ => return Ok(()),
        };
        match self.table.first(from) {
            Some((_, slot)) if from != owner => self.evict(slot, now, outside),
            Some((Rank::Connecting(_), slot)) if opener == Opener::Inside => self.evict(slot, now, outside),
            _ => return Err(StreamDrop::TooMany),
        }
        Ok(())
    }

    /// Ends a connection for others. Both sides are told.
    fn evict(&mut self, slot: Slot, now: Timestamp, outside: &mut impl HostSide) {
        let Some(flow) = self.table.flow_mut(slot) else { return };
        let (ends, mss) = (flow.ends, flow.mss);
        match &mut flow.phase {
            Phase::Open(open) => {
                open.abort();
                if let Some(emitted) = open.egress(&mut self.interface, &mut self.scratch, now) {
                    wire::finish(&mut self.scratch, emitted, ends, mss, self.link);
                    self.reply();
                }
            }
            Phase::Connecting(syn, _) => {
                let syn = std::mem::take(syn);
                self.refuse(&syn.view(), ends.network, None);
            }
        }
        self.counters.evicted += 1;
        self.remove(slot, Ending::Reset, outside);
    }

    /// Puts what one connection has to send into buffers. It is listed again unless it has no more.
    fn send(&mut self, slot: Slot, buffers: &mut [FrameBuf], now: Timestamp, outside: &mut impl HostSide) -> usize {
        let Some(flow) = self.table.flow_mut(slot) else { return 0 };
        flow.listed = false;
        let broken = pump(flow, slot, &mut self.counters, outside, now) == PumpResult::Broken;
        let (ends, mss) = (flow.ends, flow.mss);
        let Phase::Open(open) = &mut flow.phase else { return 0 };
        let limit = if open.is_half_closed() { self.limits.half_closed } else { self.limits.idle };
        let ends_at = flow.active + Duration::from(limit);
        if broken {
            open.abort();
        } else if ends_at <= now {
            self.counters.expired += 1;
            open.abort();
        }
        let mut count = 0;
        while let Some((buffer, rest)) = buffers[count..].split_first_mut() {
            let Some(mut emitted) = open.egress(&mut self.interface, buffer, now) else {
                self.settle(slot, ends_at, now, outside);
                return count;
            };
            count += 1;
            if let Some(spare) = rest.first_mut().filter(|_| self.long)
                && let Some(emitted) = open.lengthen(&mut self.interface, (buffer, &mut emitted), spare, now)
            {
                wire::finish(spare, emitted, ends, mss, self.link);
                count += 1;
            }
            wire::finish(buffer, emitted, ends, mss, self.link);
        }
        self.list(slot);
        buffers.len()
    }

    /// A connection has nothing to send just now.
    fn settle(&mut self, slot: Slot, ends_at: Timestamp, now: Timestamp, outside: &mut impl HostSide) {
        self.table.file(slot);
        let Some(open) = self.table.flow_mut(slot).and_then(Flow::open_mut) else { return };
        match open.standing(&mut self.interface, now) {
            Standing::Open(at) => {
                let at = at.map_or(ends_at, |at| at.min(ends_at));
                self.table.schedule(slot, at);
            }
            Standing::Closed => self.remove(slot, Ending::Orderly, outside),
            Standing::Reset => {
                self.counters.reset += 1;
                self.remove(slot, Ending::Reset, outside);
            }
        }
    }

    fn remove(&mut self, slot: Slot, ending: Ending, outside: &mut impl HostSide) {
        if let Some(mut flow) = self.table.remove(slot) {
            let owner = flow.owner;
            if let Some(open) = flow.open_mut() {
                self.counters.rings -= 2 * open.ring as u64;
                self.rings.give_back(owner, open.ring);
            }
            outside.close(slot, ending);
        }
    }

    fn list(&mut self, slot: Slot) {
        if let Some(flow) = self.table.flow_mut(slot)
            && !flow.listed
        {
            flow.listed = true;
            self.list.push_back(slot);
        }
    }

    /// Answers a packet with an ICMP error, or a reset.
    fn refuse(&mut self, packet: &Packet<'_>, network: Option<NetworkRef>, told: Option<IcmpError>) {
        let (_, destination) = packet.ip_addresses();
        let sender = Sender { mac: self.link.own, address: destination };
        let built = match told {
            Some(error) => error.build(packet, sender, &mut self.scratch),
            None => refuse_connection(packet, &mut self.scratch),
        };
        if built {
            self.scratch.network = network;
            self.reply();
        }
    }

    /// Lets the frame in `scratch` be sent.
    fn reply(&mut self) {
        if self.replies.len() < MAX_REPLIES {
            let (frame, offload) = (self.scratch.frame().into(), self.scratch.offload);
            self.replies.push_back(Reply { frame, offload, network: self.scratch.network });
        } else {
            self.counters.dropped(StreamDrop::Full);
        }
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("flows", &self.table.len()).field("counters", &self.counters).finish()
    }
}

/// Moves what can be moved between a connection's two sockets, and counts it.
fn pump(
    flow: &mut Flow,
    slot: Slot,
    counters: &mut StreamCounters,
    outside: &mut impl HostSide,
    now: Timestamp,
) -> PumpResult {
    let before = flow.bytes;
    let pumped = flow.pump(slot, outside, now);
    counters.sent += flow.bytes[0] - before[0];
    counters.received += flow.bytes[1] - before[1];
    pumped
}

/// Why the host could not connect, and the ICMP error that says so (none: a reset does); `None` when the endpoint is told
/// nothing.
fn refusal(error: &io::Error) -> Option<(StreamDrop, Option<IcmpError>)> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => (StreamDrop::Refused, None),
        io::ErrorKind::HostUnreachable => (StreamDrop::Unreachable, Some(IcmpError::HostUnreachable)),
        io::ErrorKind::NetworkUnreachable => (StreamDrop::Unreachable, Some(IcmpError::NoRoute)),
        io::ErrorKind::PermissionDenied => (StreamDrop::Destination, Some(IcmpError::Prohibited)),
        io::ErrorKind::TimedOut => return None,
        _ => (StreamDrop::NoSocket, None),
    })
}

/// Packets that one connection may send before others have their turn.
const QUANTUM: usize = 16;
/// Answers of no connection that may wait.
const MAX_REPLIES: usize = 1024;
/// Ports that stand for clients at a gateway's address: as the kernel's own ephemeral ones (ip_local_port_range).
const FIRST_SHOWN_PORT: u16 = 32_768;
/// The two uses of the seed differ by this.
const SEED_TURN: u32 = 29;
