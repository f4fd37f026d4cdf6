//! From frames to segments and back.

use std::net::{IpAddr, SocketAddr};

use vswitch_frame::ethernet::{self, Ethernet};
use vswitch_frame::ipv4::protocol;
use vswitch_frame::offload::{GsoKind, PartialChecksum};
use vswitch_frame::tcp::{self, Tcp, flag};
use vswitch_frame::{EtherType, Fragment, FrameBuf, Gso, Headers, L3, Offload, checksum};

use super::StreamDrop;
use super::device::Emitted;
use crate::classify::addresses;
use crate::proxy::datagram::wire::Link;

/// A connection as the inside sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The endpoint.
    pub inside: SocketAddr,
    /// Its peer.
    pub outside: SocketAddr,
}

/// What a segment from inside is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) ends: Ends,
    pub(super) flags: u8,
    /// What it acknowledges, if it does nothing else.
    pub(super) pure_ack: Option<u32>,
    /// Of a SYN: the most payload of a segment that the endpoint takes.
    pub(super) mss: Option<u16>,
}

/// The MSS of an endpoint that names none, or zero (RFC 9293 section 3.7.1), and the least that smoltcp keeps to.
const DEFAULT_MSS: u16 = 536;
const LEAST_MSS: u16 = 48;

/// Reads a segment from inside, and checks what smoltcp is told not to.
pub(super) fn read(frame: &[u8], headers: &Headers, offload: &Offload) -> Result<Arrived, StreamDrop> {
    if !matches!(headers.l3(), L3::Ipv4 | L3::Ipv6) || headers.protocol() != protocol::TCP {
        return Err(StreamDrop::Malformed);
    }
    if headers.fragment() != Fragment::None {
        return Err(StreamDrop::Fragment);
    }
    let l4 = headers.l4(frame);
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
    let (source, destination) = addresses(frame, headers);
    match (offload.checksum, offload.gso) {
        (None, None) => {
            let pseudo = checksum::pseudo_header(source, destination, protocol::TCP, l4.len());
            let sum = pseudo.ok_or(StreamDrop::Malformed)? + checksum::sum(l4);
            if checksum::fold(sum) != 0xffff {
                return Err(StreamDrop::BadChecksum);
            }
        }
        (Some(partial), _) => {
            let there = usize::from(partial.start) == headers.l4_offset();
            if !there || usize::from(partial.offset) != tcp::CHECKSUM_OFFSET {
                return Err(StreamDrop::Malformed);
            }
        }
        (None, Some(_)) => return Err(StreamDrop::Malformed),
    }
    let inside = SocketAddr::new(source, segment.source_port());
    let outside = SocketAddr::new(destination, segment.destination_port());
    let pure = flags == flag::ACK && segment.payload().is_empty();
    let pure_ack = pure.then(|| segment.acknowledgment());
    let mss = (flags & flag::SYN != 0).then(|| mss(segment.options()));
    Ok(Arrived { ends: Ends { inside, outside }, flags, pure_ack, mss })
}

/// The maximum segment size of a SYN's options, as smoltcp reads it.
fn mss(options: &[u8]) -> u16 {
    let option = tcp::options(options).find(|option| option.kind == tcp::option::MSS);
    let named = option.and_then(|option| option.data.try_into().ok()).map(u16::from_be_bytes);
    named.filter(|&mss| mss != 0).unwrap_or(DEFAULT_MSS).max(LEAST_MSS)
}

/// Makes a frame of what the stack put behind room for an Ethernet header. Its checksum stays partial, and more payload than
/// the endpoint's `mss` stays in one piece, to be cut up by whoever must.
pub(super) fn finish(out: &mut FrameBuf, emitted: Emitted, (ends, mss): (Ends, u16), link: Link) {
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
    let short = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
    let kind = if ipv6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 };
    // Options are part of a segment's size (RFC 6691).
    let size = mss.saturating_sub(short(header_len - l4 - tcp::MIN_HEADER_LEN)).max(1);
    let large = end.saturating_sub(header_len) > usize::from(size);
    let gso = large.then(|| Gso { kind, size, header_len: short(header_len), ecn: false });
    let checksum = Some(PartialChecksum { start: short(l4), offset: short(tcp::CHECKSUM_OFFSET) });
    out.received(end, Offload { checksum, gso });
}

/// The endpoint of the packet's destination as the stack writes it.
pub(super) const fn endpoint(address: SocketAddr) -> smoltcp::wire::IpEndpoint {
    let ip = match address.ip() {
        IpAddr::V4(address) => smoltcp::wire::IpAddress::Ipv4(address),
        IpAddr::V6(address) => smoltcp::wire::IpAddress::Ipv6(address),
    };
    smoltcp::wire::IpEndpoint { addr: ip, port: address.port() }
}
