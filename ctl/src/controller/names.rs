//! Names: what the name server knows, kept as the state says, and the server's sockets inside the sandboxes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vswitch_api::stats;
use vswitch_frame::NetworkIndex;
use vswitch_switch::nat::proxy::stream::StreamLimits;
use vswitch_switch::{ServicePort, Switch};

use super::etc::{GATEWAY_NAME, HOST_NAMES};
use super::files::Resolving;
use super::state::{ContainerState, EndpointState, NetworkState, State};
use super::uplink::descriptors;
use super::{Controller, links, peerings, routes, unexpected};
use crate::agent::protocol::{Reply, Request, SandboxSocket};
use crate::dns::{
    self, Client, Dns, Gateways, Joined, Limits, Member, Outlet, Scope, Served, Servers, Serving, Upstreams, View,
    Zone, ZoneCell,
};
use crate::error::ControlError;
use crate::ids::Id;
use crate::ipam::SubnetPlan;
use crate::model::{Endpoint, Network, Owner};

/// The controller's part of the name server.
#[derive(Debug)]
pub(super) struct Names {
    dns: Dns,
    /// By container.
    serving: Mutex<HashMap<Id, Serving>>,
    gateways: Gateways,
    port: ServicePort,
}

impl Names {
    /// Lets the server answer at the gateways of the switch.
    pub(super) fn start(dns: Dns, switch: &Switch) -> Result<Names, ControlError> {
        let (gateways, backlog) = Gateways::new();
        let service = Arc::new(gateways.clone());
        let port = switch.serve(GATEWAYS, dns::PORT, service, connections(descriptors()))?;
        dns.serve_gateways(gateways.clone(), backlog, port.clone());
        Ok(Names { dns, serving: Mutex::default(), gateways, port })
    }

    /// Says whose an address inside is.
    pub(super) fn assign(&self, network: NetworkIndex, address: IpAddr, endpoint: u64) {
        self.port.assign(network, address, endpoint);
    }

    /// Ends the connections of an address inside that goes.
    pub(super) fn forget_endpoint(&self, network: NetworkIndex, address: IpAddr) {
        self.port.forget_endpoint(network, address);
    }

    fn serving(&self) -> MutexGuard<'_, HashMap<Id, Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller {
    /// What the name server has counted.
    #[must_use]
    pub fn dns_stats(&self) -> stats::DnsStats {
        let counted = self.inner.names.port.stats();
        let gateways = stats::DnsGatewayStats {
            datagrams: counted.datagrams,
            answers: counted.answers,
            connections: counted.streams.opened,
            malformed: counted.malformed,
            busy: counted.busy + counted.outbox_full,
            drops: counted.streams.drops().map(|(reason, count)| (reason.to_string(), count)).collect(),
        };
        stats::DnsStats { gateways, ..self.inner.names.dns.stats() }
    }

    /// Lets the gateways answer as the state says now.
    pub(super) fn publish_gateways(&self, state: &State) {
        let members = self.members_of_engines(state);
        let on_switch = state.networks.values().filter_map(|on| Some((on, on.index?)));
        let served = on_switch.flat_map(|(on, index)| {
            let members = members.get(&on.network.id).map(Vec::as_slice).unwrap_or_default();
            let own = on.network.subnets().filter_map(SubnetPlan::own);
            own.chain(on.network.options.gateway_addresses.iter().copied()).map(move |gateway| {
                let members = members.iter().flat_map(|one| {
                    let scope = move |address| (address, self.member_scope(state, &on.network, one));
                    one.addresses.iter().copied().map(scope)
                });
                let scope = self.gateway_scope(state, &on.network, &on.zone);
                ((index, gateway), Served { scope, members: members.collect() })
            })
        });
        self.inner.names.gateways.publish(served);
    }

