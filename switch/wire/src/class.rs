//! Classes of packets. Read first: IEEE 802.1Q-2018 Annex I (priorities and traffic types), RFC 8622 (lower effort).

use vswitch_frame::{L3, Packet};

/// Where a packet stands among others, 0 to 7: by the priority of its VLAN tag, or else by the first three bits of its DSCP. What
/// says nothing is best effort, and above what asks for less.
pub(crate) fn class_of(packet: &Packet<'_>) -> u8 {
    let tag = packet.vlan_tci().map_or(0, |tci| tci >> 13);
    let at = packet.l3_offset();
    let dscp = match packet.l3() {
        L3::Ipv4 => packet.frame()[at + 1] >> 2,
        L3::Ipv6 => (packet.frame()[at] & 15) << 2 | packet.frame()[at + 1] >> 6,
        _ => 0,
    };
    let priority = match tag {
        0 if dscp == LOWER_EFFORT => BACKGROUND,
        0 => dscp >> 3,
        tag => u8::try_from(tag).unwrap_or(0),
    };
    match priority {
        BACKGROUND => 0,
        0 => 1,
        higher => higher,
    }
}

/// The one priority that is lower than none.
const BACKGROUND: u8 = 1;
const LOWER_EFFORT: u8 = 1;
