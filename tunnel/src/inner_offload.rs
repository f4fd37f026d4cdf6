//! Work that the sender of an inner frame left undone.
//!
//! VXLAN knows no such work, yet it comes. A Linux VTEP leaves an inner TCP or UDP checksum to the last device on the way,
//! and inner segmentation too; where the underlay is a veth pair, or a virtual machine's network card, that device is
//! nobody. Then:
//!
//! - the checksum field holds the sum of the pseudo-header. A finished checksum that happens to be this number is found
//!   right when it is finished again, so nothing is lost by believing it;
//! - a TCP super-frame comes as one packet, longer than any MTU. Its segment size is not told; the largest that fits the
//!   network's MTU is right for every receiver, and mostly what the sender meant;
//! - a UDP super-frame comes with its segment size in the place where the length of a train's packets is told. It differs
//!   from a train in that its first inner packet fills it ([`is_one_packet`]).

use vswitch_frame::ipv4::protocol;
use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::{Fragment, Headers, L3, Offload, checksum, tcp, udp};

use crate::header::LEN;

/// Whether a UDP payload is a single VXLAN packet, by the length that its inner packet has.
#[must_use]
pub fn is_one_packet(payload: &[u8]) -> bool {
    let Some(frame) = payload.get(LEN..) else { return true };
    Headers::parse(frame)
        .is_ok_and(|headers| matches!(headers.l3(), L3::Ipv4 | L3::Ipv6) && headers.l3_end() == frame.len())
}

/// What is left to do on an inner frame with these headers, in a network with this MTU; `datagram`: the size of the datagrams that a UDP
/// super-frame is to be cut into, if the kernel told it.
#[inline]
#[must_use]
pub fn infer_offload(frame: &[u8], headers: &Headers, mtu: u32, datagram: Option<usize>) -> Offload {
    find(frame, headers, mtu, datagram).unwrap_or(Offload::NONE)
}

#[inline]
fn find(frame: &[u8], headers: &Headers, mtu: u32, datagram: Option<usize>) -> Option<Offload> {
    let (offset, least) = match headers.protocol() {
        protocol::TCP => (tcp::CHECKSUM_OFFSET, tcp::MIN_HEADER_LEN),
        protocol::UDP => (udp::CHECKSUM_OFFSET, udp::HEADER_LEN),
        _ => return None,
    };
    let l4 = headers.l4(frame);
    // The kernel sums to the frame's end, so a padded frame cannot be left to it.
    if headers.fragment() != Fragment::None || l4.len() < least || headers.l3_end() != frame.len() {
        return None;
    }
    let l3 = headers.l3_offset();
    let (addresses, tcp_kind) = match headers.l3() {
        L3::Ipv4 => (l3 + 12..l3 + 20, GsoKind::TcpV4),
        L3::Ipv6 => (l3 + 8..l3 + 40, GsoKind::TcpV6),
        _ => return None,
    };
    let rest = u64::from(headers.protocol()) + u64::try_from(l4.len()).ok()?;
    let pseudo = checksum::fold(checksum::sum(&frame[addresses]) + rest);
    if u16::from_be_bytes([l4[offset], l4[offset + 1]]) != pseudo {
        return None;
    }
    let start = u16::try_from(headers.l4_offset()).ok()?;
    let partial = PartialChecksum { start, offset: u16::try_from(offset).ok()? };
    let packet = frame.len() - l3;
    let gso = if usize::try_from(mtu).is_ok_and(|mtu| packet > mtu) || datagram.is_some() {
        let (kind, header) = if headers.protocol() == protocol::TCP {
            (tcp_kind, headers.l4_offset() + usize::from(l4[12] >> 4) * 4)
        } else {
            (GsoKind::Udp, headers.l4_offset() + udp::HEADER_LEN)
        };
        let fitting = usize::try_from(mtu).ok()?.checked_sub(header - l3).filter(|&size| size > 0)?;
        let size = match (kind, datagram) {
            (GsoKind::Udp, told) => told.filter(|&size| size > 0),
            _ => Some(fitting),
        };
        let gso = |size: usize| {
            Some(Gso { kind, size: u16::try_from(size).ok()?, header_len: u16::try_from(header).ok()?, ecn: false })
        };
        size.and_then(gso)
    } else {
        None
    };
    Some(Offload { checksum: Some(partial), gso })
}
