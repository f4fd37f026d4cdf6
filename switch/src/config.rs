//! What control tells the switch: settings, networks and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rand::SeedableRng;
use rand::rngs::StdRng;
use vswitch_frame::{MacAddr, NetworkIndex};

use crate::l2::{PortFeatures, SnoopingConfig};
use crate::lan::LanMode;

/// Settings of a [`crate::Switch`], fixed at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Pipelines; `None`: as many as there are cores, at most four.
    pub workers: Option<usize>,
    /// Most FDB entries, all networks together.
    pub fdb_capacity: usize,
    /// Seconds after which an entry that was not seen is forgotten.
    pub fdb_ageing_seconds: u64,
    /// Moves of one address in a second after which the loop guard damps it.
    pub loop_guard_moves: u32,
    /// Seconds for which it stays damped.
    pub loop_guard_seconds: u64,
    /// Largest burst and number of receive buffers of each worker.
    pub burst: usize,
    /// How often a worker looks again for frames, yielding the core in between, before it sleeps.
    pub spins: u32,
    /// How many flows the router tracks.
    pub flows: vswitch_nat::table::Limits,
    /// Where everything random comes from that a data path draws, so that a run can be repeated. `None`, which whoever
    /// meets strangers wants: from the system.
    pub seed: Option<u64>,
}

impl Settings {
    /// The source of what the data path draws at random; `stream` keeps its users apart.
    pub(crate) fn rng(&self, stream: u64) -> StdRng {
        match self.seed {
            Some(seed) => StdRng::seed_from_u64(seed ^ stream.rotate_left(32)),
            None => StdRng::from_os_rng(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            workers: None,
            fdb_capacity: 65_536,
            fdb_ageing_seconds: 300,
            loop_guard_moves: 16,
            loop_guard_seconds: 10,
            burst: 64,
            spins: 64,
            flows: vswitch_nat::table::Limits::default(),
            seed: None,
        }
    }
}

/// One broadcast domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Shown in statistics; control keeps it unique.
    pub name: String,
    /// The switch's own leg, if the network has one.
    pub gateway: Option<Gateway>,
    /// Ports may talk to each other (`icc`); otherwise only to the gateway.
    pub inter_port: bool,
    /// Bridges behind its ports are told of each other: spanning tree's frames (01:80:C2:00:00:00) pass, which otherwise go
    /// nowhere, as to a bridge without spanning tree they are a neighbour's own business (IEEE 802.1Q 8.6.3).
    pub forward_bpdus: bool,
    /// It has a leg on a LAN, or is to have one, and its stations meet in this way.
    pub lan: Option<LanMode>,
    /// Frames to groups go to who asked for them.
    pub snooping: Option<SnoopingConfig>,
    /// Largest IP packet in bytes.
    pub mtu: u32,
}

impl NetworkConfig {
    /// A bridge on which everybody reaches everybody, without a leg of the switch's own, for packets of 1500 bytes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> NetworkConfig {
        NetworkConfig {
            name: name.into(),
            gateway: None,
            inter_port: true,
            forward_bpdus: false,
            lan: None,
            snooping: None,
            mtu: 1500,
        }
    }
}

/// The switch's own leg in a network: it answers ARP, ND and echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address and the subnet's prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Its IPv6 address and the subnet's prefix length. It also has the link-local address made from its MAC.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Further addresses that are the switch's own here, in the same subnets or in none.
    pub also: Vec<IpAddr>,
    /// Addresses in the subnets, or link-local ones, that it answers ARP and Neighbor Discovery for, and that are not in the
    /// network: what is sent to them is routed.
    pub proxied: Vec<IpAddr>,
    /// The same of whole parts of the subnets, where others are: echo requests are theirs to answer.
    pub beyond: Vec<Beyond>,
    /// What it is to the other hosts of an overlay network.
    pub mesh: Option<Mesh>,
}

/// Every host of an overlay network has the same gateway, which nobody meets behind a tunnel. Some of its addresses are this host's alone
/// (those of services); by them, and a MAC address of this host's alone, the others meet it as one more station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// Its MAC address there.
    pub mac: MacAddr,
    /// Its addresses there, of those in [`Gateway::also`].
    pub addresses: Vec<IpAddr>,
}

/// A subnet of which only a part is on the network, and the rest behind its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// The subnet.
    pub net: IpNet,
    /// What of it is on the network.
    pub inside: IpNet,
}

impl Beyond {
    fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address) && !self.inside.contains(&address)
    }
}

