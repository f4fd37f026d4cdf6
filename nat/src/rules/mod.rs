//! What is to be translated: the immutable snapshot that control publishes.

mod network;
mod peering;
mod policy;
mod ports;
mod publish;
mod service;
mod settings;
mod traffic;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
pub(crate) use network::Place;
use network::Places;
pub use network::{Addresses, NetworkSpec, Reach, SubnetSpec, Translation};
pub(crate) use peering::Peering;
use peering::Peerings;
pub use peering::{PeeringSpec, PeeringTraffic};
use policy::Policies;
pub(crate) use policy::{End, Ports};
pub use policy::{Party, PolicyAction, PolicyHits, PolicyRule, PolicySpec};
pub use ports::{InvalidPorts, PortRange};
use publish::Publishes;
pub use publish::{Publish, Target, Transport};
use serde::{Deserialize, Serialize};
use service::Services;
pub use service::{Algorithm, BackendFlows, ServicePort, ServiceSpec};
pub(crate) use service::{Chosen, Shown};
pub use settings::{Between, Filtering, Hairpin, Mapping, PortSelection, Settings};
pub use traffic::{InvalidTraffic, Traffic};
use vswitch_frame::NetworkIndex;

use crate::NatDrop;
use crate::table::{Direction, Flow, FlowKind, FlowRecord, Leg, Table, Timeouts};
use crate::tuple::{Tuple, Zone, is_mapped, mapped};

/// What control asks for. [`Rules`] is made of it by `TryFrom`, which is where it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesSpec {
    /// The networks inside.
    pub networks: Vec<NetworkSpec>,
    /// The addresses on the uplink that masqueraded flows leave from and published ports are reached at. With several
    /// of a family, each endpoint always leaves from the same one (RFC 4787 REQ-2, "paired").
    pub external: Vec<IpAddr>,
    /// The uplinks beside that one, by the numbers of [`Leg::Further`].
    pub further: Vec<FurtherUplink>,
    /// The published ports.
    pub publish: Vec<Publish>,
    /// The networks that reach each other.
    pub peerings: Vec<PeeringSpec>,
    /// Who may open flows to whom, by network.
    pub policies: Vec<PolicySpec>,
    /// Addresses behind which several endpoints take turns.
    pub services: Vec<ServiceSpec>,
    /// What may come in from the uplink.
    pub inbound: Inbound,
    /// How translation and tracking behave.
    pub settings: Settings,
}

/// An uplink beside the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FurtherUplink {
    /// The addresses on it, as [`RulesSpec::external`].
    pub external: Vec<IpAddr>,
    /// The networks that leave by it now. Those that no uplink names leave by the first.
    pub networks: Vec<NetworkIndex>,
}

/// What may come in from the uplink without having been asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inbound {
    /// What published ports and routed subnets let in: strangers are behind the uplink.
    #[default]
    Published,
    /// Whatever is for an endpoint: behind the uplink is a part of the switch, which knows what may come in. It may speak
    /// as the gateway of the endpoint's network.
    Trusted,
}

/// A checked snapshot, with what lookups need.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    places: Places,
    external: External,
    /// Of the further uplinks.
    further: Vec<External>,
    /// Gateways and addresses of services with their zones, and external addresses in the shared one, sorted.
    own: Vec<(Zone, Ipv6Addr)>,
    publishes: Publishes,
    peerings: Peerings,
    policies: Policies,
    services: Services,
    access: Access,
    inbound: Inbound,
    settings: Settings,
    /// Of flows by an uplink that is trusted.
    trusted: Timeouts,
}

/// The addresses of an uplink, by family.
#[derive(Debug, Clone, Default)]
struct External {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

impl External {
    fn new(addresses: &[IpAddr]) -> External {
        let (v4, v6) = addresses.iter().partition(|address| address.is_ipv4());
        External { v4, v6 }
    }

