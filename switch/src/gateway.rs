//! The switch's own leg in a network: it answers ARP, Neighbor Discovery and echo requests.
//!
//! An answer is made in the buffer of the question and goes back to the port that asked. Fragments of a long echo are
//! turned around one by one: they share the identification, so the asker's stack puts the answer together, and the
//! switch keeps no state for it.

use std::net::Ipv6Addr;

use vswitch_frame::arp::{self, Arp};
use vswitch_frame::checksum::Update;
use vswitch_frame::ethernet::{self, Ethernet};
use vswitch_frame::icmp::{self, Icmp, v4, v6};
use vswitch_frame::ipv4::{self, Ipv4, protocol};
use vswitch_frame::ipv6::{self, Ipv6};
use vswitch_frame::ndp::{self, Neighbor};
use vswitch_frame::{DropReason, EtherType, Fragment, FrameBuf, L3, MacAddr, Offload, Packet};

use crate::Gateway;
use crate::verdict::Verdict;

impl Gateway {
    /// Whether a multicast frame asks for this gateway and nobody else: who-has or a solicitation for its address.
    #[must_use]
    pub fn is_asked_for(&self, packet: &Packet<'_>) -> bool {
        if packet.vlan_tci().is_some() {
            return false;
        }
        match packet.l3() {
            L3::Arp => Arp::parse(packet.ip_packet())
                .is_ok_and(|arp| arp.operation() == arp::REQUEST && self.answers_for(arp.target_ip().into())),
            L3::Ipv6 if packet.protocol() == protocol::ICMPV6 && packet.fragment() == Fragment::None => {
                Neighbor::parse(packet.l4())
                    .is_ok_and(|message| message.is_solicitation() && self.answers_for(message.target().into()))
            }
            _ => false,
        }
    }

    /// Whether a frame out of a tunnel is for what the gateway is to other hosts: for one of its addresses there, and nothing to be
    /// passed on.
    #[cold]
    pub(crate) fn is_met_by(&self, packet: &Packet<'_>) -> bool {
        let Some(mesh) = self.mesh.as_ref().filter(|_| packet.vlan_tci().is_none()) else { return false };
        let (destination, _) = packet.addresses();
        let meant = match packet.l3() {
            L3::Arp => Arp::parse(packet.ip_packet()).ok().map(|arp| arp.target_ip().into()),
            L3::Ipv6 if destination.is_multicast() => Neighbor::parse(packet.l4()).ok().map(|ask| ask.target().into()),
            L3::Ipv4 | L3::Ipv6 => Some(packet.ip_addresses().1),
            _ => None,
        };
        (destination == mesh.mac || destination.is_multicast()) && meant.is_some_and(|to| mesh.addresses.contains(&to))
    }

    /// Whether a packet is an echo request to an address that the gateway answers for, which may lead nowhere: it stands there.
    pub(crate) fn answers_echo(&self, packet: &Packet<'_>) -> bool {
        if self.proxied.is_empty() || packet.vlan_tci().is_some() || packet.fragment() != Fragment::None {
            return false;
        }
        let (destination, request) = match packet.l3() {
            L3::Ipv4 if packet.protocol() == protocol::ICMP => (packet.destination_v4().into(), v4::ECHO_REQUEST),
            L3::Ipv6 if packet.protocol() == protocol::ICMPV6 => (packet.destination_v6().into(), v6::ECHO_REQUEST),
            _ => return false,
        };
        packet.l4().first() == Some(&request) && self.proxied.contains(&destination)
    }

    /// Serves a frame addressed to the gateway. `routed`: the router has found that the packet is for the switch, though
    /// perhaps not for its address in this network.
    pub(crate) fn answer(&self, buffer: &mut FrameBuf, routed: bool) -> Verdict {
        let packet = buffer.packet();
        if packet.vlan_tci().is_some() {
            return DropReason::GatewayUnsupported.into();
        }
        match packet.l3() {
            L3::Arp => self.answer_arp(buffer),
            L3::Ipv4 => self.answer_ipv4(buffer, routed),
            L3::Ipv6 => self.answer_ipv6(buffer, routed),
            L3::Other => DropReason::GatewayUnsupported.into(),
            L3::Malformed => DropReason::Malformed.into(),
        }
    }

