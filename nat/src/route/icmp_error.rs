//! ICMP errors of the router's own. Read first: RFC 1812 section 4.3.2, RFC 1191, RFC 4443 section 2.4, RFC 8201.

use std::net::IpAddr;

use vswitch_frame::icmp::{self, Icmp, v4, v6};
use vswitch_frame::ipv4::{self, protocol};
use vswitch_frame::{Fragment, FrameBuf, L3, MacAddr, Offload, Packet, checksum, ethernet, ipv6};

use super::RouteDrop;
use crate::NatDrop;

/// What the sender of a packet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpError {
    /// The hops are used up: 11/0, in IPv6 3/0.
    HopsExceeded,
    /// No route leads there: 3/0, in IPv6 1/0.
    NoRoute,
    /// The next hop does not answer: 3/1, in IPv6 1/3.
    HostUnreachable,
    /// The switch does not speak this protocol: 3/2, in IPv6 4/1.
    ProtocolUnreachable,
    /// Nobody listens on this port of the switch: 3/3, in IPv6 1/4.
    PortUnreachable,
    /// It may not pass: 3/13, in IPv6 1/1.
    Prohibited,
    /// Longer than the MTU of the way out, in bytes: 3/4, in IPv6 2/0.
    TooBig {
        /// The MTU.
        mtu: u16,
    },
}

/// Who an error comes from: the gateway, in the network of the packet's sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its address, of the packet's family.
    pub address: IpAddr,
}

impl IcmpError {
    /// The error that goes with the translator's drop of a packet from the inside, if one does. Packets from the uplink get
    /// none: it would tell strangers how full the table is.
    #[must_use]
    pub const fn for_nat(reason: NatDrop) -> Option<IcmpError> {
        if reason.is_told_to_sender() { Some(IcmpError::Prohibited) } else { None }
    }

    /// The error that goes with a drop by the router, if one does; `mtu` is that of the way out.
    #[must_use]
    pub const fn for_route(reason: RouteDrop, mtu: u16) -> Option<IcmpError> {
        match reason {
            RouteDrop::HopsExceeded => Some(IcmpError::HopsExceeded),
            RouteDrop::NoRoute => Some(IcmpError::NoRoute),
            RouteDrop::TooBig => Some(IcmpError::TooBig { mtu }),
            RouteDrop::Unresolved => Some(IcmpError::HostUnreachable),
            _ => None,
        }
    }