    fn family(&self, of: IpAddr) -> &[IpAddr] {
        if of.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

/// Which version of what may pass, peerings and policies, these rules are. A flow remembers by which it was judged ([`Flow::mark`]), so that it
/// is judged once by each, and a change holds for flows that are there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Access {
    /// Zero while there is nothing to judge by.
    current: u32,
    /// The newest that there was.
    newest: u32,
}

/// Why a [`RulesSpec`] cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Two subnets share addresses, so that an address would be in two networks.
    #[error("subnets {0} and {1} overlap; give each network addresses of its own")]
    Overlap(IpNet, IpNet),
    /// The gateway is not in its subnet.
    #[error("gateway {gateway} is not in {subnet}; use an address of the subnet")]
    GatewayOutside {
        /// The gateway.
        gateway: IpAddr,
        /// Its subnet.
        subnet: IpNet,
    },
    /// An external address that no host can have.
    #[error("{0} cannot be an external address; use a unicast address of the uplink")]
    External(IpAddr),
    /// An address that two uplinks have.
    #[error("{0} is an external address of two uplinks; give each addresses of its own")]
    ExternalTwice(IpAddr),
    /// An external address is also inside.
    #[error("external address {0} lies in the inside subnet {1}; use an address of the uplink")]
    ExternalInside(IpAddr, IpNet),
    /// The target is in no network.
    #[error("{0} is published to an address that is in no network")]
    TargetUnknown(Publish),
    /// A network whose addresses mean nothing beyond it would be routed to.
    #[error("{0} may be others' addresses, too, and cannot be routed to; masquerade it")]
    OwnRouted(IpNet),
    /// The target is in an internal network.
    #[error("{0} is published to an internal network, which has no way in")]
    TargetInternal(Publish),
    /// Host and target range differ in length.
    #[error("{0} has {1} host ports for {2} target ports; use ranges of one length")]
    UnequalRanges(Publish, usize, usize),
    /// Host address and target are of different families.
    #[error("{0} mixes address families; publish IPv4 to IPv4 and IPv6 to IPv6")]
    Family(Publish),
    /// A peering needs two networks that are there.
    #[error("a peering is between two different networks that the router serves")]
    Peering,
    /// A network whose addresses mean nothing beyond it would be reached from another one.
    #[error("a peering is between networks that share their addresses; leave out the one that has its own")]
    OwnPeered,
    /// Two published ports claim the same host port.
    #[error("{0} and {1} claim the same host port")]
    PortTaken(Publish, Publish),
}

impl TryFrom<RulesSpec> for Rules {
    type Error = RulesError;

    fn try_from(spec: RulesSpec) -> Result<Rules, RulesError> {
        let places = Places::new(&spec.networks, &spec.further)?;
        let mut own: Vec<_> = places.gateways().map(|(zone, address)| (zone, mapped(address))).collect();
        let networks_of_their_own = spec.networks.iter().filter(|network| network.addresses == Addresses::Own);
        let mut routed = networks_of_their_own.flat_map(|network| &network.subnets).filter(|subnet| {
            // Behind an uplink that is trusted somebody knows the network.
            subnet.translation == Translation::Routed && spec.inbound != Inbound::Trusted
        });
        if let Some(subnet) = routed.next() {
            return Err(RulesError::OwnRouted(subnet.net));
        }
        let further = spec.further.iter().flat_map(|uplink| &uplink.external);
        for &address in spec.external.iter().chain(further) {
            let mapped_v4 = matches!(address, IpAddr::V6(address) if is_mapped(address));
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() || mapped_v4 {
                return Err(RulesError::External(address));
            }
            if let Some(place) = places.of(Zone::Shared, address) {
                return Err(RulesError::ExternalInside(address, place.net));
            }
            own.push((Zone::Shared, mapped(address)));
        }
        let lists = std::iter::once(&spec.external).chain(spec.further.iter().map(|uplink| &uplink.external));
        let mut seen = BTreeMap::new();
        for (uplink, &address) in lists.enumerate().flat_map(|(uplink, list)| list.iter().map(move |one| (uplink, one)))
        {
            if seen.insert(address, uplink).is_some_and(|other| other != uplink) {
                return Err(RulesError::ExternalTwice(address));
            }
        }
        let services = Services::new(spec.services, &places);
        own.extend(services.addresses().map(|(zone, address)| (zone, mapped(address))));
        own.sort_unstable();
        own.dedup();
        let publishes = Publishes::new(spec.publish, &places)?;
        let known = |index: &NetworkIndex| spec.networks.iter().any(|network| network.index == *index);
        for PeeringSpec { between: [a, b], .. } in &spec.peerings {
            if a == b || !known(a) || !known(b) {
                return Err(RulesError::Peering);
            }
        }
        let ends = spec.peerings.iter().flat_map(|peering| peering.between);
        if ends.into_iter().any(|index| places.zone_of(index) != Zone::Shared) {
            return Err(RulesError::OwnPeered);
        }
        let peerings = Peerings::new(&spec.peerings);
        let policies = Policies::new(spec.policies);
        let version = u32::from(!peerings.is_empty() || !policies.is_empty());
        let access = Access { current: version, newest: version };
        let external = External::new(&spec.external);
        let further = spec.further.iter().map(|uplink| External::new(&uplink.external)).collect();
        let (inbound, settings) = (spec.inbound, spec.settings);
        let trusted = settings.timeouts.behind_which_connections_end();
        Ok(Rules {
            places,
            external,
            further,
            own,
            publishes,
            peerings,
            policies,
            services,
            access,
            inbound,
            settings,
            trusted,
        })
    }
}

impl Rules {
    /// The same, with counts and turns of their own, for whoever wants to know what would be.
    #[must_use]
    pub fn apart(&self) -> Rules {
        let mut rules = self.clone();
        rules.peerings.part();
        rules.policies.part();
        rules.services.part();
        rules
    }

