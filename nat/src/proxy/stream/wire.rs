//! From frames to segments and back.

use std::net::{IpAddr, SocketAddr};

use vswitch_frame::ethernet::{self, Ethernet};
use vswitch_frame::ipv4::{self, Ipv4, protocol};
use vswitch_frame::ipv6;
use vswitch_frame::offload::{GsoKind, PartialChecksum};
use vswitch_frame::tcp::{self, Tcp, flag};
use vswitch_frame::{EtherType, Fragment, FrameBuf, Gso, L3, NetworkRef, Offload, OwnedPacket, Packet, checksum};

use super::StreamDrop;
use super::device::{Emitted, MAX_PACKET, MAX_SUPER_PACKET};
use crate::proxy::datagram::wire::Link;

/// A connection as the inside sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The endpoint's network, where one engine serves several, which may have the same addresses.
    pub network: Option<NetworkRef>,
    /// The endpoint.
    pub inside: SocketAddr,
    /// Its peer.
    pub outside: SocketAddr,
}

/// What a segment from inside is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) ends: Ends,
    /// SYN, FIN, RST and ACK of its control bits.
    pub(super) flags: u8,
    /// Its sequence number.
    pub(super) sequence: u32,
    /// What it acknowledges.
    pub(super) acknowledgment: Option<u32>,
    /// The window as it stands in the header.
    pub(super) window: u16,
    /// Bytes of payload.
    pub(super) length: usize,
    /// Where the TCP header lies in the packet, and where it ends.
    header: (usize, usize),
    /// Of a SYN: the most payload of a segment that the endpoint takes.
    pub(super) mss: Option<u16>,
}

/// The MSS of an endpoint that names none, or zero (RFC 9293 section 3.7.1), and the least that smoltcp keeps to.
const DEFAULT_MSS: u16 = 536;
const LEAST_MSS: u16 = 48;

/// Where an IP header says how long the packet is.
const IPV4_LENGTH: usize = 2;
const IPV6_LENGTH: usize = 4;

/// Reads a segment from inside, and checks what smoltcp is told not to.
pub(super) fn read(packet: &Packet<'_>, network: Option<NetworkRef>) -> Result<Arrived, StreamDrop> {
    if !matches!(packet.l3(), L3::Ipv4 | L3::Ipv6) || packet.protocol() != protocol::TCP {
        return Err(StreamDrop::Malformed);
    }
    if packet.fragment() != Fragment::None {
        return Err(StreamDrop::Fragment);
    }
    if packet.ip_packet().len() > MAX_PACKET {
        return Err(StreamDrop::Malformed);
    }
    let l4 = packet.l4();
    let segment = Tcp::parse(l4).map_err(|_| StreamDrop::Malformed)?;
    if segment.source_port() == 0 || segment.destination_port() == 0 {
        return Err(StreamDrop::BadPort);
    }
    let flags = segment.flags() & (flag::SYN | flag::FIN | flag::RST | flag::ACK);
    let opens = flags & flag::SYN != 0 && flags & (flag::FIN | flag::RST) != 0;
    let alone = flags == 0 || flags == flag::FIN;
    let closes = flags & flag::FIN != 0 && flags & flag::RST != 0;
    if opens || alone || closes {
        return Err(StreamDrop::BadFlags);
    }
    let (source, destination) = packet.ip_addresses();
    if !packet.is_verified() {
        let pseudo = checksum::pseudo_header(source, destination, protocol::TCP, l4.len());
        let sum = pseudo.ok_or(StreamDrop::Malformed)? + checksum::sum(l4);
        if checksum::fold(sum) != 0xffff {
            return Err(StreamDrop::BadChecksum);
        }
    }
    let inside = SocketAddr::new(source, segment.source_port());
    let outside = SocketAddr::new(destination, segment.destination_port());
    let start = packet.l4_offset() - packet.l3_offset();
    Ok(Arrived {
        ends: Ends { network, inside, outside },
        flags,
        sequence: segment.sequence(),
        acknowledgment: (flags & flag::ACK != 0).then(|| segment.acknowledgment()),
        window: segment.window(),
        length: segment.payload().len(),
        header: (start, start + segment.header_len()),
        mss: (flags & flag::SYN != 0).then(|| mss(segment.options())),
    })
}

/// Segments that say less than the one that arrived. Their checksums are left as they are.
impl Arrived {
    /// Whether it acknowledges, and does nothing else.
    pub(super) const fn is_pure_acknowledgment(&self) -> bool {
        self.flags == flag::ACK && self.length == 0
    }

    /// The sequence number behind its bytes, which is that of its FIN.
    pub(super) const fn end(&self) -> u32 {
        advanced(self.sequence, self.length)
    }

    /// The same packet, with the least window that is open.
    pub(super) fn with_least_window(&self, packet: &[u8]) -> Vec<u8> {
        self.changed(packet.to_vec(), |segment| segment.set_window(1))
    }

    /// The same packet of a SYN, with the largest segment that the stack may leave in one piece in the place of the endpoint's:
    /// what is sent again after three equal acknowledgments then is a super-frame, as what was lost most likely was.
    pub(super) fn with_largest_mss(&self, packet: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        let largest = short(MAX_SUPER_PACKET - self.header.0 - tcp::MIN_HEADER_LEN).to_be_bytes();
        let mut rest = &mut packet[self.header.0 + tcp::MIN_HEADER_LEN..self.header.1];
        while let [kind, more @ ..] = rest {
            // The end of the list, and a filler of one byte (RFC 9293 section 3.1).
            let length = match (*kind, more.first()) {
                (0, _) | (_, None) => break,
                (1, _) => 1,
                (_, Some(&length)) => usize::from(length).max(2),
            };
            if let (tcp::option::MSS, Some(value)) = (*kind, more.get_mut(1..3)) {
                value.copy_from_slice(&largest);
            }
            rest = rest.get_mut(length..).unwrap_or_default();
        }
        packet
    }

