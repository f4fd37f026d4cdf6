//! From a frame to what the connection table wants to know of it.

use vswitch_frame::crc32c::crc32c;
use vswitch_frame::icmp::{self, Icmp};
use vswitch_frame::udp::Udp;
use vswitch_frame::{Fragment, L3, Packet, checksum};

use crate::NatDrop;
use crate::quotation::Quotation;
use crate::table::tcp::Segment;
use crate::tuple::{Protocol, Tuple, is_query, is_query_reply};

/// What a packet is.
#[derive(Debug, Clone)]
pub(crate) enum Class {
    /// Of a flow, or opening one.
    Flow { tuple: Tuple, segment: Option<Segment> },
    /// An ICMP error about a packet of a flow.
    Error(Quotation),
}

/// Reads the L4 header of a whole datagram or of a first fragment.
#[inline(always)]
pub(crate) fn classify(packet: &Packet<'_>) -> Result<Class, NatDrop> {
    let (source, destination) = packet.ip_addresses();
    let protocol = Protocol(packet.protocol());
    let l4 = packet.l4();
    let is_first = packet.fragment() == Fragment::First;
    if protocol.has_ports() {
        if is_first && l4.len() < header_len(protocol) {
            return Err(NatDrop::FragmentTiny);
        }
        let segment = match protocol {
            Protocol::TCP => Some(Segment::parse(l4).map_err(|_| NatDrop::Malformed)?),
            Protocol::UDP if !is_first => {
                Udp::parse(l4).map_err(|_| NatDrop::Malformed)?;
                None
            }
            _ if l4.len() < header_len(protocol) => return Err(NatDrop::Malformed),
            _ => None,
        };
        verify(packet, protocol)?;
        let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
        let (from, to) = (port(0), port(2));
        if from == 0 || to == 0 || (source, from) == (destination, to) {
            return Err(NatDrop::BadTuple);
        }
        let tuple = Tuple::addresses(protocol, source, destination);
        return Ok(Class::Flow { tuple: tuple.with_source(source, from).with_destination(destination, to), segment });
    }
    if source == destination {
        return Err(NatDrop::BadTuple);
    }
    let own_icmp = if source.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
    if protocol.is_icmp() && protocol != own_icmp {
        return Err(NatDrop::Malformed);
    }
    if !protocol.is_icmp() {
        return Ok(Class::Flow { tuple: Tuple::addresses(protocol, source, destination), segment: None });
    }
    let message = Icmp::parse(l4).map_err(|_| if is_first { NatDrop::FragmentTiny } else { NatDrop::Malformed })?;
    verify(packet, protocol)?;
    let kind = message.kind();
    if is_query(protocol, kind) || is_query_reply(protocol, kind) {
        if message.code() != 0 {
            return Err(NatDrop::UnknownIcmp);
        }
        return Ok(Class::Flow { tuple: Tuple::query(source, destination, kind, message.identifier()), segment: None });
    }
    match (protocol, kind) {
        (Protocol::ICMP, icmp::v4::REDIRECT) | (Protocol::ICMPV6, icmp::v6::REDIRECT) => Err(NatDrop::Redirect),
        (Protocol::ICMP, _) if icmp::is_error_v4(kind) => Quotation::read_v4(message.payload()).map(Class::Error),
        // RFC 4443 section 2.1: of the types below 128 these four are assigned.
        (Protocol::ICMPV6, 1..=4) => Quotation::read_v6(message.payload()).map(Class::Error),
        _ => Err(NatDrop::UnknownIcmp),
    }
}

/// The bytes of L4 header that must be there.
const fn header_len(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => vswitch_frame::tcp::MIN_HEADER_LEN,
        Protocol::SCTP => SCTP_HEADER_LEN,
        _ => vswitch_frame::udp::HEADER_LEN,
    }
}

/// RFC 9260 section 3.1: ports, verification tag, checksum.
pub(crate) const SCTP_HEADER_LEN: usize = 12;

/// Checks the L4 checksum where there is a finished one over a whole datagram. A partial one is this packet's own.
#[inline]
fn verify(packet: &Packet<'_>, protocol: Protocol) -> Result<(), NatDrop> {
    let l4 = packet.l4();
    if packet.is_verified() || packet.fragment() != Fragment::None {
        return Ok(());
    }
    let good = match protocol {
        Protocol::ICMP => checksum::checksum(l4) == 0,
        Protocol::SCTP => {
            // The checksum is the CRC over the packet with zeros in its place (RFC 9260 section 6.8).
            let stored = [l4[8], l4[9], l4[10], l4[11]];
            crc32c(&[&l4[..8], &[0; 4], &l4[SCTP_HEADER_LEN..]]).to_le_bytes() == stored
        }
        Protocol::UDP if l4[6..8] == [0, 0] => packet.l3() == L3::Ipv4,
        Protocol::UDP => {
            let length = usize::from(u16::from_be_bytes([l4[4], l4[5]]));
            pseudo_sum_is_right(packet, protocol, &l4[..length])
        }
        _ => pseudo_sum_is_right(packet, protocol, l4),
    };
    if good { Ok(()) } else { Err(NatDrop::BadChecksum) }
}

#[inline]
fn pseudo_sum_is_right(packet: &Packet<'_>, protocol: Protocol, l4: &[u8]) -> bool {
    let pseudo = if packet.l3() == L3::Ipv4 {
        checksum::pseudo_header_v4(packet.source_v4(), packet.destination_v4(), protocol.0, l4.len())
    } else {
        checksum::pseudo_header_v6(packet.source_v6(), packet.destination_v6(), protocol.0, l4.len())
    };
    checksum::fold(pseudo + checksum::sum(l4)) == 0xffff
}

/// Where the checksum lies in the L4 header.
pub(crate) const fn checksum_offset(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(vswitch_frame::tcp::CHECKSUM_OFFSET),
        Protocol::UDP => Some(vswitch_frame::udp::CHECKSUM_OFFSET),
        Protocol::ICMP | Protocol::ICMPV6 => Some(icmp::CHECKSUM_OFFSET),
        Protocol::SCTP => Some(8),
        _ => None,
    }
}