    /// Containers of engines that see more, by network, than whoever asks there.
    fn members_of_engines<'s>(&self, state: &'s State) -> HashMap<Id, Vec<EngineMember<'s>>> {
        let mut containers: BTreeMap<(&str, &str), Vec<(&Endpoint, &NetworkState)>> = BTreeMap::new();
        for endpoint in state.endpoints.values().map(|one| &one.endpoint) {
            if let (Some(key), Some(on)) = (endpoint.engine(), state.networks.get(&endpoint.network)) {
                containers.entry((&key.engine, &key.container)).or_default().push((endpoint, on));
            }
        }
        let mut members: HashMap<Id, Vec<EngineMember<'s>>> = HashMap::new();
        for mut endpoints in containers.into_values() {
            endpoints.sort_by_key(|(endpoint, _)| endpoint.sequence);
            let own: Vec<IpAddr> = endpoints
                .iter()
                .filter_map(|(one, _)| one.wishes())
                .flat_map(|wishes| wishes.resolvers.clone())
                .collect();
            if endpoints.len() == 1 && own.is_empty() {
                continue;
            }
            let networks: Vec<_> = endpoints.iter().map(|(_, on)| *on).collect();
            for (endpoint, on) in &endpoints {
                let addresses = endpoint.addresses().collect();
                let member = EngineMember { addresses, resolvers: own.clone(), networks: networks.clone() };
                members.entry(on.network.id.clone()).or_default().push(member);
            }
        }
        members
    }

    /// What a container of an engine may see that asks at the gateway of this network.
    fn member_scope(&self, state: &State, asked: &Network, member: &EngineMember<'_>) -> Scope {
        let leaves = self.inner.uplink.is_some() && member.networks.iter().any(|on| !on.network.internal);
        let view = |on: &NetworkState| View {
            name: on.network.name.to_ascii_lowercase().into(),
            zone: Arc::clone(&on.zone),
            links: Vec::new(),
        };
        let mut servers = member.resolvers.clone();
        if servers.is_empty() {
            servers = member.networks.iter().flat_map(|on| on.network.names.servers.clone()).collect();
        }
        Scope {
            fixed: self.fixed_names(asked.subnets().filter_map(SubnetPlan::own).collect(), leaves),
            networks: member.networks.iter().map(|on| view(on)).collect(),
            upstreams: Upstreams { servers: forwarders(state, servers), leaves, ..Upstreams::default() },
            domain: asked.names.domain.as_deref().map(Into::into),
        }
    }

    /// What whoever asks at a network's gateway may see. What others know is asked for from the host, so nothing inside can be
    /// asked.
    fn gateway_scope(&self, state: &State, network: &Network, zone: &Arc<ZoneCell>) -> Scope {
        let view =
            || View { name: network.name.to_ascii_lowercase().into(), zone: Arc::clone(zone), links: Vec::new() };
        let leaves = self.inner.uplink.is_some() && !network.internal;
        Scope {
            fixed: self.fixed_names(network.subnets().filter_map(SubnetPlan::own).collect(), leaves),
            networks: (!network.predefined()).then(view).into_iter().collect(),
            upstreams: Upstreams {
                keep_single_labels: false,
                servers: forwarders(state, network.names.servers.clone()),
                leaves,
                subnets: Vec::new(),
            },
            domain: network.names.domain.as_deref().map(Into::into),
        }
    }

    /// Names that do not depend on who is on a network; the host's only for those who reach it.
    fn fixed_names(&self, gateways: Vec<IpAddr>, leaves: bool) -> Vec<(&'static str, Vec<IpAddr>)> {
        let host: Vec<IpAddr> = if leaves { self.host_addresses().collect() } else { Vec::new() };
        let hosts = HOST_NAMES.into_iter().filter(|_| !host.is_empty()).map(|name| (name, host.clone()));
        hosts.chain((!gateways.is_empty()).then_some((GATEWAY_NAME, gateways))).collect()
    }

    /// Lets a container's name server answer, if it needs one, and tells it what the container may see now.
    ///
    /// # Errors
    /// When the sandbox is gone or a program inside has the port.
    pub(super) async fn serve_names(&self, container: &Id) -> Result<(), ControlError> {
        if self.inner.names.serving().contains_key(container) || !self.needs_server(&self.state(), container) {
            self.publish_scope(&self.state(), container);
            return Ok(());
        }
        let sandbox = container.to_string();
        let request = Request::SandboxOpen { sandbox: sandbox.clone(), socket: SandboxSocket::NameServer };
        let (udp, tcp) = match self.inner.agent.call(request, Vec::new()).await? {
            (Reply::Sockets, descriptors) => {
                let [udp, tcp] = <[_; 2]>::try_from(descriptors).map_err(|_| unexpected(&Reply::Sockets))?;
                (udp, tcp)
            }
            (reply, _) => return Err(unexpected(&reply)),
        };
        let outlet = Outlet::Sandbox { agent: self.inner.agent.clone(), sandbox };
        let state = self.state();
        let client = Client::new(self.scope(&state, container), outlet, Limits::default());
        let serving = self.inner.names.dns.serve(client, udp, tcp);
        let serving =
            serving.map_err(|error| ControlError::Internal(format!("the name server cannot listen: {error}")))?;
        self.inner.names.serving().insert(container.clone(), serving);
        Ok(())
    }

    /// As [`Controller::serve_names`] for a container that runs already: it goes on without.
    pub(super) async fn serve_names_anyway(&self, container: &Id) {
        if let Err(error) = self.serve_names(container).await {
            tracing::warn!("container {} has no name server: {error}", container.short());
        }
    }

    /// Ends a container's name server.
    pub(super) fn stop_names(&self, container: &Id) {
        self.inner.names.serving().remove(container);
    }

    /// Tells a container's name server what it may see now. The state's lock keeps the order of changes.
    pub(super) fn publish_scope(&self, state: &State, container: &Id) {
        if let Some(serving) = self.inner.names.serving().get(container) {
            serving.client().publish(self.scope(state, container));
        }
    }

    /// Whether /etc/resolv.conf of a container names the server: on a custom network, whose names only it knows, and
    /// where the host has no resolver but such as only it reaches.
    pub(super) fn needs_server(&self, state: &State, container: &Id) -> bool {
        let Some(one) = state.containers.get(container) else { return false };
        let custom = endpoints(state, one).any(|(_, on)| !on.network.predefined());
        let needed = custom || (!one.endpoints.is_empty() && self.resolving(state, one).only_the_hosts_own());
        needed && !one.container.spec.names_at_gateway
    }

    /// What a container wants of its resolver.
    pub(super) fn resolving(&self, state: &State, one: &ContainerState) -> Resolving {
        let resolving = Resolving::new(&one.container.spec, &state.defaults.dns, &self.inner.host.resolv_conf());
        if !one.container.spec.names_at_gateway {
            return resolving;
        }
        let gateways = endpoints(state, one).flat_map(|(_, on)| on.network.subnets()).map(|plan| plan.gateway);
        resolving.at(gateways.collect())
    }

    fn scope(&self, state: &State, container: &Id) -> Scope {
        let Some(one) = state.containers.get(container) else { return Scope::default() };
        let resolving = self.resolving(state, one);
        let subnets = endpoints(state, one).flat_map(|(_, on)| on.network.pieces()).map(|(_, net)| net).collect();
        let leaves = self.inner.uplink.is_some() && endpoints(state, one).any(|(_, on)| !on.network.internal);
        let mut members: Vec<_> = endpoints(state, one).filter(|(_, on)| !on.network.predefined()).collect();
        // Docker's order of networks: by priority, those that lead out first, by name.
        members.sort_by(|(a, on_a), (b, on_b)| {
            let rank = |endpoint: &EndpointState, on: &NetworkState| {
                (Reverse(endpoint.endpoint.gw_priority), on.network.internal)
            };
            rank(a, on_a).cmp(&rank(b, on_b)).then_with(|| on_a.network.name.cmp(&on_b.network.name))
        });
        let view = |(endpoint, on): (&EndpointState, &NetworkState)| View {
            name: on.network.name.to_ascii_lowercase().into(),
            zone: Arc::clone(&on.zone),
            links: endpoint.endpoint.links.iter().map(|link| links::in_zone(state, link)).collect(),
        };
        Scope {
            fixed: self.fixed_names(routers(state, one), leaves),
            networks: members.into_iter().map(view).collect(),
            upstreams: Upstreams {
                keep_single_labels: resolving.keeps_single_labels(),
                servers: match resolving.given.is_empty() {
                    true => Servers::Host,
                    false => Servers::Given(resolving.given),
                },
                leaves,
                subnets,
            },
            domain: None,
        }
    }
}

