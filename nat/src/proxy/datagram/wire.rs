//! Datagrams from the inside, taken out of their frames; and frames towards it: datagrams and echo messages around a payload
//! that is in the buffer already, ICMP errors, and fragments of what is too long for the network.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use vswitch_frame::ipv4::{self, Ipv4, protocol};
use vswitch_frame::offload::{GsoKind, PartialChecksum};
use vswitch_frame::udp::Udp;
use vswitch_frame::{EtherType, FrameBuf, Gso, L3, MacAddr, Offload, Packet, checksum, ethernet, icmp, ipv6, udp};

use super::DatagramDrop;
use crate::route;

/// The two ends of the uplink's segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Who these frames come from.
    pub own: MacAddr,
    /// The router, who all of them go to.
    pub peer: MacAddr,
}

/// What an IP header says beside addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Time to live or hop limit.
    pub hops: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub tos: u8,
}

impl Default for Meta {
    fn default() -> Self {
        Meta { hops: ipv4::DEFAULT_TTL, tos: 0 }
    }
}

/// What an ICMP error says, in the numbers of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The second word of the header, such as an MTU.
    pub rest: u32,
}

/// The packet that an ICMP error is about, as its sender made it.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'p> {
    /// Where it came from; for an echo the port is the identifier.
    pub source: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
    /// What it carried, or the beginning of it: behind the UDP header, or the whole ICMP message.
    pub payload: &'p [u8],
    /// Whether it was an echo request rather than a datagram.
    pub echo: bool,
}

/// A datagram from inside, or a train of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'f> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// What it carries.
    pub payload: &'f [u8],
}

/// Takes a whole datagram out of its frame.
///
/// # Errors
/// When a header contradicts its standard, a port is zero or the checksum is wrong.
pub fn read_udp<'f>(packet: &Packet<'f>) -> Result<Datagram<'f>, DatagramDrop> {
    let (source, destination) = packet.ip_addresses();
    let l4 = packet.l4();
    let datagram = Udp::parse(l4).map_err(|_| DatagramDrop::Malformed)?;
    if datagram.source_port() == 0 || datagram.destination_port() == 0 {
        return Err(DatagramDrop::Spoofed);
    }
    let whole = packet.is_verified() || checksum_is_right(source, destination, l4, datagram.length());
    if !whole {
        return Err(DatagramDrop::BadChecksum);
    }
    Ok(Datagram {
        source: SocketAddr::new(source, datagram.source_port()),
        destination: SocketAddr::new(destination, datagram.destination_port()),
        payload: &l4[udp::HEADER_LEN..datagram.length()],
    })
}

/// A finished checksum of UDP: right, or missing where it may be (RFC 768, RFC 8200 section 8.1).
pub(super) fn checksum_is_right(source: IpAddr, destination: IpAddr, l4: &[u8], length: usize) -> bool {
    if l4[udp::CHECKSUM_OFFSET..udp::HEADER_LEN] == [0, 0] {
        return source.is_ipv4();
    }
    checksum::pseudo_header(source, destination, protocol::UDP, length)
        .is_some_and(|pseudo| checksum::fold(pseudo + checksum::sum(&l4[..length])) == 0xffff)
}

/// Bytes in front of a datagram's payload in a frame.
#[must_use]
pub const fn udp_header_len(ipv6: bool) -> usize {
    echo_header_len(ipv6) + udp::HEADER_LEN
}

/// Bytes in front of an ICMP message in a frame.
#[must_use]
pub const fn echo_header_len(ipv6: bool) -> usize {
    ethernet::HEADER_LEN + if ipv6 { ipv6::HEADER_LEN } else { ipv4::MIN_HEADER_LEN }
}

/// Puts headers in front of `length` bytes of payload, which lie [`udp_header_len`] bytes into the buffer's receive area,
/// with a partial checksum; with `segment`, of a train of datagrams of that many bytes. `false` when it fits into no
/// packet, or the families differ.
pub fn write_udp(
    out: &mut FrameBuf,
    link: Link,
    from: SocketAddr,
    to: SocketAddr,
    length: usize,
    segment: Option<u16>,
    meta: Meta,
) -> bool {
    let datagram = udp::HEADER_LEN + length;
    let Some((l4, total)) = write_ip(out, link, from.ip(), to.ip(), protocol::UDP, datagram, meta) else {
        return false;
    };
    let (Ok(length16), Ok(start), Ok(offset)) =
        (u16::try_from(datagram), u16::try_from(l4), u16::try_from(udp::CHECKSUM_OFFSET))
    else {
        return false;
    };
    let Some(pseudo) = checksum::pseudo_header(from.ip(), to.ip(), protocol::UDP, datagram) else { return false };
    let header = &mut out.receive_area()[l4..l4 + udp::HEADER_LEN];
    header[..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to.port().to_be_bytes());
    header[4..6].copy_from_slice(&length16.to_be_bytes());
    header[6..].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    let header_len = u16::try_from(l4 + udp::HEADER_LEN).unwrap_or(0);
    let gso = segment.filter(|&size| size > 0 && usize::from(size) < length).map(|size| Gso {
        kind: GsoKind::Udp,
        size,
        header_len,
        ecn: false,
    });
    out.received(total, Offload { checksum: Some(PartialChecksum { start, offset }), gso });
    true
}