    /// How translation and tracking behave.
    #[inline]
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How long a flow lives.
    #[inline]
    #[must_use]
    pub fn timeouts(&self, flow: &Flow) -> &Timeouts {
        let by_uplink = || [Direction::Original, Direction::Reply].iter().any(|&way| flow.egress(way).is_uplink());
        match self.inbound {
            Inbound::Trusted if by_uplink() => &self.trusted,
            _ => &self.settings.timeouts,
        }
    }

    /// What may come in from the uplink.
    #[must_use]
    pub const fn inbound(&self) -> Inbound {
        self.inbound
    }

    /// Makes these the successors of `earlier`: they go on counting where those were, and flows are judged anew by what they
    /// allow if that is something else.
    pub fn succeed(&mut self, earlier: &Rules) {
        self.peerings.count_on(&earlier.peerings);
        self.policies.count_on(&earlier.policies);
        self.services.count_on(&earlier.services);
        let newest = earlier.access.newest;
        self.access = match self.allow_as(earlier) {
            true => earlier.access,
            false if self.peerings.is_empty() && self.policies.is_empty() => Access { current: 0, newest },
            false => Access { current: newest + 1, newest: newest + 1 },
        };
    }

    /// Whether these and `other` let the same pass.
    #[must_use]
    pub fn allow_as(&self, other: &Rules) -> bool {
        self.peerings.allow_as(&other.peerings) && self.policies.allow_as(&other.policies)
    }

    /// The mark of flows that these have judged and let pass.
    #[inline]
    pub(crate) const fn mark(&self) -> u32 {
        self.access.current
    }

    /// Whether a flow may go on that was allowed by other rules.
    pub(crate) fn judge(&self, flow: &Flow) -> Result<(), NatDrop> {
        if let (FlowKind::Peered | FlowKind::Service, Leg::Inside(from), Leg::Inside(to)) =
            (flow.kind(), flow.egress(Direction::Reply), flow.egress(Direction::Original))
            && from != to
        {
            self.peering(from, to).ok_or(NatDrop::Isolated)?.check(flow.original())?;
        }
        let (opener, real) = (flow.original(), flow.reply());
        let (from, to) = (flow.egress(Direction::Reply), flow.egress(Direction::Original));
        let ends = [End { leg: from, address: opener.source() }, End { leg: to, address: real.source() }];
        let goes = opener.with_destination(real.source(), flow.destination_port());
        self.check_policy(ends[0], ends[1], &goes, Ports::Known)
    }

    /// Whether a network has rules of its own about who may open flows to whom.
    #[must_use]
    pub fn polices(&self, network: NetworkIndex) -> bool {
        self.policies.cover(network)
    }

    /// Whether there are policies at all.
    #[inline]
    pub(crate) fn have_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// Whether policies let `from` open `flow`, whose destination is where it really goes, towards `to`.
    #[inline]
    pub(crate) fn check_policy(&self, from: End, to: End, flow: &Tuple, ports: Ports) -> Result<(), NatDrop> {
        if self.policies.is_empty() { Ok(()) } else { self.policies.check(from, to, flow, ports) }
    }

    /// The backend for what is sent to a service, if it opens a flow; `None`: it is for no service.
    #[inline]
    pub(crate) fn backend(&self, sent: &Tuple, opens: bool, table: &Table) -> Option<Chosen> {
        if self.services.is_empty() { None } else { self.services.choose(sent, opens, table) }
    }

    /// Whether a network has services, so that answers of its members may have to be translated.
    #[must_use]
    pub fn balances(&self, network: NetworkIndex) -> bool {
        self.services.are_on(network)
    }

    /// Whether a station of `network` may be a backend of a service.
    #[inline]
    pub(crate) fn may_answer(&self, network: NetworkIndex, source: IpAddr) -> bool {
        self.services.may_answer(network, source)
    }

    /// How many flows backends of services were given.
    pub fn backend_flows(&self) -> impl Iterator<Item = BackendFlows> {
        self.services.flows()
    }

    /// How often the rules of policies decided.
    pub fn policy_hits(&self) -> impl Iterator<Item = PolicyHits> {
        self.policies.hits()
    }

    /// What joins two networks.
    #[inline]
    pub(crate) fn peering(&self, a: NetworkIndex, b: NetworkIndex) -> Option<&Peering> {
        self.peerings.of(a, b)
    }

    /// What has passed between peered networks.
    pub fn peering_traffic(&self) -> impl Iterator<Item = PeeringTraffic> {
        self.peerings.traffic()
    }

