//! The hash that keeps a flow on one path of the underlay.

use vswitch_frame::ipv4::protocol;
use vswitch_frame::{Fragment, L3, Packet};

/// Mixes another word in: multiply and fold, as fast hashes do.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves of the product are used")]
const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word) as u128 * 0x9e37_79b9_7f4a_7c15_u128;
    (product as u64) ^ (product >> 64) as u64
}

/// A hash of the flow that a frame belongs to: addresses, protocol and ports of a TCP, UDP or SCTP packet; addresses and
/// protocol of other packets and of fragments, whose parts thus stay together; MAC addresses and EtherType of the rest. A
/// VLAN tag makes another flow.
#[inline]
#[must_use]
pub fn hash(packet: &Packet<'_>) -> u32 {
    let frame = packet.frame();
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&frame[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    let l3 = packet.l3_offset();
    let tag = packet.vlan_tci().map_or(0, |tci| u64::from(tci) | 1 << 16);
    let seed = tag << 8 | u64::from(packet.protocol());
    let addresses = match packet.l3() {
        L3::Ipv4 => mix(seed, word(l3 + 12)),
        L3::Ipv6 => [8, 16, 24, 32].iter().fold(seed, |hash, at| mix(hash, word(l3 + at))),
        _ => mix(
            mix(seed, word(0)),
            u64::from_be_bytes([0, 0, frame[8], frame[9], frame[10], frame[11], frame[12], frame[13]]),
        ),
    };
    let l4 = packet.l4();
    let has_ports = matches!(packet.l3(), L3::Ipv4 | L3::Ipv6)
        && packet.fragment() == Fragment::None
        && matches!(packet.protocol(), protocol::TCP | protocol::UDP | protocol::SCTP);
    let ports = match l4.first_chunk::<4>() {
        Some(ports) if has_ports => u64::from(u32::from_be_bytes(*ports)),
        _ => 0,
    };
    let hash = mix(addresses, ports | 1 << 32);
    u32::try_from(hash >> 32).unwrap_or(0)
}
