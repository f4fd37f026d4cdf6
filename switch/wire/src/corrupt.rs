//! Changes of a packet on its way: flipped bits, and the mark of congestion.

use vswitch_frame::ipv4::protocol;
use vswitch_frame::offload::{Offload, complete_checksum};
use vswitch_frame::{Fragment, L3, Packet, PacketMut, checksum};

use crate::cast::wide;
use crate::impairment::{Area, Corrupt};
use crate::random::Stream;

/// Flips bits in a frame that is no super-frame; its checksum is finished before. Whether there was anything to flip.
pub(crate) fn flip(frame: &mut [u8], offload: &mut Offload, wanted: Corrupt, stream: &mut Stream) -> bool {
    complete_checksum(frame, offload);
    let Ok(packet) = PacketMut::admit(frame, *offload) else { return false };
    let view = packet.view();
    let range = match wanted.area {
        _ if !matches!(view.l3(), L3::Ipv4 | L3::Ipv6) => view.l3_offset()..view.frame().len(),
        Area::Payload => payload_start(&view)..view.l3_end(),
        Area::Header => view.l3_offset()..payload_start(&view),
        Area::Any => view.l3_offset()..view.l3_end(),
    };
    if range.is_empty() {
        return false;
    }
    let l4 = view.l4_offset()..view.l3_end();
    let (addresses, kind) = (view.ip_addresses_of_any(), view.protocol());
    let whole = view.fragment() == Fragment::None;
    let bits = wide(range.len()) * 8;
    // Each bit at most once, so that as many differ as were asked for.
    let mut flipped: Vec<u64> = Vec::new();
    while wide(flipped.len()) < u64::from(wanted.bits).min(bits) {
        let bit = stream.below(bits);
        if !flipped.contains(&bit) {
            flipped.push(bit);
        }
    }
    for bit in flipped {
        let at = range.start + usize::try_from(bit / 8).unwrap_or(0);
        frame[at] ^= 1 << (bit % 8);
    }
    if wanted.fix_checksum
        && whole
        && let Some((source, destination)) = addresses
        && let Some(field) = checksum_field(kind, frame[l4.clone()].len())
    {
        let l4 = &mut frame[l4];
        l4[field..field + 2].fill(0);
        let pseudo = checksum::pseudo_header(source, destination, kind, l4.len()).unwrap_or(0);
        let sum = !checksum::fold(pseudo + checksum::sum(l4));
        let sum = if sum == 0 && kind == protocol::UDP { 0xffff } else { sum };
        l4[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }
    true
}

/// Where what is behind the L4 header begins.
fn payload_start(packet: &Packet<'_>) -> usize {
    let l4 = packet.l4();
    let header = match packet.protocol() {
        _ if packet.fragment() != Fragment::None => 0,
        protocol::TCP => l4.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4),
        protocol::UDP | protocol::ICMP | protocol::ICMPV6 => 8,
        _ => 0,
    };
    (packet.l4_offset() + header).min(packet.l3_end())
}

fn checksum_field(kind: u8, length: usize) -> Option<usize> {
    let field = match kind {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => return None,
    };
    (field + 2 <= length).then_some(field)
}

trait Addresses {
    fn ip_addresses_of_any(&self) -> Option<(std::net::IpAddr, std::net::IpAddr)>;
}

impl Addresses for Packet<'_> {
    fn ip_addresses_of_any(&self) -> Option<(std::net::IpAddr, std::net::IpAddr)> {
        matches!(self.l3(), L3::Ipv4 | L3::Ipv6).then(|| self.ip_addresses())
    }
}

/// Marks a packet as having met congestion (RFC 3168) if its sender takes such marks; whether it did.
pub(crate) fn mark(frame: &mut [u8], l3: L3, at: usize) -> bool {
    match l3 {
        L3::Ipv4 => {
            let tos = frame[at + 1];
            if tos & 3 == 0 {
                return false;
            }
            let old = u16::from_be_bytes([frame[at], tos]);
            frame[at + 1] |= 3;
            let new = u16::from_be_bytes([frame[at], frame[at + 1]]);
            let sum = u16::from_be_bytes([frame[at + 10], frame[at + 11]]);
            let sum = checksum::Update::new().word(old, new).finished(sum);
            frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
            true
        }
        L3::Ipv6 => {
            // The last two bits of the traffic class are bits 4 and 5 of the second byte.
            if frame[at + 1] >> 4 & 3 == 0 {
                return false;
            }
            frame[at + 1] |= 3 << 4;
            true
        }
        _ => false,
    }
}