    fn answer_arp(&self, buffer: &mut FrameBuf) -> Verdict {
        let Ok(mut packet) = Arp::parse(buffer.packet_mut().into_ip_packet()) else {
            return DropReason::Malformed.into();
        };
        if packet.operation() != arp::REQUEST || !self.answers_for(packet.target_ip().into()) {
            return Verdict::Consumed;
        }
        let mac = self.mac_of(packet.target_ip().into());
        packet.answer(mac);
        turn_around(buffer, mac)
    }

    fn answer_ipv4(&self, buffer: &mut FrameBuf, routed: bool) -> Verdict {
        let packet = buffer.packet();
        let destination = packet.destination_v4();
        if !(self.owns(destination.into()) || routed) {
            return DropReason::NotRouted.into();
        }
        if packet.protocol() != protocol::ICMP {
            return DropReason::GatewayUnsupported.into();
        }
        if let Err(verdict) = turn_echo(buffer, Echo { request: v4::ECHO_REQUEST, reply: v4::ECHO_REPLY }) {
            return verdict;
        }
        let Ok(mut packet) = Ipv4::parse(buffer.packet_mut().into_ip_packet()) else {
            return DropReason::Malformed.into();
        };
        let (source, destination) = (packet.source(), packet.destination());
        packet.set_source(destination);
        packet.set_destination(source);
        packet.set_ttl(ipv4::DEFAULT_TTL);
        turn_around(buffer, self.mac_of(destination.into()))
    }

    fn answer_ipv6(&self, buffer: &mut FrameBuf, routed: bool) -> Verdict {
        let packet = buffer.packet();
        let (source, destination) = (packet.source_v6(), packet.destination_v6());
        if packet.protocol() == protocol::ICMPV6
            && packet.fragment() == Fragment::None
            && let Ok(message) = Neighbor::parse(packet.l4())
        {
            let hops = Ipv6::parse(packet.ip_packet()).map(|packet| packet.hop_limit());
            return match (message.is_solicitation(), hops) {
                // RFC 4861 7.1.1: another hop limit shows that a router passed it on.
                (_, Ok(hops)) if hops != ndp::HOP_LIMIT => DropReason::Malformed.into(),
                (true, _) if self.answers_for(message.target().into()) => {
                    let target = message.target();
                    self.advertise(buffer, source, target)
                }
                _ => Verdict::Consumed,
            };
        }
        if destination.is_multicast() {
            return Verdict::Consumed;
        }
        if !(self.owns(destination.into()) || routed) {
            return DropReason::NotRouted.into();
        }
        if packet.protocol() != protocol::ICMPV6 {
            return DropReason::GatewayUnsupported.into();
        }
        if let Err(verdict) = turn_echo(buffer, Echo { request: v6::ECHO_REQUEST, reply: v6::ECHO_REPLY }) {
            return verdict;
        }
        let Ok(mut packet) = Ipv6::parse(buffer.packet_mut().into_ip_packet()) else {
            return DropReason::Malformed.into();
        };
        // Swapped addresses leave the pseudo-header's sum as it is.
        packet.set_source(destination);
        packet.set_destination(source);
        packet.set_hop_limit(ipv4::DEFAULT_TTL);
        turn_around(buffer, self.mac_of(destination.into()))
    }

    fn advertise(&self, buffer: &mut FrameBuf, asker: Ipv6Addr, target: Ipv6Addr) -> Verdict {
        const LEN: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + ndp::LEN_WITH_OPTION;
        let Ok(question) = Ethernet::parse(buffer.frame()) else { return DropReason::Runt.into() };
        let asker_mac = question.source();
        // A solicitation from the unspecified address is a duplicate address check and answered to all nodes
        // (RFC 4861 7.2.4).
        let solicited = !asker.is_unspecified();
        let (destination, mac) = if solicited {
            (asker, asker_mac)
        } else {
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            (all_nodes, MacAddr::ipv6_multicast(all_nodes))
        };
        let own = self.mac_of(target.into());
        let mut reply = [0u8; LEN];
        if let Ok(mut ethernet) = Ethernet::parse(&mut reply[..]) {
            ethernet.set_destination(mac);
            ethernet.set_source(own);
            ethernet.set_ether_type(EtherType::IPV6);
        }
        ndp::write_advertisement(&mut reply[ethernet::HEADER_LEN..], own, target, destination, solicited);
        buffer.fill(&reply, Offload::NONE);
        Verdict::Answer
    }
}

