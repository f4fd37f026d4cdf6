//! Frames that no router forwards (RFC 1812 section 5.3).

use std::net::IpAddr;

use ipnet::IpNet;
use vswitch_frame::ipv4::Ipv4;
use vswitch_frame::{L3, Packet};

vswitch_frame::reasons! {
    /// Why the router dropped a frame. Counters are indexed by it.
    pub enum RouteDrop {
        /// Not an IP packet, or one whose header contradicts itself (G2).
        Malformed = "malformed",
        /// The IPv4 header checksum is wrong (G2).
        BadHeaderChecksum = "bad-header-checksum",
        /// A source address that no host has, or the switch's own (G8).
        Martian = "martian",
        /// A source address that is not of the interface's subnets (G9).
        SpoofedSource = "spoofed-source",
        /// A destination that is not forwarded: loopback, unspecified, multicast, broadcast, link-local (G10, G13).
        NotForwardable = "not-forwardable",
        /// A unicast packet in a broadcast frame (G14).
        LinkBroadcast = "link-broadcast",
        /// A source route option (G15).
        SourceRouted = "source-routed",
        /// Its hops are used up (G1).
        HopsExceeded = "hops-exceeded",
        /// No route leads there (G11).
        NoRoute = "no-route",
        /// Too long for the way out, and not to be fragmented (G4).
        TooBig = "too-big",
        /// The next hop does not answer (G12).
        Unresolved = "unresolved",
        /// Too many packets wait for next hops.
        QueueFull = "queue-full",
    }
}

/// Which sources an interface's frames may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// Those of its own subnets: a network's gateway leg.
    OwnSubnets,
    /// Any unicast address: the uplink.
    Any,
}

/// What the router knows of the interface that a frame came from.
#[derive(Debug, Clone)]
pub struct Interface {
    /// The switch's addresses on it, each with its subnet.
    pub addresses: Vec<IpNet>,
    /// What it answers for there and routes, and on the uplink, who speaks there: link-local addresses, too, which are forwarded
    /// nowhere else.
    pub proxied: Vec<IpAddr>,
    /// Which sources its frames may have.
    pub sources: Sources,
}

impl Interface {
    /// Whether the switch has this address here.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.addr() == address)
    }

    fn covers(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.contains(&address))
    }

    /// Whether this is the broadcast address of one of its IPv4 subnets, or the network's own.
    fn is_subnet_broadcast(&self, address: IpAddr) -> bool {
        let edge = |net: &IpNet| net.prefix_len() < 31 && (net.broadcast() == address || net.network() == address);
        self.addresses.iter().any(|net| net.addr().is_ipv4() && edge(net))
    }
}

/// Checks a frame that was sent to the gateway's MAC address, or broadcast.
///
/// # Errors
/// Why it is to be dropped, without an answer.
pub fn check(interface: &Interface, packet: &Packet<'_>) -> Result<(), RouteDrop> {
    match packet.l3() {
        L3::Ipv4 => check_ipv4(packet.ip_packet())?,
        L3::Ipv6 => {}
        L3::Arp | L3::Other | L3::Malformed => return Err(RouteDrop::Malformed),
    }
    let (source, destination) = packet.ip_addresses();
    let class_e = matches!(source, IpAddr::V4(address) if address.octets()[0] >= 240);
    if !is_host(source) || class_e || interface.has(source) || interface.is_subnet_broadcast(source) {
        return Err(RouteDrop::Martian);
    }
    if !is_link_local(source) && interface.sources == Sources::OwnSubnets && !interface.covers(source) {
        return Err(RouteDrop::SpoofedSource);
    }
    let to_here = interface.has(destination);
    if !to_here {
        let opened = |address| interface.proxied.contains(&address);
        let from_link = is_link_local(source) && !(interface.sources == Sources::Any && opened(source));
        let link_local = from_link || (is_link_local(destination) && !opened(destination));
        if !is_host(destination) || interface.is_subnet_broadcast(destination) || link_local {
            return Err(RouteDrop::NotForwardable);
        }
    }
    if packet.addresses().0.is_multicast() {
        return Err(RouteDrop::LinkBroadcast);
    }
    Ok(())
}

fn check_ipv4(packet: &[u8]) -> Result<(), RouteDrop> {
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    let packet = Ipv4::parse(packet).map_err(|_| RouteDrop::Malformed)?;
    if !packet.checksum_ok() {
        return Err(RouteDrop::BadHeaderChecksum);
    }
    // IP options are laid out as TCP's are: 0 ends, 1 pads, else kind and length.
    let mut options = vswitch_frame::tcp::options(packet.options());
    if options.any(|option| matches!(option.kind, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE)) {
        return Err(RouteDrop::SourceRouted);
    }
    Ok(())
}

/// Whether one host on some network can have this address. (Of 240/4 too, as a
/// destination: it has no route, which its sender is told.)
fn is_host(address: IpAddr) -> bool {
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return false;
    }
    match address {
        IpAddr::V4(address) => address.octets()[0] != 0 && !address.is_broadcast(),
        IpAddr::V6(address) => address.to_ipv4_mapped().is_none(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