/// Puts headers in front of an ICMP echo message of `length` bytes, which lies [`echo_header_len`] bytes into the buffer's
/// receive area, gives it `identifier` and finishes its checksum. `false` when it is none or fits into no packet.
pub fn write_echo(
    out: &mut FrameBuf,
    link: Link,
    from: IpAddr,
    to: IpAddr,
    length: usize,
    identifier: u16,
    meta: Meta,
) -> bool {
    let number = if from.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    if length < icmp::HEADER_LEN {
        return false;
    }
    let Some((l4, total)) = write_ip(out, link, from, to, number, length, meta) else { return false };
    let message = &mut out.receive_area()[l4..l4 + length];
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    finish_icmp(message, from, to);
    out.received(total, Offload::NONE);
    true
}

/// Builds the ICMP error that tells the sender of `quoted` what became of it. `from` is who says so. `false` when the
/// families differ.
pub fn write_error(out: &mut FrameBuf, link: Link, from: IpAddr, quoted: Quoted<'_>, notice: Notice) -> bool {
    let to = quoted.source.ip();
    let (number, longest) = match (from, to, quoted.destination.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_), IpAddr::V4(_)) => (protocol::ICMP, MAX_V4 - ipv4::MIN_HEADER_LEN),
        (IpAddr::V6(_), IpAddr::V6(_), IpAddr::V6(_)) => (protocol::ICMPV6, MAX_V6 - ipv6::HEADER_LEN),
        _ => return false,
    };
    let mut message = vec![0; icmp::HEADER_LEN];
    icmp::write_header(&mut message, notice.kind, notice.code, notice.rest);
    quoted.append(&mut message);
    message.truncate(longest);
    finish_icmp(&mut message, from, to);
    let meta = Meta { tos: INTERNETWORK_CONTROL, ..Meta::default() };
    let Some((l4, total)) = write_ip(out, link, from, to, number, message.len(), meta) else { return false };
    out.receive_area()[l4..l4 + message.len()].copy_from_slice(&message);
    out.received(total, Offload::NONE);
    true
}

impl Quoted<'_> {
    /// The packet as far as it is known: addresses, ports and payload are; the checksum of UDP is said to be missing.
    fn append(&self, message: &mut Vec<u8>) {
        let (source, destination) = (self.source.ip(), self.destination.ip());
        let l4_len = self.payload.len() + if self.echo { 0 } else { udp::HEADER_LEN };
        let length16 = u16::try_from(l4_len).unwrap_or(u16::MAX);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let number = if self.echo { protocol::ICMP } else { protocol::UDP };
                let header_len = u16::try_from(ipv4::MIN_HEADER_LEN).unwrap_or(0);
                let mut header = [0; ipv4::MIN_HEADER_LEN];
                ipv4::write(&mut header, 0, length16.saturating_add(header_len), number, source, destination);
                message.extend(header);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let number = if self.echo { protocol::ICMPV6 } else { protocol::UDP };
                let mut header = [0; ipv6::HEADER_LEN];
                ipv6::write(&mut header, length16, number, ipv4::DEFAULT_TTL, source, destination);
                message.extend(header);
            }
            _ => return,
        }
        if self.echo {
            let at = message.len();
            message.extend(self.payload);
            // The host's socket had an identifier of its own; checksums do not survive a quotation anyway (RFC 5508 REQ-3).
            if let Some(identifier) = message.get_mut(at + 4..at + 6) {
                identifier.copy_from_slice(&self.source.port().to_be_bytes());
            }
        } else {
            message.extend(self.source.port().to_be_bytes());
            message.extend(self.destination.port().to_be_bytes());
            message.extend(length16.to_be_bytes());
            message.extend([0, 0]);
            message.extend(self.payload);
        }
    }
}