impl Gateway {
    /// Its addresses with their subnets.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.ipv4.and_then(|(address, length)| IpNet::new(address.into(), length).ok());
        let v6 = self.ipv6.and_then(|(address, length)| IpNet::new(address.into(), length).ok());
        let also = self.also.iter().filter_map(move |&address| {
            let net = if address.is_ipv4() { v4 } else { v6 }.filter(|net| net.contains(&address));
            net.map_or(Some(address.into()), |net| IpNet::new(address, net.prefix_len()).ok())
        });
        v4.into_iter().chain(v6).chain(also)
    }

    /// Whether this is a MAC address of its own.
    #[inline]
    #[must_use]
    pub fn is_at(&self, mac: MacAddr) -> bool {
        mac == self.mac || self.mesh.as_ref().is_some_and(|mesh| mesh.mac == mac)
    }

    /// The MAC address that an address of its own is at.
    #[inline]
    #[must_use]
    pub fn mac_of(&self, address: IpAddr) -> MacAddr {
        match &self.mesh {
            Some(mesh) if mesh.addresses.contains(&address) => mesh.mac,
            _ => self.mac,
        }
    }

    /// As whom it asks for a neighbour of the same family: where other hosts are asked, too, as one whom they know apart.
    #[must_use]
    pub fn asker(&self, target: IpAddr) -> Option<(MacAddr, IpAddr)> {
        let mesh = self.mesh.as_ref().and_then(|mesh| {
            mesh.addresses.iter().find(|own| own.is_ipv4() == target.is_ipv4()).map(|&own| (mesh.mac, own))
        });
        let own = match target {
            IpAddr::V4(_) => self.ipv4.map(|(address, _)| IpAddr::V4(address)),
            IpAddr::V6(_) => self.ipv6.map(|(address, _)| IpAddr::V6(address)),
        };
        mesh.or_else(|| own.map(|own| (self.mac, own)))
    }

    /// Whether frames for the address are for the gateway's MAC address.
    #[must_use]
    pub fn answers_for(&self, address: IpAddr) -> bool {
        self.owns(address) || self.proxied.contains(&address) || self.beyond.iter().any(|part| part.contains(address))
    }

    /// Whether the address is the switch's own here.
    #[must_use]
    pub fn owns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) if self.ipv4.is_some_and(|(own, _)| own == v4) => true,
            IpAddr::V6(v6) if self.ipv6.is_some_and(|(own, _)| own == v6) || v6 == self.mac.link_local_ipv6() => true,
            _ => self.also.contains(&address),
        }
    }
}

/// An attachment point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// Shown in statistics.
    pub name: String,
    /// From [`crate::Switch::add_network`].
    pub network: NetworkIndex,
    /// With it, frames that claim to be from anybody else are dropped (anti-spoofing).
    pub identity: Option<Identity>,
    /// Most learned addresses behind this port; `None`: only the FDB's own bound.
    pub mac_limit: Option<usize>,
    /// For whom its identity may speak beside itself.
    pub allowed: Allowed,
    /// What it asks for at first; [`crate::Switch::set_features`] changes that.
    pub features: PortFeatures,
}

impl PortConfig {
    /// A port of `network` that anybody may be behind.
    #[must_use]
    pub fn new(name: impl Into<String>, network: NetworkIndex) -> PortConfig {
        PortConfig {
            name: name.into(),
            network,
            identity: None,
            mac_limit: None,
            allowed: Allowed::NONE,
            features: PortFeatures::default(),
        }
    }
}

/// Addresses that the station behind a port may use beside its own: of those that it routes for, or of a virtual router that it
/// is at times (VRRP).
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Allowed {
    /// IP addresses.
    pub nets: Vec<IpNet>,
    /// MAC addresses.
    pub macs: Vec<MacAddr>,
}

impl Allowed {
    /// None.
    pub const NONE: Allowed = Allowed { nets: Vec::new(), macs: Vec::new() };

    /// Whether it may speak as this address.
    #[must_use]
    pub fn has_ip(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&address))
    }

    /// Whether it may send from this MAC address.
    #[must_use]
    pub fn has_mac(&self, mac: MacAddr) -> bool {
        self.macs.contains(&mac)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty() && self.macs.is_empty()
    }
}

/// Who is behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address; the link-local address made from its MAC is its own, too.
    pub ipv6: Option<Ipv6Addr>,
}

/// Where a port's frames come from and go to.
#[derive(Debug)]
pub enum PortDevice {
    /// An AF_PACKET socket from [`crate::sys::packet::open`].
    Packet(std::os::fd::OwnedFd),
    /// A TAP descriptor from [`crate::sys::tap::open`].
    Tap(std::os::fd::OwnedFd),
    /// A socket of a virtual machine, or of another program that sends frames.
    Machine(crate::MachineDevice),
    /// The switch's end of a [`crate::memory_link`].
    Memory(crate::MemoryDevice),
    /// A leg on a LAN.
    Lan(crate::lan::LanDevice),
    /// Sockets of the host.
    Host(crate::HostGateway),
    /// A service at the gateways' addresses; made by [`crate::Switch::serve`].
    Service(crate::ServicePort),
    /// An overlay network's way to other hosts; made by [`crate::Switch::add_overlay`].
    Overlay(std::sync::Arc<crate::overlay::OverlayLeg>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    /// The same seed draws the same, each stream something else, and no seed is like no other.
    #[test]
    fn seeds_repeat() {
        let seeded = Settings { seed: Some(7), ..Settings::default() };
        assert_eq!(seeded.rng(1).next_u64(), seeded.rng(1).next_u64());
        assert_ne!(seeded.rng(1).next_u64(), seeded.rng(2).next_u64());
        assert_ne!(Settings::default().rng(1).next_u64(), Settings::default().rng(1).next_u64());
    }
}
