//! The routed leg: what happens to frames that are sent *through* a network's gateway.
//!
//! The engines are pure and live in `vswitch-nat`; this is their shell. One [`Router`] serves all workers. Control gives
//! it a [`Plan`] as part of each snapshot: which network is the uplink, what is translated, which routes there are.
//!
//! In the order in which a frame meets them ([`forward`]): checks of source and destination; the flow that it belongs to
//! or opens; the route; time to live and MTU; translation; the next hop's MAC address ([`next_hop`]). What cannot go on is
//! answered with an ICMP error where a router answers, within the rate limits, and counted.
//!
//! The uplink is a network like any other: its gateway is the switch's own address on it, its port is the interface that
//! was handed over. So ARP, ND and echo towards the outside are answered by the same code.
//!
//! Frames of the router's own making (errors, questions for neighbours, fragments) are built in spare buffers behind the
//! burst's own ([`Spare`]); when none is left, that is a counted drop.

pub(crate) mod forward;
pub(crate) mod next_hop;
mod tick;

pub use tick::Chores;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, Weak};

use vswitch_frame::reason::SharedTally;
use vswitch_frame::{FrameBuf, MacAddr, NetworkIndex, OwnedPacket, PortId, Timestamp};
use vswitch_nat::route::{ErrorLimiter, Hop, Interface, Neighbours, Route, RouteDrop, RouteTable, Sources};
use vswitch_nat::rules::{BackendFlows, PeeringSpec, PeeringTraffic, PolicyHits, PolicySpec, ServiceSpec};
use vswitch_nat::table::{FlowFilter, FlowRecord, Leg, TableCounters};
use vswitch_nat::{Nat, NatDrop, Rules, RulesError, RulesSpec, Zone};

use crate::Gateway;
use crate::port::Port;
use crate::shared::lock;
use crate::snapshot::Network;
use crate::verdict::Cause;

/// What control asks of the router.
#[derive(Debug, Clone, Default)]
pub struct RouterConfig {
    /// The network that leads outside, if any. Its gateway is the switch's own leg on it.
    pub uplink: Option<NetworkIndex>,
    /// The networks of further uplinks, by the numbers of [`Leg::Further`].
    pub further: Vec<NetworkIndex>,
    /// The stations on the uplink that everything goes to; without any, next hops are asked for.
    pub peers: Peers,
    /// What is translated.
    pub rules: RulesSpec,
    /// Every route, connected subnets included.
    pub routes: Vec<Route>,
}

impl RouterConfig {
    /// The same with services.
    #[must_use]
    pub fn with_services(mut self, services: Vec<ServiceSpec>) -> RouterConfig {
        self.rules.services = services;
        self
    }

    /// The same with networks that reach each other, and with rules about who may open flows to whom.
    #[must_use]
    pub fn with_access(mut self, peerings: Vec<PeeringSpec>, policies: Vec<PolicySpec>) -> RouterConfig {
        (self.rules.peerings, self.rules.policies) = (peerings, policies);
        self
    }
}

/// The stations on a trusted uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers {
    /// What packets of networks that share a zone go to: the one that [`Peers::shard`] names.
    pub shared: Vec<MacAddr>,
    /// Of each network with addresses of its own.
    pub own: Vec<(NetworkIndex, MacAddr)>,
}

impl Peers {
    /// Which of `count` serves an address inside. Neighbouring addresses take turns; the addresses that an endpoint has of both
    /// families mostly end alike, and so are served together.
    #[must_use]
    pub fn shard(inside: IpAddr, count: usize) -> usize {
        let last = match inside {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        usize::from(last).checked_rem(count).unwrap_or(0)
    }

    /// Whom a packet from `inside` that leaves by `leg` goes to.
    fn of(&self, leg: Leg, inside: IpAddr) -> Option<MacAddr> {
        match leg {
            Leg::Uplink => self.shared.get(Peers::shard(inside, self.shared.len())).copied(),
            Leg::UplinkOf(network) => self.own.iter().find(|(of, _)| *of == network).map(|(_, mac)| *mac),
            Leg::Further(_) | Leg::Inside(_) => None,
        }
    }

    const fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.own.is_empty()
    }
}

/// A checked [`RouterConfig`], part of a snapshot.
#[derive(Debug)]
pub struct Plan {
    uplink: Option<NetworkIndex>,
    further: Vec<NetworkIndex>,
    pub(crate) peers: Peers,
    pub(crate) rules: Rules,
    routes: RouteTable,
    /// By further uplinks.
    further_routes: Vec<RouteTable>,
    /// Of networks with addresses of their own.
    own_routes: BTreeMap<NetworkIndex, RouteTable>,
}

impl TryFrom<RouterConfig> for Plan {
    type Error = RulesError;