/// A container of an engine that sees more than one network, or has resolvers of its own.
struct EngineMember<'s> {
    /// Its addresses on the network where it asks.
    addresses: Vec<IpAddr>,
    resolvers: Vec<IpAddr>,
    networks: Vec<&'s NetworkState>,
}

/// Who is asked from the host: these, or whom the settings name, or whom the host asks.
fn forwarders(state: &State, given: Vec<IpAddr>) -> Servers {
    let settings = &state.defaults.dns.servers;
    match (given.is_empty(), settings.is_empty()) {
        (false, _) => Servers::Given(given),
        (true, false) => Servers::Given(settings.clone()),
        (true, true) => Servers::Host,
    }
}

/// The gateways that a container's default routes lead to.
fn routers(state: &State, one: &ContainerState) -> Vec<IpAddr> {
    let ways = routes::ways(state, &one.container.id);
    let own = [ways.ipv4, ways.ipv6].into_iter().zip([true, false]);
    let gateway = |(endpoint, ipv4): (Option<&Endpoint>, bool)| {
        let network = &state.networks.get(&endpoint?.network)?.network;
        network.subnets().map(|plan| plan.gateway).find(|gateway| gateway.is_ipv4() == ipv4)
    };
    own.filter_map(gateway).collect()
}

/// How many connections to gateways there may be, each of which holds two descriptors.
fn connections(descriptors: usize) -> StreamLimits {
    let flows = (descriptors / 32).clamp(8, 1024);
    let (ring, small_ring) = (RING, RING);
    StreamLimits { flows, per_endpoint: (flows / 4).min(64), ring, small_ring, ..StreamLimits::default() }
}