    /// Builds the error about `frame` into `out`, ready to leave by the port that the frame came from: it quotes the packet
    /// as it arrived, so this is to be called with a frame that is not rewritten yet. Returns false, and leaves `out` as
    /// it was, for a frame that must not be answered (see [`may_be_answered`]) and where families differ.
    pub fn build(self, about: &Packet<'_>, sender: Sender, out: &mut FrameBuf) -> bool {
        let (source, _) = about.ip_addresses();
        if !may_be_answered(about) {
            return false;
        }
        let packet = about.ip_packet();
        let l3 = about.l3_offset();
        let length = match (sender.address, source) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let quoted = packet.len().min(MAX_V4 - ipv4::MIN_HEADER_LEN - icmp::HEADER_LEN);
                let total = ipv4::MIN_HEADER_LEN + icmp::HEADER_LEN + quoted;
                let area = &mut out.receive_area()[l3..l3 + total];
                let Ok(total16) = u16::try_from(total) else { return false };
                ipv4::write(area, INTERNETWORK_CONTROL, total16, protocol::ICMP, from, to);
                let message = &mut area[ipv4::MIN_HEADER_LEN..];
                let (kind, code, rest) = self.in_v4();
                icmp::write_header(message, kind, code, rest);
                message[icmp::HEADER_LEN..].copy_from_slice(&packet[..quoted]);
                finish(message, 0);
                total
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let quoted = packet.len().min(MAX_V6 - ipv6::HEADER_LEN - icmp::HEADER_LEN);
                let payload = icmp::HEADER_LEN + quoted;
                let area = &mut out.receive_area()[l3..l3 + ipv6::HEADER_LEN + payload];
                let Ok(payload16) = u16::try_from(payload) else { return false };
                ipv6::write(area, payload16, protocol::ICMPV6, ipv4::DEFAULT_TTL, from, to);
                let message = &mut area[ipv6::HEADER_LEN..];
                let (kind, code, rest) = self.in_v6();
                icmp::write_header(message, kind, code, rest);
                message[icmp::HEADER_LEN..].copy_from_slice(&packet[..quoted]);
                finish(message, checksum::pseudo_header_v6(from, to, protocol::ICMPV6, payload));
                ipv6::HEADER_LEN + payload
            }
            _ => return false,
        };
        // The frame's own Ethernet header and tags, turned round.
        let area = out.receive_area();
        area[..l3].copy_from_slice(&about.frame()[..l3]);
        let asker = about.addresses().1;
        if let Ok(mut header) = ethernet::Ethernet::parse(&mut area[..l3]) {
            header.set_destination(asker);
            header.set_source(sender.mac);
        }
        out.received(l3 + length, Offload::NONE);
        true
    }

    const fn in_v4(self) -> (u8, u8, u32) {
        match self {
            IcmpError::HopsExceeded => (v4::TIME_EXCEEDED, 0, 0),
            IcmpError::NoRoute => (v4::UNREACHABLE, 0, 0),
            IcmpError::HostUnreachable => (v4::UNREACHABLE, 1, 0),
            IcmpError::ProtocolUnreachable => (v4::UNREACHABLE, 2, 0),
            IcmpError::PortUnreachable => (v4::UNREACHABLE, 3, 0),
            IcmpError::Prohibited => (v4::UNREACHABLE, 13, 0),
            IcmpError::TooBig { mtu } => (v4::UNREACHABLE, 4, mtu as u32),
        }
    }

    const fn in_v6(self) -> (u8, u8, u32) {
        match self {
            IcmpError::HopsExceeded => (v6::TIME_EXCEEDED, 0, 0),
            IcmpError::NoRoute => (v6::UNREACHABLE, 0, 0),
            IcmpError::HostUnreachable => (v6::UNREACHABLE, 3, 0),
            // The pointer is to the next-header field of the fixed header.
            IcmpError::ProtocolUnreachable => (v6::PARAMETER_PROBLEM, 1, 6),
            IcmpError::PortUnreachable => (v6::UNREACHABLE, 4, 0),
            IcmpError::Prohibited => (v6::UNREACHABLE, 1, 0),
            // RFC 8200 section 5: no IPv6 link has less than 1,280.
            IcmpError::TooBig { mtu } => (v6::PACKET_TOO_BIG, 0, if mtu < 1280 { 1280 } else { mtu as u32 }),
        }
    }
}

/// Whether an error may answer a packet at all (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e; G6): not an ICMP error, not
/// a later fragment, not one to many, not one from nobody in particular.
#[must_use]
pub fn may_be_answered(packet: &Packet<'_>) -> bool {
    if !matches!(packet.l3(), L3::Ipv4 | L3::Ipv6) || packet.fragment() == Fragment::Later {
        return false;
    }
    let (source, destination) = packet.ip_addresses();
    let from_somebody = match source {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first != 0 && first < 224 && !address.is_loopback()
        }
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast() && !address.is_loopback(),
    };
    let to_many = destination.is_multicast() || matches!(destination, IpAddr::V4(address) if address.is_broadcast());
    let about_error = Icmp::parse(packet.l4()).is_ok_and(|message| match packet.protocol() {
        // Of ICMP only queries and their answers may be answered: an unknown type could be an error.
        protocol::ICMP => !matches!(message.kind(), 0 | 8 | 13..=18),
        protocol::ICMPV6 => icmp::is_error_v6(message.kind()) || message.kind() == v6::REDIRECT,
        _ => false,
    });
    from_somebody && !to_many && !about_error && !packet.addresses().0.is_multicast()
}

fn finish(message: &mut [u8], pseudo: u64) {
    let value = !checksum::fold(pseudo + checksum::sum(message));
    message[icmp::CHECKSUM_OFFSET..icmp::CHECKSUM_OFFSET + 2].copy_from_slice(&value.to_be_bytes());
}

/// RFC 1812 section 4.3.2.3: as much as fits into 576 bytes.
const MAX_V4: usize = 576;
/// RFC 4443 section 2.4 c: as much as fits into the minimum MTU.
const MAX_V6: usize = 1280;
/// RFC 1812 section 4.3.2.5: errors go out with this precedence.
const INTERNETWORK_CONTROL: u8 = 0xc0;