    fn try_from(config: RouterConfig) -> Result<Plan, RulesError> {
        let rules = Rules::try_from(config.rules)?;
        let mut own: BTreeMap<NetworkIndex, Vec<Route>> = BTreeMap::new();
        let mut shared = Vec::new();
        let mut further = vec![Vec::new(); config.further.len()];
        for route in config.routes {
            match (route.leg, rules.zone(route.leg)) {
                (Leg::Further(number), _) => {
                    further.get_mut(usize::from(number)).into_iter().for_each(|of| of.push(route));
                }
                (_, Zone::Shared) => shared.push(route),
                (_, Zone::Own(network)) => own.entry(network).or_default().push(route),
            }
        }
        let further_routes = further.iter().map(|routes| RouteTable::new(routes)).collect();
        let own_routes = own.iter().map(|(network, routes)| (*network, RouteTable::new(routes))).collect();
        let (uplink, peers, routes) = (config.uplink, config.peers, RouteTable::new(&shared));
        Ok(Plan { uplink, further: config.further, peers, rules, routes, further_routes, own_routes })
    }
}

impl Plan {
    /// The same, with counts and turns of its own.
    pub(crate) fn apart(&self) -> Plan {
        Plan {
            uplink: self.uplink,
            further: self.further.clone(),
            peers: self.peers.clone(),
            rules: self.rules.apart(),
            routes: self.routes.clone(),
            further_routes: self.further_routes.clone(),
            own_routes: self.own_routes.clone(),
        }
    }

    /// The translator's name for a network.
    pub(crate) fn leg(&self, network: NetworkIndex) -> Leg {
        if self.uplink == Some(network) {
            return Leg::Uplink;
        }
        let further = self.further.iter().position(|uplink| *uplink == network);
        further.and_then(|number| u8::try_from(number).ok()).map_or(Leg::Inside(network), Leg::Further)
    }

    /// Whether a network leads outside.
    pub(crate) fn is_uplink(&self, network: NetworkIndex) -> bool {
        self.leg(network).is_uplink()
    }

    /// The networks that lead outside.
    pub(crate) fn uplinks(&self) -> impl Iterator<Item = NetworkIndex> {
        self.uplink.into_iter().chain(self.further.iter().copied())
    }

    /// The network behind a leg.
    pub(crate) fn network(&self, leg: Leg) -> Option<NetworkIndex> {
        match leg {
            Leg::Uplink | Leg::UplinkOf(_) => self.uplink,
            Leg::Further(number) => self.further.get(usize::from(number)).copied(),
            Leg::Inside(network) => Some(network),
        }
    }

    /// Where what leaves by `leg` for `destination` goes next.
    pub(crate) fn next_hop(&self, leg: Leg, destination: IpAddr) -> Option<Hop> {
        let routes = match (leg, self.rules.zone(leg)) {
            (Leg::Further(number), _) => self.further_routes.get(usize::from(number))?,
            (_, Zone::Shared) => &self.routes,
            (_, Zone::Own(network)) => self.own_routes.get(&network)?,
        };
        routes.lookup(destination).filter(|hop| hop.leg == leg)
    }

    /// The station of a trusted uplink that a packet from `inside` goes to; `None` where next hops are asked for.
    ///
    /// # Errors
    /// When the uplink is trusted, and nobody there serves the network (yet).
    pub(crate) fn peer(&self, leg: Leg, inside: impl FnOnce() -> IpAddr) -> Result<Option<MacAddr>, RouteDrop> {
        if !leg.is_uplink() || self.peers.is_empty() {
            return Ok(None);
        }
        self.peers.of(leg, inside()).ok_or(RouteDrop::NoRoute).map(Some)
    }
}

/// What the router knows of its interface in a network.
pub(crate) fn interface(gateway: Option<&Gateway>, sources: Sources) -> Interface {
    let nets = gateway.into_iter().flat_map(Gateway::nets);
    let proxied = gateway.map(|gateway| gateway.proxied.clone()).unwrap_or_default();
    Interface { addresses: nets.collect(), proxied, sources }
}

/// A packet that waits for its next hop's MAC address.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// As it leaves, but for the MAC addresses.
    packet: OwnedPacket,
    /// As it came, for an ICMP error that quotes it.
    original: OwnedPacket,
    /// Where it came from: that very port, as its index is another's once it is gone.
    ingress: Weak<Port>,
    /// It goes back into the network that it came from, and not by a published port.
    returns: bool,
}

/// The neighbours of one network, shared by all generations of it.
pub(crate) type NeighbourTable = Mutex<Neighbours<Waiting>>;

/// The router's state, shared by the workers.
#[derive(Debug)]
pub struct Router {
    pub(crate) nat: Nat,
    limiter: Mutex<ErrorLimiter>,
    drops: SharedTally<RouteDrop, { RouteDrop::COUNT }>,
    nat_drops: SharedTally<NatDrop, { NatDrop::COUNT }>,
    /// Counts the changes of neighbours that a cached next hop may not survive.
    epoch: AtomicU64,
}