/// Sends the frame back to its source, from this address of the gateway's.
fn turn_around(buffer: &mut FrameBuf, own: MacAddr) -> Verdict {
    let Ok(mut ethernet) = Ethernet::parse(buffer.frame_mut()) else { return DropReason::Runt.into() };
    let asker = ethernet.source();
    ethernet.set_destination(asker);
    ethernet.set_source(own);
    Verdict::Answer
}

/// The types of a family's echo messages.
#[derive(Clone, Copy)]
struct Echo {
    request: u8,
    reply: u8,
}

/// Turns an echo request into its reply; a later fragment of one stays as it is. `Err`: what to do instead.
fn turn_echo(buffer: &mut FrameBuf, echo: Echo) -> Result<(), Verdict> {
    if buffer.offload.gso.is_some() {
        return Err(DropReason::GatewayUnsupported.into());
    }
    if buffer.packet().fragment() == Fragment::Later {
        return Ok(());
    }
    let Ok(mut message) = Icmp::parse(buffer.packet_mut().into_l4()) else { return Err(DropReason::Malformed.into()) };
    if message.kind() != echo.request || message.code() != 0 {
        return Err(if icmp::v4::ECHO_REPLY == message.kind() || v6::ECHO_REPLY == message.kind() {
            Verdict::Consumed
        } else {
            DropReason::GatewayUnsupported.into()
        });
    }
    let word = |kind: u8| u16::from_be_bytes([kind, 0]);
    let checksum = Update::new().word(word(echo.request), word(echo.reply)).finished(message.checksum());
    message.set_kind(echo.reply);
    message.set_checksum(checksum);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use etherparse::PacketBuilder;

    use super::*;
    use crate::Mesh;

    const SHARED: MacAddr = MacAddr::new([2, 0x42, 10, 0, 0, 1]);
    const OWN: MacAddr = MacAddr::new([2, 0, 1, 2, 3, 4]);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
    const FURTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 101);
    const STATION: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    fn udp(mac: MacAddr, to: Ipv4Addr) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], mac.octets());
        builder.ipv4(STATION.octets(), to.octets(), 64).udp(4000, 80).write(&mut frame, b"hello").unwrap();
        frame
    }

    fn who_has(target: Ipv4Addr) -> Vec<u8> {
        let station = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let mut frame = [&MacAddr::BROADCAST.octets()[..], &station.octets(), &[8, 6], &[0; arp::LEN]].concat();
        arp::write(&mut frame[ethernet::HEADER_LEN..], arp::REQUEST, (station, STATION), (MacAddr::ZERO, target));
        frame
    }

    /// Out of a tunnel a gateway is met at the addresses that are its host's alone; nothing is passed on from there, and nobody meets
    /// the gateway that all hosts are.
    #[test]
    fn behind_tunnels() {
        let mut gateway = Gateway {
            mac: SHARED,
            ipv4: Some((GATEWAY, 24)),
            ipv6: None,
            also: vec![SERVICE.into(), FURTHER.into()],
            proxied: Vec::new(),
            beyond: Vec::new(),
            mesh: Some(Mesh { mac: OWN, addresses: vec![SERVICE.into()] }),
        };
        let met = |gateway: &Gateway, frame: &[u8]| gateway.is_met_by(&Packet::finished(frame));
        assert!(met(&gateway, &udp(OWN, SERVICE)) && met(&gateway, &who_has(SERVICE)));
        let beyond = Ipv4Addr::new(198, 51, 100, 1);
        for (mac, to) in [(OWN, GATEWAY), (OWN, FURTHER), (OWN, beyond), (SHARED, SERVICE), (SHARED, GATEWAY)] {
            assert!(!met(&gateway, &udp(mac, to)), "{mac} {to}");
        }
        assert!(!met(&gateway, &who_has(GATEWAY)) && !met(&gateway, &who_has(FURTHER)));
        assert_eq!([GATEWAY, FURTHER, SERVICE].map(|own| gateway.mac_of(own.into())), [SHARED, SHARED, OWN]);
        assert_eq!(gateway.asker(STATION.into()), Some((OWN, SERVICE.into())));
        gateway.mesh = None;
        assert!(!met(&gateway, &udp(OWN, SERVICE)) && !met(&gateway, &who_has(SERVICE)));
        assert_eq!(gateway.asker(STATION.into()), Some((SHARED, GATEWAY.into())));
    }
}
