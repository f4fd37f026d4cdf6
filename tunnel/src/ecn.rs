//! Congestion marks across the tunnel. Read first: RFC 6040 sections 4.1 and 4.2. Where it leaves a choice, the choice is
//! Linux's, so that both ends of a tunnel between the two agree.

use vswitch_frame::checksum::Update;
use vswitch_frame::{Headers, L3};

/// The two bits of the TOS field or traffic class that are ECN's (RFC 3168 section 5).
const MASK: u8 = 0b11;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The ECN field of the outer header for an inner packet with this TOS or traffic class. The DSCP is not inherited. A
/// mark that the packet already carries is not repeated outside: it survives inside.
#[must_use]
pub const fn encapsulate(inner_tos: u8) -> u8 {
    match inner_tos & MASK {
        CE => ECT_0,
        ecn => ecn,
    }
}

/// The ECN field of the packet that goes on, for an outer and an inner one; `None`: it must be dropped, as it met
/// congestion and its sender would not learn of it.
#[must_use]
pub const fn decapsulate(outer_tos: u8, inner_tos: u8) -> Option<u8> {
    match (outer_tos & MASK, inner_tos & MASK) {
        (CE, 0) => None,
        (CE, _) => Some(CE),
        (1, ECT_0) => Some(1),
        (_, inner) => Some(inner),
    }
}

/// TOS or traffic class of the IP packet in a frame; 0 when there is none.
#[inline]
#[must_use]
pub fn tos(frame: &[u8], headers: &Headers) -> u8 {
    let at = headers.l3_offset();
    match headers.l3() {
        L3::Ipv4 => frame[at + 1],
        L3::Ipv6 => frame[at] << 4 | frame[at + 1] >> 4,
        _ => 0,
    }
}

/// Changes the ECN field of the IP packet in a frame, and an IPv4 header's checksum with it.
pub fn mark(frame: &mut [u8], headers: &Headers, ecn: u8) {
    let packet = &mut frame[headers.l3_offset()..];
    match headers.l3() {
        L3::Ipv4 => {
            let old = u16::from_be_bytes([packet[0], packet[1]]);
            packet[1] = packet[1] & !MASK | ecn & MASK;
            let new = u16::from_be_bytes([packet[0], packet[1]]);
            let checksum = Update::new().word(old, new).finished(u16::from_be_bytes([packet[10], packet[11]]));
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        L3::Ipv6 => packet[1] = packet[1] & !(MASK << 4) | (ecn & MASK) << 4,
        _ => {}
    }
}
