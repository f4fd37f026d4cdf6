//! Asking for neighbours, and hearing of them.

use std::net::{IpAddr, Ipv6Addr};

use vswitch_frame::arp::{self, Arp};
use vswitch_frame::ethernet::{Ethernet, HEADER_LEN};
use vswitch_frame::ipv4::protocol;
use vswitch_frame::ipv6::{self, Ipv6};
use vswitch_frame::ndp::{self, Neighbor};
use vswitch_frame::{EtherType, FrameBuf, L3, MacAddr, Offload, Packet, checksum};

use super::News;

/// A question: who has `target`?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// The asker's MAC address.
    pub mac: MacAddr,
    /// The asker's address on the leg.
    pub source: IpAddr,
    /// Who is asked for, of the same family.
    pub target: IpAddr,
    /// To whom the question goes; to all who may know if not given.
    pub to: Option<MacAddr>,
}

impl Solicitation {
    /// Builds the ARP request or neighbor solicitation into `out`. Returns false where families differ.
    pub fn build(self, out: &mut FrameBuf) -> bool {
        let area = out.receive_area();
        let (length, ether_type, group) = match (self.source, self.target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                let packet = &mut area[HEADER_LEN..HEADER_LEN + arp::LEN];
                arp::write(packet, arp::REQUEST, (self.mac, source), (MacAddr::ZERO, target));
                (arp::LEN, EtherType::ARP, MacAddr::BROADCAST)
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                let length = ndp::write_solicitation(&mut area[HEADER_LEN..], self.mac, source, target);
                (length, EtherType::IPV6, MacAddr::ipv6_multicast(ndp::solicited_node(target)))
            }
            _ => return false,
        };
        if let Ok(mut header) = Ethernet::parse(&mut area[..HEADER_LEN]) {
            header.set_destination(self.to.unwrap_or(group));
            header.set_source(self.mac);
            header.set_ether_type(ether_type);
        }
        out.received(HEADER_LEN + length, Offload::NONE);
        true
    }
}

/// An announcement: `address` is at `mac` now. Whoever knows it elsewhere corrects that, and switches learn the port (RFC 5227
/// section 2.3, RFC 4861 section 7.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// Where it is.
    pub mac: MacAddr,
    /// Who is there.
    pub address: IpAddr,
}

impl Announcement {
    /// Builds the gratuitous ARP request or unsolicited neighbor advertisement into `out`.
    pub fn build(self, out: &mut FrameBuf) {
        let area = out.receive_area();
        let (length, ether_type, group) = match self.address {
            IpAddr::V4(address) => {
                let packet = &mut area[HEADER_LEN..HEADER_LEN + arp::LEN];
                arp::write(packet, arp::REQUEST, (self.mac, address), (MacAddr::ZERO, address));
                (arp::LEN, EtherType::ARP, MacAddr::BROADCAST)
            }
            IpAddr::V6(address) => {
                let packet = &mut area[HEADER_LEN..];
                let length = ndp::write_host_advertisement(packet, self.mac, address, ALL_NODES, false);
                (length, EtherType::IPV6, MacAddr::ipv6_multicast(ALL_NODES))
            }
        };
        if let Ok(mut header) = Ethernet::parse(&mut area[..HEADER_LEN]) {
            header.set_destination(group);
            header.set_source(self.mac);
            header.set_ether_type(ether_type);
        }
        out.received(HEADER_LEN + length, Offload::NONE);
    }
}

/// RFC 4291 section 2.7.1.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What an ARP packet or a Neighbor Discovery message says of a neighbour: its address, its MAC address, and how it was
/// said. Nothing for other frames, for probes, and for messages that do not hold (RFC 4861 section 7.1).
#[must_use]
pub fn heard(packet: &Packet<'_>) -> Option<(IpAddr, MacAddr, News)> {
    match packet.l3() {
        L3::Arp => {
            let arp = Arp::parse(packet.ip_packet()).ok()?;
            // To all, a reply answers nobody: it announces, as a request for its own address does.
            let answers = arp.operation() == arp::REPLY && !packet.addresses().0.is_multicast();
            let news = if answers { News::Answer } else { News::Hint };
            let sender = arp.sender_ip();
            (!sender.is_unspecified()).then(|| (sender.into(), arp.sender_mac(), news))
        }
        L3::Ipv6 if packet.protocol() == protocol::ICMPV6 => {
            let hops = Ipv6::parse(packet.ip_packet()).ok()?.hop_limit();
            let (source, destination) = (packet.source_v6(), packet.destination_v6());
            let l4 = packet.l4();
            let pseudo = checksum::pseudo_header_v6(source, destination, protocol::ICMPV6, l4.len());
            let direct = packet.l4_offset() - packet.l3_offset() == ipv6::HEADER_LEN;
            if hops != ndp::HOP_LIMIT || !direct || checksum::fold(pseudo + checksum::sum(l4)) != 0xffff {
                return None;
            }
            let message = Neighbor::parse(l4).ok()?;
            let mac = message.link_layer_address()?;
            if message.is_solicitation() {
                return (!source.is_unspecified()).then_some((source.into(), mac, News::Hint));
            }
            let solicited = !destination.is_multicast();
            Some((message.target().into(), mac, if solicited { News::Answer } else { News::Hint }))
        }
        _ => None,
    }
}