/// What the router counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterStats {
    /// The connection table.
    pub flows: TableCounters,
    /// Drops by the router: reason and count, those that happened.
    pub route_drops: Vec<(RouteDrop, u64)>,
    /// Drops by the translator: reason and count, those that happened.
    pub nat_drops: Vec<(NatDrop, u64)>,
    /// ICMP errors that the rate limits held back.
    pub errors_held_back: u64,
    /// What has passed between networks that are peered.
    pub peerings: Vec<PeeringTraffic>,
    /// How often the rules of policies decided.
    pub policies: Vec<PolicyHits>,
    /// How many flows backends of services were given.
    pub backends: Vec<BackendFlows>,
}

impl Router {
    pub(crate) fn new(limits: vswitch_nat::table::Limits, seed: u64) -> Self {
        Router {
            nat: Nat::new(limits, vswitch_nat::translate::FragmentLimits::default(), seed),
            limiter: Mutex::new(ErrorLimiter::new(seed.rotate_left(7))),
            drops: SharedTally::new(),
            nat_drops: SharedTally::new(),
            epoch: AtomicU64::new(1),
        }
    }

    /// Counts a frame, or a part of one that was held, that goes nowhere for a reason of the router's or the translator's.
    pub(crate) fn count(&self, cause: Cause) {
        match cause {
            Cause::Route(reason) => self.drops.add(reason, 1),
            Cause::Nat(reason) => self.nat_drops.add(reason, 1),
            _ => {}
        }
    }

    /// Counts fragments whose first never came.
    pub(crate) fn count_lost_fragments(&self, count: u64) {
        self.nat_drops.add(NatDrop::FragmentTimeout, count);
    }

    /// Everything that is counted.
    #[must_use]
    pub fn stats(&self, plan: &Plan) -> RouterStats {
        RouterStats {
            flows: self.nat.table().counters(),
            route_drops: self.drops.happened().collect(),
            nat_drops: self.nat_drops.happened().collect(),
            errors_held_back: lock(&self.limiter).held_back(),
            peerings: plan.rules.peering_traffic().collect(),
            policies: plan.rules.policy_hits().collect(),
            backends: plan.rules.backend_flows().collect(),
        }
    }

    /// Flows of a former run go on.
    pub(crate) fn restore(&self, records: &[FlowRecord], plan: &Plan, now: Timestamp) -> vswitch_nat::table::Restored {
        self.nat.restore(records, &plan.rules, now)
    }

    /// Ends what `plan` does not let pass, and `earlier` did; without a plan that is everything. Ports that are published now,
    /// and were not, belong to their services alone.
    pub(crate) fn follow(&self, plan: Option<&Plan>, earlier: Option<&Plan>, now: Timestamp) {
        let Some(plan) = plan else {
            self.nat.table().flush(&FlowFilter::default(), now);
            return;
        };
        if earlier.is_none_or(|earlier| !plan.rules.allow_as(&earlier.rules)) {
            self.nat.end_forbidden(&plan.rules, now);
        }
        if earlier.is_none_or(|earlier| plan.rules.publish_more_than(&earlier.rules)) {
            self.nat.end_shadows(&plan.rules, now);
        }
    }

    /// Forgets what is kept of a network that goes, whose index may be another's.
    pub(crate) fn forget_network(&self, index: NetworkIndex, now: Timestamp) {
        self.nat.forget_network(index, now);
        self.neighbours_changed();
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(crate) fn neighbours_changed(&self) {
        self.epoch.fetch_add(1, std::sync::atomic::Ordering::Release);
    }

    pub(crate) fn error_allowed(&self, destination: IpAddr, now: Timestamp) -> bool {
        lock(&self.limiter).allows(destination, now)
    }
}

/// Where a frame came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ingress<'a> {
    /// By which port; `None` for what was kept since, and whose sender is not told what becomes of it.
    pub(crate) port: Option<PortId>,
    pub(crate) network: &'a Network,
    /// The network that it is of, where it came by an uplink and from what serves that one alone.
    pub(crate) on_behalf_of: Option<NetworkIndex>,
}

/// A frame of a burst.
#[derive(Debug)]
pub(crate) struct BurstFrame<'b> {
    pub(crate) buffer: &'b mut FrameBuf,
    /// The buffer's index in the egress lists.
    pub(crate) index: u16,
}

/// Buffers behind those of a burst, for frames of the router's own making.
#[derive(Debug)]
pub(crate) struct Spare<'b> {
    buffers: &'b mut [FrameBuf],
    /// Index of the first in the egress lists.
    next: u16,
}

impl<'b> Spare<'b> {
    /// # Panics
    /// When the indices of the buffers do not fit 16 bits.
    pub(crate) fn new(buffers: &'b mut [FrameBuf], base: usize) -> Self {
        assert!(base + buffers.len() <= usize::from(u16::MAX), "a burst is small");
        Spare { buffers, next: u16::try_from(base).expect("checked above") }
    }

    /// A buffer and its index for the egress lists.
    pub(crate) fn take(&mut self) -> Option<(&'b mut FrameBuf, u16)> {
        let (buffer, rest) = std::mem::take(&mut self.buffers).split_first_mut()?;
        let index = self.next;
        self.buffers = rest;
        self.next += 1;
        Some((buffer, index))
    }
}
