//! What the router does to TCP itself: refusing connections to its own addresses, and keeping segments small enough.
//! Read first: RFC 9293 sections 3.5.2 and 3.7.1.

use std::net::IpAddr;

use vswitch_frame::checksum::{self, Update};
use vswitch_frame::ethernet::{EtherType, Ethernet, HEADER_LEN};
use vswitch_frame::ipv4::{self, protocol};
use vswitch_frame::tcp::{self, Tcp, flag, option, options};
use vswitch_frame::{Fragment, FrameBuf, L3, MacAddr, Offload, Packet, PacketMut, ipv6};

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
    let l4 = refused.l4();
    let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    let (asker, asked) = refused.ip_addresses();
    let (sequence, acknowledgment) =
        if segment.is_ack() { (segment.acknowledgment, None) } else { (0, Some(segment.end())) };
    let reset = Reset { from: (asked, port(2)), to: (asker, port(0)), sequence, acknowledgment };
    let l3 = refused.l3_offset();
    let area = out.receive_area();
    area[..l3].copy_from_slice(&refused.frame()[..l3]);
    let (to, from) = refused.addresses();
    if let Ok(mut header) = Ethernet::parse(&mut area[..l3]) {
        header.set_destination(from);
        header.set_source(to);
    }
    reset.finish(l3, out)
}

/// A segment that ends a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Address and port of who says so.
    pub from: (IpAddr, u16),
    /// Of who is told.
    pub to: (IpAddr, u16),
    /// The sequence number that it expects next (RFC 5961 section 3.2: with another one in its window it asks back).
    pub sequence: u32,
    /// What is acknowledged.
    pub acknowledgment: Option<u32>,
}

impl Reset {
    /// Builds the frame that takes it from one station to another into `out`. Returns false for addresses of two families.
    pub fn build(&self, from: MacAddr, to: MacAddr, out: &mut FrameBuf) -> bool {
        if let Ok(mut header) = Ethernet::parse(&mut out.receive_area()[..HEADER_LEN]) {
            header.set_destination(to);
            header.set_source(from);
            header.set_ether_type(if self.to.0.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 });
        }
        self.finish(HEADER_LEN, out)
    }

    /// Puts the packet behind a frame's header.
    fn finish(&self, l3: usize, out: &mut FrameBuf) -> bool {
        let ((from, from_port), (to, to_port)) = (self.from, self.to);
        let area = out.receive_area();
        let ip_header = if from.is_ipv4() { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
        let packet = &mut area[l3..l3 + ip_header + tcp::MIN_HEADER_LEN];
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ipv4::write(packet, 0, RESET_V4_LEN, protocol::TCP, from, to),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                ipv6::write(packet, RESET_LEN, protocol::TCP, ipv4::DEFAULT_TTL, from, to);
            }
            _ => return false,
        }
        let l4 = &mut packet[ip_header..];
        l4.fill(0);
        l4[..2].copy_from_slice(&from_port.to_be_bytes());
        l4[2..4].copy_from_slice(&to_port.to_be_bytes());
        l4[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        l4[8..12].copy_from_slice(&self.acknowledgment.unwrap_or_default().to_be_bytes());
        l4[12] = 0x50;
        l4[13] = if self.acknowledgment.is_some() { flag::RST | flag::ACK } else { flag::RST };
        let Some(pseudo) = checksum::pseudo_header(from, to, protocol::TCP, l4.len()) else { return false };
        let value = !checksum::fold(pseudo + checksum::sum(l4));
        l4[tcp::CHECKSUM_OFFSET..tcp::CHECKSUM_OFFSET + 2].copy_from_slice(&value.to_be_bytes());
        let length = l3 + packet.len();
        out.received(length, Offload::NONE);
        true
    }
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
