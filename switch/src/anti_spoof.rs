//! Whether a frame is from whom it says. Read first: RFC 2827 (ingress filtering), RFC 5227 (ARP probes), RFC 4861/4862
//! (Neighbor Discovery, duplicate address detection), RFC 6980 and RFC 7113 (Neighbor Discovery in fragments), RFC 2131
//! section 4.1 (a DHCP client without an address).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_frame::arp::Arp;
use vswitch_frame::icmp::v6;
use vswitch_frame::ndp::Neighbor;
use vswitch_frame::{DropReason, Fragment, L3, MacAddr, Packet, icmp, ipv4, tcp, udp};

use crate::{Allowed, Identity};

/// Whose claims a port may make.
#[derive(Debug, Clone, Copy)]
struct Claims<'a> {
    identity: &'a Identity,
    allowed: &'a Allowed,
}

impl Claims<'_> {
    fn mac(&self, mac: MacAddr) -> bool {
        mac == self.identity.mac || self.allowed.has_mac(mac)
    }

    fn v4(&self, address: Ipv4Addr) -> bool {
        Some(address) == self.identity.ipv4 || self.allowed.has_ip(IpAddr::V4(address))
    }

    fn v6(&self, address: Ipv6Addr) -> bool {
        Some(address) == self.identity.ipv6
            || address == self.identity.mac.link_local_ipv6()
            || self.allowed.has_ip(IpAddr::V6(address))
    }
}

/// Checks that every claim in a frame is `identity`'s own, or among what it is `allowed` beside: source MAC, ARP sender, source
/// IP address, and the target of a neighbor advertisement. The unspecified address may be used where a standard uses it: in an
/// ARP probe, as the source of Neighbor Discovery before an address is taken, and by who asks a DHCP server for one.
///
/// # Errors
/// The reason to drop the frame.
#[inline(always)]
pub(crate) fn check(
    packet: &Packet<'_>,
    source: MacAddr,
    identity: &Identity,
    allowed: &Allowed,
) -> Result<(), DropReason> {
    // Nearly every frame: not worth a call.
    if source == identity.mac && packet.l3() == L3::Ipv4 && Some(packet.source_v4()) == identity.ipv4 {
        return Ok(());
    }
    check_all(packet, source, identity, allowed)
}

#[inline(never)]
fn check_all(packet: &Packet<'_>, source: MacAddr, identity: &Identity, allowed: &Allowed) -> Result<(), DropReason> {
    let claims = Claims { identity, allowed };
    if !claims.mac(source) {
        return Err(DropReason::SpoofedMac);
    }
    match packet.l3() {
        L3::Ipv4 if claims.v4(packet.source_v4()) || asks_for_an_address(packet) => Ok(()),
        L3::Ipv4 => Err(DropReason::SpoofedIp),
        L3::Ipv6 => check_ipv6(packet, claims),
        L3::Arp => check_arp(packet.ip_packet(), claims),
        L3::Other => Ok(()),
        L3::Malformed => Err(DropReason::Malformed),
    }
}

/// A DHCP client that has no address yet speaks to all, and to the server's port only.
fn asks_for_an_address(packet: &Packet<'_>) -> bool {
    packet.source_v4().is_unspecified()
        && packet.destination_v4().is_broadcast()
        && packet.protocol() == ipv4::protocol::UDP
        && packet.fragment() == Fragment::None
        && udp::Udp::parse(packet.l4())
            .is_ok_and(|datagram| (datagram.source_port(), datagram.destination_port()) == DHCP_PORTS)
}

/// A client's and a server's.
const DHCP_PORTS: (u16, u16) = (68, 67);

fn check_arp(packet: &[u8], claims: Claims<'_>) -> Result<(), DropReason> {
    let arp = Arp::parse(packet).map_err(|_| DropReason::Malformed)?;
    let sender = arp.sender_ip();
    let own = sender == Ipv4Addr::UNSPECIFIED || claims.v4(sender);
    if own && claims.mac(arp.sender_mac()) { Ok(()) } else { Err(DropReason::SpoofedArp) }
}

fn check_ipv6(packet: &Packet<'_>, claims: Claims<'_>) -> Result<(), DropReason> {
    let source = packet.source_v6();
    let own = |address: Ipv6Addr| claims.v6(address);
    let icmp = packet.protocol() == ipv4::protocol::ICMPV6 && packet.fragment() != Fragment::Later;
    let kind = if icmp { packet.l4().first().copied() } else { None };
    match kind {
        _ if !own(source) && source != Ipv6Addr::UNSPECIFIED => Err(DropReason::SpoofedIp),
        _ if packet.fragment() != Fragment::None && source == Ipv6Addr::UNSPECIFIED => Err(DropReason::SpoofedIp),
        _ if packet.fragment() == Fragment::First => check_first_fragment(packet, kind),
        Some(v6::NEIGHBOR_ADVERTISEMENT) => {
            let message = Neighbor::parse(packet.l4()).map_err(|_| DropReason::Malformed)?;
            let mac = message.link_layer_address().unwrap_or(claims.identity.mac);
            if own(message.target()) && claims.mac(mac) { Ok(()) } else { Err(DropReason::SpoofedArp) }
        }
        Some(v6::NEIGHBOR_SOLICITATION) => {
            let message = Neighbor::parse(packet.l4()).map_err(|_| DropReason::Malformed)?;
            let mac = message.link_layer_address().unwrap_or(claims.identity.mac);
            if claims.mac(mac) { Ok(()) } else { Err(DropReason::SpoofedArp) }
        }
        // Advertising a router or redirecting is a claim to be the network's router, which no endpoint is.
        Some(v6::ROUTER_ADVERTISEMENT | v6::REDIRECT) => Err(DropReason::SpoofedArp),
        // MLD reports (RFC 3810 5.2.13) and solicitations may come from the unspecified address; nothing else may.
        Some(131 | 132 | 143 | v6::ROUTER_SOLICITATION) => Ok(()),
        _ if source == Ipv6Addr::UNSPECIFIED => Err(DropReason::SpoofedIp),
        _ => Ok(()),
    }
}

/// A first fragment must show all of the header chain (RFC 7112 section 5), and no Neighbor Discovery comes in fragments (RFC
/// 6980 section 5): else what is checked here could be hidden in the second one. Without their first, later fragments are
/// nothing.
fn check_first_fragment(packet: &Packet<'_>, kind: Option<u8>) -> Result<(), DropReason> {
    let least = match packet.protocol() {
        ipv4::protocol::ICMPV6 => icmp::HEADER_LEN,
        ipv4::protocol::TCP => tcp::MIN_HEADER_LEN,
        ipv4::protocol::UDP => udp::HEADER_LEN,
        _ => 1,
    };
    if packet.l3_end() - packet.l4_offset() < least {
        return Err(DropReason::Malformed);
    }
    match kind {
        Some(v6::ROUTER_SOLICITATION..=v6::REDIRECT) => Err(DropReason::SpoofedArp),
        _ => Ok(()),
    }
}