    /// The same packet, with no FIN.
    pub(super) fn without_fin(&self, packet: &[u8]) -> Vec<u8> {
        self.changed(packet.to_vec(), |segment| segment.set_flags(segment.flags() & !flag::FIN))
    }

    /// Nothing but the packet's FIN.
    pub(super) fn fin_alone(&self, packet: &[u8]) -> Vec<u8> {
        self.changed(self.headers_alone(packet), |segment| segment.set_sequence(self.end()))
    }

    /// The frame of a SYN with nothing behind its headers, and what that is: bytes that come with a SYN need not be kept, and are
    /// sent again.
    pub(super) fn syn_alone(&self, packet: &Packet<'_>) -> (OwnedPacket, Arrived) {
        let link = &packet.frame()[..packet.l3_offset()];
        let mut bare = self.headers_alone(packet.ip_packet());
        if let Ok(mut packet) = Ipv4::parse(&mut bare[..]) {
            packet.fill_checksum();
        }
        (OwnedPacket::finished([link, &bare].concat().into()), Arrived { length: 0, ..*self })
    }

    /// The packet without payload.
    fn headers_alone(&self, packet: &[u8]) -> Vec<u8> {
        let end = self.header.1;
        let (field, length) = match self.ends.inside {
            SocketAddr::V4(_) => (IPV4_LENGTH, end),
            SocketAddr::V6(_) => (IPV6_LENGTH, end - ipv6::HEADER_LEN),
        };
        let mut bare = packet[..end].to_vec();
        bare[field..field + 2].copy_from_slice(&short(length).to_be_bytes());
        bare
    }

    fn changed(&self, mut packet: Vec<u8>, change: impl FnOnce(&mut Tcp<&mut [u8]>)) -> Vec<u8> {
        if let Ok(mut segment) = Tcp::parse(&mut packet[self.header.0..]) {
            change(&mut segment);
        }
        packet
    }
}

/// The control bits of a packet of the stack's, its sequence number, and the one behind it.
pub(super) fn extent(packet: &[u8]) -> Option<(u8, u32, u32)> {
    let header = if packet[0] >> 4 == 4 { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    let segment = Tcp::parse(&packet[header..]).ok()?;
    let controls = (segment.flags() & (flag::SYN | flag::FIN)).count_ones();
    let end = advanced(segment.sequence(), segment.payload().len()).wrapping_add(controls);
    Some((segment.flags(), segment.sequence(), end))
}

/// The maximum segment size of a SYN's options, as smoltcp reads it.
fn mss(options: &[u8]) -> u16 {
    let option = tcp::options(options).find(|option| option.kind == tcp::option::MSS);
    let named = option.and_then(|option| option.data.try_into().ok()).map(u16::from_be_bytes);
    named.filter(|&mss| mss != 0).unwrap_or(DEFAULT_MSS).max(LEAST_MSS)
}

/// A length in a packet, which fits.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// The sequence number `count` bytes on.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap (RFC 9293 section 3.4)")]
pub(super) const fn advanced(sequence: u32, count: usize) -> u32 {
    sequence.wrapping_add(count as u32)
}

/// Whether a sequence number lies before another, in half of the circle (RFC 9293 section 3.4).
pub(super) const fn is_before(sequence: u32, other: u32) -> bool {
    sequence.wrapping_sub(other) > 1 << 31
}

/// Makes a frame of what the stack put behind room for an Ethernet header. Its checksum stays partial, and more payload than
/// the endpoint's `mss` stays in one piece, to be cut up by whoever must.
pub(super) fn finish(out: &mut FrameBuf, emitted: Emitted, ends: Ends, mss: u16, link: Link) {
    let area = out.receive_area();
    let ipv6 = ends.inside.is_ipv6();
    if let Ok(mut header) = Ethernet::parse(&mut area[..ethernet::HEADER_LEN]) {
        header.set_destination(link.peer);
        header.set_source(link.own);
        header.set_ether_type(if ipv6 { EtherType::IPV6 } else { EtherType::IPV4 });
    }
    let l4 = super::super::datagram::wire::echo_header_len(ipv6);
    let end = ethernet::HEADER_LEN + emitted.length;
    let pseudo = checksum::pseudo_header(ends.outside.ip(), ends.inside.ip(), protocol::TCP, end - l4).unwrap_or(0);
    let field = l4 + tcp::CHECKSUM_OFFSET;
    area[field..field + 2].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    let header_len = l4 + usize::from(area[l4 + 12] >> 4) * 4;
    let kind = if ipv6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 };
    // Options are part of a segment's size (RFC 6691).
    let size = mss.saturating_sub(short(header_len - l4 - tcp::MIN_HEADER_LEN)).max(1);
    let large = end.saturating_sub(header_len) > usize::from(size);
    let gso = large.then(|| Gso { kind, size, header_len: short(header_len), ecn: false });
    let checksum = Some(PartialChecksum { start: short(l4), offset: short(tcp::CHECKSUM_OFFSET) });
    out.received(end, Offload { checksum, gso });
    out.network = ends.network;
}

/// The endpoint of the packet's destination as the stack writes it.
pub(super) const fn endpoint(address: SocketAddr) -> smoltcp::wire::IpEndpoint {
    let ip = match address.ip() {
        IpAddr::V4(address) => smoltcp::wire::IpAddress::Ipv4(address),
        IpAddr::V6(address) => smoltcp::wire::IpAddress::Ipv6(address),
    };
    smoltcp::wire::IpEndpoint { addr: ip, port: address.port() }
}
