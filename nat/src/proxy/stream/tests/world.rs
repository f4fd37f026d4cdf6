//! An endpoint with a stack of its own, a gateway, and a host that is made up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use vswitch_frame::ethernet::{self, Ethernet};
use vswitch_frame::ipv4::MAX_PACKET_LEN;
use vswitch_frame::offload::PartialChecksum;
use vswitch_frame::tcp::{self, Tcp, flag};
use vswitch_frame::{EtherType, FrameBuf, MacAddr, Offload, Packet, PacketMut, Timestamp, ipv4, ipv6, segment};

use crate::proxy::datagram::wire::Link;
use crate::proxy::stream::open::{has_ended, owes_fin};
use crate::proxy::stream::wire::{endpoint, is_before, read};
use crate::proxy::stream::{Ending, Ends, HostSide, Readiness, Slot, StreamLimits, Streams};

/// A peer on the host's side.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// What it sends.
    pub(super) sends: VecDeque<u8>,
    /// It sends no more.
    pub(super) ended: bool,
    /// Its next read or write fails.
    pub(super) broken: bool,
    /// What it got.
    pub(super) got: Vec<u8>,
    /// How many bytes more it takes.
    pub(super) room: usize,
    /// It was told that nothing more comes.
    pub(super) finished: bool,
}

/// The host.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) peers: HashMap<usize, Peer>,
    pub(super) closed: Vec<(Slot, Ending)>,
    /// What the peer got that was closed last.
    pub(super) heard: Vec<u8>,
    /// What the next connects end with.
    pub(super) refuses: Option<io::ErrorKind>,
    /// Connects go on.
    pub(super) pending: bool,
    /// Room of peers to come.
    pub(super) room: usize,
}

impl HostSide for Host {
    fn connect(&mut self, slot: Slot, _: &Ends) -> io::Result<()> {
        self.peers.insert(slot.index(), Peer { room: self.room, ..Peer::default() });
        Ok(())
    }

    fn connected(&mut self, _: Slot) -> Option<io::Result<()>> {
        if self.pending {
            return None;
        }
        Some(self.refuses.map_or(Ok(()), |kind| Err(kind.into())))
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> io::Result<usize> {
        let peer = self.peers.get_mut(&slot.index()).expect("a connected peer");
        match bytes.len().min(peer.room) {
            _ if peer.broken => Err(io::ErrorKind::ConnectionReset.into()),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => {
                peer.got.extend_from_slice(&bytes[..count]);
                peer.room -= count;
                Ok(count)
            }
        }
    }

    fn read(&mut self, slot: Slot, area: &mut [u8]) -> io::Result<usize> {
        let peer = self.peers.get_mut(&slot.index()).expect("a connected peer");
        match area.len().min(peer.sends.len()) {
            _ if peer.broken => Err(io::ErrorKind::ConnectionReset.into()),
            0 if peer.ended => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => {
                for (byte, sent) in area.iter_mut().zip(peer.sends.drain(..count)) {
                    *byte = sent;
                }
                Ok(count)
            }
        }
    }

    fn finish(&mut self, slot: Slot) {
        self.peers.get_mut(&slot.index()).expect("a connected peer").finished = true;
    }

    fn close(&mut self, slot: Slot, ending: Ending) {
        self.closed.push((slot, ending));
        self.heard = self.peers.remove(&slot.index()).map(|peer| peer.got).unwrap_or_default();
    }
}

/// What the wire between endpoint and gateway does to packets, in per cent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wire {
    pub(super) loses: u32,
    pub(super) doubles: u32,
    pub(super) delays: u32,
}

/// Packets on their way, by what the wire did.
#[derive(Debug)]
struct Line {
    packets: VecDeque<Vec<u8>>,
    /// What the last packet acknowledged.
    acknowledged: Option<u32>,
    wire: Wire,
    rng: StdRng,
}

