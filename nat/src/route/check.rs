//! Frames that no router forwards (RFC 1812 section 5.3).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use vswitch_frame::ipv4::Ipv4;
use vswitch_frame::{Headers, L3, addresses};

/// Why the router dropped a frame. Counters are indexed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RouteDrop {
    /// Not an IP packet, or one whose header contradicts itself (G2).
    Malformed,
    /// The IPv4 header checksum is wrong (G2).
    BadHeaderChecksum,
    /// A source address that no host has, or the switch's own (G8).
    Martian,
    /// A source address that is not of the interface's subnets (G9).
    SpoofedSource,
    /// A destination that is not forwarded: loopback, unspecified, multicast, broadcast, link-local (G10, G13).
    NotForwardable,
    /// A unicast packet in a broadcast frame (G14).
    LinkBroadcast,
    /// A source route option (G15).
    SourceRouted,
    /// Its hops are used up (G1).
    HopsExceeded,
    /// No route leads there (G11).
    NoRoute,
    /// Too long for the way out, and not to be fragmented (G4).
    TooBig,
    /// The next hop does not answer (G12).
    Unresolved,
    /// Too many packets wait for next hops.
    QueueFull,
}

impl RouteDrop {
    /// Every reason, in the order of the counters.
    pub const ALL: [RouteDrop; 12] = [
        RouteDrop::Malformed,
        RouteDrop::BadHeaderChecksum,
        RouteDrop::Martian,
        RouteDrop::SpoofedSource,
        RouteDrop::NotForwardable,
        RouteDrop::LinkBroadcast,
        RouteDrop::SourceRouted,
        RouteDrop::HopsExceeded,
        RouteDrop::NoRoute,
        RouteDrop::TooBig,
        RouteDrop::Unresolved,
        RouteDrop::QueueFull,
    ];

    /// The counter's index.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that the API and the command line use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RouteDrop::Malformed => "malformed",
            RouteDrop::BadHeaderChecksum => "bad-header-checksum",
            RouteDrop::Martian => "martian",
            RouteDrop::SpoofedSource => "spoofed-source",
            RouteDrop::NotForwardable => "not-forwardable",
            RouteDrop::LinkBroadcast => "link-broadcast",
            RouteDrop::SourceRouted => "source-routed",
            RouteDrop::HopsExceeded => "hops-exceeded",
            RouteDrop::NoRoute => "no-route",
            RouteDrop::TooBig => "too-big",
            RouteDrop::Unresolved => "unresolved",
            RouteDrop::QueueFull => "queue-full",
        }
    }
}

impl fmt::Display for RouteDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for RouteDrop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
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
pub fn check(interface: &Interface, frame: &[u8], headers: &Headers) -> Result<(), RouteDrop> {
    match headers.l3() {
        L3::Ipv4 => check_ipv4(headers.packet(frame))?,
        L3::Ipv6 => {}
        L3::Arp | L3::Other | L3::Malformed => return Err(RouteDrop::Malformed),
    }
    let (source, destination) = headers.ip_addresses(frame);
    let class_e = matches!(source, IpAddr::V4(address) if address.octets()[0] >= 240);
    if !is_host(source) || class_e || interface.has(source) || interface.is_subnet_broadcast(source) {
        return Err(RouteDrop::Martian);
    }
    if !is_link_local(source) && interface.sources == Sources::OwnSubnets && !interface.covers(source) {
        return Err(RouteDrop::SpoofedSource);
    }
    let to_here = interface.has(destination);
    if !to_here {
        let link_local = is_link_local(source) || is_link_local(destination);
        if !is_host(destination) || interface.is_subnet_broadcast(destination) || link_local {
            return Err(RouteDrop::NotForwardable);
        }
    }
    if addresses(frame).0.is_multicast() {
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
