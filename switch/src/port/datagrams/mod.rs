//! UDP and echo requests of containers over host sockets: the shell around [`vswitch_nat::proxy::datagram`].
//!
//! Sockets are opened when a flow begins and closed when the engine says so. All of them are in one poll, which is
//! edge-triggered: a socket that became readable stays in `ready` until it was found empty. Frames of this shell's own
//! making (ICMP errors, fragments) wait in a bounded outbox until the worker takes them.
//!
//! What one call of [`DatagramShell::receive`] reads is bounded, whether it makes frames or not, and sockets take turns: a flow
//! that is flooded, or hears of nothing but errors, holds up nobody else.

mod errors;
mod own;
mod sockets;
mod spares;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use vswitch_frame::{Fragment, FrameBuf, Offload, Packet, Timestamp, segment};
use vswitch_nat::proxy::datagram::wire::{self, Link};
use vswitch_nat::proxy::datagram::{
    Arrival, By, ClientAddressing, DatagramCounters, DatagramDrop, DatagramLimits, Datagrams, Filter, Heard, Kind,
    Listener, Outgoing, Report, Slot,
};
use vswitch_nat::proxy::destinations::Destinations;
use vswitch_nat::proxy::reassembly::{Joined, Reassembly, ReassemblyCounters, ReassemblyLimits};

use super::budget::{Budget, Permit};
use super::host_gateway::InsideNetwork;
use crate::sys::datagram as sys;
use own::OwnAddresses;
pub use spares::SpareSockets;
use spares::Spares;

/// What the shell is told when it is made.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Bounds and timers.
    pub(crate) limits: DatagramLimits,
    /// Who may be reached.
    pub(crate) destinations: Destinations,
    /// Who is heard.
    pub(crate) filter: Filter,
    /// The two ends of the uplink's segment.
    pub(crate) link: Link,
    /// Makes hashing and identifications unpredictable.
    pub(crate) seed: u64,
    /// What sockets are taken from, if not only flows are bounded.
    pub(crate) budget: Option<Budget>,
    /// Sockets for echo requests for when none can be opened.
    pub(crate) spares: SpareSockets,
}

/// The shell.
#[derive(Debug)]
pub(crate) struct DatagramShell {
    engine: Datagrams,
    reassembly: Reassembly,
    destinations: Destinations,
    link: Link,
    budget: Option<Budget>,
    /// Sockets of flows, by the index of their slot.
    sockets: Vec<Option<Carrier>>,
    listeners: BTreeMap<Listener, Published>,
    /// What may have something to read: the first until its turn is over, then it goes behind the others. A flow that has ended since is not there any more when it is looked for.
    ready: VecDeque<Source>,
    /// Reads from the first of them until it is the next one's turn.
    turn: usize,
    outbox: VecDeque<(Vec<u8>, Offload)>,
    /// Bytes in it.
    waiting: usize,
    networks: Vec<InsideNetwork>,
    /// The least of their MTUs.
    shortest: u16,
    spares: Spares,
    /// For fragments.
    identification: u32,
    /// Room for a datagram that came in fragments, and for an ICMP error; taken out while in use.
    joined: Option<FrameBuf>,
    told: Option<FrameBuf>,
    own: OwnAddresses,
    /// The time of the call that is under way.
    now: Timestamp,
    counters: ShellCounters,
}

/// What the shell counts beside the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShellCounters {
    /// Frames of its own making that found the outbox full.
    pub outbox_full: u64,
    /// Flows refused because the process may open no more descriptors.
    pub descriptors: u64,
    /// Flows refused because the host allows this user no echo requests.
    pub no_ping: u64,
}

impl ShellCounters {
    /// Adds what another shell counted.
    pub(crate) const fn add(&mut self, other: &ShellCounters) {
        self.outbox_full += other.outbox_full;
        self.descriptors += other.descriptors;
        self.no_ping += other.no_ping;
    }
}

/// Everything that is counted of datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatagramStats {
    /// By the engine.
    pub flows: DatagramCounters,
    /// Of fragments.
    pub fragments: ReassemblyCounters,
    /// By the shell.
    pub shell: ShellCounters,
}

/// A flow's socket.
#[derive(Debug)]
struct Carrier {
    /// The flow, which nobody who comes with another generation means.
    slot: Slot,
    socket: OwnedFd,
    origin: Opened,
    queued: bool,
}