impl Line {
    fn push(&mut self, packet: Vec<u8>) {
        self.acknowledged = segment_of(&packet).map(|segment| segment.acknowledgment());
        let mut happens = |per_cent: u32| self.rng.random_range(0..100) < per_cent;
        if happens(self.wire.loses) {
            return;
        }
        if happens(self.wire.doubles) {
            self.packets.push_back(packet.clone());
        }
        if happens(self.wire.delays) && !self.packets.is_empty() {
            let at = self.packets.len() - 1;
            return self.packets.insert(at, packet);
        }
        self.packets.push_back(packet);
    }
}

/// The endpoint's device.
#[derive(Debug)]
struct Nic<'a> {
    incoming: Option<Vec<u8>>,
    outgoing: &'a mut Line,
}

struct Rx(Vec<u8>);
struct Tx<'t>(&'t mut Line);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Nic<'_> {
    type RxToken<'t>
        = Rx
    where
        Self: 't;
    type TxToken<'t>
        = Tx<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let packet = self.incoming.take()?;
        Some((Rx(packet), Tx(self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        // What comes has partial checksums, as over veth.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

pub(super) const LINK: Link = Link { own: MacAddr::new([2, 0, 0, 0, 0, 1]), peer: MacAddr::new([2, 0, 0, 0, 0, 2]) };

/// All of it.
pub(super) struct World {
    pub(super) engine: Streams,
    pub(super) host: Host,
    pub(super) now: Timestamp,
    interface: Interface,
    sockets: SocketSet<'static>,
    pub(super) handle: SocketHandle,
    to_gateway: Line,
    to_endpoint: Line,
    buffers: Vec<FrameBuf>,
    /// The frames that the gateway made last.
    pub(super) sent: Vec<(Vec<u8>, Offload)>,
    /// Frames are kept in `sent`.
    pub(super) keeps: bool,
    /// Super-frames until one is lost.
    pub(super) loses_long: Option<u32>,
    /// A FIN that waits until the endpoint has acknowledged what lies before it.
    fin: Option<(u32, Vec<u8>)>,
    /// Since when the endpoint is in TIME-WAIT.
    rests: Option<Instant>,
    /// What the gateway acknowledged last.
    acknowledged: Option<u32>,
}

impl World {
    pub(super) fn new(limits: StreamLimits, wire: Wire, seed: u64) -> World {
        World::with_buffer(BUFFER, limits, wire, seed)
    }

    /// The endpoint's socket has `buffer` bytes each way.
    pub(super) fn with_buffer(buffer: usize, limits: StreamLimits, wire: Wire, seed: u64) -> World {
        let line = |turn: u64| Line {
            packets: VecDeque::new(),
            acknowledged: None,
            wire,
            rng: StdRng::seed_from_u64(seed ^ turn),
        };
        let (mut to_gateway, to_endpoint) = (line(1), line(2));
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut nic = Nic { incoming: None, outgoing: &mut to_gateway };
        let mut interface = Interface::new(config, &mut nic, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for address in [INSIDE, INSIDE_V6] {
                let length = if address.is_ipv4() { 24 } else { 64 };
                addresses.push(IpCidr::new(endpoint(SocketAddr::new(address, 1)).addr, length)).expect("room for two");
            }
        });
        let mut sockets = SocketSet::new(Vec::new());
        let ring = || SocketBuffer::new(vec![0; buffer]);
        let handle = sockets.add(Socket::new(ring(), ring()));
        World {
            engine: Streams::new(limits, LINK, seed),
            host: Host { room: usize::MAX, ..Host::default() },
            now: Timestamp::from_millis(1),
            interface,
            sockets,
            handle,
            to_gateway,
            to_endpoint,
            buffers: std::iter::repeat_with(FrameBuf::new).take(8).collect(),
            sent: Vec::new(),
            keeps: false,
            loses_long: None,
            fin: None,
            rests: None,
            acknowledged: None,
        }
    }

    /// The same, whose endpoint takes packets of more than 64 KiB.
    pub(super) fn long(self) -> World {
        World { engine: self.engine.with_long_packets(), ..self }
    }

    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub(super) fn state(&mut self) -> State {
        self.socket().state()
    }

    /// The endpoint connects.
    pub(super) fn connect(&mut self, to: SocketAddr, port: u16) {
        let source = if to.is_ipv4() { INSIDE } else { INSIDE_V6 };
        let local = endpoint(SocketAddr::new(source, port));
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        socket.connect(self.interface.context(), endpoint(to), local).expect("a closed socket");
    }

    /// The endpoint listens.
    pub(super) fn listen(&mut self, port: u16) {
        self.socket().listen(port).expect("a closed socket");
    }

    /// Gives the gateway a frame around a packet.
    pub(super) fn inject(&mut self, packet: &[u8], offload: Offload) {
        let mut frame = vec![0; ethernet::HEADER_LEN];
        let mut header = Ethernet::parse(&mut frame[..]).expect("room");
        header.set_destination(LINK.own);
        header.set_source(LINK.peer);
        header.set_ether_type(if packet[0] >> 4 == 4 { EtherType::IPV4 } else { EtherType::IPV6 });
        frame.extend_from_slice(packet);
        if let Ok(packet) = PacketMut::admit(&mut frame, offload) {
            // Its drop is among the counters.
            let _ = self.engine.frame(&packet.view(), None, self.now, &mut self.host);
        }
    }

    /// Time passes, and everybody does what is to be done.
    pub(super) fn step(&mut self, wait: Duration) {
        self.now = self.now + wait;
        let now = Instant::from_millis(i64::try_from(self.now.as_millis()).expect("a test's time"));
        while let Some(packet) = self.to_endpoint.packets.pop_front() {
            if !self.repeats(&packet) {
                let packet = self.without_fin(packet);
                let mut nic = Nic { incoming: Some(packet), outgoing: &mut self.to_gateway };
                self.interface.poll_ingress_single(now, &mut nic, &mut self.sockets);
            }
        }
        let (at, now) = (now, self.patient(now));
        loop {
            let mut nic = Nic { incoming: None, outgoing: &mut self.to_gateway };
            while self.interface.poll_egress(now, &mut nic, &mut self.sockets) != PollResult::None {}
            let taken = self.to_gateway.acknowledged;
            let Some((_, fin)) = self.fin.take_if(|(number, _)| Some(*number) == taken) else { break };
            let mut nic = Nic { incoming: Some(fin), outgoing: &mut self.to_gateway };
            self.interface.poll_ingress_single(at, &mut nic, &mut self.sockets);
        }
        while let Some(packet) = self.to_gateway.packets.pop_front() {
            self.inject(&packet, Offload::NONE);
        }
        let slots: Vec<usize> = self.host.peers.keys().copied().collect();
        for slot in slots.into_iter().filter_map(Slot::new) {
            let news = Readiness { readable: true, writable: true };
            self.engine.ready(slot, news, self.now, &mut self.host);
        }
        if self.engine.next_timeout().is_some_and(|at| at <= self.now) {
            self.engine.handle_timeout(self.now);
        }
        let mut buffers = std::mem::take(&mut self.buffers);
        loop {
            let filled = self.engine.fill(&mut buffers, self.now, &mut self.host);
            for buffer in &buffers[..filled] {
                if self.keeps {
                    self.sent.push((buffer.frame().to_vec(), buffer.offload));
                }
                if buffer.offload.gso.is_some()
                    && let Some(left) = &mut self.loses_long
                {
                    *left = left.wrapping_sub(1);
                    if *left == 0 {
                        continue;
                    }
                }
                // The endpoint's stack knows none that are longer than 64 KiB; Linux does.
                let mut frame = buffer.frame().to_vec();
                match PacketMut::admit(&mut frame, buffer.offload) {
                    Ok(mut packet) if packet.view().ip_packet().len() > MAX_PACKET_LEN => {
                        let push = |piece: &Packet<'_>| self.to_endpoint.push(piece.ip_packet().to_vec());
                        segment::shorten(&mut packet, MAX_PACKET_LEN, push).expect("a super-frame");
                    }
                    _ => self.to_endpoint.push(buffer.frame()[ethernet::HEADER_LEN..].to_vec()),
                }
            }
            if filled < buffers.len() {
                break;
            }
        }
        self.buffers = buffers;
    }

    /// The time as the endpoint's stack is told when it may send. In TIME-WAIT it stands still: smoltcp 0.14 rests for ten
    /// seconds, while a FIN may come again after sixteen; Linux rests for a minute.
    fn patient(&mut self, now: Instant) -> Instant {
        if self.state() != State::TimeWait {
            self.rests = None;
            return now;
        }
        *self.rests.get_or_insert(now)
    }

    /// The endpoint's stack has a FIN behind bytes only when it has acknowledged the bytes (see `open`).
    fn without_fin(&mut self, packet: Vec<u8>) -> Vec<u8> {
        let mut frame = vec![0; ethernet::HEADER_LEN];
        let ether_type = if packet[0] >> 4 == 4 { EtherType::IPV4 } else { EtherType::IPV6 };
        Ethernet::parse(&mut frame[..]).expect("room").set_ether_type(ether_type);
        frame.extend_from_slice(&packet);
        if Packet::finished(&frame).protocol() != ipv4::protocol::TCP || has_ended(self.state()) {
            return packet;
        }
        let start = short(Packet::finished(&frame).l4_offset());
        let checksum = PartialChecksum { start, offset: short(tcp::CHECKSUM_OFFSET) };
        let whole =
            PacketMut::admit(&mut frame, Offload { checksum: Some(checksum), gso: None }).expect("a whole frame");
        match read(&whole.view(), None) {
            Ok(arrived) if arrived.flags & flag::FIN != 0 && arrived.length > 0 => {
                self.fin = Some((arrived.end(), arrived.fin_alone(&packet)));
                arrived.without_fin(&packet)
            }
            _ => packet,
        }
    }

    /// The endpoint's stack is smoltcp as well, and needs the same care (see `open`).
    fn repeats(&mut self, packet: &[u8]) -> bool {
        let Some(segment) = segment_of(packet) else { return false };
        let pure = segment.flags() == flag::ACK && segment.payload().is_empty();
        let number = segment.acknowledgment();
        match self.acknowledged {
            _ if !pure => false,
            Some(last) if last == number => owes_fin(self.socket()),
            Some(last) if is_before(number, last) => false,
            _ => {
                self.acknowledged = Some(number);
                false
            }
        }
    }

    /// Steps of a millisecond until `done`, or too many.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut World) -> bool) {
        for _ in 0..PATIENCE {
            if done(self) {
                return;
            }
            self.step(Duration::from_millis(1));
        }
        let records: Vec<_> = self.engine.records().collect();
        panic!("never {what}: {:?}, {records:?}, {:?}", self.state(), self.engine);
    }

    /// From now on the wire does this.
    pub(super) fn impair(&mut self, wire: Wire) {
        (self.to_gateway.wire, self.to_endpoint.wire) = (wire, wire);
    }

    /// The only peer.
    pub(super) fn peer(&mut self) -> &mut Peer {
        self.host.peers.values_mut().next().expect("a peer")
    }

    /// Connects the endpoint and waits until it is.
    pub(super) fn established(&mut self) {
        self.connect(SERVER.parse().expect("an address"), 40_000);
        self.until("established", |world| world.state() == State::Established);
    }
}

/// A packet's segment, if its IP header has no options.
fn segment_of(packet: &[u8]) -> Option<Tcp<&[u8]>> {
    let l4 = if packet[0] >> 4 == 4 { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    Tcp::parse(&packet[l4..]).ok()
}

fn short(value: usize) -> u16 {
    u16::try_from(value).expect("a length of headers")
}

/// Bytes of the endpoint's buffers, unless a test says otherwise.
const BUFFER: usize = 64 << 10;
/// Steps that something may take: an hour, as retransmissions come later and later, up to a minute (RFC 6298 section 5).
const PATIENCE: u32 = 3_600_000;
pub(super) const SERVER: &str = "192.0.2.7:80";
pub(super) const INSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
pub(super) const INSIDE_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