    /// Whose addresses packets by this leg have.
    #[inline]
    #[must_use]
    pub fn zone(&self, leg: Leg) -> Zone {
        match leg {
            Leg::Uplink | Leg::Further(_) => Zone::Shared,
            Leg::Inside(network) | Leg::UplinkOf(network) => self.places.zone_of(network),
        }
    }

    /// The uplink as those of a place meet it: where those behind it can tell networks apart, its own if its addresses are.
    #[must_use]
    pub(crate) fn uplink_of(&self, place: &Place) -> Leg {
        match self.places.zone_of(place.network) {
            Zone::Own(network) if self.inbound == Inbound::Trusted => Leg::UplinkOf(network),
            _ => place.uplink,
        }
    }

    /// The network that an address is in, of those that share their addresses.
    #[must_use]
    pub fn network_of(&self, address: IpAddr) -> Option<NetworkIndex> {
        self.place_of(Zone::Shared, address).map(|place| place.network)
    }

    pub(crate) fn place_of(&self, zone: Zone, address: IpAddr) -> Option<&Place> {
        self.places.of(zone, address)
    }

    /// Whether the switch itself has this address: an external one, unless a station of the zone may have it, or a gateway's.
    #[must_use]
    pub fn is_own(&self, zone: Zone, address: IpAddr) -> bool {
        let has = |zone| self.own.binary_search(&(zone, mapped(address))).is_ok();
        has(zone) || zone != Zone::Shared && self.is_external(address) && self.place_of(zone, address).is_none()
    }

    fn is_external(&self, address: IpAddr) -> bool {
        std::iter::once(&self.external).chain(&self.further).any(|uplink| uplink.family(address).contains(&address))
    }

    /// Whether an address of the switch's own is that of another uplink than this one: its packets came a way that answers would
    /// not go.
    pub(crate) fn is_of_another(&self, uplink: Leg, address: IpAddr) -> bool {
        !self.further.is_empty()
            && !self.external_of(uplink).family(address).contains(&address)
            && self.is_external(address)
    }

    /// Whether the uplinks of a flow of a former run are there, and are no others by now.
    pub(crate) fn has_uplinks_of(&self, record: &FlowRecord) -> bool {
        let [egress, ingress] = record.egress;
        [(egress, record.reply), (ingress, record.original)].into_iter().all(|(leg, arriving)| match leg {
            Leg::Further(number) if usize::from(number) >= self.further.len() => false,
            Leg::Uplink | Leg::Further(_) => !self.is_of_another(leg, arriving.destination()),
            Leg::UplinkOf(_) | Leg::Inside(_) => true,
        })
    }

    fn external_of(&self, uplink: Leg) -> &External {
        match uplink {
            Leg::Further(number) => self.further.get(usize::from(number)).unwrap_or(&self.external),
            Leg::Uplink | Leg::UplinkOf(_) | Leg::Inside(_) => &self.external,
        }
    }

    /// The external address that flows of `endpoint` leave from by an uplink.
    #[must_use]
    pub fn external_for(&self, uplink: Leg, endpoint: IpAddr) -> Option<IpAddr> {
        let pool = self.external_of(uplink).family(endpoint);
        // Neighbouring addresses take turns: this spreads a subnet evenly, and each endpoint stays with its own.
        let last = mapped(endpoint).octets()[15];
        pool.get(usize::from(last).checked_rem(pool.len())?).copied()
    }

    /// Where a packet to one of the switch's own addresses goes because that port is published.
    #[must_use]
    pub fn published(&self, tuple: &Tuple) -> Option<Target> {
        self.publishes.target(tuple.protocol(), tuple.destination(), tuple.destination_port())
    }

    /// Whether a flow from `original`'s source whose answers come as `reply` would take a published port from its service, and
    /// so get what that one's clients send (Linux's "port shadowing"). The service itself may call from its port.
    #[must_use]
    pub(crate) fn shadows(&self, original: &Tuple, reply: &Tuple) -> bool {
        if self.publishes.is_empty() || !original.protocol().has_ports() {
            return false;
        }
        let own = Target { zone: original.zone(), address: original.source(), port: original.source_port() };
        self.published(reply).is_some_and(|target| target != own)
    }

    /// Whether these publish a port that `earlier` ones did not, or another way.
    #[must_use]
    pub fn publish_more_than(&self, earlier: &Rules) -> bool {
        self.publishes.add_to(&earlier.publishes)
    }

    /// Whether some published port leads to this address and port.
    #[must_use]
    pub fn is_target(&self, tuple: &Tuple) -> bool {
        self.publishes.is_target(tuple.protocol(), tuple.destination(), tuple.destination_port())
    }
}