/// Who opened a flow's socket.
#[derive(Debug)]
enum Opened {
    /// This process, for this flow; with its part of the budget.
    Here(#[expect(dead_code, reason = "held until the socket is closed")] Option<Permit>),
    /// Somebody who may: it is one of the `spares`.
    Elsewhere,
}

/// A published port.
#[derive(Debug)]
struct Published {
    socket: OwnedFd,
    target: SocketAddr,
    shown: PublishedAs,
    queued: bool,
}

/// As whom the clients of a published port are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublishedAs {
    /// Who cannot be shown as himself, such as a client on the host's loopback, is a port at this address.
    pub(crate) gateway: IpAddr,
    /// Nobody is shown as himself.
    pub(crate) always_gateway: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Flow(Slot),
    Published(Listener),
}

/// Tokens of this shell: these and above.
pub(crate) const FIRST_TOKEN: usize = 1 << 40;
const FIRST_LISTENER_TOKEN: usize = 1 << 41;
/// Most frames that wait to be taken, and most bytes of them.
const OUTBOX: usize = 4096;
const OUTBOX_BYTES: usize = 8 << 20;
/// Reads from one socket while others wait.
const QUANTUM: usize = 16;
/// Of what is read from an error queue, no more is quoted.
const QUOTED: usize = 1280;