/// Cuts a frame into fragments that fit through `mtu`, in order, with `identification`; it is finished first. Empty when
/// nothing fits, or it is no whole packet without a segmentation to do.
#[must_use]
pub fn fragments(packet: &Packet<'_>, mtu: u16, identification: u32) -> Vec<Vec<u8>> {
    if packet.offload().gso.is_some() || packet.fragment() != vswitch_frame::Fragment::None {
        return Vec::new();
    }
    match packet.l3() {
        L3::Ipv4 => {
            let mut fragments = route::fragment(packet, mtu);
            let [.., high, low] = identification.to_be_bytes();
            for frame in &mut fragments {
                if let Ok(mut packet) = Ipv4::parse(&mut frame[packet.l3_offset()..]) {
                    packet.set_identification(u16::from_be_bytes([high, low]));
                    packet.fill_checksum();
                }
            }
            fragments
        }
        L3::Ipv6 => fragments_v6(packet, mtu, identification),
        _ => Vec::new(),
    }
}

/// RFC 8200 section 4.5; the packet has no extension headers, for it was made here.
fn fragments_v6(packet: &Packet<'_>, mtu: u16, identification: u32) -> Vec<Vec<u8>> {
    let mut frame = packet.frame()[..packet.l3_end()].to_vec();
    vswitch_frame::offload::complete_checksum(&mut frame, &mut packet.offload());
    let behind = packet.l3_offset() + ipv6::HEADER_LEN;
    let (head, payload) = frame.split_at(behind);
    let room = usize::from(mtu).saturating_sub(ipv6::HEADER_LEN + ipv6::FRAGMENT_HEADER_LEN) / 8 * 8;
    if room == 0 || packet.l4_offset() != behind {
        return Vec::new();
    }
    let count = payload.len().div_ceil(room);
    let pieces = payload.chunks(room).enumerate().filter_map(|(index, piece)| {
        let offset = u16::try_from(index * room).ok()? | u16::from(index + 1 < count);
        let length = u16::try_from(piece.len() + ipv6::FRAGMENT_HEADER_LEN).ok()?;
        let mut out = head.to_vec();
        let at = packet.l3_offset();
        out[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        out[at + 6] = ipv6::next_header::FRAGMENT;
        out.extend([packet.protocol(), 0]);
        out.extend(offset.to_be_bytes());
        out.extend(identification.to_be_bytes());
        out.extend(piece);
        Some(out)
    });
    pieces.collect()
}

/// Writes the Ethernet and IP headers of a packet with `length` bytes behind them. Returns where those begin and the length
/// of the frame.
fn write_ip(
    out: &mut FrameBuf,
    link: Link,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    length: usize,
    meta: Meta,
) -> Option<(usize, usize)> {
    let area = out.receive_area();
    let l4 = echo_header_len(from.is_ipv6());
    if area.len() < l4 + length {
        return None;
    }
    let (link_header, packet) = area.split_at_mut(ethernet::HEADER_LEN);
    let mut header = ethernet::Ethernet::parse(link_header).ok()?;
    header.set_destination(link.peer);
    header.set_source(link.own);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(ipv4::MIN_HEADER_LEN + length).ok()?;
            header.set_ether_type(EtherType::IPV4);
            ipv4::write(packet, meta.tos, total, protocol, from, to);
            let mut packet = Ipv4::parse(&mut packet[..usize::from(total)]).ok()?;
            // The host's stack has joined what came in fragments: they may be needed again.
            packet.set_fragment(false, false, 0);
            packet.set_ttl(meta.hops);
            packet.fill_checksum();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(length).ok()?;
            header.set_ether_type(EtherType::IPV6);
            ipv6::write(packet, length, protocol, meta.hops, from, to);
            packet[0] |= meta.tos >> 4;
            packet[1] |= meta.tos << 4;
        }
        _ => return None,
    }
    Some((l4, l4 + length))
}

fn finish_icmp(message: &mut [u8], from: IpAddr, to: IpAddr) {
    let pseudo = match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => checksum::pseudo_header_v6(from, to, protocol::ICMPV6, message.len()),
        _ => 0,
    };
    let field = icmp::CHECKSUM_OFFSET..icmp::CHECKSUM_OFFSET + 2;
    message[field.clone()].fill(0);
    let value = !checksum::fold(pseudo + checksum::sum(message));
    message[field].copy_from_slice(&value.to_be_bytes());
}

/// Whether a host can have sent from this address: errors come from nobody else.
#[must_use]
pub fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast())
        }
        IpAddr::V6(address) => {
            let mapped = address.to_ipv4_mapped().is_some() || address == Ipv6Addr::LOCALHOST;
            !(address.is_unspecified() || address.is_multicast() || address.is_unicast_link_local() || mapped)
        }
    }
}

/// RFC 1812 section 4.3.2.3: as much as fits into 576 bytes.
const MAX_V4: usize = 576;
/// RFC 4443 section 2.4 c: as much as fits into the minimum MTU.
const MAX_V6: usize = 1280;
/// RFC 1812 section 4.3.2.5: errors go out with this precedence.
const INTERNETWORK_CONTROL: u8 = 0xc0;