/// Bytes of a connection's rings: what does not fit waits.
const RING: usize = 16 << 10;

/// The port of the gateways' name server in listings. Brackets are in no network's name.
const GATEWAYS: &str = "(names)";

/// Endpoints of a container, with their networks.
fn endpoints<'a>(
    state: &'a State,
    one: &'a ContainerState,
) -> impl Iterator<Item = (&'a EndpointState, &'a NetworkState)> {
    one.endpoints.iter().filter_map(|id| {
        let endpoint = state.endpoints.get(id)?;
        Some((endpoint, state.networks.get(&endpoint.endpoint.network)?))
    })
}

/// Tells everybody on a network who is on it now. The default networks have no names, as with Docker.
pub(super) fn publish_network(state: &State, network: &Id) {
    let Some(on) = state.networks.get(network).filter(|on| !on.network.predefined()) else { return };
    if state.restoring {
        return;
    }
    if on.network.options.host_names {
        state.host_names.notify_one();
    }
    let subnets = on.network.pieces().map(|(_, net)| net);
    let present = on.endpoints.iter().filter_map(|id| state.endpoints.get(id)).filter(|one| one.port.is_some());
    let services = on.network.services.iter();
    let services = services.map(|one| Member { names: vec![one.name.as_str()], addresses: one.addresses.clone() });
    let members = present.map(|one| member(state, one)).chain(services);
    let joined = peerings::others(state, &on.network).filter(|other| !other.network.predefined()).map(|other| Joined {
        name: other.network.name.to_ascii_lowercase().into(),
        zone: Arc::downgrade(&other.zone),
        families: peerings::families(&on.network, &other.network),
    });
    let zone = Zone::new(&on.network.name, subnets, members).joined_with(joined.collect());
    on.zone.store(Arc::new(zone));
}

/// Everything that an endpoint is called.
fn member<'a>(state: &'a State, one: &'a EndpointState) -> Member<'a> {
    let endpoint = &one.endpoint;
    let mut names = vec![endpoint.name.as_str()];
    names.extend(endpoint.aliases.iter().map(String::as_str));
    if let Owner::Container(id) = &endpoint.owner {
        names.push(id.short());
        names.extend(state.containers.get(id).map(|one| one.container.hostname.as_str()));
    }
    Member { names, addresses: endpoint.addresses().collect() }
}