impl DatagramShell {
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup { limits, destinations, filter, link, seed, budget, spares } = setup;
        DatagramShell {
            engine: Datagrams::new(limits, destinations, filter, seed),
            reassembly: Reassembly::new(ReassemblyLimits::default()),
            destinations,
            link,
            budget,
            sockets: Vec::new(),
            listeners: BTreeMap::new(),
            ready: VecDeque::new(),
            turn: 0,
            outbox: VecDeque::new(),
            waiting: 0,
            networks: Vec::new(),
            shortest: u16::MAX,
            spares: Spares::new(spares),
            identification: u32::try_from(seed >> 32).unwrap_or(0),
            joined: None,
            told: None,
            own: OwnAddresses::default(),
            now: Timestamp::ZERO,
            counters: ShellCounters::default(),
        }
    }

    /// Says which networks are inside.
    pub(crate) fn set_networks(&mut self, networks: Vec<InsideNetwork>) {
        self.engine.owners().set_networks(networks.iter().map(|network| network.net).collect());
        self.shortest = networks.iter().map(|network| network.mtu).min().unwrap_or(u16::MAX);
        self.networks = networks;
    }

    /// Says whose an address inside is.
    pub(crate) fn assign(&mut self, address: IpAddr, endpoint: u64) {
        self.engine.owners().assign(None, address, endpoint);
    }

    /// Everything that is counted.
    pub(crate) fn stats(&self) -> DatagramStats {
        DatagramStats { flows: self.engine.counters(), fragments: self.reassembly.counters(), shell: self.counters }
    }

    /// Whether frames wait to be taken, without any socket saying so.
    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty() || !self.ready.is_empty()
    }

    /// Takes a packet from inside that is not TCP, or says why not; a fragment is kept until its datagram is whole.
    pub(crate) fn send(
        &mut self,
        registry: &Registry,
        packet: &Packet<'_>,
        now: Timestamp,
    ) -> Result<(), DatagramDrop> {
        self.now = now;
        if packet.fragment() == Fragment::None {
            return self.send_whole(registry, packet, now);
        }
        let mut joined = self.joined.take().unwrap_or_default();
        let owner = self.engine.owners().of(None, packet.ip_addresses().0);
        let taken = match self.reassembly.take(packet, owner, now, &mut joined) {
            Joined::Waiting => Ok(()),
            Joined::Refused => Err(self.drop(DatagramDrop::Fragment)),
            Joined::Whole => self.send_whole(registry, &joined.packet(), now),
        };
        self.joined = Some(joined);
        taken
    }

    fn drop(&mut self, reason: DatagramDrop) -> DatagramDrop {
        self.engine.dropped(reason);
        reason
    }

    /// Notes which socket an event of the poll is about; `false` when the token is somebody else's.
    pub(crate) fn event(&mut self, event: &Event) -> bool {
        let Token(token) = event.token();
        if let Some(number) = token.checked_sub(FIRST_LISTENER_TOKEN).and_then(|number| u32::try_from(number).ok()) {
            self.queue(Source::Published(Listener(number)));
        } else if let Some(index) = token.checked_sub(FIRST_TOKEN) {
            // An event of the socket that was here before says nothing wrong: the one that is here is found empty.
            if let Some(carrier) = self.sockets.get(index).and_then(Option::as_ref) {
                self.queue(Source::Flow(carrier.slot));
            }
        } else {
            return false;
        }
        true
    }

    /// Fills buffers with frames for the inside and returns how many. Every look at a socket takes one from `reads`; when there
    /// are none left, and [`DatagramShell::has_output`], more may wait. Otherwise fewer frames than there are buffers say that
    /// nothing does.
    pub(crate) fn receive(
        &mut self,
        registry: &Registry,
        buffers: &mut [FrameBuf],
        reads: &mut usize,
        now: Timestamp,
    ) -> usize {
        self.now = now;
        let mut count = 0;
        while let Some(buffer) = buffers.get_mut(count) {
            if let Some((frame, offload)) = self.outbox.pop_front() {
                self.waiting -= frame.len();
                buffer.fill(&frame, offload);
                count += 1;
                continue;
            }
            let Some(&source) = self.ready.front().filter(|_| *reads > 0) else { break };
            let read = self.read(source, buffer, now);
            let looks = match read {
                Some(Read::Nothing { looks }) => looks,
                _ => 1,
            };
            *reads = reads.saturating_sub(looks);
            self.turn += looks;
            if matches!(read, Some(Read::Frame)) && !self.cut_to_fit(buffer) {
                count += 1;
            }
            if read.is_none() {
                self.ready.pop_front();
                self.set_queued(source, false);
                self.turn = 0;
            } else if self.turn >= QUANTUM {
                self.ready.rotate_left(1);
                self.turn = 0;
            }
        }
        self.close_ended(registry);
        count
    }

    /// When something is due.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.engine.next_timeout().into_iter().chain(self.reassembly.next_timeout()).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, registry: &Registry, now: Timestamp) {
        self.engine.handle_timeout(now);
        self.reassembly.handle_timeout(now);
        self.close_ended(registry);
    }

    /// Makes tables as small as what is in them.
    pub(crate) fn shrink(&mut self) {
        self.engine.shrink();
        self.ready.shrink_to_fit();
        self.outbox.shrink_to_fit();
    }

    /// Ends the flows of an address inside that goes.
    pub(crate) fn forget_endpoint(&mut self, registry: &Registry, address: IpAddr) {
        self.engine.forget_endpoint(address);
        self.close_ended(registry);
    }

    /// Lets a socket inside have another one of the host's from its next packet on; returns whether it had one.
    pub(crate) fn rebind(&mut self, registry: &Registry, inside: SocketAddr) -> bool {
        let rebound = self.engine.rebind(inside);
        self.close_ended(registry);
        rebound
    }

    fn send_whole(&mut self, registry: &Registry, packet: &Packet<'_>, now: Timestamp) -> Result<(), DatagramDrop> {
        // Its drop is counted by the engine.
        let outgoing = self.engine.outgoing(packet, now);
        if let Err(DatagramDrop::NotCarried) = outgoing {
            self.refuse_protocol(packet);
        }
        let outgoing = outgoing?;
        self.close_ended(registry);
        if outgoing.by == (By::Own { fresh: true })
            && let Err(error) = self.open(registry, &outgoing)
        {
            self.no_socket(&outgoing, &error);
            return Err(DatagramDrop::NoSocket);
        }
        self.transmit(&outgoing).map_err(|error| self.not_sent(&outgoing, &error))?;
        self.engine.sent(&outgoing);
        Ok(())
    }

    /// A frame that is too long for its network leaves in pieces, by the outbox.
    fn cut_to_fit(&mut self, buffer: &FrameBuf) -> bool {
        // Headers of Ethernet, IPv6 and UDP: what is that much shorter than any MTU need not be looked at.
        if buffer.offload.gso.is_none() && buffer.len() <= usize::from(self.shortest) {
            return false;
        }
        let packet = buffer.packet();
        let mtu = self.mtu_to(&packet);
        let fits = vswitch_nat::route::fit(&packet, mtu);
        if fits == vswitch_nat::route::Fit::Fits {
            return false;
        }
        if buffer.offload.gso.is_none() {
            self.cut(&packet, mtu);
        } else if let Ok(segments) = segment::segment(&packet) {
            let mut one = vec![0; segments.max_len()];
            for index in 0..segments.count() {
                let length = segments.write(index, &mut one);
                self.cut(&Packet::finished(&one[..length]), mtu);
            }
        }
        true
    }

    fn cut(&mut self, packet: &Packet<'_>, mtu: u16) {
        self.identification = self.identification.wrapping_add(1);
        let pieces = wire::fragments(packet, mtu, self.identification);
        let bytes: usize = pieces.iter().map(Vec::len).sum();
        if pieces.is_empty() || self.outbox.len() + pieces.len() > OUTBOX || self.waiting + bytes > OUTBOX_BYTES {
            self.counters.outbox_full += 1;
            return;
        }
        self.waiting += bytes;
        self.outbox.extend(pieces.into_iter().map(|piece| (piece, Offload::NONE)));
    }

    fn mtu_to(&self, packet: &Packet<'_>) -> u16 {
        let (_, to) = packet.ip_addresses();
        self.network_of(to).map_or(u16::MAX, |network| network.mtu)
    }

    fn network_of(&self, inside: IpAddr) -> Option<&InsideNetwork> {
        self.networks.iter().find(|network| network.net.contains(&inside))
    }

    fn queue(&mut self, source: Source) {
        if self.set_queued(source, true) == Some(false) {
            self.ready.push_back(source);
        }
    }

    /// Answers what it was before; `None` when there is no such socket.
    fn set_queued(&mut self, source: Source, queued: bool) -> Option<bool> {
        let flag = match source {
            Source::Flow(slot) => {
                let carrier = self.sockets.get_mut(slot.index())?.as_mut();
                &mut carrier.filter(|carrier| carrier.slot == slot)?.queued
            }
            Source::Published(listener) => &mut self.listeners.get_mut(&listener)?.queued,
        };
        Some(std::mem::replace(flag, queued))
    }

    /// Reads one datagram or train into a buffer; `None` when the socket is empty or gone.
    fn read(&mut self, source: Source, buffer: &mut FrameBuf, now: Timestamp) -> Option<Read> {
        let (kind, ipv6) = match source {
            Source::Flow(slot) => self.engine.shape(slot)?,
            Source::Published(listener) => (Kind::Datagram, self.listeners.get(&listener)?.target.is_ipv6()),
        };
        let at = if kind == Kind::Echo { wire::echo_header_len(ipv6) } else { wire::udp_header_len(ipv6) };
        let socket = self.socket(source)?;
        let received = match sys::receive(socket.as_fd(), &mut buffer.receive_area()[at..]) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Some(NOTHING),
            Err(error) => {
                let empty = error.kind() == io::ErrorKind::WouldBlock;
                // What was said about datagrams before is told by the error queue, which must be empty, too.
                let reports = self.take_errors(source);
                return if reports > 0 || !empty { Some(Read::Nothing { looks: 1 + reports }) } else { None };
            }
        };
        if received.cut {
            self.engine.dropped(DatagramDrop::TooLong);
            return Some(NOTHING);
        }
        let (link, length, segment) = (self.link, received.length, received.segment);
        let written = match source {
            Source::Flow(slot) => {
                let heard = Heard { slot, from: received.from, length, segment };
                self.engine.incoming(&heard, link, now, buffer, |address| self.own.contains(address, now))
            }
            Source::Published(listener) => {
                let published = self.listeners.get(&listener)?;
                let mut shown = published.shown.of(received.from.ip(), published.target.ip());
                // An address that is somebody's inside, too, is not shown there as the host's.
                if self.networks.iter().any(|network| network.net.contains(&received.from.ip())) {
                    shown = ClientAddressing::Gateway(published.shown.gateway);
                }
                let (client, local, target) = (received.from, received.local, published.target);
                let arrival = Arrival { listener, client, local, target, shown, length, segment };
                self.engine.arriving(&arrival, link, now, buffer)
            }
        };
        Some(if written.is_ok() { Read::Frame } else { NOTHING })
    }
}

/// What came of reading.
enum Read {
    /// A frame is in the buffer.
    Frame,
    /// There is none, but there may be more to read.
    Nothing {
        /// How often the socket was asked.
        looks: usize,
    },
}

const NOTHING: Read = Read::Nothing { looks: 1 };

impl PublishedAs {
    fn of(&self, client: IpAddr, target: IpAddr) -> ClientAddressing {
        let same_family = client.is_ipv4() == target.is_ipv4();
        let shows = !self.always_gateway && same_family && vswitch_nat::proxy::destinations::is_outside(client);
        if shows { ClientAddressing::Client } else { ClientAddressing::Gateway(self.gateway) }
    }
}
