//! What the router does to TCP itself: refusing connections to its own addresses, and keeping segments small enough.
//! Read first: RFC 9293 sections 3.5.2 and 3.7.1.

use std::net::IpAddr;

use vswitch_frame::checksum::{self, Update};
use vswitch_frame::ethernet::Ethernet;
use vswitch_frame::ipv4::{self, protocol};
use vswitch_frame::tcp::{self, Tcp, flag, option, options};
use vswitch_frame::{Fragment, FrameBuf, L3, Offload, Packet, PacketMut, ipv6};

use crate::table::tcp::Segment;

/// Builds the reset that refuses a segment that was sent to one of the switch's own addresses, into `out`,
/// ready to leave by the port that the frame came from (G17). Returns false for what must not be answered: a reset, a
/// fragment, another protocol.
pub fn refuse_connection(refused: &Packet<'_>, out: &mut FrameBuf) -> bool {
    if refused.protocol() != protocol::TCP || refused.fragment() != Fragment::None {
        return false;
    }
    let Ok(segment) = Segment::parse(refused.l4()) else { return false };
    if segment.is_rst() {
        return false;
    }
    let (sequence, acknowledgment, flags) = if segment.is_ack() {
        (segment.acknowledgment, 0, flag::RST)
    } else {
        (0, segment.end(), flag::RST | flag::ACK)
    };
    let l3 = refused.l3_offset();
    let (asker, asked) = refused.ip_addresses();
    let ip_header = if refused.l3() == L3::Ipv4 { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    let area = out.receive_area();
    area[..l3].copy_from_slice(&refused.frame()[..l3]);
    let (to, from) = refused.addresses();
    if let Ok(mut header) = Ethernet::parse(&mut area[..l3]) {
        header.set_destination(from);
        header.set_source(to);
    }
    let packet = &mut area[l3..l3 + ip_header + tcp::MIN_HEADER_LEN];
    match (asked, asker) {
        (IpAddr::V4(asked), IpAddr::V4(asker)) => ipv4::write(packet, 0, RESET_V4_LEN, protocol::TCP, asked, asker),
        (IpAddr::V6(asked), IpAddr::V6(asker)) => {
            ipv6::write(packet, RESET_LEN, protocol::TCP, ipv4::DEFAULT_TTL, asked, asker);
        }
        _ => return false,
    }
    let l4 = &mut packet[ip_header..];
    l4.fill(0);
    let ports = refused.l4();
    l4[..2].copy_from_slice(&ports[2..4]);
    l4[2..4].copy_from_slice(&ports[..2]);
    l4[4..8].copy_from_slice(&sequence.to_be_bytes());
    l4[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    l4[12] = 0x50;
    l4[13] = flags;
    let Some(pseudo) = checksum::pseudo_header(asked, asker, protocol::TCP, l4.len()) else { return false };
    let value = !checksum::fold(pseudo + checksum::sum(l4));
    l4[tcp::CHECKSUM_OFFSET..tcp::CHECKSUM_OFFSET + 2].copy_from_slice(&value.to_be_bytes());
    let length = l3 + packet.len();
    out.received(length, Offload::NONE);
    true
}

/// Lowers the maximum segment size that a SYN or SYN-ACK offers to what fits through `mtu` (G24). Returns whether it did.
/// A partial checksum covers no option, so it stays; a finished one is corrected.
pub fn clamp_mss(packet: &mut PacketMut<'_>, mtu: u16) -> bool {
    if packet.protocol() != protocol::TCP || packet.fragment() != Fragment::None {
        return false;
    }
    let ip_header = if packet.l3() == L3::Ipv4 { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    let room = usize::from(mtu).saturating_sub(ip_header + tcp::MIN_HEADER_LEN);
    let Ok(most) = u16::try_from(room) else { return false };
    let finished = packet.view().offload().checksum.is_none();
    let l4 = packet.l4_mut();
    let Ok(segment) = Tcp::parse(&*l4) else { return false };
    if segment.flags() & flag::SYN == 0 {
        return false;
    }
    let found = options(segment.options()).find(|found| found.kind == option::MSS && found.data.len() == 2);
    let Some(found) = found else { return false };
    let (offered, at) = (u16::from_be_bytes([found.data[0], found.data[1]]), tcp::MIN_HEADER_LEN + found.at + 2);
    if offered <= most {
        return false;
    }
    let field = segment.checksum();
    l4[at..at + 2].copy_from_slice(&most.to_be_bytes());
    if finished {
        // At an odd offset the two bytes lie in the other halves of two words (RFC 1071 section 2 B).
        let update = if at.is_multiple_of(2) {
            Update::new().word(offered, most)
        } else {
            Update::new().word(offered.swap_bytes(), most.swap_bytes())
        };
        l4[tcp::CHECKSUM_OFFSET..tcp::CHECKSUM_OFFSET + 2].copy_from_slice(&update.finished(field).to_be_bytes());
    }
    true
}

const RESET_LEN: u16 = 20;
const RESET_V4_LEN: u16 = 40;
