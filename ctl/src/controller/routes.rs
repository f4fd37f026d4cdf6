//! Which endpoint of a container gives its default route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::peerings;
use super::state::{State, gateway_of};
use crate::agent::protocol::{OtherRoutes, Request, Route, RouteTarget};
use crate::ids::Id;
use crate::model::{DefaultRoute, Endpoint, Network};

/// The request that sets a container's default routes as they should be now.
pub(super) fn default_routes(state: &State, container: &Id) -> Request {
    request(container.to_string(), &candidates(state, container), OtherRoutes::Replace)
}

/// The request for somebody else's sandbox with just this endpoint.
pub(super) fn single_route(endpoint: &Endpoint, network: &Network, others: OtherRoutes) -> Request {
    request(endpoint.sandbox(), &[Candidate { endpoint, network, joined: false }], others)
}

/// The routes that an engine wants beside its container's default route, with the one that it wants with a metric.
pub(super) fn engine_routes(endpoint: &Endpoint, network: &Network) -> Option<Request> {
    let wishes = endpoint.wishes()?;
    let mut routes = wishes.routes.clone();
    if let DefaultRoute::Metric(metric) = wishes.default_route
        && !network.internal
    {
        let gateways = endpoint.ipv4.into_iter().chain(endpoint.ipv6);
        routes.extend(gateways.filter_map(|own| gateway_of(Some(network), own)).map(|gateway| {
            let everywhere: IpAddr =
                if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let destination = IpNet::new_assert(everywhere, 0);
            Route { destination, target: RouteTarget::Gateway(gateway), metric: Some(metric) }
        }));
    }
    let (sandbox, endpoint) = (endpoint.sandbox(), endpoint.id.to_string());
    (!routes.is_empty()).then_some(Request::Routes { sandbox, endpoint, routes })
}

/// The endpoints of a container by which it is reached from outside, one for each family: those of its default routes.
pub(super) struct Ways<'a> {
    pub(super) ipv4: Option<&'a Endpoint>,
    pub(super) ipv6: Option<&'a Endpoint>,
}

impl Ways<'_> {
    pub(super) fn ipv4_address(&self) -> Option<IpAddr> {
        Some(self.ipv4?.ipv4?.address)
    }

    pub(super) fn ipv6_address(&self) -> Option<IpAddr> {
        Some(self.ipv6?.ipv6?.address)
    }
}

/// By which endpoints a container is reached. As with Docker, its ports are published through these only.
pub(super) fn ways<'a>(state: &'a State, container: &Id) -> Ways<'a> {
    let candidates = candidates(state, container);
    let ranked = ranked(&candidates);
    // What comes in by a LAN comes to the container's own address.
    let by = |one: &&&Candidate<'a>| !one.network.routed_elsewhere();
    Ways {
        ipv4: ranked.iter().find(|one| one.ipv4().is_some()).filter(by).map(|one| one.endpoint),
        ipv6: ranked.iter().find(|one| one.ipv6().is_some()).filter(by).map(|one| one.endpoint),
    }
}

fn candidates<'a>(state: &'a State, container: &Id) -> Vec<Candidate<'a>> {
    let ids = state.containers.get(container).map(|one| one.endpoints.as_slice()).unwrap_or_default();
    let candidate = |id| {
        let endpoint = &state.endpoints.get(id)?.endpoint;
        let network = &state.networks.get(&endpoint.network)?.network;
        Some(Candidate { endpoint, network, joined: peerings::is_joined(state, network) })
    };
    ids.iter().filter_map(candidate).collect()
}

/// Those that lead out, best first.
fn ranked<'c, 'a>(candidates: &'c [Candidate<'a>]) -> Vec<&'c Candidate<'a>> {
    let mut ranked: Vec<_> = candidates.iter().filter(|one| !one.network.internal).collect();
    ranked.sort_by(|a, b| a.rank().cmp(&b.rank()));
    ranked
}

struct Candidate<'a> {
    endpoint: &'a Endpoint,
    network: &'a Network,
    /// With another network, which is reached by its gateway, too.
    joined: bool,
}

impl Candidate<'_> {
    fn ipv4(&self) -> Option<Ipv4Addr> {
        match gateway_of(Some(self.network), self.endpoint.ipv4?)? {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        }
    }

    fn ipv6(&self) -> Option<Ipv6Addr> {
        match gateway_of(Some(self.network), self.endpoint.ipv6?)? {
            IpAddr::V6(gateway) => Some(gateway),
            IpAddr::V4(_) => None,
        }
    }

    /// Docker's order: highest priority, then networks that have gateways of both families, then by network name.
    fn rank(&self) -> (std::cmp::Reverse<i64>, bool, &str) {
        let dual = self.ipv4().is_some() && self.ipv6().is_some();
        (std::cmp::Reverse(self.endpoint.gw_priority), !dual, &self.network.name)
    }
}

fn request(sandbox: String, candidates: &[Candidate<'_>], others: OtherRoutes) -> Request {
    // By a network that leads out if there is one; else by one that is joined with another, which is reached by its gateway alone.
    let mut ranked = ranked(candidates);
    ranked.extend(candidates.iter().filter(|one| one.network.internal && one.joined));
    let id = |one: &&Candidate<'_>| one.endpoint.id.to_string();
    Request::DefaultRoute {
        sandbox,
        ipv4: ranked.iter().find_map(|one| Some((id(one), one.ipv4()?))),
        ipv6: ranked.iter().find_map(|one| Some((id(one), one.ipv6()?))),
        others,
    }
}
