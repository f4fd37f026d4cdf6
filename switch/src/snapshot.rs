//! What the workers see of the configuration: an immutable table that control replaces as a whole.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use vswitch_frame::{Generation, MacAddr, NetworkIndex, NetworkRef, PortId};
use vswitch_nat::route::{Interface, NeighbourLimits, Neighbours, Sources};

use crate::l2::Features;
use crate::lab::{Lab, On, Shared, Tap};
use crate::overlay::{NetworkLeg, OverlayLeg, VtepId, VtepPlan};
use crate::port::{Port, ServicePort};
use crate::router::{self, NeighbourTable, Plan};
use crate::{Counters, NetworkConfig, Openings};

/// Networks and ports by index, of one generation.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Grows by one with every change.
    pub generation: Generation,
    /// By [`NetworkIndex`].
    pub networks: Vec<Option<Arc<Network>>>,
    /// By [`PortId`].
    pub ports: Vec<Option<Arc<Port>>>,
    /// What the router does; without it, nothing leaves a network.
    pub router: Option<Arc<Plan>>,
    /// The port of the service at the gateways' addresses.
    pub service: Option<PortId>,
    /// By [`VtepId`].
    pub vteps: Vec<Option<Arc<VtepPlan>>>,
    /// Who looks at frames; without it, nobody does.
    pub lab: Option<Arc<Lab>>,
}

/// One broadcast domain.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its index in the snapshot.
    pub index: NetworkIndex,
    /// The generation that it came with, which tells it from others that have the index before or after it.
    pub since: Generation,
    /// What control said.
    pub config: NetworkConfig,
    /// What passes though its stations are isolated from each other.
    pub openings: Arc<Openings>,
    /// Its ports, which a flood goes to.
    pub members: Vec<PortId>,
    /// Its way to other hosts, if it is an overlay network; also one of its members.
    pub leg: Option<NetworkLeg>,
    /// The port of its leg on a LAN, also one of its members.
    pub lan: Option<PortId>,
    /// What its ports ask for beyond learning and flooding; without it, nobody does.
    pub features: Option<Arc<Features>>,
    /// What ports counted that are gone; shared by all generations of this network.
    pub retired: Arc<Mutex<Counters>>,
    /// Whether its policy, or something else that the translator knows, decides on what its stations send each other.
    pub(crate) policed: bool,
    /// Whether it has services, whose answers the bridge does not carry as they are.
    pub(crate) balanced: bool,
    /// The router's interface here.
    pub(crate) interface: Interface,
    /// The router's neighbours here; shared by all generations of this network.
    pub(crate) neighbours: Arc<NeighbourTable>,
}

impl Network {
    /// A network without ports.
    #[must_use]
    pub fn new(index: NetworkIndex, since: Generation, config: NetworkConfig) -> Self {
        let interface = router::interface(config.gateway.as_ref(), Sources::OwnSubnets);
        let neighbours = Arc::new(Mutex::new(Neighbours::new(NeighbourLimits::default())));
        let features = Features::of(&config);
        Network {
            index,
            since,
            config,
            openings: Arc::default(),
            members: Vec::new(),
            leg: None,
            policed: false,
            balanced: false,
            lan: None,
            features,
            retired: Arc::default(),
            interface,
            neighbours,
        }
    }

    /// It, to be kept beyond a burst.
    #[must_use]
    pub const fn to_ref(&self) -> NetworkRef {
        NetworkRef { index: self.index, since: self.since }
    }

    /// The gateway's MAC address, and its address of a family.
    pub(crate) fn gateway_address(&self, v4: bool) -> Option<(MacAddr, IpAddr)> {
        let gateway = self.config.gateway.as_ref()?;
        let v6 = || gateway.ipv6.map(|(address, _)| IpAddr::V6(address));
        let address = if v4 { gateway.ipv4.map(|(address, _)| IpAddr::V4(address)) } else { v6() };
        address.map(|address| (gateway.mac, address))
    }
}

impl Snapshot {
    /// The network with this index.
    #[inline]
    #[must_use]
    pub fn network(&self, index: NetworkIndex) -> Option<&Arc<Network>> {
        self.networks.get(index.index())?.as_ref()
    }

    /// A network that was kept beyond a burst, if it is still there.
    #[inline]
    #[must_use]
    pub fn network_of(&self, kept: NetworkRef) -> Option<&Arc<Network>> {
        self.network(kept.index).filter(|network| network.since == kept.since)
    }

    /// The port with this index.
    #[inline]
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&Arc<Port>> {
        self.ports.get(id.index())?.as_ref()
    }

    /// The VTEP with this index.
    #[inline]
    #[must_use]
    pub fn vtep(&self, id: VtepId) -> Option<&Arc<VtepPlan>> {
        self.vteps.get(id.index())?.as_ref()
    }

    /// Keeps those taps of which `rest` leaves something; the others, which are to be closed.
    pub(crate) fn retain_taps(&mut self, rest: impl Fn(&Tap) -> Option<On>) -> Vec<Arc<Shared>> {
        let Some(lab) = &self.lab else { return Vec::new() };
        let (lab, gone) = lab.without(rest);
        self.lab = lab;
        gone
    }

    /// The service at the gateways' addresses, and its port.
    #[inline]
    pub(crate) fn service(&self) -> Option<(PortId, &ServicePort)> {
        let id = self.service?;
        Some((id, self.port(id)?.service()?))
    }

    /// The legs of all overlay networks, with their ports.
    pub(crate) fn legs(&self) -> impl Iterator<Item = (&Port, &Arc<OverlayLeg>)> {
        self.ports.iter().flatten().filter_map(|port| Some((&**port, port.overlay()?)))
    }
}

/// Puts `value` at `index`, growing the table as needed.
pub(crate) fn put<T>(table: &mut Vec<Option<T>>, index: usize, value: Option<T>) {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    table[index] = value;
}
